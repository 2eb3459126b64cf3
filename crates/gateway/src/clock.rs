//! The time, as a seam: the simulator puts its own clock here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

/// Tells the time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
    Following { origin: Instant, origin_ms: i64 },
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until it is moved, with the handle that moves it.
    #[must_use]
    pub fn manual(now_ms: i64) -> (Self, Arc<AtomicI64>) {
        let hand = Arc::new(AtomicI64::new(now_ms));
        (Self(Source::Manual(Arc::clone(&hand))), hand)
    }

    /// A clock that reads `now_ms` now and goes on with the runtime's timers, which a simulation
    /// moves.
    #[must_use]
    pub fn following(now_ms: i64) -> Self {
        Self(Source::Following {
            origin: Instant::now(),
            origin_ms: now_ms,
        })
    }

    /// Unix time in milliseconds.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place the ban points to"
    )]
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::System => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                since.map_or(0, |since| {
                    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
                })
            }
            Source::Manual(hand) => hand.load(Ordering::Acquire),
            Source::Following { origin, origin_ms } => {
                let passed = origin.elapsed().as_millis();
                origin_ms.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
            }
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
