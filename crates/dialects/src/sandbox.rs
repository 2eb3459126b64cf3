//! The built-in provider's protocol: create a piece of work, ask after it, fetch its files.
//!
//! `POST {base}/work` with `{"reference", "order"}` answers `{"id"}`; `GET {base}/work/{id}` answers
//! `{"state", "poll_ms", "progress"?, "files"?, "answer"?, "message"?}` with the states `working`,
//! `done`, `failed`, `moderated`; `POST {base}/work/{id}/files/{n}` with the order answers the bytes
//! of a file; `DELETE {base}/work/{id}` cancels: 200 while the work goes on, 409 after its end.
//!
//! The provider remembers nothing: an id says when the work began and how it ends, and whatever is
//! made from the order is made when it is asked for. So a status read of chat, whose reply carries
//! the answer, is a `POST` with `{"order"}`; like every read it may be repeated freely.

use domain::order::{Modality, Order};
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
        let request = Request::post(format!("{}/work", cx.base_url), body);
        Ok(Call::creates(without_secret(request)))
    }

    fn resume(
        &self,
        order: &Order,
        cx: &Context<'_>,
        at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault> {
        match at.0.as_str() {
            None => created(order, cx, reply),
            Some(id) => status(order, cx, id, reply),
        }
    }

    fn cancel(&self, _order: &Order, cx: &Context<'_>, at: &Cursor) -> Option<Call> {
        let request = Request {
            method: Method::Delete,
            ..Request::get(work(cx, at.0.as_str()?))
        };
        Some(Call {
            request: without_secret(request),
            at: at.clone(),
            kind: Kind::Reads,
        })
    }
}

fn created(order: &Order, cx: &Context<'_>, reply: &Reply) -> Result<Next, Fault> {
    match reply.status {
        200 => {}
        422 => return Err(complaint(reply, FaultClass::InvalidInput)),
        // There is one sandbox, and no other credential to wait for: a run that tries out what happens
        // is to end.
        429 => return Err(complaint(reply, FaultClass::Unavailable)),
        _ => return Err(nonsense(reply)),
    }
    let created: Created = serde_json::from_slice(&reply.body).map_err(|_| nonsense(reply))?;
    Ok(Next::Wait(Wait {
        ms: 0,
        then: poll(order, cx, &created.id),
        upstream_id: Some(created.id),
        progress: None,
    }))
}

