//! The changes that outcomes are made of: what each does to task, attempt and hold.
//!
//! Invariant: whether an outcome may happen in a phase is decided by
//! [`advance`](crate::task::advance()), not here.

use crate::catalogue::{OnLostReply, Recovery};
use crate::credits::Credits;
use crate::task::{
    ATTEMPTS_MAX, Attempt, AttemptChange, AttemptState, Change, ErrorKind, LOOKUPS_MIN, Phase,
    RESUBMIT_ATTEMPTS_MAX, Rules, StoredFile, Task, TaskError, decide, pace,
};
use crate::upstream::{Fault, FaultClass, Output, Wait};

/// A task, and what an outcome is judged by.
pub(super) struct Step<'a> {
    pub(super) task: &'a Task,
    pub(super) now_ms: i64,
    pub(super) rules: &'a Rules,
}

impl Step<'_> {
    /// The task in another phase, due at once, without misses.
    pub(super) fn to(&self, phase: Phase) -> Change {
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
    pub(super) fn again(&self) -> Change {
        let mut change = self.to(self.task.phase.clone());
        change.task.misses = self.task.misses.saturating_add(1);
        change.task.due_ms = self.paused(self.task.misses);
        change
    }

    /// The same phase, at an instant; no miss, as nothing was tried.
    pub(super) fn postponed(&self, until_ms: i64) -> Change {
        let mut change = self.to(self.task.phase.clone());
        change.task.misses = self.task.misses;
        change.task.due_ms = until_ms;
        change
    }

    /// What was sent is counted here and nowhere else: safety hangs on it.
    pub(super) fn intended(&self, mut attempt: Attempt) -> Change {
        attempt.sends = 1;
        attempt.lookups = 0;
        attempt.is_dirty = false;
        let mut change = self.to(Phase::Sending {
            attempt: attempt.clone(),
        });
        change.task.attempts = self.task.attempts.saturating_add(1);
        let mut change = change.marking(&attempt, AttemptState::Sending, None);
        if let Some(row) = &mut change.attempt {
            row.opened = Some(attempt);
        }
        change
    }

    pub(super) fn intended_again(&self, attempt: &Attempt, send_by_ms: i64) -> Change {
        let mut attempt = attempt.clone();
        attempt.sends = attempt.sends.saturating_add(1);
        attempt.send_by_ms = send_by_ms;
        let change = self.to(Phase::Sending {
            attempt: attempt.clone(),
        });
        change.marking(&attempt, AttemptState::Sending, None)
    }

    pub(super) fn accepted(&self, attempt: &Attempt, wait: Wait) -> Change {
        let mut change = self.to(Phase::Running {
            attempt: attempt.clone(),
            next: wait.then,
        });
        change.task.started_ms = Some(self.now_ms);
        change.task.progress = fraction(wait.progress);
        change.task.due_ms = pace::after(self.now_ms, wait.ms);
        let mut change = change.marking(attempt, AttemptState::Accepted, None);
        if let Some(attempt) = &mut change.attempt {
            attempt.upstream_id = wait.upstream_id;
        }
        change
    }

    pub(super) fn finished(&self, attempt: &Attempt, output: Output) -> Change {
        let mut change = self.to(Phase::Storing {
            attempt: attempt.clone(),
            output,
            since_ms: self.now_ms,
        });
        change.task.started_ms = self.task.started_ms.or(Some(self.now_ms));
        change.marking(attempt, AttemptState::Done, None)
    }

    /// Provably not accepted: the next route, the first one again after a pause, or the end.
    ///
    /// `tries` counts the attempts and the failures to make one; lookups are none of either.
    pub(super) fn refused(&self, route: usize, tries: u32, fault: Fault) -> Change {
        match fault.class {
            FaultClass::InvalidInput => return self.fail(ErrorKind::InvalidInput, fault.public),
            FaultClass::Moderated => return self.fail(ErrorKind::Moderated, fault.public),
            _ => {}
        }
        // One credential is refused, or wants less: the engine leaves it alone and takes another of the
        // same route, the next route, or waits. What is only too much at once ends with the deadline.
        let is_ours = matches!(fault.class, FaultClass::Credential | FaultClass::Throttled);
        if tries >= ATTEMPTS_MAX && fault.class != FaultClass::Throttled {
            let message = "no provider could take the work".to_owned();
            return self.fail(ErrorKind::ProviderUnavailable, message);
        }
        let next = route.saturating_add(1);
        let has_next = next < self.task.routes.len();
        let mut change = self.to(Phase::Queued {
            route: match (is_ours, has_next) {
                (true, _) => route,
                (false, true) => next,
                (false, false) => 0,
            },
        });
        change.task.misses = tries;
        if !has_next && !is_ours {
            let pause_ms = self.paused(tries.saturating_sub(1));
            change.task.due_ms = pause_ms.max(self.asked(&fault));
        }
        change
    }

    /// A send without a definite answer; the quiet time starts anew.
    pub(super) fn unanswered(&self, attempt: &Attempt) -> Change {
        let mut attempt = attempt.clone();
        attempt.is_dirty = true;
        self.reconciled_later(&attempt, self.now_ms)
    }

    /// A lookup or a re-send that did not come about; nothing new is in flight.
    pub(super) fn still_unknown(&self, attempt: &Attempt, since_ms: i64, fault: &Fault) -> Change {
        let mut change = self.reconciled_later(attempt, since_ms);
        // No longer than the quiet time: the provider may not put the end off for ever.
        let longest_ms = self.now_ms.saturating_add(self.rules.quiet_ms.max(0));
        let asked_ms = self.asked(fault).min(longest_ms);
        change.task.due_ms = change.task.due_ms.max(asked_ms);
        change
    }

    fn reconciled_later(&self, attempt: &Attempt, since_ms: i64) -> Change {
        let mut change = self.to(Phase::Unknown {
            attempt: attempt.clone(),
            since_ms,
        });
        change.task.misses = self.task.misses.saturating_add(1);
        let sent_again = attempt.sends.saturating_sub(1);
        let paused_ms = self.paused(self.task.misses.max(sent_again));
        let can_ask = match self.rules.recovery {
            Recovery::Idempotent => decide::may_resend(self.task, attempt, paused_ms),
            Recovery::Lookup => true,
            Recovery::None => false,
        };
        change.task.due_ms = if can_ask {
            paused_ms
        } else {
            pace::quiet_until_ms(attempt, since_ms, self.rules)
        };
        change.marking(attempt, AttemptState::Unknown, None)
    }

    /// "Not found" is believed when it was said often enough and nothing can be in flight any more.
    pub(super) fn not_found(&self, attempt: &Attempt, since_ms: i64) -> Change {
        let mut attempt = attempt.clone();
        attempt.lookups = attempt.lookups.saturating_add(1);
        let quiet_until_ms = pace::quiet_until_ms(&attempt, since_ms, self.rules);
        if attempt.lookups >= LOOKUPS_MIN && self.now_ms >= quiet_until_ms {
            let fault = Fault::new(
                FaultClass::Unavailable,
                "the provider does not know the work",
            );
            let change = self.refused(attempt.route, self.task.attempts, fault);
            let note = Some("not found at the provider".to_owned());
            return change.marking(&attempt, AttemptState::Refused, note);
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

    pub(super) fn lapsed(&self, attempt: &Attempt) -> Change {
        let note = Some("its outcome could not be learned".to_owned());
        // The hold bounds what may have been paid for nothing.
        let may_resubmit = self.task.attempts <= RESUBMIT_ATTEMPTS_MAX
            && self.task.hold <= self.rules.resubmit_below;
        let change = match self.rules.on_lost_reply {
            OnLostReply::Resubmit if may_resubmit => self.to(Phase::Queued { route: 0 }),
            OnLostReply::Resubmit | OnLostReply::FailAndRelease => self.fail(
                ErrorKind::OutcomeUnknown,
                "the provider did not answer, and whether it took the work is not known".to_owned(),
            ),
        };
        change.marking(attempt, AttemptState::Abandoned, note)
    }

    pub(super) fn failed(&self, attempt: &Attempt, fault: Fault) -> Change {
        let kind = match fault.class {
            FaultClass::Moderated => ErrorKind::Moderated,
            FaultClass::InvalidInput => ErrorKind::InvalidInput,
            _ => ErrorKind::ProviderError,
        };
        let change = self.fail(kind, fault.public);
        change.marking(attempt, AttemptState::Failed, Some(fault.detail))
    }

    pub(super) fn stored(&self, output: &Output, files: Vec<StoredFile>) -> Change {
        let usage = output.answer.as_ref().map(|answer| answer.usage);
        let (price, order) = (&self.task.price, &self.task.order);
        let cost = price.cost(order, &usage.unwrap_or_default());
        // The hold is what was taken, whatever the price says; the operator absorbs the rest.
        let charge = cost.min(self.task.hold);
        let mut change = self.to(Phase::Done {
            files,
            answer: output.answer.clone(),
            charge,
            absorbed: cost.minus(charge).unwrap_or(Credits::ZERO),
        });
        change.task.finished_ms = Some(self.now_ms);
        change.task.due_ms = i64::MAX;
        change.close = Some(charge);
        change
    }

    pub(super) fn fail(&self, kind: ErrorKind, message: String) -> Change {
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

    pub(super) fn cancelled(&self) -> Change {
        self.fail(ErrorKind::Cancelled, "cancelled by the client".to_owned())
    }

    pub(super) fn expired(&self) -> Change {
        self.fail(ErrorKind::Timeout, "the work took too long".to_owned())
    }

    /// Until when the provider asks to be left alone.
    pub(super) fn asked(&self, fault: &Fault) -> i64 {
        pace::after(self.now_ms, fault.retry_after_ms.unwrap_or(0))
    }

    pub(super) fn paused(&self, misses: u32) -> i64 {
        pace::paused(self.now_ms, misses, self.rules.jitter)
    }
}

/// A progress that is one; upstreams report all sorts of numbers.
pub(super) fn fraction(progress: Option<f64>) -> Option<f64> {
    let progress = progress.filter(|progress| progress.is_finite())?;
    Some(progress.clamp(0.0, 1.0))
}

impl Change {
    pub(super) fn marking(
        mut self,
        attempt: &Attempt,
        state: AttemptState,
        note: Option<String>,
    ) -> Self {
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
