//! Listing tasks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ids::TaskId;
use domain::task::Status;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{Caller, Read};
use super::query::Query;
use super::refusals::{Invalid, Unauthorized, Unavailable};
use super::{Api, ApiError, task};
use crate::store::tasks::TaskFilter;
use crate::view::TaskView;

/// Most tasks of one page.
pub(super) const LIMIT_MAX: i64 = 100;

/// Tasks of one page unless asked otherwise.
pub(super) const LIMIT: i64 = 20;

/// Some tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaskList {
    /// The tasks, newest first.
    #[serde(rename = "data")]
    tasks: Vec<TaskView>,
    /// Gives the next page; null on the last one.
    next_cursor: Option<String>,
}

/// List tasks, newest first
///
/// Every task of the account, whichever key it was submitted with.
#[utoipa::path(
    get, path = "/api/v1/run/tasks", operation_id = "listTasks", tag = "Tasks", security(("key" = ["read"])),
    params(
        ("status" = Option<String>, Query, description = "Only tasks with this status: `waiting`, `generating`, `success` or `fail`."),
        ("model_id" = Option<String>, Query, description = "Only tasks of this model."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "At most so many; 20 unless given."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "The tasks.", body = TaskList), Unauthorized, Invalid, Unavailable)
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    query: Query,
) -> Result<Json<TaskList>, ApiError> {
    let limit = query.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    let filter = TaskFilter {
        status: query.word("status", &Status::ALL, Status::as_str)?,
        model: query.text("model_id")?.map(str::to_owned),
        before: query.text("cursor")?.map(place).transpose()?,
        limit,
    };
    let page = api.store.tasks(&caller.0.account, &filter).await?;
    let cursor = |id: &TaskId| URL_SAFE_NO_PAD.encode(id.as_str());
    Ok(Json(TaskList {
        next_cursor: page.next.as_ref().map(cursor),
        tasks: page
            .tasks
            .iter()
            .map(|read| task::view(&api, read))
            .collect(),
    }))
}

/// The task a cursor stands behind.
fn place(cursor: &str) -> Result<TaskId, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(|text| TaskId::parse(&text))
        .ok_or_else(|| ApiError::invalid("cursor", "must be the `next_cursor` of another page"))
}
