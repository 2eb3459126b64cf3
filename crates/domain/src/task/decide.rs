//! What to do next about a task.

use crate::catalogue::Recovery;
use crate::task::{Attempt, Outcome, Phase, Rules, SENDS_MAX, STORE_PATIENCE_MS, Task};
use crate::upstream::Call;

/// The next action.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Nothing before this instant, Unix milliseconds; `i64::MAX` for a task that ended.
    Sleep(i64),
    /// Start the order over this route.
    Start {
        /// Index of the route.
        route: usize,
    },
    /// Send the attempt again with the same key.
    Resend(Attempt),
    /// Ask the provider for the attempt by our reference.
    Find(Attempt),
    /// Make the next call of the conversation.
    Read(Call),
    /// Ask the provider to cancel.
    Cancel(Call),
    /// Copy and verify the files.
    Store,
    /// Nothing to do in the world: apply this outcome.
    Apply(Outcome),
}

/// Names the next action. Pure; a task whose worker died gets the same answer from the next one.
///
/// The caller must be the only one at work on the task: a task found in `Sending` is then one whose
/// sender is gone.
#[must_use]
pub fn decide(task: &Task, now_ms: i64, rules: &Rules) -> Action {
    match &task.phase {
        Phase::Done { .. } | Phase::Failed { .. } => Action::Sleep(i64::MAX),
        Phase::Queued { .. } if task.is_cancel_asked => Action::Apply(Outcome::Cancelled),
        Phase::Queued { .. } if now_ms >= task.deadline_ms => Action::Apply(Outcome::Expired),
        Phase::Queued { .. } if now_ms < task.due_ms => Action::Sleep(task.due_ms),
        Phase::Queued { route } => Action::Start { route: *route },
        Phase::Sending { .. } => Action::Apply(Outcome::Rescued),
        Phase::Unknown { attempt, since_ms } => reconcile(task, attempt, *since_ms, now_ms, rules),
        Phase::Running { next, .. } if task.is_cancel_asked => Action::Cancel(next.clone()),
        Phase::Running { .. } if now_ms >= task.deadline_ms => Action::Apply(Outcome::Expired),
        Phase::Running { .. } if now_ms < task.due_ms => Action::Sleep(task.due_ms),
        Phase::Running { next, .. } => Action::Read(next.clone()),
        Phase::Storing { since_ms, .. } if now_ms >= since_ms.saturating_add(STORE_PATIENCE_MS) => {
            Action::Apply(Outcome::Lost)
        }
        Phase::Storing { .. } if now_ms < task.due_ms => Action::Sleep(task.due_ms),
        Phase::Storing { .. } => Action::Store,
    }
}

/// How an attempt without a definite answer is cleared up (reliability rules by provider class).
fn reconcile(task: &Task, attempt: &Attempt, since_ms: i64, now_ms: i64, rules: &Rules) -> Action {
    let quiet_until_ms = since_ms.saturating_add(rules.quiet_ms);
    // Lookups that nobody answers must not keep the task open for ever.
    let give_up_ms = quiet_until_ms.saturating_add(rules.quiet_ms.saturating_mul(2));
    match rules.recovery {
        Recovery::Idempotent if attempt.sends < SENDS_MAX => {
            if now_ms < task.due_ms {
                Action::Sleep(task.due_ms)
            } else {
                Action::Resend(attempt.clone())
            }
        }
        Recovery::Lookup if now_ms < give_up_ms => {
            if now_ms < task.due_ms {
                Action::Sleep(task.due_ms)
            } else {
                Action::Find(attempt.clone())
            }
        }
        _ if now_ms < quiet_until_ms => Action::Sleep(quiet_until_ms),
        _ => Action::Apply(Outcome::Lapsed),
    }
}
