//! A piece of work, whole in its own id: when it began, how long it takes, and how it ends.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::order::{DELAY_MS_MAX, Modality, Order, PROGRESS_MAX, ScriptedOutcome};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::render;

/// What work takes that no scenario slows down, in milliseconds.
const IMAGE_MS: u64 = 300;
const VIDEO_MS: u64 = 600;

/// Bounds of the time between two reads, in milliseconds: with progress reports, and without.
const POLL_MS_MIN: u64 = 50;
const POLL_MS_MAX: u64 = 3_000;
const SILENT_POLL_MS_MAX: u64 = 1_000;

/// Bytes of the checksum at the end of an id.
const CHECK_BYTES: usize = 6;

/// Longest id that is looked at.
const ID_BYTES_MAX: usize = 400;

/// What the checksum is taken over, besides the rest of the id.
const CHECK_SALT: &[u8] = b"routerbase sandbox work";

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    /// When it was created, in milliseconds.
    #[serde(rename = "c")]
    created_ms: i64,
    /// How long it takes, in milliseconds.
    #[serde(rename = "d")]
    delay_ms: u64,
    /// How it ends.
    #[serde(rename = "o")]
    outcome: ScriptedOutcome,
    /// How many progress reports it gives.
    #[serde(rename = "p")]
    progress: u32,
    /// What is made.
    #[serde(rename = "m")]
    pub(crate) modality: Modality,
    /// How many files it makes.
    #[serde(rename = "f")]
    pub(crate) files: u32,
    /// A digest of the reference and the order, so that no two pieces of work share an id.
    #[serde(rename = "u")]
    mark: String,
}

/// How a piece of work stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Standing {
    /// Not finished.
    Working {
        /// When to ask again, in milliseconds.
        poll_ms: u64,
        /// How far it is, 0 to 1, once there was a report.
        progress: Option<f64>,
    },
    /// Finished.
    Done,
    /// Failed.
    Failed,
    /// Against the content rules.
    Moderated,
}

