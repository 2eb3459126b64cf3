//! What can happen to a task, and what follows.

use crate::catalogue::{OnLostReply, Provider, Recovery};
use crate::credits::Credits;
use crate::ids::AttemptId;
use crate::task::{Attempt, StoredFile, Task};
use crate::upstream::{Fault, Output, Wait};

/// What came of an action.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Intent to send, first or again; commits before the first byte. How often it was sent and looked
    /// up, and whether in vain, is counted by the rules, whatever the attempt says.
    Intended(Attempt),
    /// Nothing could be started now, or is to be; not the upstream's fault.
    Postponed {
        /// Until when, Unix milliseconds.
        until_ms: i64,
    },
    /// It failed before anything could be created: a preparation, a connection.
    Unsent(Fault),
    /// The creating call was refused; or it was not made because the moment to make it had passed.
    Refused(Fault),
    /// The creating call has no definite answer.
    Unanswered,
    /// Whoever was sending is gone.
    Rescued,
    /// The upstream took the work, or goes on with it.
    Waiting(Wait),
    /// A read or lookup had no use; to be tried again.
    Missed(Fault),
    /// A lookup says that the upstream does not know the work.
    NotFound,
    /// Nothing more can be learned about an unknown attempt.
    Lapsed,
    /// The upstream finished the work.
    Finished(Output),
    /// The accepted work failed.
    Failed(Fault),
    /// All files are stored and verified.
    Stored(Vec<StoredFile>),
    /// The files could not be stored now.
    NotStored,
    /// The files cannot be had any more.
    Lost,
    /// The client's wish to cancel holds: nothing was sent, or the provider confirms.
    Cancelled,
    /// The provider does not confirm a cancel; the work goes on.
    CancelDenied,
    /// The deadline has passed.
    Expired,
}

impl Outcome {
    /// The word in the transition table.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Intended(_) => "intended",
            Self::Postponed { .. } => "postponed",
            Self::Unsent(_) => "unsent",
            Self::Refused(_) => "refused",
            Self::Unanswered => "unanswered",
            Self::Rescued => "rescued",
            Self::Waiting(_) => "waiting",
            Self::Missed(_) => "missed",
            Self::NotFound => "not_found",
            Self::Lapsed => "lapsed",
            Self::Finished(_) => "finished",
            Self::Failed(_) => "failed",
            Self::Stored(_) => "stored",
            Self::NotStored => "not_stored",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
            Self::CancelDenied => "cancel_denied",
            Self::Expired => "expired",
        }
    }
}

/// How far an attempt is, as its row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptState {
    /// Intent is committed.
    Sending,
    /// The upstream took the work.
    Accepted,
    /// Provably not accepted.
    Refused,
    /// No definite answer.
    Unknown,
    /// The work is finished.
    Done,
    /// The accepted work failed.
    Failed,
    /// Given up; what became of it is not known or not wanted.
    Abandoned,
}

impl AttemptState {
    /// The word in the store and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether an upstream may still be at work for it: at most one such attempt for a task.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Sending | Self::Accepted | Self::Unknown)
    }
}

/// What a change does to the row of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptChange {
    /// The attempt's row.
    pub id: AttemptId,
    /// The attempt itself when its row is new.
    pub opened: Option<Attempt>,
    /// Its state from now on.
    pub state: AttemptState,
    /// The upstream's id, where it became known.
    pub upstream_id: Option<String>,
    /// Why, for the operator.
    pub note: Option<String>,
}

/// What an outcome makes of a task; committed whole or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The task afterwards.
    pub task: Task,
    /// What happens to its attempt.
    pub attempt: Option<AttemptChange>,
    /// The charge that closes the hold, when the task ended.
    pub close: Option<Credits>,
}

/// What the rules depend on besides the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How a lost reply can be cleared up at the attempt's provider.
    pub recovery: Recovery,
    /// What happens when it cannot.
    pub on_lost_reply: OnLostReply,
    /// The highest hold of a task that is submitted again.
    pub resubmit_below: Credits,
    /// How long an unanswered request may still be in flight, in milliseconds.
    pub quiet_ms: i64,
    /// A random number from 0 to 1 000, so that tries at the same pace do not meet.
    pub jitter: u32,
}

impl Rules {
    /// The rules for an attempt at a provider.
    #[must_use]
    pub fn of(provider: &Provider, jitter: u32) -> Self {
        Self {
            recovery: provider.recovery,
            on_lost_reply: provider.on_lost_reply,
            resubmit_below: provider.resubmit_below,
            quiet_ms: provider.quiet_ms,
            jitter,
        }
    }
}
