//! A circuit breaker: closed while calls are answered, open for a while after too many that are not,
//! then open to one try.

/// Failures in a row that open it.
const IN_A_ROW: u32 = 5;

/// Fewest answers of a window whose share of failures counts.
const ANSWERS_MIN: u32 = 20;

/// Length of half a window, in milliseconds: what is older than a whole one is forgotten.
const HALF_MS: i64 = 15_000;

/// How long it is open the first time, in milliseconds; each failed try doubles it.
const OPEN_MS: i64 = 30_000;

/// Longest time it is open, in milliseconds.
const OPEN_MS_MAX: i64 = 300_000;

/// Answers in half a window.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    all: u32,
    failed: u32,
}

/// What became of the calls of one kind. Failures are counted, so any success closes it again.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker {
    in_a_row: u32,
    half_began_ms: i64,
    half: Count,
    half_before: Count,
    /// Until when it is open; 0 while it is closed.
    open_until_ms: i64,
    /// Openings since the last success.
    openings: u32,
    is_tried: bool,
}

impl Breaker {
    /// Whether a call may be made now.
    ///
    /// # Errors
    /// When to ask again, Unix milliseconds.
    pub(super) fn admits(&self, now_ms: i64) -> Result<(), i64> {
        match self.open_until_ms {
            0 => Ok(()),
            until_ms if now_ms < until_ms => Err(until_ms),
            _ if self.is_tried => Err(now_ms.saturating_add(HALF_MS)),
            _ => Ok(()),
        }
    }

    /// A call is made; of an open one it is the only try.
    pub(super) fn begin(&mut self) {
        self.is_tried = self.open_until_ms != 0;
    }

    /// A call came to nothing that says anything: the next may be the try.
    pub(super) fn forget(&mut self) {
        self.is_tried = false;
    }

    /// A call was answered.
    pub(super) fn succeeded(&mut self, now_ms: i64) {
        self.count(now_ms, 0);
        if self.open_until_ms != 0 {
            *self = Self::default();
        }
        self.in_a_row = 0;
    }

    /// A call was not answered. Answers whether that opened it.
    pub(super) fn failed(&mut self, now_ms: i64) -> bool {
        self.count(now_ms, 1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        let was_closed = self.open_until_ms == 0;
        let all = self.half.all.saturating_add(self.half_before.all);
        let failed = self.half.failed.saturating_add(self.half_before.failed);
        let is_half = all >= ANSWERS_MIN && failed.saturating_mul(2) >= all;
        let is_retry = !was_closed && now_ms >= self.open_until_ms;
        if is_retry || (was_closed && (self.in_a_row >= IN_A_ROW || is_half)) {
            let longer = OPEN_MS.saturating_mul(1 << self.openings.min(10));
            self.open_until_ms = now_ms.saturating_add(longer.min(OPEN_MS_MAX));
            self.openings = self.openings.saturating_add(1);
            self.is_tried = false;
        }
        was_closed && self.open_until_ms != 0
    }

    /// Until when it is open, Unix milliseconds; `None` while it is closed.
    pub(super) fn open_until_ms(&self) -> Option<i64> {
        (self.open_until_ms != 0).then_some(self.open_until_ms)
    }

    fn count(&mut self, now_ms: i64, failed: u32) {
        let age_ms = now_ms.saturating_sub(self.half_began_ms);
        if age_ms >= HALF_MS {
            let is_next = age_ms < HALF_MS.saturating_mul(2);
            self.half_before = if is_next { self.half } else { Count::default() };
            self.half = Count::default();
            self.half_began_ms = now_ms;
        }
        self.half.all = self.half.all.saturating_add(1);
        self.half.failed = self.half.failed.saturating_add(failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_790_000_000_000;

    #[test]
    fn failures_in_a_row_open_it_and_one_try_closes_it() {
        let mut breaker = Breaker::default();
        for n in 1..IN_A_ROW {
            assert!(!breaker.failed(NOW_MS), "{n}");
            assert_eq!(breaker.admits(NOW_MS), Ok(()));
        }
        assert!(breaker.failed(NOW_MS), "that opened it");
        let until_ms = NOW_MS + OPEN_MS;
        assert_eq!(breaker.admits(NOW_MS), Err(until_ms));
        assert_eq!(breaker.admits(until_ms), Ok(()));
        breaker.begin();
        assert!(breaker.admits(until_ms).is_err(), "one try at a time");
        breaker.succeeded(until_ms);
        assert_eq!(breaker.admits(until_ms), Ok(()));
        assert!(!breaker.failed(until_ms), "it starts anew");
    }

    #[test]
    fn failed_tries_keep_it_open_longer_and_longer() {
        let mut breaker = Breaker::default();
        let mut now_ms = NOW_MS;
        for _ in 0..IN_A_ROW {
            breaker.failed(now_ms);
        }
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let until_ms = breaker.open_until_ms().unwrap();
            pauses.push((until_ms - now_ms) / 1_000);
            now_ms = until_ms;
            breaker.begin();
            assert!(!breaker.failed(now_ms), "it was open already");
        }
        assert_eq!(pauses, [30, 60, 120, 240, 300, 300]);
    }

    #[test]
    fn calls_that_were_under_way_when_it_opened_do_not_lengthen_it() {
        let mut breaker = Breaker::default();
        for _ in 0..IN_A_ROW + 20 {
            breaker.failed(NOW_MS);
        }
        assert_eq!(breaker.open_until_ms(), Some(NOW_MS + OPEN_MS));
        breaker.succeeded(NOW_MS);
        assert_eq!(breaker.open_until_ms(), None);
    }

    #[test]
    fn half_of_many_answers_open_it_and_old_ones_are_forgotten() {
        let mixed = |pause_ms: i64| {
            let mut breaker = Breaker::default();
            (0..i64::from(ANSWERS_MIN)).any(|n| {
                let now_ms = NOW_MS + n * pause_ms;
                match n % 2 {
                    0 => {
                        breaker.succeeded(now_ms);
                        false
                    }
                    _ => breaker.failed(now_ms),
                }
            })
        };
        assert!(mixed(1_000));
        assert!(!mixed(10_000), "never enough of them in one window");
    }

    #[test]
    fn a_try_that_says_nothing_is_not_the_last() {
        let mut breaker = Breaker::default();
        for _ in 0..IN_A_ROW {
            breaker.failed(NOW_MS);
        }
        let later_ms = NOW_MS + OPEN_MS;
        breaker.begin();
        breaker.forget();
        assert_eq!(breaker.admits(later_ms), Ok(()));
    }
}
