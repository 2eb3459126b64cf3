//! What an outcome makes of a task.

use crate::catalogue::{OnLostReply, Recovery};
use crate::credits::Credits;
use crate::task::{
    ATTEMPTS_MAX, Attempt, AttemptChange, AttemptState, Change, ErrorKind, LOOKUPS_MIN, Outcome,
    Phase, Rules, StoredFile, Task, TaskError,
};
use crate::upstream::{Fault, FaultClass, Output, Wait};

/// First pause after a step that got nowhere, in milliseconds; doubles with each one.
const PAUSE_MS: i64 = 1_000;

/// Longest such pause.
const PAUSE_MS_MAX: i64 = 30_000;

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
        Phase::Queued { route } => step.queued(*route, outcome),
        Phase::Sending { attempt } => step.sending(attempt, outcome),
        Phase::Unknown { attempt, since_ms } => step.unknown(attempt, *since_ms, outcome),
        Phase::Running { attempt, .. } => step.running(attempt, outcome),
        Phase::Storing {
            attempt, output, ..
        } => step.storing(attempt, output, outcome),
        Phase::Done { .. } | Phase::Failed { .. } => None,
    };
    let change = change.ok_or(illegal)?;
    assert!(
        change.close.is_some() == change.task.status().is_terminal(),
        "a hold is closed when and only when its task ends"
    );
    Ok(change)
}

struct Step<'a> {
    task: &'a Task,
    now_ms: i64,
    rules: &'a Rules,
}

