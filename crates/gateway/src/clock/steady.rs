//! The machine's clock without its jumps.
//!
//! Invariant: it never goes backwards and never steps. Whatever the machine's clock is set to, and
//! however long the machine was frozen, it goes at most a tenth faster or slower than time does.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

/// How often it is corrected, in microseconds.
const EVERY_US: i64 = 1_000_000;

/// Of the time that passed, the part by which it is corrected at most: a tenth. A lease of 20 s that
/// is renewed every 5 s lasts through it, and an hour of difference is gone in ten.
const PART: i64 = 10;

/// However long nobody looked, it is corrected at once by no more than for this time, in
/// microseconds.
const UNSEEN_US: i64 = 10 * EVERY_US;

/// Anchored to the machine's clock at its start; from then on it goes by the time that passed.
#[derive(Debug)]
pub(super) struct Steady {
    origin: Instant,
    origin_us: i64,
    /// What was added to the time that passed.
    correction_us: AtomicI64,
    /// How much time had passed at the last correction.
    corrected_us: AtomicI64,
    /// The last instant that was told.
    told_ms: AtomicI64,
    /// How far the clock of a machine that others share was ahead when it was heard last.
    shared_lead_ms: AtomicI64,
}

impl Steady {
    pub(super) fn new() -> Self {
        Self::at(machine_us())
    }

    fn at(origin_us: i64) -> Self {
        Self {
            origin: Instant::now(),
            origin_us,
            correction_us: AtomicI64::new(0),
            corrected_us: AtomicI64::new(0),
            told_ms: AtomicI64::new(i64::MIN),
            shared_lead_ms: AtomicI64::new(0),
        }
    }

    /// Unix time in milliseconds.
    pub(super) fn now_ms(&self) -> i64 {
        self.read(self.passed_us(), machine_us)
    }

    /// How far the machine's clock is ahead, in milliseconds.
    pub(super) fn lead_ms(&self) -> i64 {
        self.lead_us(self.passed_us(), machine_us()) / 1_000
    }

    pub(super) fn hear(&self, shared_lead_ms: i64) {
        self.shared_lead_ms.store(shared_lead_ms, Ordering::Release);
    }

    pub(super) fn shared_lead_ms(&self) -> i64 {
        self.shared_lead_ms.load(Ordering::Acquire)
    }

    fn passed_us(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn read(&self, passed_us: i64, machine_us: impl FnOnce() -> i64) -> i64 {
        self.correct(passed_us, machine_us);
        let now_ms = self.steady_us(passed_us).div_euclid(1_000);
        // What is told changes once in a millisecond, so this seldom writes.
        let told_ms = self.told_ms.load(Ordering::Acquire);
        if now_ms <= told_ms {
            return told_ms;
        }
        self.told_ms.fetch_max(now_ms, Ordering::AcqRel).max(now_ms)
    }

    fn correct(&self, passed_us: i64, machine_us: impl FnOnce() -> i64) {
        let corrected_us = self.corrected_us.load(Ordering::Acquire);
        let unseen_us = passed_us.saturating_sub(corrected_us);
        if unseen_us < EVERY_US {
            return;
        }
        // Of all who find it due, one corrects it.
        let turn = self.corrected_us.compare_exchange(
            corrected_us,
            passed_us,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if turn.is_ok() {
            let most_us = unseen_us.min(UNSEEN_US) / PART;
            let lead_us = self.lead_us(passed_us, machine_us());
            let step_us = lead_us.clamp(-most_us, most_us);
            self.correction_us.fetch_add(step_us, Ordering::AcqRel);
        }
    }

    fn steady_us(&self, passed_us: i64) -> i64 {
        let correction_us = self.correction_us.load(Ordering::Acquire);
        let corrected_us = self.origin_us.saturating_add(correction_us);
        corrected_us.saturating_add(passed_us)
    }

    fn lead_us(&self, passed_us: i64, machine_us: i64) -> i64 {
        machine_us.saturating_sub(self.steady_us(passed_us))
    }
}

/// What the machine's clock says, Unix microseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the place the ban points to"
)]
pub(super) fn machine_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START_US: i64 = 1_800_000_000_000_000;
    const DAY_US: i64 = 86_400_000_000;

    /// A clock with the time that passed and the machine's clock moved by hand.
    struct Hand {
        clock: Steady,
        passed_us: i64,
        machine_us: i64,
    }

    impl Hand {
        fn new() -> Self {
            Self {
                clock: Steady::at(START_US),
                passed_us: 0,
                machine_us: START_US,
            }
        }

        /// Both go on, and somebody looks.
        fn pass(&mut self, us: i64) -> i64 {
            self.passed_us += us;
            self.machine_us += us;
            self.clock.read(self.passed_us, || self.machine_us)
        }

        fn pass_seconds(&mut self, seconds: i64) -> i64 {
            (0..seconds).fold(0, |_, _| self.pass(1_000_000))
        }

        fn lead_us(&self) -> i64 {
            self.clock.lead_us(self.passed_us, self.machine_us)
        }
    }

    #[test]
    fn a_jump_of_a_day_moves_it_by_a_tenth_of_the_time_that_passes() {
        for (jump_us, by_ms) in [(DAY_US, 2_000), (-DAY_US, -2_000)] {
            let mut hand = Hand::new();
            let before_ms = hand.pass(1_000_000);
            hand.machine_us += jump_us;
            assert_eq!(hand.pass(0), before_ms);
            let after_ms = hand.pass_seconds(20);
            assert_eq!(after_ms - before_ms, 20_000 + by_ms);
        }
    }

    #[test]
    fn it_arrives_where_the_machine_is() {
        for jump_us in [-60_000_000, 60_000_000] {
            let mut hand = Hand::new();
            hand.machine_us += jump_us;
            hand.pass_seconds(599);
            assert_ne!(hand.lead_us(), 0);
            hand.pass_seconds(1);
            assert_eq!(hand.lead_us(), 0);
            assert_eq!(hand.pass_seconds(10), hand.machine_us / 1_000);
        }
    }

    /// Nobody looked for an hour, and then the machine's clock was set.
    #[test]
    fn what_was_not_seen_is_not_made_up_for_at_once() {
        let mut hand = Hand::new();
        let before_ms = hand.pass(0);
        hand.machine_us += DAY_US;
        assert_eq!(hand.pass(3_600_000_000) - before_ms, 3_601_000);
    }

    proptest! {
        /// Whatever the machine's clock does, and however often somebody looks.
        #[test]
        fn it_goes_on_at_its_pace(
            steps in prop::collection::vec((0..5_000_000_i64, -DAY_US..DAY_US), 1..200)
        ) {
            let mut hand = Hand::new();
            let first_ms = hand.pass(0);
            let mut told_ms = first_ms;
            for (passed_us, machine_us) in steps {
                hand.machine_us = START_US + machine_us;
                let now_ms = hand.pass(passed_us);
                prop_assert!(now_ms >= told_ms);
                told_ms = now_ms;
                let passed_ms = hand.passed_us / 1_000;
                prop_assert!((told_ms - first_ms - passed_ms).abs() <= passed_ms / PART + 1);
            }
        }
    }

    #[test]
    fn no_reader_sees_it_go_back() {
        let clock = Steady::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut told_ms = clock.now_ms();
                    for _ in 0..200_000 {
                        let now_ms = clock.now_ms();
                        assert!(now_ms >= told_ms);
                        told_ms = now_ms;
                    }
                });
            }
        });
    }
}
