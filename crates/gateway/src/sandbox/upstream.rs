//! The provider itself: answers the requests of the `sandbox` dialect, in this very program.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use domain::order::{Modality, Order, ScriptedOutcome};
use domain::upstream::{Method, Reply, Request};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::chat;
use super::render::{self, File, RenderError};
use super::work::{Standing, Work};
use crate::net::LocalUpstream;

/// What a broken proxy says in the place of a provider.
const GARBAGE: &str = "<!doctype html><html><head><title>Welcome</title></head><body>\
    <h1>It works!</h1><p>This is not the page you are looking for.</p></body></html>";

/// The provider. Cheap to copy; all copies share the processor's cores fairly.
#[derive(Debug, Clone)]
pub struct Upstream {
    cores: Arc<Semaphore>,
}

/// What comes back from the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// A reply.
    Reply(Reply),
    /// Nothing, ever: the caller waits as long as it waits for anybody.
    Silence,
}

/// The body of the creating call.
#[derive(Deserialize)]
struct Creation {
    reference: String,
    order: Order,
}

/// The body of every other call with a body.
#[derive(Deserialize)]
struct Asked {
    order: Order,
}

impl LocalUpstream for Upstream {
    fn answer<'a>(&'a self, request: &'a Request, now_ms: i64) -> BoxFuture<'a, Option<Reply>> {
        Box::pin(async move {
            match Self::answer(self, request, now_ms).await {
                Answered::Reply(reply) => Some(reply),
                Answered::Silence => None,
            }
        })
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self::new()
    }
}

impl Upstream {
    /// A provider that draws on all cores but one, which is left to those who wait for answers.
    #[must_use]
    pub fn new() -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let cores = cores.saturating_sub(1).max(1);
        Self {
            cores: Arc::new(Semaphore::new(cores)),
        }
    }

    /// Answers a request at a time, in milliseconds.
    pub async fn answer(&self, request: &Request, now_ms: i64) -> Answered {
        let path = path(&request.url);
        let reply = match (request.method, path.as_slice()) {
            (Method::Post, [.., "work", id, "files", n]) => {
                self.file(id, n, request.json(), now_ms).await
            }
            (Method::Get | Method::Post, [.., "work", id]) => status(id, request.json(), now_ms),
            (Method::Delete, [.., "work", id]) => cancel(id, now_ms),
            (Method::Post, [.., "work"]) => return create(request.json(), now_ms),
            (_, [.., "work", _, "files", _] | [.., "work", _] | [.., "work"]) => {
                complain(405, "this is not done here")
            }
            _ => complain(404, "there is nothing here"),
        };
        Answered::Reply(reply)
    }

    async fn file(&self, id: &str, n: &str, body: Option<&Value>, now_ms: i64) -> Reply {
        let Some(work) = Work::of(id) else {
            return unknown();
        };
        if work.at(now_ms) != Standing::Done {
            return complain(409, "the work is not done");
        }
        let n = n.parse().ok().filter(|n| *n < work.files);
        let (Some(n), Some(order)) = (n, order(body)) else {
            return complain(404, "there is no such file");
        };
        // The permit goes along: drawing goes on, and takes a core, even if nobody waits any more.
        let Ok(permit) = Arc::clone(&self.cores).acquire_owned().await else {
            return complain(503, "the sandbox is closed");
        };
        let drawn = spawn_blocking(move || {
            let _permit = permit;
            render::file(&order, n)
        });
        match drawn.await {
            Ok(Ok(File {
                content_type,
                bytes,
            })) => reply(200, content_type, bytes),
            Ok(Err(error @ RenderError::Refused(_))) => complain(422, &error.to_string()),
            Ok(Err(error @ RenderError::Missing)) => complain(404, &error.to_string()),
            Ok(Err(error @ RenderError::Encoder(_))) => complain(500, &error.to_string()),
            Err(_) => complain(500, "drawing broke off"),
        }
    }
}

fn create(body: Option<&Value>, now_ms: i64) -> Answered {
    let Some(Creation { reference, order }) =
        body.and_then(|body| Creation::deserialize(body).ok())
    else {
        return Answered::Reply(complain(422, "`reference` and `order` are required"));
    };
    let outcome = order.scenario.unwrap_or_default().outcome;
    Answered::Reply(match outcome {
        ScriptedOutcome::Timeout => return Answered::Silence,
        ScriptedOutcome::RateLimited => {
            let mut reply = complain(429, "too much at once");
            reply
                .headers
                .push(("retry-after".to_owned(), "1".to_owned()));
            reply
        }
        ScriptedOutcome::Garbage => reply(200, "text/html", GARBAGE.as_bytes().to_vec()),
        ScriptedOutcome::Success | ScriptedOutcome::Fail | ScriptedOutcome::Moderated => {
            match render::check(&order) {
                Ok(()) => {
                    let work = Work::begin(&order, &reference, now_ms);
                    object(200, &json!({ "id": work.id() }))
                }
                Err(error) => complain(422, &error.to_string()),
            }
        }
    })
}

fn status(id: &str, body: Option<&Value>, now_ms: i64) -> Reply {
    let Some(work) = Work::of(id) else {
        return unknown();
    };
    let state = match work.at(now_ms) {
        Standing::Working { poll_ms, progress } => {
            let mut state = json!({ "state": "working", "poll_ms": poll_ms });
            if let Some(progress) = progress {
                state["progress"] = json!(progress);
            }
            state
        }
        Standing::Failed => json!({
            "state": "failed",
            "message": "The work failed, as the sandbox was told.",
        }),
        Standing::Moderated => json!({
            "state": "moderated",
            "message": "The prompt is against the content rules, as the sandbox was told.",
        }),
        Standing::Done if work.modality == Modality::Chat => {
            let Some(order) = order(body) else {
                return complain(422, "an answer in text wants the `order` with the read");
            };
            json!({ "state": "done", "files": 0, "answer": chat::answer(&order) })
        }
        Standing::Done => json!({ "state": "done", "files": work.files }),
    };
    object(200, &state)
}

fn cancel(id: &str, now_ms: i64) -> Reply {
    let Some(work) = Work::of(id) else {
        return unknown();
    };
    match work.at(now_ms) {
        Standing::Working { .. } => object(200, &json!({})),
        Standing::Done | Standing::Failed | Standing::Moderated => {
            complain(409, "the work has ended")
        }
    }
}

/// The segments of a URL's path.
fn path(url: &str) -> Vec<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    rest.split('/').skip(1).collect()
}

fn order(body: Option<&Value>) -> Option<Order> {
    let asked = Asked::deserialize(body?).ok()?;
    Some(asked.order)
}

fn unknown() -> Reply {
    complain(404, "there is no such work")
}

fn complain(status: u16, message: &str) -> Reply {
    object(status, &json!({ "message": message }))
}

fn object(status: u16, body: &Value) -> Reply {
    reply(status, "application/json", body.to_string().into_bytes())
}

fn reply(status: u16, content_type: &str, body: Vec<u8>) -> Reply {
    Reply {
        status,
        headers: vec![("content-type".to_owned(), content_type.to_owned())],
        body,
    }
}