fn status(order: &Order, cx: &Context<'_>, id: &str, reply: &Reply) -> Result<Next, Fault> {
    match reply.status {
        200 => {}
        404 => return Err(complaint(reply, FaultClass::NotFound)),
        _ => return Err(nonsense(reply)),
    }
    let status: Status = serde_json::from_slice(&reply.body).map_err(|_| nonsense(reply))?;
    let complain = |class| {
        let message = status.message.as_deref();
        Err(Fault::new(class, message.unwrap_or("the work failed")))
    };
    match status.state.as_str() {
        "working" => Ok(Next::Wait(Wait {
            ms: status.poll_ms,
            then: poll(order, cx, id),
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

fn poll(order: &Order, cx: &Context<'_>, id: &str) -> Call {
    let url = work(cx, id);
    let request = match order.modality {
        Modality::Chat => Request::post(url, json!({ "order": order })),
        Modality::Image | Modality::Video => Request::get(url),
    };
    Call {
        request: without_secret(request),
        at: Cursor(Value::from(id)),
        kind: Kind::Reads,
    }
}

fn file(order: &Order, cx: &Context<'_>, id: &str, n: u32) -> Request {
    let url = format!("{}/files/{n}", work(cx, id));
    without_secret(Request::post(url, json!({ "order": order })))
}

fn work(cx: &Context<'_>, id: &str) -> String {
    format!("{}/work/{id}", cx.base_url)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NOTHING;

    fn cx() -> Context<'static> {
        Context {
            base_url: "http://sandbox",
            model: "any",
            token: "token-1",
            webhook: None,
            fields: &NOTHING,
        }
    }

    fn order(modality: Modality) -> Order {
        Order {
            model: "any".to_owned(),
            modality,
            prompt: "a lighthouse".to_owned(),
            messages: None,
            params: serde_json::Map::new(),
            scenario: None,
        }
    }

    fn reply(status: u16, body: &Value) -> Reply {
        Reply {
            status,
            headers: vec![("retry-after".to_owned(), "1".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    fn read_of(modality: Modality) -> Call {
        let created = reply(200, &json!({ "id": "w1" }));
        let next = Sandbox.resume(&order(modality), &cx(), &Cursor::default(), &created);
        match next.unwrap() {
            Next::Wait(wait) => wait.then,
            other => panic!("not a wait: {other:?}"),
        }
    }

    #[test]
    fn only_reads_of_chat_carry_the_order() {
        for modality in [Modality::Image, Modality::Video] {
            let call = read_of(modality);
            assert_eq!(call.request.method, Method::Get);
            assert_eq!(call.request.body, None);
        }
        let call = read_of(Modality::Chat);
        assert_eq!(call.request.method, Method::Post);
        assert_eq!(call.request.url, "http://sandbox/work/w1");
        assert_eq!(call.request.auth, Auth::None);
        assert_eq!(call.kind, Kind::Reads);
        let body = call.request.json().unwrap();
        assert_eq!(body["order"]["prompt"], "a lighthouse");
    }

    #[test]
    fn a_cancel_carries_neither_body_nor_secret() {
        let at = Cursor(Value::from("w1"));
        let call = Sandbox.cancel(&order(Modality::Chat), &cx(), &at).unwrap();
        assert_eq!(call.request.method, Method::Delete);
        assert_eq!(call.request.body, None);
        assert_eq!(call.request.auth, Auth::None);
    }

    #[test]
    fn the_files_of_finished_work_are_fetched_with_the_order() {
        let done = reply(200, &json!({ "state": "done", "files": 2 }));
        let at = Cursor(Value::from("w1"));
        let next = Sandbox.resume(&order(Modality::Image), &cx(), &at, &done);
        let Ok(Next::Done(output)) = next else {
            panic!("not done: {next:?}");
        };
        assert_eq!(output.answer, None);
        let [_, Source::Fetch(second)] = output.sources.as_slice() else {
            panic!("not two fetches: {output:?}");
        };
        assert_eq!(second.url, "http://sandbox/work/w1/files/1");
        assert_eq!(second.method, Method::Post);
    }

    #[test]
    fn complaints_keep_their_meaning() {
        let ask = |at: &Cursor, status, body: &Value| {
            let next = Sandbox.resume(&order(Modality::Image), &cx(), at, &reply(status, body));
            next.unwrap_err()
        };
        let (start, running) = (Cursor::default(), Cursor(Value::from("w1")));
        let throttled = ask(&start, 429, &json!({ "message": "slow down" }));
        assert_eq!(throttled.class, FaultClass::Unavailable);
        assert_eq!(throttled.retry_after_ms, Some(1_000));
        let refused = ask(&start, 422, &json!({ "message": "too large" }));
        assert_eq!(
            (refused.class, refused.public.as_str()),
            (FaultClass::InvalidInput, "too large")
        );
        for (at, body) in [(&start, json!("<html>")), (&running, json!({}))] {
            assert_eq!(ask(at, 200, &body).class, FaultClass::Ambiguous);
        }
        let unknown = ask(&running, 404, &json!({}));
        assert_eq!(unknown.class, FaultClass::NotFound);
        let failed = ask(&running, 200, &json!({ "state": "failed" }));
        assert_eq!(failed.class, FaultClass::Failed);
        let moderated = ask(&running, 200, &json!({ "state": "moderated" }));
        assert_eq!(moderated.class, FaultClass::Moderated);
    }
}
