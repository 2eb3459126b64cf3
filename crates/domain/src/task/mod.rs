//! The task: what a client asked for, how far it is, and the rules by which it moves.
//!
//! Invariant: level-triggered. A [`Task`] says all there is to know; [`decide`] names the next
//! action from it, [`advance`] the change an outcome makes. A crash between the two loses nothing.

mod advance;
mod decide;
mod outcome;
mod pace;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use advance::{Illegal, advance};
pub use decide::{Action, decide};
pub use outcome::{AttemptChange, AttemptState, Change, Outcome, Rules};

use crate::catalogue::Route;
use crate::credits::Credits;
use crate::ids::{AccountId, AttemptId, KeyId, TaskId};
use crate::order::Order;
use crate::price::Price;
use crate::upstream::{Answer, Call, Output};

/// Most attempts for one task before it fails as `provider_unavailable`.
pub const ATTEMPTS_MAX: u32 = 5;

/// Most sends of one attempt to a provider that honours an idempotent key.
pub const SENDS_MAX: u32 = 5;

/// Most attempts a task may have for its lost reply to be answered with another: no task is submitted
/// again on a guess more than once, so none is paid more than twice.
pub const RESUBMIT_ATTEMPTS_MAX: u32 = 1;

/// How long after the first intent a provider is trusted to remember an idempotent key, in
/// milliseconds.
pub const RESEND_WINDOW_MS: i64 = 43_200_000;

/// Fewest lookups that must miss before "not found" is believed.
pub const LOOKUPS_MIN: u32 = 3;

/// How long results are tried to be stored before they count as lost, in milliseconds.
pub const STORE_PATIENCE_MS: i64 = 3_600_000;

/// What a client asked for and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Who it belongs to.
    pub account: AccountId,
    /// The key it was submitted with.
    pub key: KeyId,
    /// What to run.
    pub order: Order,
    /// What it costs, as it was at submit.
    pub price: Price,
    /// The most it can cost; held until it ends.
    pub hold: Credits,
    /// Whether the hold counts against the day's credits of its key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_metered: bool,
    /// The ways to run it, as they were at submit, in the order to try them; at least one.
    pub routes: Vec<Route>,
    /// Where the finished task is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// The client's own notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// How far it is.
    pub phase: Phase,
    /// Attempts opened so far.
    #[serde(default)]
    pub attempts: u32,
    /// Steps in a row that got nowhere; sets the pace of the next try.
    #[serde(default)]
    pub misses: u32,
    /// How far the upstream says it is, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// Whether the client wants it to end. Kept beside the body, as it is set while a worker holds
    /// the task.
    #[serde(skip)]
    pub is_cancel_asked: bool,
    /// When it was submitted, Unix milliseconds.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
    /// When an upstream accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<i64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_ms: Option<i64>,
    /// When it fails as `timeout` if no upstream has finished it.
    pub deadline_ms: i64,
    /// When its next step is due.
    pub due_ms: i64,
    /// Counts its changes.
    #[serde(skip)]
    pub version: i64,
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nobody upstream knows about it.
    Queued {
        /// Index of the route to try next.
        route: usize,
    },
    /// Intent is committed; a creating call is being made, or was, and the answer is not known yet.
    Sending {
        /// The attempt it belongs to.
        attempt: Attempt,
    },
    /// No definite answer: to be reconciled, never re-queued on a guess.
    Unknown {
        /// The attempt in question.
        attempt: Attempt,
        /// Since when, Unix milliseconds.
        since_ms: i64,
    },
    /// An upstream accepted it.
    Running {
        /// The accepted attempt.
        attempt: Attempt,
        /// The next call of the conversation.
        next: Call,
    },
    /// The upstream finished; the files are being copied and verified.
    Storing {
        /// The attempt that made them.
        attempt: Attempt,
        /// What was made.
        output: Output,
        /// Since when, Unix milliseconds.
        since_ms: i64,
    },
    /// It ended well.
    Done {
        /// The stored files.
        files: Vec<StoredFile>,
        /// The answer, for chat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Answer>,
        /// What it cost the client.
        charge: Credits,
        /// What it cost beyond the hold; the operator's loss.
        #[serde(default, skip_serializing_if = "Credits::is_zero")]
        absorbed: Credits,
    },
    /// It ended without a result; nothing is charged.
    Failed {
        /// Why.
        error: TaskError,
    },
}

