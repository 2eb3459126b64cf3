//! The task object: what a client reads, and what a callback carries.

use std::collections::BTreeMap;

use domain::credits::Credits;
use domain::order::Modality;
use domain::task::{Phase, Status, Task};
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::rfc3339;
use crate::store::tasks::NoticeState;

/// A task.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Task)]
pub struct TaskView {
    /// A UUID.
    pub task_id: String,
    /// `waiting`, `generating`, `success` or `fail`; never goes back.
    #[schema(value_type = String)]
    pub status: Status,
    /// Links to the results; empty until `success`.
    pub result_urls: Vec<String>,
    /// Why it failed; safe to show to an end user.
    pub error_message: Option<String>,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// The model it was submitted to.
    pub model_id: String,
    /// `video`, `image` or `chat`.
    #[schema(value_type = String)]
    pub generation_type: Modality,
    /// When it last changed.
    pub updated_at: String,
    /// When an upstream accepted it.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// The client's own notes.
    pub metadata: BTreeMap<String, String>,
    /// 0 to 1, when the provider reports it.
    pub progress: Option<f64>,
    /// The answer of a chat model.
    pub output: Option<OutputView>,
    /// The result files.
    pub results: Vec<ResultView>,
    /// Why it failed, for programs.
    pub error: Option<ErrorView>,
    /// What it holds or cost.
    pub credits: CreditsView,
    /// How far the callback is.
    pub callback: Option<CallbackView>,
}

/// The answer of a chat model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OutputView {
    /// The text.
    pub text: String,
    /// `stop`, `length`, …
    pub finish_reason: String,
    /// What it consumed.
    pub usage: UsageView,
}

/// Tokens consumed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UsageView {
    /// Of the prompt.
    pub input_tokens: u64,
    /// Of the answer.
    pub output_tokens: u64,
}

/// A result file.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResultView {
    /// Where it is; public, unguessable.
    pub url: String,
    /// Judged from the content.
    pub content_type: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// When it is removed.
    pub expires_at: String,
}

/// Why a task failed, for programs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorView {
    /// `moderated`, `invalid_input`, `provider_error`, `provider_unavailable`, `timeout`,
    /// `outcome_unknown`, `cancelled` or `media_lost`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

/// What a task holds or cost, in credits.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CreditsView {
    /// Held while it goes on.
    #[schema(value_type = f64)]
    pub held: Credits,
    /// What it cost; set at the end, 0 when it failed.
    #[schema(value_type = Option<f64>)]
    pub charged: Option<Credits>,
}

/// How far a callback is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CallbackView {
    /// `pending`, `delivered`, `exhausted`, `gone` or `blocked`; `waiting` until the task ends.
    pub state: String,
    /// POSTs made.
    pub attempts: i64,
    /// Status of the last reply.
    pub last_status: Option<i64>,
}

impl TaskView {
    /// The task as a client reads it. `public_url` is where the gateway is reached, without a slash
    /// at the end.
    #[must_use]
    pub fn new(task: &Task, notice: Option<&NoticeState>, public_url: &str) -> Self {
        let results = results(task, public_url);
        let error = match &task.phase {
            Phase::Failed { error } => Some(error),
            _ => None,
        };
        Self {
            task_id: task.id.to_string(),
            status: task.status(),
            result_urls: results.iter().map(|result| result.url.clone()).collect(),
            error_message: error.map(|error| error.message.clone()),
            created_at: rfc3339(task.created_ms),
            model_id: task.order.model.clone(),
            generation_type: task.order.modality,
            updated_at: rfc3339(task.updated_ms),
            started_at: task.started_ms.map(rfc3339),
            finished_at: task.finished_ms.map(rfc3339),
            metadata: task.metadata.clone(),
            progress: task.progress,
            output: output(task),
            results,
            error: error.map(|error| ErrorView {
                kind: error.kind.as_str(),
                retryable: error.retryable,
            }),
            credits: CreditsView {
                held: match task.charge() {
                    Some(_) => Credits::ZERO,
                    None => task.hold,
                },
                charged: task.charge(),
            },
            callback: task.callback_url.as_ref().map(|_| callback(task, notice)),
        }
    }
}

fn results(task: &Task, public_url: &str) -> Vec<ResultView> {
    let Phase::Done { files, .. } = &task.phase else {
        return Vec::new();
    };
    let view = |file: &domain::task::StoredFile| ResultView {
        url: format!("{public_url}/results/{}", file.path),
        content_type: file.content_type.clone(),
        bytes: file.bytes,
        sha256: file.sha256.clone(),
        width: file.width,
        height: file.height,
        duration_s: file.duration_s,
        expires_at: rfc3339(file.expires_ms),
    };
    files.iter().map(view).collect()
}

fn output(task: &Task) -> Option<OutputView> {
    let Phase::Done { answer, .. } = &task.phase else {
        return None;
    };
    answer.as_ref().map(|answer| OutputView {
        text: answer.text.clone(),
        finish_reason: answer.finish_reason.clone(),
        usage: UsageView {
            input_tokens: answer.usage.input_tokens,
            output_tokens: answer.usage.output_tokens,
        },
    })
}

fn callback(task: &Task, notice: Option<&NoticeState>) -> CallbackView {
    let otherwise = if task.status().is_terminal() {
        "pending"
    } else {
        "waiting"
    };
    CallbackView {
        state: notice.map_or_else(|| otherwise.to_owned(), |notice| notice.state.clone()),
        attempts: notice.map_or(0, |notice| notice.attempts),
        last_status: notice.and_then(|notice| notice.last_status),
    }
}
