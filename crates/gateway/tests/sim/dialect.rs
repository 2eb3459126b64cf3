//! The protocol that the simulated providers speak: with keys, lookups, cancels and uploads.

use dialects::{Context, Dialect};
use domain::order::{Modality, Order};
use domain::price::Usage;
use domain::upstream::{
    Answer, Call, Cursor, Fault, FaultClass, Kind, Method, Next, Output, Reply, Request, Source,
    Wait,
};
use serde_json::{Value, json};

/// Name of the model at a provider that takes an order as it is.
pub(crate) const PLAIN: &str = "plain";

/// Name of the model at a provider that wants an upload before each run.
pub(crate) const WITH_UPLOAD: &str = "with_upload";

const UPLOAD: &str = "upload";
const FIND: &str = "find";

/// The protocol.
struct Sim;

/// Finds it by its name.
pub(crate) fn dialect(name: &str) -> Option<&'static dyn Dialect> {
    (name == "sim").then_some(&Sim as &dyn Dialect)
}

impl Dialect for Sim {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        if cx.model != WITH_UPLOAD {
            return Ok(create(order, cx));
        }
        Ok(Call {
            request: Request::post(format!("{}/uploads", cx.base_url), json!({})),
            at: Cursor(json!(UPLOAD)),
            kind: Kind::Reads,
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
            Some(UPLOAD) if reply.status == 200 => Ok(Next::Call(create(order, cx))),
            Some(UPLOAD) => Err(nonsense(reply)),
            Some(FIND) if reply.status == 404 => {
                Err(Fault::new(FaultClass::NotFound, "never heard of it"))
            }
            None | Some(FIND) => created(cx, reply),
            Some(id) => status(order, cx, id, reply),
        }
    }

    fn find(&self, _order: &Order, cx: &Context<'_>) -> Option<Call> {
        Some(Call {
            request: Request::get(format!("{}/keys/{}", cx.base_url, cx.token)),
            at: Cursor(json!(FIND)),
            kind: Kind::Reads,
        })
    }

    fn cancel(&self, _order: &Order, cx: &Context<'_>, at: &Cursor) -> Option<Call> {
        let mut call = poll(cx, at.0.as_str()?);
        call.request.method = Method::Delete;
        Some(call)
    }
}

fn create(order: &Order, cx: &Context<'_>) -> Call {
    let body = json!({
        "key": cx.token,
        "prompt": order.prompt,
        "is_chat": order.modality == Modality::Chat,
    });
    Call {
        request: Request::post(format!("{}/runs", cx.base_url), body),
        at: Cursor::default(),
        kind: Kind::Creates,
    }
}

fn poll(cx: &Context<'_>, id: &str) -> Call {
    Call {
        request: Request::get(format!("{}/runs/{id}", cx.base_url)),
        at: Cursor(json!(id)),
        kind: Kind::Reads,
    }
}

fn created(cx: &Context<'_>, reply: &Reply) -> Result<Next, Fault> {
    let class = match reply.status {
        200 => {
            let body = reply.json();
            let id = body["id"].as_str().ok_or_else(|| nonsense(reply))?;
            return Ok(Next::Wait(Wait {
                ms: 1_000,
                then: poll(cx, id),
                upstream_id: Some(id.to_owned()),
                progress: None,
            }));
        }
        422 => FaultClass::InvalidInput,
        403 => FaultClass::Moderated,
        429 => FaultClass::Throttled,
        503 if reply.json()["is_created"] == json!(false) => FaultClass::Unavailable,
        _ => return Err(nonsense(reply)),
    };
    let seconds = reply
        .header("retry-after")
        .and_then(|text| text.parse().ok());
    Err(Fault {
        retry_after_ms: seconds.map(|seconds: u64| seconds * 1_000),
        ..Fault::new(class, "refused")
    })
}

fn status(order: &Order, cx: &Context<'_>, id: &str, reply: &Reply) -> Result<Next, Fault> {
    match reply.status {
        200 => {}
        404 => return Err(Fault::new(FaultClass::NotFound, "never heard of it")),
        _ => return Err(nonsense(reply)),
    }
    let body = reply.json();
    match body["state"].as_str() {
        Some("working") => Ok(Next::Wait(Wait {
            ms: 2_000,
            then: poll(cx, id),
            upstream_id: None,
            progress: body["progress"].as_f64(),
        })),
        Some("failed") => Err(Fault::new(FaultClass::Failed, "it failed")),
        Some("moderated") => Err(Fault::new(FaultClass::Moderated, "it is forbidden")),
        Some("done") => Ok(Next::Done(Output {
            sources: sources(cx, &body["files"]),
            answer: (order.modality == Modality::Chat).then(|| Answer {
                text: format!("an answer to {}", order.prompt),
                finish_reason: "stop".to_owned(),
                usage: Usage {
                    input_tokens: 10,
                    output_tokens: 20,
                },
            }),
        })),
        _ => Err(nonsense(reply)),
    }
}

fn sources(cx: &Context<'_>, files: &Value) -> Vec<Source> {
    let files = files.as_array().into_iter().flatten();
    files
        .filter_map(|file| {
            if let Some(link) = file["link"].as_str() {
                return Some(Source::Link(link.to_owned()));
            }
            if let Some(path) = file["path"].as_str() {
                let url = format!("{}{path}", cx.base_url);
                return Some(Source::Fetch(Request::get(url)));
            }
            file["inline"]
                .as_str()
                .map(|text| Source::Inline(text.to_owned()))
        })
        .collect()
}

fn nonsense(reply: &Reply) -> Fault {
    Fault::new(FaultClass::Ambiguous, "the reply makes no sense")
        .because(format!("status {}", reply.status))
}
