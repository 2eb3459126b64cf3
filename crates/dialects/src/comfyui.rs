//! ComfyUI (Comfy-Org/ComfyUI, `server.py` and `comfy_execution/jobs.py`).
//!
//! `POST /prompt` with `{"prompt": graph, "prompt_id"}`: the id is ours, made of the attempt's token, so
//! that work can be found whose reply was lost. `GET /api/jobs/{id}` answers `status` and, of finished
//! work, `outputs` by node; `GET /view` a file of them; `POST /api/jobs/{id}/cancel` stops it.
//!
//! The graph is the catalogue's. A route's field `workflow` holds it as JSON in a text (the API form that
//! ComfyUI exports), `nodes` what the order lays over it. `prompt_into`, `model_into` and `seed_into` are
//! the dotted places where the prompt and the model's name go, and a number of our own where the order
//! names no seed: the same graph again would give the same picture. A place may be a list of them.
//!
//! The server itself asks for no secret; a proxy before it may want a bearer token.
//!
//! A graph that is not taken is 400 with `{"error", "node_errors"}`; nothing was queued.

use domain::order::Order;
use domain::upstream::{
    Call, Cursor, Fault, FaultClass, Kind, Method, Next, Output, Reply, Request, Source, Wait,
};
use serde_json::{Map, Value, json};
use url::form_urlencoded::Serializer;

use crate::fault::{fault, nonsense, refusal_class, text_at};
use crate::queue::escaped;
use crate::{Context, Dialect};

/// The protocol.
pub(crate) struct ComfyUi;

/// Time between two polls, in milliseconds.
const PAUSE_MS: u64 = 1_500;

/// The lists of a node's outputs that hold files.
const LISTS: [&str; 5] = ["images", "video", "videos", "gifs", "audio"];

impl Dialect for ComfyUi {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let graph = graph(order, cx)?;
        let body = json!({ "prompt": graph, "prompt_id": id(cx), "client_id": "routerbase" });
        let request = Request::post(format!("{}/prompt", cx.base_url), body);
        Ok(Call::creates(request))
    }

    fn resume(
        &self,
        _order: &Order,
        cx: &Context<'_>,
        at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault> {
        let body = reply.json();
        let Some(id) = at.0.as_str() else {
            if reply.status != 200 {
                return Err(complaint(reply, &body));
            }
            // The server's word for it is asked after.
            let id = text_at(&body, &["/prompt_id"]).ok_or_else(|| nonsense(reply))?;
            return Ok(wait(cx, id, Some(id.to_owned())));
        };
        match reply.status {
            200 => {}
            // A server that does not know the question knows nothing of the work either way.
            404 if body.is_object() => return Err(fault(FaultClass::NotFound, reply, None)),
            _ => return Err(fault(FaultClass::Ambiguous, reply, None)),
        }
        match text_at(&body, &["/status"]) {
            Some("completed") => finished(cx, reply, &body),
            Some("failed" | "cancelled") => {
                let places = ["/execution_error/exception_message", "/status"];
                Err(fault(FaultClass::Failed, reply, text_at(&body, &places)))
            }
            Some(_) => Ok(wait(cx, id, None)),
            None => Err(nonsense(reply)),
        }
    }

    fn find(&self, _order: &Order, cx: &Context<'_>) -> Option<Call> {
        Some(look(cx, &id(cx)))
    }

    fn cancel(&self, _order: &Order, cx: &Context<'_>, at: &Cursor) -> Option<Call> {
        let id = at.0.as_str()?;
        let url = format!("{}/api/jobs/{}/cancel", cx.base_url, escaped(id));
        let request = Request {
            method: Method::Post,
            ..Request::get(url)
        };
        Some(Call {
            request,
            at: at.clone(),
            kind: Kind::Reads,
        })
    }
}

/// The question how the work of an id stands.
fn look(cx: &Context<'_>, id: &str) -> Call {
    let url = format!("{}/api/jobs/{}", cx.base_url, escaped(id));
    Call {
        request: Request::get(url),
        at: Cursor(Value::from(id)),
        kind: Kind::Reads,
    }
}

fn wait(cx: &Context<'_>, id: &str, upstream_id: Option<String>) -> Next {
    Next::Wait(Wait {
        ms: PAUSE_MS,
        then: look(cx, id),
        upstream_id,
        progress: None,
    })
}

/// The files of finished work: those that were meant to be kept, else the previews.
fn finished(cx: &Context<'_>, reply: &Reply, body: &Value) -> Result<Next, Fault> {
    let nodes = body.get("outputs").and_then(Value::as_object);
    let nodes = nodes.into_iter().flat_map(Map::values);
    let lists = nodes.flat_map(|node| LISTS.iter().filter_map(|name| node.get(name)?.as_array()));
    let (mut kept, mut passing) = (Vec::new(), Vec::new());
    for file in lists.flatten() {
        let Some(name) = text_at(file, &["/filename"]) else {
            continue;
        };
        let folder = text_at(file, &["/type"]).unwrap_or("output");
        let query = Serializer::new(String::new())
            .append_pair("filename", name)
            .append_pair("subfolder", text_at(file, &["/subfolder"]).unwrap_or(""))
            .append_pair("type", folder)
            .finish();
        let request = Request::get(format!("{}/view?{query}", cx.base_url));
        match folder {
            "output" => kept.push(Source::Fetch(request)),
            _ => passing.push(Source::Fetch(request)),
        }
    }
    let sources = if kept.is_empty() { passing } else { kept };
    if sources.is_empty() {
        let words = Some("a success without a file");
        return Err(fault(FaultClass::Failed, reply, words));
    }
    Ok(Next::Done(Output {
        sources,
        answer: None,
    }))
}

