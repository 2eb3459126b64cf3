//! What to do next about a task.

use crate::catalogue::Recovery;
use crate::task::{
    Attempt, LOOKUPS_MIN, Outcome, Phase, RESEND_WINDOW_MS, Rules, SENDS_MAX, STORE_PATIENCE_MS,
    Task, pace,
};
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
/// sender is gone. A task that is due never sleeps, so a claimed row is never found idle again.
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
        Phase::Running { .. } if now_ms >= task.deadline_ms => Action::Apply(Outcome::Expired),
        // The wish is passed on at once; after a miss, in turn with reads: work that ended in the
        // meantime must not go unseen.
        Phase::Running { next, .. } if task.is_cancel_asked && may_cancel(task, now_ms) => {
            Action::Cancel(next.clone())
        }
        Phase::Running { .. } if now_ms < task.due_ms => Action::Sleep(task.due_ms),
        Phase::Running { next, .. } => Action::Read(next.clone()),
        Phase::Storing { since_ms, .. } if now_ms >= since_ms.saturating_add(STORE_PATIENCE_MS) => {
            Action::Apply(Outcome::Lost)
        }
        Phase::Storing { .. } if now_ms < task.due_ms => Action::Sleep(task.due_ms),
        Phase::Storing { .. } => Action::Store,
    }
}

fn may_cancel(task: &Task, now_ms: i64) -> bool {
    task.misses == 0 || (now_ms >= task.due_ms && task.misses.is_multiple_of(2))
}

/// Whether an unknown attempt may be sent once more: often enough is enough, a key is only remembered
/// for so long, and after the deadline the answer would be of no use.
pub(super) fn may_resend(task: &Task, attempt: &Attempt, now_ms: i64) -> bool {
    let forgotten_ms = attempt.began_ms.saturating_add(RESEND_WINDOW_MS);
    attempt.sends < SENDS_MAX && now_ms < forgotten_ms.min(task.deadline_ms)
}

/// How an attempt without a definite answer is cleared up (reliability rules by provider class).
fn reconcile(task: &Task, attempt: &Attempt, since_ms: i64, now_ms: i64, rules: &Rules) -> Action {
    if now_ms < task.due_ms {
        return Action::Sleep(task.due_ms);
    }
    let quiet_until_ms = pace::quiet_until_ms(attempt, since_ms, rules);
    // Lookups that nobody answers must not keep the task open for ever. The first miss was the send.
    let give_up_ms = quiet_until_ms.saturating_add(rules.quiet_ms.max(0).saturating_mul(2));
    let was_asked = task.misses > LOOKUPS_MIN;
    match rules.recovery {
        Recovery::Idempotent if may_resend(task, attempt, now_ms) => {
            Action::Resend(attempt.clone())
        }
        // Time alone proves nothing when nobody was there to ask.
        Recovery::Lookup if now_ms < give_up_ms || !was_asked => Action::Find(attempt.clone()),
        _ if now_ms < quiet_until_ms => Action::Apply(Outcome::Postponed {
            until_ms: quiet_until_ms,
        }),
        _ => Action::Apply(Outcome::Lapsed),
    }
}
