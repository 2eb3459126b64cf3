//! When the next step of a task is due.
//!
//! Invariant: a due instant is never before now, and never beyond the instant at which the task would
//! expire: rows are claimed by it, so a later one would let a task outlive its deadline unseen.

use crate::task::{Attempt, Phase, Rules, Task};

/// First pause after a step that got nowhere, in milliseconds; doubles with each one.
const PAUSE_MS: i64 = 1_000;

/// Longest such pause.
const PAUSE_MS_MAX: i64 = 30_000;

/// So many milliseconds from now.
pub(super) fn after(now_ms: i64, ms: u64) -> i64 {
    now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// Doubles with each miss, plus up to a quarter by chance.
pub(super) fn paused(now_ms: i64, misses: u32, jitter: u32) -> i64 {
    let doubled = PAUSE_MS.saturating_mul(1_i64.checked_shl(misses.min(10)).unwrap_or(1));
    let pause_ms = doubled.min(PAUSE_MS_MAX);
    let jitter_ms = pause_ms
        .saturating_mul(i64::from(jitter.min(1_000)))
        .div_euclid(4_000);
    now_ms.saturating_add(pause_ms).saturating_add(jitter_ms)
}

/// From when on nothing that was sent for an unknown attempt can be in flight any more.
///
/// Counted from the send deadline when that is later: up to then a sender that was taken for dead may
/// still write its first byte.
pub(super) fn quiet_until_ms(attempt: &Attempt, since_ms: i64, rules: &Rules) -> i64 {
    since_ms
        .max(attempt.send_by_ms)
        .saturating_add(rules.quiet_ms.max(0))
}

/// The due instant of a task within its bounds.
pub(super) fn bounded(task: &Task, now_ms: i64) -> i64 {
    let due_ms = match task.phase {
        Phase::Done { .. } | Phase::Failed { .. } => return i64::MAX,
        Phase::Queued { .. } | Phase::Running { .. } => task.due_ms.min(task.deadline_ms),
        Phase::Sending { .. } | Phase::Unknown { .. } | Phase::Storing { .. } => task.due_ms,
    };
    // The largest instant means "never" and belongs to ended tasks alone.
    due_ms.max(now_ms).min(i64::MAX.saturating_sub(1))
}
