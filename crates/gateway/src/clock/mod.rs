//! The time, as a seam: the simulator puts its own clock here.

mod steady;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use steady::Steady;
use tokio::time::Instant;

/// Two clocks that differ by more than this are worth a word, in milliseconds.
pub const DIFFERENCE_MS_MAX: i64 = 2_000;

/// Tells the time. Cheap to clone, and clones tell the same.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Steady(Arc<Steady>),
    Manual(Arc<AtomicI64>),
    Following {
        origin: Instant,
        origin_ms: i64,
        /// How far it is behind what the machine would say.
        behind_ms: Arc<AtomicI64>,
    },
}

/// An instant, and what the machine's clock said at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the clock, Unix milliseconds.
    pub now_ms: i64,
    machine_ms: i64,
}

impl Clock {
    /// The machine's clock as it is now, without the jumps it makes from now on: it follows them
    /// a tenth faster or slower than time, so that no lease and no deadline ends with a jump.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::Steady(Arc::new(Steady::new())))
    }

    /// A clock that stands still until it is moved, with the handle that moves it.
    #[must_use]
    pub fn manual(now_ms: i64) -> (Self, Arc<AtomicI64>) {
        let hand = Arc::new(AtomicI64::new(now_ms));
        (Self(Source::Manual(Arc::clone(&hand))), hand)
    }

    /// A clock that reads `now_ms` now and goes on with the runtime's timers, which a simulation
    /// moves; with the handle that says how far it is behind them, as that of a machine which was
    /// frozen and did not notice.
    #[must_use]
    pub fn following(now_ms: i64) -> (Self, Arc<AtomicI64>) {
        let behind_ms = Arc::<AtomicI64>::default();
        let clock = Self(Source::Following {
            origin: Instant::now(),
            origin_ms: now_ms,
            behind_ms: Arc::clone(&behind_ms),
        });
        (clock, behind_ms)
    }

    /// Unix time in milliseconds. Never less than before.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::Steady(steady) => steady.now_ms(),
            Source::Manual(hand) => hand.load(Ordering::Acquire),
            Source::Following { behind_ms, .. } => {
                let behind_ms = behind_ms.load(Ordering::Acquire);
                self.machine_ms().saturating_sub(behind_ms)
            }
        }
    }

    /// What the machine's clock says, jumps and all, Unix milliseconds: for what strangers compare
    /// with theirs.
    #[must_use]
    pub fn machine_ms(&self) -> i64 {
        match &self.0 {
            Source::Steady(_) => steady::machine_us().div_euclid(1_000),
            Source::Manual(hand) => hand.load(Ordering::Acquire),
            Source::Following {
                origin, origin_ms, ..
            } => {
                let passed = origin.elapsed().as_millis();
                origin_ms.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
            }
        }
    }

    /// Now, to be looked back at.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment {
            now_ms: self.now_ms(),
            machine_ms: self.machine_ms(),
        }
    }

    /// The latest it can be: a machine that was frozen since a moment may find that out by its own
    /// clock alone, and one whose clock was put back by this one alone.
    #[must_use]
    pub fn latest_ms(&self, since: Moment) -> i64 {
        let passed_ms = self.machine_ms().saturating_sub(since.machine_ms);
        self.now_ms().max(since.now_ms.saturating_add(passed_ms))
    }

    /// How far the machine's clock is ahead of this one, in milliseconds.
    #[must_use]
    pub fn lead_ms(&self) -> i64 {
        match &self.0 {
            Source::Steady(steady) => steady.lead_ms(),
            _ => self.machine_ms().saturating_sub(self.now_ms()),
        }
    }

    /// Hears how far the clock of the machine that all nodes share is ahead of this one, in
    /// milliseconds.
    pub fn hear(&self, shared_lead_ms: i64) {
        if let Source::Steady(steady) = &self.0 {
            steady.hear(shared_lead_ms);
        }
    }

    /// How far this clock is behind those of other nodes, in milliseconds: as far as the machine's
    /// and the shared one both say so; 0 where there are no other nodes.
    #[must_use]
    pub fn behind_ms(&self) -> i64 {
        match &self.0 {
            Source::Steady(steady) => steady.shared_lead_ms().min(self.lead_ms()).max(0),
            Source::Manual(_) => 0,
            Source::Following { behind_ms, .. } => behind_ms.load(Ordering::Acquire),
        }
    }
}

/// An instant as the API writes it: RFC 3339 in UTC, with milliseconds.
#[must_use]
pub fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| "9999-12-31T23:59:59.999Z".to_owned(),
        |instant| format!("{instant:.3}"),
    )
}

/// Reads an RFC 3339 instant.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_it_can_be_is_what_either_clock_says() {
        let (clock, behind_ms) = Clock::following(1_000);
        let before = clock.moment();
        behind_ms.store(-300, Ordering::Relaxed);
        assert!((300..10_000).contains(&(clock.latest_ms(before) - before.now_ms)));
        behind_ms.store(600_000, Ordering::Relaxed);
        assert!((0..10_000).contains(&(clock.latest_ms(before) - before.now_ms)));
        assert!(clock.now_ms() < 0 && clock.lead_ms() == 600_000);
    }

    /// One other clock may be wrong; two are not, or not in the same way.
    #[test]
    fn a_node_is_behind_as_far_as_two_clocks_say_so() {
        let clock = Clock::system();
        assert_eq!(clock.behind_ms(), 0);
        clock.hear(600_000);
        assert!(clock.behind_ms() < 10_000);
        clock.hear(-600_000);
        assert_eq!(clock.behind_ms(), 0);
    }

    #[test]
    fn instants_are_written_in_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_764_020_127_045), "2025-11-24T21:35:27.045Z");
        assert_eq!(
            parse_rfc3339("2025-11-24T21:35:27.045Z"),
            Some(1_764_020_127_045)
        );
        assert_eq!(parse_rfc3339("yesterday"), None);
        let _ = rfc3339(i64::MAX);
    }
}