/// The workflow with everything in its place.
fn graph(order: &Order, cx: &Context<'_>) -> Result<Value, Fault> {
    let text = |name: &str| cx.fields.get(name)?.as_str();
    let graph = text("workflow").and_then(|text| serde_json::from_str(text).ok());
    let Some(mut graph @ Value::Object(_)) = graph else {
        let fault = Fault::new(FaultClass::Unavailable, "the provider is not available");
        return Err(fault.because("the route's workflow is no JSON object"));
    };
    let [_, seed] = numbers(cx.token);
    put_into(&mut graph, cx.fields.get("seed_into"), &json!(seed));
    put_into(
        &mut graph,
        cx.fields.get("prompt_into"),
        &json!(order.prompt),
    );
    put_into(&mut graph, cx.fields.get("model_into"), &json!(cx.model));
    lay(&mut graph, cx.fields.get("nodes").unwrap_or(&Value::Null));
    Ok(graph)
}

/// Puts a value into the places that exist already: a workflow says what its nodes take.
fn put_into(graph: &mut Value, places: Option<&Value>, value: &Value) {
    let list = places.and_then(Value::as_array).map(Vec::as_slice);
    let places = list.unwrap_or_else(|| places.map_or(&[], std::slice::from_ref));
    for place in places.iter().filter_map(Value::as_str) {
        let pointer = format!("/{}", place.replace('.', "/"));
        if let Some(found) = graph.pointer_mut(&pointer) {
            found.clone_from(value);
        }
    }
}

/// Lays the values of one document over those of another.
fn lay(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, over) in over {
                lay(under.entry(name).or_insert(Value::Null), over);
            }
        }
        (_, Value::Null) => {}
        (under, over) => under.clone_from(over),
    }
}

/// The work's id, of the form that ComfyUI asks for: a UUID in lower case.
fn id(cx: &Context<'_>) -> String {
    let [high, low] = numbers(cx.token).map(u128::from);
    let [mid, last] = numbers(&format!("{} {low}", cx.token)).map(u128::from);
    let all = (high << 96) | (low << 64) | (mid << 32) | last;
    // The bits of a random UUID (RFC 9562, section 5.4).
    let all = (all & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
    let hex = format!("{all:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex.get(part).unwrap_or_default());
    parts.join("-")
}

/// Two numbers out of a token (FNV-1a, 64 bits). Tokens are long and random already; this only brings
/// them into a form.
fn numbers(token: &str) -> [u32; 2] {
    let mixed = token.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let half = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or_default();
    [half(mixed >> 32), half(mixed)]
}

/// A graph that names what the server has not got is no fault of the user's, and what the server has is
/// not the user's to read.
fn complaint(reply: &Reply, body: &Value) -> Fault {
    let nodes = body.get("node_errors").and_then(Value::as_object);
    let errors = nodes.into_iter().flat_map(Map::values);
    let errors = errors.filter_map(|node| node.get("errors")?.as_array());
    let mut kinds = errors
        .flatten()
        .filter_map(|error| text_at(error, &["/type"]));
    let is_missing = kinds.any(|kind| kind == "value_not_in_list")
        || matches!(
            text_at(body, &["/error/type"]),
            Some("missing_node_type" | "invalid_prompt" | "prompt_no_outputs")
        );
    let class = match reply.status {
        400 if is_missing => FaultClass::Unavailable,
        status => refusal_class(status),
    };
    fault(class, reply, text_at(body, &["/error/message", "/error"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NOTHING;

    fn order() -> Order {
        serde_json::from_value(
            json!({ "model": "m", "modality": "image", "prompt": "a fox", "params": {} }),
        )
        .unwrap()
    }

    #[test]
    fn work_is_found_and_stopped_by_the_id_it_was_given() {
        let workflow = r#"{ "1": { "inputs": { "seed": 0, "text": "" } } }"#;
        let mut fields = Map::new();
        fields.insert("workflow".to_owned(), Value::from(workflow));
        fields.insert("prompt_into".to_owned(), Value::from("1.inputs.text"));
        fields.insert(
            "seed_into".to_owned(),
            json!(["1.inputs.seed", "2.inputs.seed"]),
        );
        let cx = |token| Context {
            base_url: "http://comfy.test",
            model: "m",
            token,
            webhook: None,
            fields: &fields,
        };
        let body = |token| ComfyUi.start(&order(), &cx(token)).unwrap();
        let (one, other) = (body("token-1"), body("token-2"));
        let (one, other) = (one.request.json().unwrap(), other.request.json().unwrap());
        let id = one["prompt_id"].as_str().unwrap();
        assert_ne!(one["prompt_id"], other["prompt_id"]);
        assert_ne!(one["prompt"]["1"]["inputs"]["seed"], json!(0));
        assert_ne!(one["prompt"], other["prompt"], "the same picture twice");
        assert_eq!(one["prompt"]["2"], Value::Null, "a place that is not there");
        let later = Context {
            fields: &NOTHING,
            ..cx("token-1")
        };
        let find = ComfyUi.find(&order(), &later).unwrap();
        assert!(find.request.url.ends_with(&format!("/api/jobs/{id}")));
        let cancel = ComfyUi.cancel(&order(), &later, &find.at).unwrap();
        assert!(cancel.request.url.ends_with(&format!("/{id}/cancel")));
        assert_eq!(ComfyUi.cancel(&order(), &later, &Cursor::default()), None);
    }
}
