//! Videos of MiniMax (platform.minimax.io, video generation of the first version).
//!
//! `POST /v1/video_generation` answers `{"task_id"}`; `GET /v1/query/video_generation?task_id=` answers
//! `status` and at last a `file_id`, which `GET /v1/files/retrieve` turns into a link. Errors come as HTTP
//! 200 with another code than 0 in `base_resp`, so that is read before anything else.

use domain::mapping::word;
use domain::order::Order;
use domain::upstream::{Fault, FaultClass, Output, Reply, Request};
use serde_json::Value;

use crate::Context;
use crate::fault::{fault, nonsense, refusal_class, text_at};
use crate::hook::Hook;
use crate::queue::{Profile, ResultStep, State, Ticket, escaped, made, with_prompt};

/// The protocol.
pub(crate) const MINIMAX: Profile = Profile {
    submit: |order, cx| Ok(post(order, cx, "video_generation")),
    created,
    poll: |cx, ticket| {
        let (base, id) = (cx.base_url, escaped(&ticket.id));
        Request::get(format!("{base}/v1/query/video_generation?task_id={id}"))
    },
    state,
    find: None,
    cancel: None,
    result: Some(ResultStep {
        request: |cx, ticket| {
            let (base, id) = (cx.base_url, escaped(&ticket.result_id));
            Request::get(format!("{base}/v1/files/retrieve?file_id={id}"))
        },
        read: file,
    }),
    hook: Some(Hook {
        challenge: Some("challenge"),
        ..Hook::field("callback_url", &["/task_id"])
    }),
    pause_ms: 10_000,
    grace: 0,
};

/// A creating request.
pub(crate) fn post(order: &Order, cx: &Context<'_>, path: &str) -> Request {
    let mut body = with_prompt(order, cx);
    body.insert("model".to_owned(), Value::from(cx.model));
    Request::post(format!("{}/v1/{path}", cx.base_url), Value::Object(body))
}

fn created(reply: &Reply) -> Result<Ticket, Fault> {
    let body = opened(reply)?;
    Ok(Ticket::new(id(&body, "task_id").unwrap_or_default()))
}

fn state(reply: &Reply) -> Result<State, Fault> {
    let body = reply.json();
    let status = text_at(&body, &["/status"]);
    if status == Some("Fail") {
        let class = match code(&body) {
            Some(1026 | 1027) => FaultClass::Moderated,
            _ => FaultClass::Failed,
        };
        return Err(complaint(reply, &body, class));
    }
    let body = read(reply)?;
    match status {
        Some("Success") => {
            let file = id(&body, "file_id");
            let file = file.ok_or_else(|| fault(FaultClass::Failed, reply, Some("no file")))?;
            Ok(State::ReadyAs(file))
        }
        Some(_) => Ok(State::Working(None)),
        None => Err(nonsense(reply)),
    }
}

fn file(reply: &Reply) -> Result<Output, Fault> {
    let body = read(reply)?;
    let link = text_at(&body, &["/file/download_url"]);
    made(reply, [link.ok_or_else(|| nonsense(reply))?])
}

/// The body of a reply to a read whose code says that all is well.
fn read(reply: &Reply) -> Result<Value, Fault> {
    let body = reply.json();
    match (reply.status, code(&body)) {
        (200, Some(0)) => Ok(body),
        (404, _) => Err(complaint(reply, &body, FaultClass::NotFound)),
        _ => Err(complaint(reply, &body, FaultClass::Ambiguous)),
    }
}

/// The body of a reply to a creating call whose code says that all is well.
pub(crate) fn opened(reply: &Reply) -> Result<Value, Fault> {
    let body = reply.json();
    let class = match code(&body) {
        Some(0) if reply.status == 200 => return Ok(body),
        Some(1002 | 1041) => FaultClass::Throttled,
        // Keys, and accounts or plans without funds.
        Some(1004 | 1008 | 2049 | 2056) => FaultClass::Credential,
        Some(1026 | 1027) => FaultClass::Moderated,
        Some(1039 | 1042 | 2013) => FaultClass::InvalidInput,
        // 1000, 1001, 1024 and 1033 are failures of the servers, which may have begun.
        Some(_) => FaultClass::Ambiguous,
        None => refusal_class(reply.status),
    };
    Err(complaint(reply, &body, class))
}

fn complaint(reply: &Reply, body: &Value, class: FaultClass) -> Fault {
    let words = text_at(body, &["/base_resp/status_msg", "/error/message"]);
    fault(class, reply, words)
}

fn code(body: &Value) -> Option<i64> {
    body.pointer("/base_resp/status_code")?.as_i64()
}

/// An id, which is a text or a number.
fn id(body: &Value, name: &str) -> Option<String> {
    let id = body.get(name).filter(|id| id.is_string() || id.is_u64())?;
    Some(word(id)).filter(|id| !id.is_empty())
}
