//! A callback that is only a test: one signed example, sent now.

use domain::credits::Credits;
use domain::ids::{AccountId, NoticeId, TaskId};
use domain::order::Modality;
use domain::task::Status;

use super::Callbacks;
use super::delivery::{Message, json};
use crate::clock::rfc3339;
use crate::net::UNREACHABLE;
use crate::store::StoreError;
use crate::view::{CallbackView, CreditsView, ResultView, TaskView};

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestReport {
    /// The `webhook-id` that was sent.
    pub id: NoticeId,
    /// Whether it would count as delivered.
    pub is_delivered: bool,
    /// Status of the reply, if there was one.
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// The start of the reply, or why there is none; safe to show to the account.
    pub note: String,
}

/// Why nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TestError {
    /// The URL is refused. It displays as [`UNREACHABLE`].
    #[error("{UNREACHABLE}")]
    Url,
    /// The store is unavailable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Callbacks {
    /// Sends an example of a finished task to a URL, signed with the account's secrets, once.
    ///
    /// # Errors
    /// Nothing was sent: see [`TestError`]. A receiver that fails is no error.
    pub async fn test(&self, account: &AccountId, url: &str) -> Result<TestReport, TestError> {
        let url = self.judge(url).map_err(|_| TestError::Url)?;
        let now_ms = self.clock.now_ms();
        let task = TaskId::mint(now_ms, &self.entropy.bytes());
        let id = NoticeId::of(&task);
        let message = Message {
            id: id.as_str(),
            account,
            body: json(&example(&task, now_ms, &self.public_url))?,
        };
        let signed = self.sign(&message).await?;
        let posted = self.post(&url, signed, message.body).await;
        Ok(TestReport {
            is_delivered: posted.status.is_some_and(|status| status / 100 == 2),
            id,
            status: posted.status,
            took_ms: posted.took_ms,
            note: posted.note,
        })
    }
}

/// SHA-256 of nothing.
const SHA256_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A finished task with every field in its place. Its file does not exist.
fn example(task: &TaskId, now_ms: i64, public_url: &str) -> TaskView {
    let result_url = format!("{public_url}/results/example/example.png");
    TaskView {
        task_id: task.to_string(),
        status: Status::Success,
        result_urls: vec![result_url.clone()],
        error_message: None,
        created_at: rfc3339(now_ms),
        model_id: "example".to_owned(),
        generation_type: Modality::Image,
        updated_at: rfc3339(now_ms),
        started_at: Some(rfc3339(now_ms)),
        finished_at: Some(rfc3339(now_ms)),
        metadata: [("test".to_owned(), "true".to_owned())].into(),
        progress: Some(1.0),
        output: None,
        results: vec![ResultView {
            url: result_url,
            content_type: "image/png".to_owned(),
            bytes: 0,
            sha256: SHA256_OF_NOTHING.to_owned(),
            width: Some(1_024),
            height: Some(1_024),
            duration_s: None,
            expires_at: rfc3339(now_ms),
        }],
        error: None,
        credits: CreditsView {
            held: Credits::ZERO,
            charged: Some(Credits::ZERO),
        },
        callback: Some(CallbackView {
            state: "pending".to_owned(),
            attempts: 0,
            last_status: None,
        }),
    }
}
