//! What an outcome makes of a task.

use crate::catalogue::Recovery;
use crate::credits::Credits;
use crate::task::step::{Step, fraction};
use crate::task::{Attempt, AttemptState, Change, ErrorKind, Outcome, Phase, Rules, Task, pace};
use crate::upstream::{FaultClass, Kind, Output};

/// An outcome that cannot happen in the task's phase. Committing nothing is the only safe answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {phase} task cannot be {outcome}")]
pub struct Illegal {
    /// The task's phase.
    pub phase: &'static str,
    /// The outcome.
    pub outcome: &'static str,
}

/// Applies an outcome.
///
/// # Errors
/// The outcome cannot happen in the task's phase; an ended task takes none.
pub fn advance(
    task: &Task,
    outcome: Outcome,
    now_ms: i64,
    rules: &Rules,
) -> Result<Change, Illegal> {
    let illegal = Illegal {
        phase: task.phase.as_str(),
        outcome: outcome.as_str(),
    };
    let step = Step {
        task,
        now_ms,
        rules,
    };
    let change = match &task.phase {
        // What follows a pause is repeated freely, so it must not create anything.
        _ if matches!(&outcome, Outcome::Waiting(wait) if wait.then.kind == Kind::Creates) => None,
        Phase::Queued { route } => step.queued(*route, outcome),
        Phase::Sending { attempt } => step.sending(attempt, outcome),
        Phase::Unknown { attempt, since_ms } => step.unknown(attempt, *since_ms, outcome),
        Phase::Running { attempt, .. } => step.running(attempt, outcome),
        Phase::Storing { output, .. } => step.storing(output, outcome),
        Phase::Done { .. } | Phase::Failed { .. } => None,
    };
    let mut change = change.ok_or(illegal)?;
    change.task.due_ms = pace::bounded(&change.task, now_ms);
    assert!(
        change.close.is_some() == change.task.status().is_terminal(),
        "a hold is closed when and only when its task ends"
    );
    assert!(
        change
            .close
            .is_none_or(|charge| Credits::ZERO <= charge && charge <= task.hold),
        "a charge is at least nothing and at most the hold"
    );
    Ok(change)
}

impl Step<'_> {
    fn queued(&self, route: usize, outcome: Outcome) -> Option<Change> {
        match outcome {
            Outcome::Intended(attempt) if attempt.route < self.task.routes.len() => {
                Some(self.intended(attempt))
            }
            Outcome::Postponed { until_ms } => Some(self.postponed(until_ms)),
            Outcome::Unsent(fault) => {
                let tries = self.task.misses.max(self.task.attempts);
                Some(self.refused(route, tries.saturating_add(1), fault))
            }
            Outcome::Cancelled => Some(self.cancelled()),
            Outcome::Expired => Some(self.expired()),
            _ => None,
        }
    }

    fn sending(&self, attempt: &Attempt, outcome: Outcome) -> Option<Change> {
        match outcome {
            Outcome::Waiting(wait) => Some(self.accepted(attempt, wait)),
            Outcome::Finished(output) => Some(self.finished(attempt, output)),
            // A refusal of a re-send proves nothing about the first send, and one that may mean
            // something else proves nothing at all.
            Outcome::Refused(fault) if attempt.is_dirty || fault.class == FaultClass::Ambiguous => {
                Some(self.unanswered(attempt))
            }
            Outcome::Refused(fault) => {
                let change = self.refused(attempt.route, self.task.attempts, fault.clone());
                Some(change.marking(attempt, AttemptState::Refused, Some(fault.detail)))
            }
            Outcome::Failed(fault) => Some(self.failed(attempt, fault)),
            Outcome::Unanswered | Outcome::Rescued => Some(self.unanswered(attempt)),
            _ => None,
        }
    }

    fn unknown(&self, attempt: &Attempt, since_ms: i64, outcome: Outcome) -> Option<Change> {
        match outcome {
            Outcome::Intended(again)
                if self.rules.recovery == Recovery::Idempotent && is_same(&again, attempt) =>
            {
                Some(self.intended_again(attempt, again.send_by_ms))
            }
            Outcome::Waiting(wait) => Some(self.accepted(attempt, wait)),
            Outcome::Finished(output) => Some(self.finished(attempt, output)),
            Outcome::Failed(fault) => Some(self.failed(attempt, fault)),
            Outcome::NotFound if self.rules.recovery == Recovery::Lookup => {
                Some(self.not_found(attempt, since_ms))
            }
            Outcome::Missed(fault) | Outcome::Unsent(fault) => {
                Some(self.still_unknown(attempt, since_ms, &fault))
            }
            Outcome::Postponed { until_ms } => Some(self.postponed(until_ms)),
            Outcome::Lapsed => Some(self.lapsed(attempt)),
            _ => None,
        }
    }

    fn running(&self, attempt: &Attempt, outcome: Outcome) -> Option<Change> {
        match outcome {
            Outcome::Waiting(wait) => {
                let mut change = self.to(Phase::Running {
                    attempt: attempt.clone(),
                    next: wait.then,
                });
                change.task.due_ms = pace::after(self.now_ms, wait.ms);
                change.task.progress = fraction(wait.progress).or(self.task.progress);
                Some(change)
            }
            Outcome::Missed(fault) => {
                let mut change = self.again();
                change.task.due_ms = change.task.due_ms.max(self.asked(&fault));
                Some(change)
            }
            Outcome::Finished(output) => Some(self.finished(attempt, output)),
            Outcome::Failed(fault) => Some(self.failed(attempt, fault)),
            Outcome::Cancelled => Some(self.cancelled().marking(
                attempt,
                AttemptState::Abandoned,
                Some("cancelled".to_owned()),
            )),
            Outcome::CancelDenied => {
                let mut change = self.to(self.task.phase.clone());
                change.task.is_cancel_asked = false;
                Some(change)
            }
            Outcome::Expired => Some(self.expired().marking(
                attempt,
                AttemptState::Abandoned,
                Some("the deadline passed".to_owned()),
            )),
            _ => None,
        }
    }

    fn storing(&self, output: &Output, outcome: Outcome) -> Option<Change> {
        match outcome {
            Outcome::Stored(files) => Some(self.stored(output, files)),
            Outcome::NotStored => Some(self.again()),
            Outcome::Lost => Some(self.fail(
                ErrorKind::MediaLost,
                "the result could not be stored".to_owned(),
            )),
            _ => None,
        }
    }
}

/// Whether a re-send carries the key of the first send; with another one it would be a second order.
fn is_same(again: &Attempt, attempt: &Attempt) -> bool {
    again.id == attempt.id && again.token == attempt.token && again.route == attempt.route
}
