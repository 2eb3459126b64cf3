//! The built-in provider's protocol: create a piece of work, ask after it, fetch its files.
//!
//! `POST {base}/work` with `{"reference", "order"}` answers `{"id"}`; `GET {base}/work/{id}` answers
//! `{"state", "poll_ms", "progress"?, "files"?, "answer"?, "message"?}` with the states `working`,
//! `done`, `failed`, `moderated`; `POST {base}/work/{id}/files/{n}` with the order answers the bytes
//! of a file; `DELETE {base}/work/{id}` cancels.

use domain::order::Order;
use domain::upstream::{
    Answer, Auth, Call, Cursor, Fault, FaultClass, Kind, Method, Next, Output, Reply, Request,
    Source, Wait,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Context, Dialect};

/// The protocol.
pub(crate) struct Sandbox;

/// The reply to the creating call.
#[derive(Deserialize)]
struct Created {
    id: String,
}

/// The reply to a status read.
#[derive(Deserialize)]
struct Status {
    state: String,
    #[serde(default)]
    poll_ms: u64,
    progress: Option<f64>,
    #[serde(default)]
    files: u32,
    answer: Option<Answer>,
    message: Option<String>,
}

impl Dialect for Sandbox {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let body = json!({ "reference": cx.token, "order": order });
        Ok(Call {
            request: without_secret(Request::post(format!("{}/work", cx.base_url), body)),
            at: Cursor::default(),
            kind: Kind::Creates,
        })
    }

    fn resume(
        &self,
        order: &Order,
        cx: &Context<'_>,
        at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault> {
        match at.0.as_str() {
            None => created(cx, reply),
            Some(id) => status(order, cx, id, reply),
        }
    }

    fn cancel(&self, _order: &Order, cx: &Context<'_>, at: &Cursor) -> Option<Call> {
        let request = Request {
            method: Method::Delete,
            ..poll(cx, at.0.as_str()?).request
        };
        Some(Call {
            request,
            at: at.clone(),
            kind: Kind::Reads,
        })
    }
}

fn created(cx: &Context<'_>, reply: &Reply) -> Result<Next, Fault> {
    match reply.status {
        200 => {}
        422 => return Err(complaint(reply, FaultClass::InvalidInput)),
        429 => return Err(complaint(reply, FaultClass::Throttled)),
        _ => return Err(nonsense(reply)),
    }
    let created: Created = serde_json::from_slice(&reply.body).map_err(|_| nonsense(reply))?;
    Ok(Next::Wait(Wait {
        ms: 0,
        then: poll(cx, &created.id),
        upstream_id: Some(created.id),
        progress: None,
    }))
}

fn status(order: &Order, cx: &Context<'_>, id: &str, reply: &Reply) -> Result<Next, Fault> {
    if reply.status != 200 {
        return Err(nonsense(reply));
    }
    let status: Status = serde_json::from_slice(&reply.body).map_err(|_| nonsense(reply))?;
    let complain = |class| {
        let message = status.message.as_deref();
        Err(Fault::new(class, message.unwrap_or("the work failed")))
    };
    match status.state.as_str() {
        "working" => Ok(Next::Wait(Wait {
            ms: status.poll_ms,
            then: poll(cx, id),
            upstream_id: None,
            progress: status.progress,
        })),
        "done" => Ok(Next::Done(Output {
            sources: (0..status.files)
                .map(|n| Source::Fetch(file(order, cx, id, n)))
                .collect(),
            answer: status.answer,
        })),
        "moderated" => complain(FaultClass::Moderated),
        "failed" => complain(FaultClass::Failed),
        _ => Err(nonsense(reply)),
    }
}

fn poll(cx: &Context<'_>, id: &str) -> Call {
    Call {
        request: without_secret(Request::get(format!("{}/work/{id}", cx.base_url))),
        at: Cursor(Value::from(id)),
        kind: Kind::Reads,
    }
}

fn file(order: &Order, cx: &Context<'_>, id: &str, n: u32) -> Request {
    let url = format!("{}/work/{id}/files/{n}", cx.base_url);
    without_secret(Request::post(url, json!({ "order": order })))
}

fn without_secret(request: Request) -> Request {
    Request {
        auth: Auth::None,
        ..request
    }
}

fn complaint(reply: &Reply, class: FaultClass) -> Fault {
    let message = reply.json();
    let message = message.get("message").and_then(Value::as_str);
    let fault = Fault::new(class, message.unwrap_or("the request was refused"));
    let seconds = reply
        .header("retry-after")
        .and_then(|text| text.parse().ok());
    Fault {
        retry_after_ms: seconds.and_then(|seconds: u64| seconds.checked_mul(1_000)),
        ..fault
    }
}

fn nonsense(reply: &Reply) -> Fault {
    Fault::new(FaultClass::Ambiguous, "the provider's reply makes no sense")
        .because(format!("status {} from the sandbox", reply.status))
}
