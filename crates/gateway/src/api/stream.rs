//! A task as server-sent events.
//!
//! Invariant: an event's id is the task's version it shows. A client that names it again gets what
//! is newer, and the end in any case.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::ids::{AccountId, TaskId};
use domain::task::Status;
use futures_util::stream;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::caller::{Caller, Read};
use super::refusals::{NotFound, Unauthorized, Unavailable};
use super::task::{task_id, view};
use super::wait::{self, Awaited};
use super::{Api, ApiError, Id};
use crate::store::Watch;
use crate::store::tasks::TaskRead;

/// How often a comment keeps an idle connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Longest stream; no task takes longer.
const LONGEST: Duration = Duration::from_secs(48 * 3_600);

/// Follow a task
///
/// Server-sent events: `status` with the whole task when its status changes and at the start,
/// `progress` with `{"task_id","status","progress"}`, and at last `end` with the whole task, after
/// which the stream ends. A stream that ends without `end` is to be opened again.
#[utoipa::path(
    get, path = "/api/v1/run/tasks/{task_id}/events", operation_id = "followTask", tag = "Tasks", security(("key" = ["read"])),
    params(
        ("task_id" = String, Path, description = "The task."),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event seen; what is newer follows."),
    ),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream",
            example = "id: 3\nevent: progress\ndata: {\"task_id\":\"f47ac10b-58cc-4372-a567-0e02b2c3d479\",\"status\":\"generating\",\"progress\":0.4}\n\n"),
        Unauthorized, NotFound, Unavailable,
    )
)]
pub(super) async fn follow(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = task_id(&id)?;
    let watch = api.store.watch(&id);
    let read = wait::now(&api, &caller.0.account, &id).await?;
    let mut follower = Follower {
        api,
        account: caller.0.account,
        id,
        watch,
        version: seen(&headers)
            .filter(|seen| *seen <= read.task.version)
            .unwrap_or(0),
        status: None,
        waiting: VecDeque::new(),
        has_ended: false,
        until: Instant::now() + LONGEST,
    };
    follower.tell(&read);
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // Asks proxies not to hold events back.
    let name = HeaderName::from_static("x-accel-buffering");
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static("no"));
    Ok(response)
}

fn seen(headers: &HeaderMap) -> Option<i64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

/// A client that follows a task.
struct Follower {
    api: Arc<Api>,
    account: AccountId,
    id: TaskId,
    watch: Watch,
    /// What the client has seen.
    version: i64,
    status: Option<Status>,
    waiting: VecDeque<Event>,
    has_ended: bool,
    until: Instant,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        while self.waiting.is_empty() {
            if self.has_ended {
                return None;
            }
            let awaited = Awaited {
                api: &self.api,
                account: &self.account,
                id: &self.id,
                watch: &self.watch,
            };
            // A stream that ends without its end tells the client to come back.
            let read = awaited.newer(self.version, self.until).await.ok()??;
            self.tell(&read);
        }
        self.waiting.pop_front()
    }

    /// Queues what a read says beyond what the client has seen.
    fn tell(&mut self, read: &TaskRead) {
        let task = &read.task;
        let (status, is_newer) = (task.status(), task.version > self.version);
        self.version = self.version.max(task.version);
        if is_newer && self.status != Some(status) {
            self.push("status", &view(&self.api, read));
        } else if is_newer && task.progress.is_some() {
            let progress = json!({
                "task_id": task.id, "status": status, "progress": task.progress,
            });
            self.push("progress", &progress);
        }
        self.status = Some(status);
        if status.is_terminal() {
            self.push("end", &view(&self.api, read));
            self.has_ended = true;
        }
    }

    fn push(&mut self, name: &'static str, content: &impl Serialize) {
        let event = Event::default().event(name).id(self.version.to_string());
        match event.json_data(content) {
            Ok(event) => self.waiting.push_back(event),
            Err(error) => tracing::error!(%error, name, "an event could not be written"),
        }
    }
}
