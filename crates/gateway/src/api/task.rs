//! Reading one task.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::ids::TaskId;

use super::caller::{Caller, Read};
use super::prefer::WAIT_S_MAX;
use super::query::Query;
use super::tag::tagged;
use super::{Api, ApiError, Id, wait};
use crate::store::tasks::TaskRead;
use crate::view::TaskView;

pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    Id(id): Id,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let seconds = query.number("wait", 0..=WAIT_S_MAX)?.unwrap_or(0);
    let id = task_id(&id)?;
    let longest = Duration::from_secs(seconds);
    let read = wait::until(&api, &caller.0.account, &id, longest, wait::has_ended).await?;
    tagged(&headers, &tag(&read), || view(&api, &read))
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
