//! Runway's tasks (docs.dev.runwayml.com; runwayml/sdk-python `types/`).
//!
//! `POST /v1/{text_to_video, image_to_video, video_to_video, text_to_image}` answers `{"id"}`;
//! `GET /v1/tasks/{id}` answers `status`, `progress`, `output` (a list of URLs that live a day) or
//! `failure` and `failureCode`; `DELETE /v1/tasks/{id}` cancels. Which of the four it is follows from
//! the fields. Every request carries the date of the protocol in `X-Runway-Version`.

use domain::order::{Modality, Order};
use domain::upstream::{Fault, FaultClass, Method, Output, Reply, Request};
use serde_json::{Map, Value, json};

use crate::Context;
use crate::fault::{fault, is_out_of_funds, nonsense, read_class, refusal_class, text_at};
use crate::queue::{Profile, State, Ticket, escaped, made};

/// The protocol.
pub(crate) const TASKS: Profile = Profile {
    submit,
    created,
    poll: |cx, ticket| dated(Request::get(task(cx, &ticket.id))),
    state,
    find: None,
    cancel: Some(|cx, ticket| {
        dated(Request {
            method: Method::Delete,
            ..Request::get(task(cx, &ticket.id))
        })
    }),
    result: None,
    // More often than every 5 s is not allowed.
    hook: None,
    pause_ms: 5_000,
    grace: 2,
};

/// The date of the protocol.
const VERSION: &str = "2024-11-06";

fn task(cx: &Context<'_>, id: &str) -> String {
    format!("{}/v1/tasks/{}", cx.base_url, escaped(id))
}

fn dated(request: Request) -> Request {
    request.header("x-runway-version", VERSION)
}

fn submit(order: &Order, cx: &Context<'_>) -> Result<Request, Fault> {
    let mut fields = cx.fields.clone();
    fields.insert("model".to_owned(), Value::from(cx.model));
    if !order.prompt.is_empty() {
        fields.insert("promptText".to_owned(), Value::from(order.prompt.as_str()));
    }
    place_pictures(&mut fields);
    let verb = match order.modality {
        Modality::Image => "text_to_image",
        _ if fields.contains_key("videoUri") || fields.contains_key("promptVideo") => {
            "video_to_video"
        }
        _ if fields.contains_key("promptImage") => "image_to_video",
        _ => "text_to_video",
    };
    let url = format!("{}/v1/{verb}", cx.base_url);
    Ok(dated(Request::post(url, Value::Object(fields))))
}

/// Lists of pictures become lists of objects: frames with their place, references without one.
fn place_pictures(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(frames)) = fields.get_mut("promptImage") {
        for (frame, position) in frames.iter_mut().zip(["first", "last"]) {
            *frame = json!({ "uri": frame.take(), "position": position });
        }
    }
    if let Some(Value::Array(references)) = fields.get_mut("referenceImages") {
        for reference in references {
            *reference = json!({ "uri": reference.take() });
        }
    }
}

fn created(reply: &Reply) -> Result<Ticket, Fault> {
    let body = reply.json();
    if !(200..300).contains(&reply.status) {
        let words = text_at(&body, &["/issues/0/message", "/error"]);
        let class = match reply.status {
            // An empty account is told as a wrong request.
            400 if words.is_some_and(is_out_of_funds) => FaultClass::Credential,
            status => refusal_class(status),
        };
        return Err(fault(class, reply, words));
    }
    let id = text_at(&body, &["/id"]).ok_or_else(|| nonsense(reply))?;
    Ok(Ticket::new(id))
}

fn state(reply: &Reply) -> Result<State, Fault> {
    let body = reply.json();
    if reply.status != 200 {
        let words = text_at(&body, &["/error"]);
        return Err(fault(read_class(reply.status), reply, words));
    }
    match text_at(&body, &["/status"]) {
        Some("SUCCEEDED") => links(reply, &body).map(State::Done),
        Some("FAILED") => Err(failed(reply, &body)),
        Some("CANCELLED") => Err(fault(FaultClass::Failed, reply, Some("cancelled"))),
        Some(_) => Ok(State::Working(body.get("progress").and_then(Value::as_f64))),
        None => Err(nonsense(reply)),
    }
}

fn links(reply: &Reply, body: &Value) -> Result<Output, Fault> {
    let links = body.get("output").and_then(Value::as_array);
    made(reply, links.into_iter().flatten().filter_map(Value::as_str))
}

/// A code is a path from the general to the special, so that its beginning decides. It is for the
/// operator: the provider asks not to show it.
fn failed(reply: &Reply, body: &Value) -> Fault {
    let code = text_at(body, &["/failureCode"]).unwrap_or_default();
    let words = text_at(body, &["/failure"]);
    let starts = |beginnings: &[&str]| beginnings.iter().any(|start| code.starts_with(start));
    if starts(&["SAFETY", "INPUT_PREPROCESSING.SAFETY"]) {
        return fault(FaultClass::Moderated, reply, words);
    }
    if starts(&["ASSET"]) {
        return fault(FaultClass::InvalidInput, reply, words);
    }
    let detail = format!("{code}: {}", words.unwrap_or_default());
    fault(FaultClass::Failed, reply, Some(&detail))
}

#[cfg(test)]
mod tests {
    use domain::upstream::Cursor;

    use super::*;
    use crate::queue::Queue;
    use crate::{Dialect, NOTHING};

    #[test]
    fn only_work_that_was_accepted_is_cancelled() {
        let order: Order = serde_json::from_value(json!({
            "model": "catalogue.id", "modality": "video", "prompt": "a fox", "messages": null,
            "params": {},
        }))
        .unwrap();
        let cx = Context {
            base_url: "https://provider.test",
            model: "gen4.5",
            token: "token-1",
            webhook: None,
            fields: &NOTHING,
        };
        let cancel = |at: Value| Queue(&TASKS).cancel(&order, &cx, &Cursor(at));
        assert_eq!(cancel(Value::Null), None);
        let call = cancel(json!({ "id": "t/1" })).unwrap();
        assert_eq!(call.request.url, "https://provider.test/v1/tasks/t%2F1");
    }
}
