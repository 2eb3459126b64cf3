//! Video tasks of ModelArk, which ByteDance sells as BytePlus and as Volcengine (docs.byteplus.com,
//! ModelArk, create and retrieve a video generation task).
//!
//! `POST /contents/generations/tasks` with `{"model", "content": [...]}` answers `{"id"}`; `GET` of the
//! same path with the id answers `status` and `content.video_url`. Pictures and videos stand beside the
//! text in `content`, each with a role; a route names them by fields of the same names as the roles.
//! `DELETE` cancels what still waits. Errors are `{"error": {"code", "message"}}`.

use domain::order::Order;
use domain::upstream::{Fault, FaultClass, Method, Reply, Request};
use serde_json::{Map, Value, json};

use crate::Context;
use crate::fault::{fault, nonsense, refusal_class, text_at};
use crate::hook::Hook;
use crate::queue::{Profile, State, Ticket, escaped, made};

/// The protocol.
pub(crate) const ARK: Profile = Profile {
    submit,
    created,
    poll: |cx, ticket| Request::get(task(cx, ticket)),
    state,
    find: None,
    // Work that ended since it was last asked after is deleted by this as well, and was paid.
    cancel: Some(|cx, ticket| Request {
        method: Method::Delete,
        ..Request::get(task(cx, ticket))
    }),
    result: None,
    hook: Some(Hook::field("callback_url", &["/id"])),
    pause_ms: 5_000,
    grace: 0,
};

/// The roles of files, in the order in which they are sent, and the kind of content each is.
const ROLES: [(&str, &str); 4] = [
    ("first_frame", "image_url"),
    ("last_frame", "image_url"),
    ("reference_image", "image_url"),
    ("reference_video", "video_url"),
];

fn task(cx: &Context<'_>, ticket: &Ticket) -> String {
    let (base, id) = (cx.base_url, escaped(&ticket.id));
    format!("{base}/contents/generations/tasks/{id}")
}

fn submit(order: &Order, cx: &Context<'_>) -> Result<Request, Fault> {
    let mut body = cx.fields.clone();
    let mut content = Vec::new();
    if !order.prompt.is_empty() {
        content.push(json!({ "type": "text", "text": plain(&order.prompt) }));
    }
    for (role, kind) in ROLES {
        let files = match body.remove(role) {
            Some(Value::Array(files)) => files,
            Some(file) => vec![file],
            None => Vec::new(),
        };
        content.extend(files.into_iter().map(|file| {
            let url = json!({ "url": file });
            Value::Object(Map::from_iter([
                ("type".to_owned(), json!(kind)),
                (kind.to_owned(), url),
                ("role".to_owned(), json!(role)),
            ]))
        }));
    }
    body.insert("model".to_owned(), json!(cx.model));
    body.insert("content".to_owned(), Value::Array(content));
    let url = format!("{}/contents/generations/tasks", cx.base_url);
    Ok(Request::post(url, Value::Object(body)))
}

/// The prompt without commands: older models read `--dur 12` in it, which nobody would have paid for.
fn plain(prompt: &str) -> String {
    prompt.replace("--", "\u{2014}")
}

fn created(reply: &Reply) -> Result<Ticket, Fault> {
    let body = reply.json();
    if reply.status != 200 {
        return Err(refused(reply, &body));
    }
    let id = text_at(&body, &["/id"]).ok_or_else(|| nonsense(reply))?;
    Ok(Ticket::new(id))
}

fn state(reply: &Reply) -> Result<State, Fault> {
    let body = reply.json();
    match reply.status {
        200 => {}
        404 => return Err(complaint(reply, &body, FaultClass::NotFound)),
        _ => return Err(complaint(reply, &body, FaultClass::Ambiguous)),
    }
    match text_at(&body, &["/status"]) {
        Some("succeeded") => made(reply, text_at(&body, &["/content/video_url"])).map(State::Done),
        Some("failed" | "expired" | "cancelled" | "canceled") => {
            Err(complaint(reply, &body, failure_class(&body)))
        }
        Some(_) => Ok(State::Working(None)),
        None => Err(nonsense(reply)),
    }
}

/// What is said against a creating call.
pub(crate) fn refused(reply: &Reply, body: &Value) -> Fault {
    let class = match code(body) {
        code if is_moderated(code) => FaultClass::Moderated,
        // Too much at once, or more than the servers can take now; each is said in place of beginning.
        code if code.contains("RateLimitExceeded") => FaultClass::Throttled,
        "ServerOverloaded" | "ModelLoadingError" => FaultClass::Throttled,
        // Waiting does not fill an account, though some of these come with 429.
        code if code.starts_with("QuotaExceeded") => FaultClass::Credential,
        "AccountOverdueError" | "SetLimitExceeded" => FaultClass::Credential,
        code if code.starts_with("InvalidEndpoint") => FaultClass::Unavailable,
        "ModelNotOpen" | "UnsupportedModel" => FaultClass::Unavailable,
        _ => refusal_class(reply.status),
    };
    complaint(reply, body, class)
}

/// Why work came to nothing.
pub(crate) fn failure_class(body: &Value) -> FaultClass {
    match code(body) {
        code if is_moderated(code) => FaultClass::Moderated,
        code if code.starts_with("InvalidParameter") => FaultClass::InvalidInput,
        _ => FaultClass::Failed,
    }
}

/// Such as `InputTextSensitiveContentDetected` or `OutputVideoSensitiveContentDetected.PolicyViolation`.
fn is_moderated(code: &str) -> bool {
    code.contains("Sensitive") || code.contains("PolicyViolation")
}

fn code(body: &Value) -> &str {
    text_at(body, &["/error/code"]).unwrap_or_default()
}

/// A fault in the words of an error.
pub(crate) fn complaint(reply: &Reply, body: &Value, class: FaultClass) -> Fault {
    fault(class, reply, text_at(body, &["/error/message"]))
}
