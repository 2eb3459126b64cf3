//! So many in any stretch of time, and a place in line for whoever is beyond.

use std::collections::{HashMap, VecDeque};

use domain::catalogue::Rate;
use domain::ids::TaskId;

/// Added to every stretch, in milliseconds: calls reach the provider a little sooner or later than
/// they were let go.
const SLACK_MS: i64 = 500;

/// How long a place is kept for a task that does not come, in milliseconds.
const KEPT_MS: i64 = 60_000;

/// Gives places in time. Invariant: of the places given, no stretch holds more than the rate.
#[derive(Debug)]
pub(super) struct Places {
    rate: Rate,
    /// The last places given, oldest first; at most as many as the rate allows.
    given: VecDeque<i64>,
    /// Places in the future.
    kept: HashMap<TaskId, i64>,
}

impl Places {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            given: VecDeque::new(),
            kept: HashMap::new(),
        }
    }

    /// Whether a place is kept for a task.
    pub(super) fn keeps(&self, task: &TaskId) -> bool {
        self.kept.contains_key(task)
    }

    /// When the next place is, Unix milliseconds; not in the past.
    pub(super) fn next_ms(&self, now_ms: i64) -> i64 {
        let is_full = self.given.len() >= self.rate.creates;
        let oldest_ms = self.given.front().filter(|_| is_full);
        let stretch_ms = self.rate.per_ms.saturating_add(SLACK_MS);
        oldest_ms.map_or(now_ms, |oldest_ms| {
            oldest_ms.saturating_add(stretch_ms).max(now_ms)
        })
    }

    /// Takes a task's place, or gives it one.
    ///
    /// # Errors
    /// When its place is, Unix milliseconds.
    pub(super) fn take(&mut self, task: &TaskId, now_ms: i64) -> Result<(), i64> {
        if let Some(place_ms) = self.kept.get(task).copied() {
            if now_ms < place_ms {
                return Err(place_ms);
            }
            self.kept.remove(task);
            return Ok(());
        }
        let place_ms = self.next_ms(now_ms);
        if self.given.len() >= self.rate.creates {
            self.given.pop_front();
        }
        self.given.push_back(place_ms);
        if place_ms <= now_ms {
            return Ok(());
        }
        self.kept.insert(task.clone(), place_ms);
        Err(place_ms)
    }

    /// Forgets the places of tasks that did not come.
    pub(super) fn tidy(&mut self, now_ms: i64) {
        self.kept
            .retain(|_, place_ms| place_ms.saturating_add(KEPT_MS) > now_ms);
    }

    /// How many wait for their place.
    pub(super) fn waiting(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(n: u64) -> TaskId {
        TaskId(format!("t{n}"))
    }

    proptest! {
        /// Whatever comes when: let go at its place, no stretch holds more than the rate.
        #[test]
        fn no_stretch_holds_more(
            creates in 1_usize..6,
            pauses_ms in proptest::collection::vec(0_i64..700, 1..60),
        ) {
            let rate = Rate { creates, per_ms: 1_000 };
            let mut places = Places::new(rate);
            let mut now_ms = 0;
            let mut gone = Vec::new();
            for (n, pause_ms) in (0..).zip(pauses_ms) {
                now_ms += pause_ms;
                match places.take(&task(n), now_ms) {
                    Ok(()) => gone.push(now_ms),
                    Err(place_ms) => {
                        prop_assert!(place_ms > now_ms);
                        prop_assert_eq!(places.take(&task(n), place_ms - 1), Err(place_ms));
                        prop_assert_eq!(places.take(&task(n), place_ms), Ok(()));
                        gone.push(place_ms);
                    }
                }
            }
            gone.sort_unstable();
            for window in gone.windows(creates + 1) {
                prop_assert!(window[creates] - window[0] >= 1_000);
            }
        }
    }

    #[test]
    fn a_place_is_not_kept_for_ever() {
        let mut places = Places::new(Rate {
            creates: 1,
            per_ms: 1_000,
        });
        assert_eq!(places.take(&task(1), 0), Ok(()));
        let place_ms = places.take(&task(2), 0).unwrap_err();
        assert_eq!(places.waiting(), 1);
        places.tidy(place_ms + KEPT_MS - 1);
        assert!(places.keeps(&task(2)));
        places.tidy(place_ms + KEPT_MS);
        assert!(!places.keeps(&task(2)));
    }
}
