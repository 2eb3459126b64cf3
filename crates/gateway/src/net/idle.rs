//! Connections to providers that wait for the next read.
//!
//! Invariant: only GETs go over one of these. A read may be repeated, so one that finds its connection
//! dead is sent again over a new one; a call that creates something could not be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use url::Origin;

use super::exchange::Exchange;
use crate::spawn;

/// How many connections to one origin wait.
pub(super) const PER_ORIGIN_MAX: usize = 32;
/// How long one waits. Servers close idle connections after five seconds to some minutes.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(30);
/// How old one gets: the provider's name may lead somewhere else by then.
const AGE_MAX: Duration = Duration::from_secs(300);

struct Waiting {
    exchange: Box<Exchange>,
    since: Instant,
}

impl Waiting {
    fn is_fresh(&self, now: Instant) -> bool {
        now < self.since + IDLE_MAX && now < self.exchange.opened() + AGE_MAX
    }
}

/// The connections that wait, by origin; in each list the one that was used last comes last.
#[derive(Default)]
pub(super) struct Idle(Mutex<HashMap<Origin, Vec<Waiting>>>);

impl Idle {
    /// The connection that was used last, of those that can still be used. So the others run out,
    /// and their number follows the need.
    pub(super) async fn take(&self, origin: &Origin) -> Option<Box<Exchange>> {
        loop {
            let mut waiting = self.lock().get_mut(origin)?.pop()?;
            if waiting.is_fresh(Instant::now()) && waiting.exchange.is_free().await {
                return Some(waiting.exchange);
            }
        }
    }

    /// Keeps a connection whose reply is through; closes it when the other side wants that or
    /// enough of them wait.
    pub(super) async fn keep(self: &Arc<Self>, origin: Origin, mut exchange: Box<Exchange>) {
        if !exchange.is_free().await {
            return;
        }
        let since = Instant::now();
        let mut all = self.lock();
        let is_first = all.is_empty();
        let waiting = all.entry(origin).or_default();
        if waiting.len() < PER_ORIGIN_MAX {
            waiting.push(Waiting { exchange, since });
        }
        drop(all);
        if is_first {
            spawn::detached("idle connections", run_out(Arc::downgrade(self)));
        }
    }

    /// Closes what has waited too long. Whether something still waits.
    fn tidy(&self) -> bool {
        let now = Instant::now();
        let mut all = self.lock();
        all.retain(|_, waiting| {
            waiting.retain(|waiting| waiting.is_fresh(now));
            !waiting.is_empty()
        });
        !all.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, Vec<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tidies up until nothing waits.
async fn run_out(idle: Weak<Idle>) {
    loop {
        sleep(IDLE_MAX / 2).await;
        if !idle.upgrade().is_some_and(|idle| idle.tidy()) {
            return;
        }
    }
}