/// One try at an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// Index of its route.
    pub route: usize,
    /// Id of the provider's credential it is made with: only that one knows of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub credential: String,
    /// Our reference at the provider; authenticates itself.
    pub token: String,
    /// When intent was committed, Unix milliseconds.
    pub began_ms: i64,
    /// No first byte leaves after this instant.
    pub send_by_ms: i64,
    /// How often it was sent, or may have been.
    pub sends: u32,
    /// Lookups that found nothing.
    pub lookups: u32,
    /// Whether a send went unanswered: from then on a refusal proves nothing about it.
    pub is_dirty: bool,
    /// What it asks for in place of the order's prompt, such as a translation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// A result file as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Path below `/results/`: `{unguessable}/{name}.{ext}`.
    pub path: String,
    /// Judged from the content.
    pub content_type: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Width in pixels, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height in pixels, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Length in seconds, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// When it is removed, Unix milliseconds.
    pub expires_ms: i64,
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// Safe to show to an end user.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

/// The kinds of failure a client can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The content rules forbid it.
    Moderated,
    /// The provider does not take this request.
    InvalidInput,
    /// The provider's work failed.
    ProviderError,
    /// No provider took the work.
    ProviderUnavailable,
    /// It took too long.
    Timeout,
    /// It cannot be learned whether the provider took the work.
    OutcomeUnknown,
    /// The client cancelled it.
    Cancelled,
    /// The result could not be stored.
    MediaLost,
}

impl ErrorKind {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Moderated => "moderated",
            Self::InvalidInput => "invalid_input",
            Self::ProviderError => "provider_error",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::Timeout => "timeout",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Cancelled => "cancelled",
            Self::MediaLost => "media_lost",
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::Moderated | Self::InvalidInput | Self::Cancelled)
    }
}

/// What a client sees of a phase. Never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No upstream has confirmed it.
    Waiting,
    /// An upstream works on it, or its files are being stored.
    Generating,
    /// Ended well.
    Success,
    /// Ended without a result.
    Fail,
}

impl Status {
    /// Every status, in the order they are passed through.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Generating, Self::Success, Self::Fail];

    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Generating => "generating",
            Self::Success => "success",
            Self::Fail => "fail",
        }
    }

    /// The status of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether it is the last one.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Success | Self::Fail)
    }
}

impl Phase {
    /// What a client sees.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Queued { .. } | Self::Sending { .. } | Self::Unknown { .. } => Status::Waiting,
            Self::Running { .. } | Self::Storing { .. } => Status::Generating,
            Self::Done { .. } => Status::Success,
            Self::Failed { .. } => Status::Fail,
        }
    }

    /// The word in the store and in tables.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Sending { .. } => "sending",
            Self::Unknown { .. } => "unknown",
            Self::Running { .. } => "running",
            Self::Storing { .. } => "storing",
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
        }
    }

    /// The attempt that is not over, if any.
    #[must_use]
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::Sending { attempt }
            | Self::Unknown { attempt, .. }
            | Self::Running { attempt, .. }
            | Self::Storing { attempt, .. } => Some(attempt),
            Self::Queued { .. } | Self::Done { .. } | Self::Failed { .. } => None,
        }
    }
}

impl Task {
    /// What a client sees of its phase.
    #[must_use]
    pub fn status(&self) -> Status {
        self.phase.status()
    }

    /// The route its next step takes; `None` once it ended.
    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        let index = match &self.phase {
            Phase::Queued { route } => *route,
            phase => phase.attempt()?.route,
        };
        self.routes.get(index)
    }

    /// What it cost; `None` until it ended.
    #[must_use]
    pub fn charge(&self) -> Option<Credits> {
        match &self.phase {
            Phase::Done { charge, .. } => Some(*charge),
            Phase::Failed { .. } => Some(Credits::ZERO),
            _ => None,
        }
    }
}