impl Work {
    /// The work that an order begins at a time.
    pub(crate) fn begin(order: &Order, reference: &str, now_ms: i64) -> Self {
        let scenario = order.scenario.unwrap_or_default();
        let delay_ms = match (order.scenario, order.modality) {
            (Some(scenario), _) => scenario.delay_ms.min(DELAY_MS_MAX),
            (None, Modality::Chat) => 0,
            (None, Modality::Image) => IMAGE_MS,
            (None, Modality::Video) => VIDEO_MS,
        };
        let order_text = serde_json::to_string(order).unwrap_or_default();
        let mut sha = Sha256::new();
        sha.update((reference.len() as u64).to_be_bytes());
        sha.update(reference);
        sha.update(order_text);
        let sum: [u8; 32] = sha.finalize().into();
        Self {
            created_ms: now_ms,
            delay_ms,
            outcome: scenario.outcome,
            progress: scenario.progress.min(PROGRESS_MAX),
            modality: order.modality,
            files: render::count(order),
            mark: hex::encode(&sum[..12]),
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        let check = check(text.as_bytes());
        URL_SAFE_NO_PAD.encode([text.as_bytes(), &check].concat())
    }

    /// The work of an id; `None` if the sandbox never gave it.
    pub(crate) fn of(id: &str) -> Option<Self> {
        if id.len() > ID_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(id).ok()?;
        let (text, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
        if check(text) != sum {
            return None;
        }
        serde_json::from_slice(text).ok()
    }

    /// How it stands at a time.
    pub(crate) fn at(&self, now_ms: i64) -> Standing {
        // Before its own beginning it has just begun: clocks differ between machines.
        let elapsed_ms = u64::try_from(now_ms.saturating_sub(self.created_ms)).unwrap_or(0);
        let left_ms = self.delay_ms.saturating_sub(elapsed_ms);
        if left_ms == 0 {
            return match self.outcome {
                ScriptedOutcome::Fail => Standing::Failed,
                ScriptedOutcome::Moderated => Standing::Moderated,
                _ => Standing::Done,
            };
        }
        let parts = u64::from(self.progress) + 1;
        let part_ms = (self.delay_ms / parts).max(1);
        let reached = (elapsed_ms / part_ms).min(parts - 1);
        let poll_ms = if self.progress == 0 {
            left_ms.clamp(POLL_MS_MIN, SILENT_POLL_MS_MAX)
        } else {
            // To the next report rather than a part from now, so that late reads skip none.
            let next_ms = (reached + 1).saturating_mul(part_ms);
            let next_ms = next_ms.saturating_sub(elapsed_ms);
            next_ms.clamp(POLL_MS_MIN, POLL_MS_MAX)
        };
        Standing::Working {
            poll_ms: poll_ms.min(left_ms),
            progress: (reached > 0).then(|| reached as f64 / parts as f64),
        }
    }
}

fn check(text: &[u8]) -> [u8; CHECK_BYTES] {
    let mut sha = Sha256::new();
    sha.update(CHECK_SALT);
    sha.update(text);
    let sum: [u8; 32] = sha.finalize().into();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&sum[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use domain::order::Scenario;
    use proptest::prelude::*;

    use super::*;

    fn work(delay_ms: u64, progress: u32) -> Work {
        let order = Order {
            model: "any".to_owned(),
            modality: Modality::Video,
            prompt: "a prompt".to_owned(),
            messages: None,
            params: serde_json::Map::new(),
            scenario: Some(Scenario {
                delay_ms,
                outcome: ScriptedOutcome::Success,
                progress,
            }),
        };
        Work::begin(&order, "reference", 1_000)
    }

    #[test]
    fn an_id_is_the_work() {
        let work = work(2_000, 5);
        let id = work.id();
        assert_eq!(Work::of(&id), Some(work));
        assert!(id.len() < ID_BYTES_MAX / 2, "{id}");
        for at in 0..id.len() {
            let mut changed = id.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(Work::of(&changed), None, "{at}");
        }
    }

    #[test]
    fn every_progress_report_is_given_to_who_asks_when_told() {
        let work = work(2_000, 4);
        let (mut now_ms, mut reports) = (1_000, Vec::new());
        while let Standing::Working { poll_ms, progress } = work.at(now_ms) {
            reports.extend(progress);
            // A read is always a little late.
            now_ms += i64::try_from(poll_ms).unwrap() + 7;
        }
        assert_eq!(reports, [0.2, 0.4, 0.6, 0.8]);
        assert!((3_000..3_050).contains(&now_ms));
    }

    #[test]
    fn silent_work_is_asked_after_once_a_second_and_at_its_end() {
        let poll = |now_ms| work(2_500, 0).at(now_ms);
        let waiting = |poll_ms| Standing::Working {
            poll_ms,
            progress: None,
        };
        assert_eq!(poll(0), waiting(1_000));
        assert_eq!(poll(1_000), waiting(1_000));
        assert_eq!(poll(3_490), waiting(10));
        assert_eq!(poll(3_500), Standing::Done);
        assert_eq!(work(0, 3).at(1_000), Standing::Done);
    }

    proptest! {
        #[test]
        fn polls_are_never_at_once_and_never_beyond_the_end(
            delay_ms in 0..=DELAY_MS_MAX, progress in 0..=PROGRESS_MAX, elapsed_ms in 0_u64..700_000
        ) {
            let now_ms = 1_000 + i64::try_from(elapsed_ms).unwrap();
            match work(delay_ms, progress).at(now_ms) {
                Standing::Working { poll_ms, progress } => {
                    prop_assert!((1..=POLL_MS_MAX).contains(&poll_ms));
                    prop_assert!(elapsed_ms + poll_ms <= delay_ms);
                    prop_assert!(progress.is_none_or(|part| part > 0.0 && part < 1.0));
                }
                _ => prop_assert!(elapsed_ms >= delay_ms),
            }
        }

        #[test]
        fn arbitrary_ids_never_panic(id in ".{0,60}", delta in any::<i64>()) {
            prop_assert_eq!(Work::of(&id), None);
            work(5, 5).at(delta);
        }
    }
}
