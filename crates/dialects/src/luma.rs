//! Luma's Dream Machine (docs.lumalabs.ai; lumalabs/lumaai-python `types/generations/`).
//!
//! `POST {base}/generations/video`, `/generations/video/modify` for a film to change, and
//! `/generations/image` answer a generation with its `id`; `GET {base}/generations/{id}` answers
//! `state` (`queued`, `dreaming`, `completed`, `failed`), `assets.video` or `assets.image`, and
//! `failure_reason`. Problems are `{"detail"}`.

use domain::order::{Modality, Order};
use domain::upstream::{Fault, FaultClass, Reply, Request};
use serde_json::{Map, Value, json};

use crate::Context;
use crate::fault::{
    fault, is_moderation, is_out_of_funds, nonsense, read_class, refusal_class, text_at,
};
use crate::hook::Hook;
use crate::queue::{Profile, State, Ticket, escaped, made, with_prompt};

/// The protocol.
pub(crate) const LUMA: Profile = Profile {
    submit,
    created,
    poll: asked,
    state,
    find: None,
    cancel: None,
    result: None,
    hook: Some(Hook::field("callback_url", &["/id"])),
    pause_ms: 3_000,
    grace: 2,
};

fn submit(order: &Order, cx: &Context<'_>) -> Result<Request, Fault> {
    let mut fields = with_prompt(order, cx);
    fields.insert("model".to_owned(), Value::from(cx.model));
    as_links(&mut fields, "image_ref");
    let place = match order.modality {
        Modality::Image => "image",
        _ if fields.contains_key("media") => "video/modify",
        _ => "video",
    };
    let url = format!("{}/generations/{place}", cx.base_url);
    Ok(Request::post(url, Value::Object(fields)))
}

/// A list of links becomes a list of objects.
pub(crate) fn as_links(fields: &mut Map<String, Value>, name: &str) {
    if let Some(Value::Array(pictures)) = fields.get_mut(name) {
        for picture in pictures {
            *picture = json!({ "url": picture.take() });
        }
    }
}

/// The read of a generation.
pub(crate) fn asked(cx: &Context<'_>, ticket: &Ticket) -> Request {
    let (base, id) = (cx.base_url, escaped(&ticket.id));
    Request::get(format!("{base}/generations/{id}"))
}

/// The id of a generation just made.
pub(crate) fn created(reply: &Reply) -> Result<Ticket, Fault> {
    let body = reply.json();
    if !(200..300).contains(&reply.status) {
        let words = words(&body);
        let class = match reply.status {
            400 | 422 if words.is_some_and(is_moderation) => FaultClass::Moderated,
            400 if words.is_some_and(is_out_of_funds) => FaultClass::Credential,
            status => refusal_class(status),
        };
        return Err(fault(class, reply, words));
    }
    let id = text_at(&body, &["/id"]).ok_or_else(|| nonsense(reply))?;
    Ok(Ticket::new(id))
}

/// The generation of a reply to a read.
pub(crate) fn read(reply: &Reply) -> Result<Value, Fault> {
    let body = reply.json();
    match reply.status {
        200 => Ok(body),
        status => Err(fault(read_class(status), reply, words(&body))),
    }
}

fn state(reply: &Reply) -> Result<State, Fault> {
    let body = read(reply)?;
    match text_at(&body, &["/state"]) {
        Some("completed") => {
            let link = text_at(&body, &["/assets/video", "/assets/image"]);
            made(reply, link).map(State::Done)
        }
        Some("failed") => {
            let words = text_at(&body, &["/failure_reason"]);
            let class = match words.is_some_and(is_moderation) {
                true => FaultClass::Moderated,
                false => FaultClass::Failed,
            };
            Err(fault(class, reply, words))
        }
        Some(_) => Ok(State::Working(None)),
        None => Err(nonsense(reply)),
    }
}

fn words(body: &Value) -> Option<&str> {
    text_at(body, &["/detail/0/msg", "/detail", "/message"])
}