impl Step<'_> {
    fn queued(&self, route: usize, outcome: Outcome) -> Option<Change> {
        match outcome {
            Outcome::Intended(attempt) => Some(self.intended(attempt, true)),
            Outcome::Postponed { until_ms } => {
                let mut change = self.to(Phase::Queued { route });
                change.task.due_ms = until_ms;
                Some(change)
            }
            Outcome::Unsent(fault) => Some(self.refused(route, self.task.attempts, fault)),
            Outcome::Cancelled => Some(self.cancelled()),
            Outcome::Expired => Some(self.expired()),
            _ => None,
        }
    }

    fn sending(&self, attempt: &Attempt, outcome: Outcome) -> Option<Change> {
        match outcome {
            Outcome::Waiting(wait) => Some(self.accepted(attempt, wait)),
            Outcome::Finished(output) => Some(self.finished(attempt, output)),
            // A refusal of a re-send proves nothing about the first send.
            Outcome::Refused(_) if attempt.is_dirty => Some(self.unanswered(attempt, None)),
            Outcome::Refused(fault) => {
                let change = self.refused(attempt.route, self.task.attempts, fault.clone());
                Some(change.closing(attempt, AttemptState::Refused, Some(fault.detail)))
            }
            Outcome::Failed(fault) => Some(self.failed(attempt, fault)),
            Outcome::Unanswered | Outcome::Rescued => Some(self.unanswered(attempt, None)),
            _ => None,
        }
    }

    fn unknown(&self, attempt: &Attempt, since_ms: i64, outcome: Outcome) -> Option<Change> {
        match outcome {
            Outcome::Intended(again) if again.id == attempt.id => Some(self.intended(again, false)),
            Outcome::Waiting(wait) => Some(self.accepted(attempt, wait)),
            Outcome::Finished(output) => Some(self.finished(attempt, output)),
            Outcome::Failed(fault) => Some(self.failed(attempt, fault)),
            Outcome::NotFound => Some(self.not_found(attempt, since_ms)),
            Outcome::Missed(_) | Outcome::Unsent(_) => {
                Some(self.unanswered(attempt, Some(since_ms)))
            }
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
                change.task.due_ms = self.after(wait.ms);
                change.task.progress = wait.progress.or(self.task.progress);
                Some(change)
            }
            Outcome::Missed(fault) => {
                let mut change = self.again();
                let pause_ms = fault.retry_after_ms.unwrap_or(0);
                change.task.due_ms = change.task.due_ms.max(self.after(pause_ms));
                Some(change)
            }
            Outcome::Finished(output) => Some(self.finished(attempt, output)),
            Outcome::Failed(fault) => Some(self.failed(attempt, fault)),
            Outcome::Cancelled => Some(self.cancelled().closing(
                attempt,
                AttemptState::Abandoned,
                Some("cancelled".to_owned()),
            )),
            Outcome::CancelDenied => {
                let mut change = self.to(self.task.phase.clone());
                change.task.is_cancel_asked = false;
                Some(change)
            }
            Outcome::Expired => Some(self.expired().closing(
                attempt,
                AttemptState::Abandoned,
                Some("the deadline passed".to_owned()),
            )),
            _ => None,
        }
    }

    fn storing(&self, attempt: &Attempt, output: &Output, outcome: Outcome) -> Option<Change> {
        match outcome {
            Outcome::Stored(files) => Some(self.stored(output, files)),
            Outcome::NotStored => Some(self.again()),
            Outcome::Lost => Some(self.fail(
                ErrorKind::MediaLost,
                "the result could not be stored".to_owned(),
            )),
            _ => None,
        }
        .inspect(|_| debug_assert!(attempt.sends > 0, "only a sent attempt has a result"))
    }

    /// The task in another phase, due at once, without misses.
    fn to(&self, phase: Phase) -> Change {
        let mut task = self.task.clone();
        task.phase = phase;
        task.misses = 0;
        task.updated_ms = self.now_ms;
        task.due_ms = self.now_ms;
        Change {
            task,
            attempt: None,
            close: None,
        }
    }

    /// The same phase, later.
    fn again(&self) -> Change {
        let mut change = self.to(self.task.phase.clone());
        change.task.misses = self.task.misses.saturating_add(1);
        change.task.due_ms = self.paused(self.task.misses);
        change
    }

    fn intended(&self, attempt: Attempt, is_new: bool) -> Change {
        let mut change = self.to(Phase::Sending {
            attempt: attempt.clone(),
        });
        if is_new {
            change.task.attempts = self.task.attempts.saturating_add(1);
        }
        change.attempt = Some(AttemptChange {
            id: attempt.id.clone(),
            opened: is_new.then_some(attempt),
            state: AttemptState::Sending,
            upstream_id: None,
            note: None,
        });
        change
    }

    fn accepted(&self, attempt: &Attempt, wait: Wait) -> Change {
        let mut change = self.to(Phase::Running {
            attempt: attempt.clone(),
            next: wait.then,
        });
        change.task.started_ms = Some(self.now_ms);
        change.task.progress = wait.progress;
        change.task.due_ms = self.after(wait.ms);
        let mut change = change.closing(attempt, AttemptState::Accepted, None);
        if let Some(attempt) = &mut change.attempt {
            attempt.upstream_id = wait.upstream_id;
        }
        change
    }

    fn finished(&self, attempt: &Attempt, output: Output) -> Change {
        let mut change = self.to(Phase::Storing {
            attempt: attempt.clone(),
            output,
            since_ms: self.now_ms,
        });
        change.task.started_ms = self.task.started_ms.or(Some(self.now_ms));
        change.closing(attempt, AttemptState::Done, None)
    }

    /// Provably not accepted: the next route, the first one again after a pause, or the end.
    fn refused(&self, route: usize, attempts: u32, fault: Fault) -> Change {
        match fault.class {
            FaultClass::InvalidInput => return self.fail(ErrorKind::InvalidInput, fault.public),
            FaultClass::Moderated => return self.fail(ErrorKind::Moderated, fault.public),
            _ => {}
        }
        let misses = self.task.misses.saturating_add(1);
        if attempts.max(misses) >= ATTEMPTS_MAX {
            let message = "no provider could take the work".to_owned();
            return self.fail(ErrorKind::ProviderUnavailable, message);
        }
        let next = route.saturating_add(1);
        let has_next = next < self.task.routes.len();
        let mut change = self.to(Phase::Queued {
            route: if has_next { next } else { 0 },
        });
        change.task.misses = misses;
        if !has_next {
            let asked_ms = fault.retry_after_ms.unwrap_or(0);
            change.task.due_ms = self.paused(self.task.misses).max(self.after(asked_ms));
        }
        change
    }

    /// `since_ms` is kept when the attempt was unknown before.
    fn unanswered(&self, attempt: &Attempt, since_ms: Option<i64>) -> Change {
        let mut attempt = attempt.clone();
        attempt.is_dirty = true;
        let since_ms = since_ms.unwrap_or(self.now_ms);
        let mut change = self.to(Phase::Unknown {
            attempt: attempt.clone(),
            since_ms,
        });
        change.task.misses = self.task.misses.saturating_add(1);
        change.task.due_ms = match self.rules.recovery {
            Recovery::None => since_ms.saturating_add(self.rules.quiet_ms),
            Recovery::Idempotent | Recovery::Lookup => self.paused(self.task.misses),
        };
        change.closing(&attempt, AttemptState::Unknown, None)
    }

    /// "Not found" is believed when it was said often enough and nothing can be in flight any more.
    fn not_found(&self, attempt: &Attempt, since_ms: i64) -> Change {
        let mut attempt = attempt.clone();
        attempt.lookups = attempt.lookups.saturating_add(1);
        let quiet_until_ms = since_ms.saturating_add(self.rules.quiet_ms);
        if attempt.lookups >= LOOKUPS_MIN && self.now_ms >= quiet_until_ms {
            let fault = Fault::new(
                FaultClass::Unavailable,
                "the provider does not know the work",
            );
            let change = self.refused(attempt.route, self.task.attempts, fault);
            let note = Some("not found at the provider".to_owned());
            return change.closing(&attempt, AttemptState::Refused, note);
        }
        let mut change = self.again();
        // Spread over the quiet time, with the last lookup after its end.
        let pace_ms = self
            .rules
            .quiet_ms
            .div_euclid(i64::from(LOOKUPS_MIN))
            .max(1);
        change.task.due_ms = self.now_ms.saturating_add(pace_ms);
        change.task.phase = Phase::Unknown { attempt, since_ms };
        change
    }

    fn lapsed(&self, attempt: &Attempt) -> Change {
        let note = Some("its outcome could not be learned".to_owned());
        let change = match self.rules.on_lost_reply {
            OnLostReply::Resubmit if self.task.attempts < ATTEMPTS_MAX => {
                self.to(Phase::Queued { route: 0 })
            }
            OnLostReply::Resubmit | OnLostReply::FailAndRelease => self.fail(
                ErrorKind::OutcomeUnknown,
                "the provider did not answer, and whether it took the work is not known".to_owned(),
            ),
        };
        change.closing(attempt, AttemptState::Abandoned, note)
    }

    fn failed(&self, attempt: &Attempt, fault: Fault) -> Change {
        let kind = match fault.class {
            FaultClass::Moderated => ErrorKind::Moderated,
            FaultClass::InvalidInput => ErrorKind::InvalidInput,
            _ => ErrorKind::ProviderError,
        };
        let change = self.fail(kind, fault.public);
        change.closing(attempt, AttemptState::Failed, Some(fault.detail))
    }

    fn stored(&self, output: &Output, files: Vec<StoredFile>) -> Change {
        let usage = output.answer.as_ref().map(|answer| answer.usage);
        let charge = self
            .task
            .price
            .charge(&self.task.order, &usage.unwrap_or_default());
        // The frozen price bounds it; the hold is what was taken, whatever the price says.
        let charge = charge.min(self.task.hold);
        let mut change = self.to(Phase::Done {
            files,
            answer: output.answer.clone(),
            charge,
        });
        change.task.finished_ms = Some(self.now_ms);
        change.task.due_ms = i64::MAX;
        change.close = Some(charge);
        change
    }

    fn fail(&self, kind: ErrorKind, message: String) -> Change {
        let mut change = self.to(Phase::Failed {
            error: TaskError {
                kind,
                message,
                retryable: kind.is_retryable(),
            },
        });
        change.task.finished_ms = Some(self.now_ms);
        change.task.due_ms = i64::MAX;
        change.close = Some(Credits::ZERO);
        change
    }

    fn cancelled(&self) -> Change {
        self.fail(ErrorKind::Cancelled, "cancelled by the client".to_owned())
    }

    fn expired(&self) -> Change {
        self.fail(ErrorKind::Timeout, "the work took too long".to_owned())
    }

    fn after(&self, ms: u64) -> i64 {
        self.now_ms
            .saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    /// Doubles with each miss, plus up to a quarter by chance.
    fn paused(&self, misses: u32) -> i64 {
        let doubled = PAUSE_MS.saturating_mul(1_i64.checked_shl(misses.min(10)).unwrap_or(1));
        let pause_ms = doubled.min(PAUSE_MS_MAX);
        let jitter_ms = pause_ms
            .saturating_mul(i64::from(self.rules.jitter.min(1_000)))
            .div_euclid(4_000);
        self.now_ms
            .saturating_add(pause_ms)
            .saturating_add(jitter_ms)
    }
}

impl Change {
    fn closing(mut self, attempt: &Attempt, state: AttemptState, note: Option<String>) -> Self {
        self.attempt = Some(AttemptChange {
            id: attempt.id.clone(),
            opened: None,
            state,
            upstream_id: None,
            note,
        });
        self
    }
}
