//! One task: reading it, its timeline, cancelling it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::ids::TaskId;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{Caller, Presumed, Read, Run};
use super::prefer::WAIT_S_MAX;
use super::query::Query;
use super::refusals::{Ended, Invalid, NotFound, Unauthorized, Unavailable};
use super::tag::{KnownTags, tagged};
use super::{Api, ApiError, Id, wait};
use crate::clock::rfc3339;
use crate::store::tasks::{AttemptRead, CancelWish, TaskRead};
use crate::view::TaskView;

/// How long a cancel waits for its effect.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// Read a task
///
/// A task that still runs is an ordinary 200. Polling is never throttled; `wait` saves most of it.
#[utoipa::path(
    get, path = "/api/v1/run/tasks/{task_id}", operation_id = "readTask", tag = "Tasks", security(("key" = ["read"])),
    params(
        ("task_id" = String, Path, description = "From the reply to the submit."),
        ("wait" = Option<u64>, Query, minimum = 0, maximum = 60, description = "Answer when the task ends, after so many seconds at the latest."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier reply."),
    ),
    responses(
        (status = 200, description = "The task.", body = TaskView,
            headers(("ETag" = String, description = "Changes whenever the task does.")),
            example = json!(super::shape::task_example())),
        (status = 304, description = "Nothing changed since the named `ETag`."),
        Unauthorized, NotFound, Invalid, Unavailable,
    )
)]
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Presumed<Read>,
    Id(id): Id,
    query: Query,
    known_tags: KnownTags,
) -> Result<Response, ApiError> {
    let seconds = query.number("wait", 0..=WAIT_S_MAX);
    let id = task_id(&id);
    if let (Ok(None | Some(0)), Ok(id)) = (&seconds, &id) {
        let now_ms = api.clock.now_ms();
        if let Some(read) = api.store.task_presumed(&caller.found, id, now_ms).await? {
            let read = read.ok_or_else(|| ApiError::not_found("task"))?;
            return tagged(&known_tags, &tag(&read), || view(&api, &read));
        }
    }
    let caller = caller.confirmed(&api).await?;
    let longest = Duration::from_secs(seconds?.unwrap_or(0));
    let account = &caller.found.principal.account;
    let read = wait::until(&api, account, &id?, longest, wait::has_ended).await?;
    tagged(&known_tags, &tag(&read), || view(&api, &read))
}

/// One try at a provider.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AttemptView {
    /// Its id.
    id: String,
    /// The provider.
    provider: String,
    /// `sending`, `accepted`, `refused`, `unknown`, `done`, `failed` or `abandoned`.
    state: String,
    /// When it began.
    started_at: String,
    /// When it last changed.
    updated_at: String,
}

/// The attempts of a task.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AttemptList {
    /// The attempts, in their order.
    #[serde(rename = "data")]
    attempts: Vec<AttemptView>,
}

/// Read the timeline of a task
///
/// Which providers were tried, and what came of it.
#[utoipa::path(
    get, path = "/api/v1/run/tasks/{task_id}/attempts", operation_id = "listAttempts", tag = "Tasks", security(("key" = ["read"])),
    params(("task_id" = String, Path, description = "The task.")),
    responses((status = 200, description = "The attempts.", body = AttemptList), Unauthorized, NotFound, Unavailable)
)]
pub(super) async fn attempts(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    Id(id): Id,
) -> Result<Json<AttemptList>, ApiError> {
    let id = task_id(&id)?;
    wait::now(&api, &caller.0.account, &id).await?;
    let reads = api.store.attempts(&caller.0.account, &id).await?;
    let view = |read: AttemptRead| AttemptView {
        id: read.id,
        provider: read.provider,
        state: read.state,
        started_at: rfc3339(read.began_ms),
        updated_at: rfc3339(read.updated_ms),
    };
    Ok(Json(AttemptList {
        attempts: reads.into_iter().map(view).collect(),
    }))
}

/// Cancel a task
///
/// Answers with the task after a few seconds at the latest. It ends as `fail` with the error type
/// `cancelled`, and without a charge, if nothing was submitted to a provider yet or the provider
/// confirms; else it goes on.
#[utoipa::path(
    post, path = "/api/v1/run/tasks/{task_id}/cancel", operation_id = "cancelTask", tag = "Tasks", security(("key" = ["run"])),
    params(("task_id" = String, Path, description = "The task.")),
    responses((status = 200, description = "The task as it is now.", body = TaskView), Unauthorized, NotFound, Ended, Unavailable)
)]
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    caller: Caller<Run>,
    Id(id): Id,
) -> Result<Json<TaskView>, ApiError> {
    let (id, account) = (task_id(&id)?, &caller.0.account);
    match api.store.cancel(account, &id, api.clock.now_ms()).await? {
        CancelWish::Missing => return Err(ApiError::not_found("task")),
        CancelWish::Ended => return Err(ApiError::conflict("The task has ended already.")),
        CancelWish::Recorded => {}
    }
    let is_settled = |read: &TaskRead| wait::has_ended(read) || !read.task.is_cancel_asked;
    let read = wait::until(&api, account, &id, CANCEL_PATIENCE, is_settled).await?;
    Ok(Json(view(&api, &read)))
}

/// The id of a task, as a path names it.
pub(super) fn task_id(text: &str) -> Result<TaskId, ApiError> {
    TaskId::parse(text).ok_or_else(|| ApiError::not_found("task"))
}

/// The task as a client reads it.
pub(super) fn view(api: &Api, read: &TaskRead) -> TaskView {
    TaskView::new(&read.task, read.notice.as_ref(), &api.settings.public_url)
}

/// What changes whenever the task object does: its version and the state of its callback.
fn tag(read: &TaskRead) -> String {
    let version = read.task.version;
    match &read.notice {
        None => format!("\"{version}\""),
        Some(notice) => format!(
            "\"{version}-{}-{}-{}\"",
            notice.state,
            notice.attempts,
            notice.last_status.unwrap_or(0)
        ),
    }
}
