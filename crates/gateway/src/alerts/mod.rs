//! Alerts: whoever asked for it gets a mail when a balance falls below a threshold.
//!
//! Invariant: balances are looked at from beside, every few seconds; nothing is written where credits
//! are held or spent. Any number of nodes may look at once: an alert is tripped by one of them, and a
//! mail is sent by whoever holds its lease. A crash after the server took it makes a second mail with
//! the same `Message-ID`; nothing makes a loss.

mod post;

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::alerts::AlertState;
use crate::store::mails::{Mail, Tried};
use crate::store::{Store, StoreError};
use post::Unsent;
pub use post::{Login, MailError, MailSettings, Post, Tls};

/// Alerts looked at in one read.
const PAGE: i64 = 500;

/// Pages of one look: with more alerts than that a look takes several rounds.
const PAGES: usize = 10;

/// Mails sent at a time. Each is given up long before its lease ends.
const AT_ONCE: i64 = 4;

/// How long after the first and each further try a mail is tried again, in milliseconds; behind the
/// last it is given up. A day in all.
const RETRIES_MS: [i64; 8] = [
    30_000, 120_000, 600_000, 1_800_000, 3_600_000, 10_800_000, 25_200_000, 43_200_000,
];

/// How often recording is tried, a second apart; the lease lasts longer.
const RECORDS_MAX: u32 = 10;

/// Looks at balances and sends mails.
pub struct Alerts {
    store: Store,
    post: Post,
    clock: Clock,
    metrics: Metrics,
    look_ms: u64,
}

impl Alerts {
    /// One that looks every `look_ms` milliseconds.
    #[must_use]
    pub fn new(store: Store, post: Post, clock: Clock, metrics: Metrics, look_ms: u64) -> Self {
        Self {
            store,
            post,
            clock,
            metrics,
            look_ms,
        }
    }

    /// Looks and sends until it is stopped. A mail that is under way is finished.
    pub async fn run(self, stop: CancellationToken) {
        let mut after = String::new();
        while !stop.is_cancelled() {
            if let Err(error) = self.round(&mut after, &stop).await {
                tracing::warn!(%error, "balances cannot be looked at");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(Duration::from_millis(self.look_ms)) => {}
            }
        }
    }

    /// One look, and what is due then. `after` is where the look goes on: the alert behind which it
    /// ended, empty for the first.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn round(
        &self,
        after: &mut String,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        self.look(after).await?;
        while !stop.is_cancelled() {
            let now_ms = self.clock.now_ms();
            let mails = self.store.any_claim_mails(AT_ONCE, now_ms).await?;
            if mails.is_empty() {
                break;
            }
            join_all(mails.iter().map(|mail| self.deliver(mail))).await;
        }
        Ok(())
    }

    async fn look(&self, after: &mut String) -> Result<(), StoreError> {
        for _ in 0..PAGES {
            let looked = self.store.any_look_at_alerts(after, PAGE).await?;
            if !looked.turns.is_empty() {
                let now_ms = self.clock.now_ms();
                self.store.any_turn_alerts(looked.turns, now_ms).await?;
            }
            *after = looked.last.map(|id| id.0).unwrap_or_default();
            if after.is_empty() {
                break;
            }
        }
        Ok(())
    }

    async fn deliver(&self, mail: &Mail) {
        let sent = self.post.send(mail).await;
        let (tried, result) = follow(&sent, mail.attempts, self.clock.now_ms());
        let (alert, attempts) = (&mail.alert, mail.attempts.saturating_add(1));
        match &sent {
            Ok(()) => tracing::info!(%alert, attempts, "a mail about a low balance was sent"),
            Err(error) => {
                tracing::warn!(%alert, attempts, result, %error, "a mail about a low balance was not sent");
            }
        }
        self.metrics.mail(result);
        if let Err(error) = self.record(mail, tried).await {
            tracing::error!(%alert, %error, "what came of a mail is not recorded; it is sent again");
        }
    }

    /// Records, and insists: what is not recorded is sent again.
    async fn record(&self, mail: &Mail, tried: Tried) -> Result<(), StoreError> {
        let mut tries = 1;
        loop {
            let now_ms = self.clock.now_ms();
            match self.store.any_record_mail(mail, tried, now_ms).await {
                // One that was recorded all the same is passed over the second time.
                Err(
                    StoreError::Unavailable(_) | StoreError::Unclear(_) | StoreError::Overloaded,
                ) if tries < RECORDS_MAX => {
                    tries += 1;
                    sleep(Duration::from_secs(1)).await;
                }
                recorded => return recorded,
            }
        }
    }
}

/// What follows a try, and its word on the metrics page.
fn follow(sent: &Result<(), Unsent>, attempts: i64, now_ms: i64) -> (Tried, &'static str) {
    let tried = |state, due_ms| Tried { state, due_ms };
    match sent {
        Ok(()) => (tried(AlertState::Sent, now_ms), "sent"),
        Err(Unsent::Refused(_)) => (tried(AlertState::Failed, now_ms), "refused"),
        Err(Unsent::NotNow(_)) => {
            let wait_ms = usize::try_from(attempts).ok();
            match wait_ms.and_then(|attempts| RETRIES_MS.get(attempts)) {
                Some(wait_ms) => {
                    let due_ms = now_ms.saturating_add(*wait_ms);
                    (tried(AlertState::Due, due_ms), "retry")
                }
                None => (tried(AlertState::Failed, now_ms), "exhausted"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_tried_for_about_a_day_and_then_given_up() {
        let away = Err(Unsent::NotNow("away".to_owned()));
        let mut now_ms = 0;
        for attempts in 0..8 {
            let (tried, word) = follow(&away, attempts, now_ms);
            assert_eq!((tried.state, word), (AlertState::Due, "retry"));
            assert!(tried.due_ms > now_ms);
            now_ms = tried.due_ms;
        }
        assert!((80_000_000..90_000_000).contains(&now_ms), "{now_ms}");
        let (tried, word) = follow(&away, 8, now_ms);
        assert_eq!((tried.state, word), (AlertState::Failed, "exhausted"));
    }

    #[test]
    fn what_is_refused_for_good_is_not_tried_again() {
        let refused = Err(Unsent::Refused("550".to_owned()));
        let (tried, word) = follow(&refused, 0, 5);
        assert_eq!((tried.state, word), (AlertState::Failed, "refused"));
        let (tried, word) = follow(&Ok(()), 3, 5);
        assert_eq!((tried.state, word), (AlertState::Sent, "sent"));
    }
}
