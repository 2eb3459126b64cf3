//! When a callback is tried again, as pure functions.
//!
//! Invariant: does no I/O; the caller brings the instant and the jitter.

use jiff::fmt::rfc2822::DateTimeParser;

use crate::store::notices::Verdict;

const S: i64 = 1_000;
const MIN: i64 = 60 * S;
const H: i64 = 60 * MIN;

/// The wait before each attempt of a schedule, in milliseconds: twelve attempts over 70 hours.
pub const WAITS_MS: [i64; 12] = [
    0,
    5 * S,
    30 * S,
    2 * MIN,
    5 * MIN,
    15 * MIN,
    H,
    3 * H,
    6 * H,
    12 * H,
    24 * H,
    24 * H,
];

/// The longest wait a receiver can ask for, in milliseconds.
pub const RETRY_AFTER_MS_MAX: i64 = 24 * H;

/// Jitter is drawn from below this number: the waits vary by a fifth either way.
pub const JITTER_END: u32 = 401;

/// The wait after so many attempts of a schedule, in milliseconds; `None` after the last one.
#[must_use]
pub fn wait_ms(attempts: i64, jitter: u32) -> Option<i64> {
    let wait_ms = *WAITS_MS.get(usize::try_from(attempts).ok()?)?;
    let per_mille = 800 + i64::from(jitter.min(JITTER_END - 1));
    Some(wait_ms * per_mille / 1_000)
}

/// Reads dates even where the day of the week is wrong.
static DATES: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);

/// A `Retry-After` header as a wait in milliseconds, whether it is seconds or an HTTP date.
#[must_use]
pub fn retry_after_ms(header: &str, now_ms: i64) -> Option<i64> {
    let header = header.trim();
    let is_number = !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit());
    let wait_ms = if is_number {
        // More digits than fit are a long time too.
        header.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(S)
    } else {
        DATES
            .parse_timestamp(header)
            .ok()?
            .as_millisecond()
            .saturating_sub(now_ms)
    };
    Some(wait_ms.clamp(0, RETRY_AFTER_MS_MAX))
}

/// How a POST ended, as far as the schedule cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// Status of the reply, if there was one.
    pub status: Option<u16>,
    /// The wait the receiver asked for.
    pub retry_after_ms: Option<i64>,
}

/// What follows a POST that makes `attempts` of its schedule. A receiver can ask for a longer wait
/// than the schedule's, not for a shorter one.
#[must_use]
pub fn verdict(ended: Ended, attempts: i64, jitter: u32) -> Verdict {
    let last = |state| Verdict {
        state,
        due_ms: ended.at_ms,
    };
    match ended.status {
        Some(200..=299) => return last("delivered"),
        Some(410) => return last("gone"),
        _ => {}
    }
    let Some(wait_ms) = wait_ms(attempts, jitter) else {
        return last("exhausted");
    };
    let wait_ms = wait_ms.max(ended.retry_after_ms.unwrap_or(0));
    Verdict {
        state: "pending",
        due_ms: ended.at_ms.saturating_add(wait_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_JITTER: u32 = 200;

    fn ended(status: u16) -> Ended {
        Ended {
            at_ms: 1_000_000,
            status: Some(status),
            retry_after_ms: None,
        }
    }

    #[test]
    fn there_are_twelve_attempts_over_seventy_hours() {
        let waits = (0..12).map(|attempts| wait_ms(attempts, NO_JITTER).unwrap());
        assert!(waits.sum::<i64>() >= 70 * H);
        assert_eq!(wait_ms(0, NO_JITTER), Some(0));
        assert_eq!(wait_ms(1, NO_JITTER), Some(5_000));
        assert_eq!(wait_ms(12, NO_JITTER), None);
        assert_eq!(wait_ms(-1, NO_JITTER), None);
    }

    #[test]
    fn jitter_is_a_fifth_either_way() {
        assert_eq!(wait_ms(1, 0), Some(4_000));
        assert_eq!(wait_ms(1, JITTER_END - 1), Some(6_000));
        assert_eq!(wait_ms(1, u32::MAX), Some(6_000));
    }

    #[test]
    fn a_status_decides() {
        for (status, state) in [
            (200, "delivered"),
            (204, "delivered"),
            (299, "delivered"),
            (301, "pending"),
            (308, "pending"),
            (400, "pending"),
            (404, "pending"),
            (410, "gone"),
            (429, "pending"),
            (500, "pending"),
        ] {
            assert_eq!(
                verdict(ended(status), 1, NO_JITTER).state,
                state,
                "{status}"
            );
        }
        assert_eq!(verdict(ended(500), 11, NO_JITTER).state, "pending");
        assert_eq!(verdict(ended(500), 12, NO_JITTER).state, "exhausted");
        assert_eq!(verdict(ended(200), 12, NO_JITTER).state, "delivered");
        let silence = Ended {
            status: None,
            ..ended(0)
        };
        assert_eq!(verdict(silence, 3, NO_JITTER).due_ms, 1_000_000 + 2 * MIN);
    }

    #[test]
    fn a_receiver_can_ask_for_more_patience_but_not_for_less() {
        let asked = |retry_after_ms| Ended {
            retry_after_ms: Some(retry_after_ms),
            ..ended(503)
        };
        assert_eq!(
            verdict(asked(60_000), 1, NO_JITTER).due_ms,
            1_000_000 + 60_000
        );
        assert_eq!(
            verdict(asked(1_000), 1, NO_JITTER).due_ms,
            1_000_000 + 5_000
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now_ms = 784_111_777_000;
        let wait = |header| retry_after_ms(header, now_ms);
        assert_eq!(wait("120"), Some(120_000));
        assert_eq!(wait(" 0 "), Some(0));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60_000));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        assert_eq!(wait("Sun, 06 Nov 2094 08:49:00 GMT"), Some(24 * H));
        assert_eq!(wait("99999999"), Some(24 * H));
        assert_eq!(wait("99999999999999999999999"), Some(24 * H));
        for nonsense in ["", "-5", "1.5", "soon", "1e3", "+7"] {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
    }
}
