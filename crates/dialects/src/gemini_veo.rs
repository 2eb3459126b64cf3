//! Films of Google's Gemini API (ai.google.dev/gemini-api/docs/video).
//!
//! `POST {base}/models/{model}:predictLongRunning` with `{"instances", "parameters"}` answers the name of
//! an operation; `GET {base}/{name}` says `done`. Pictures travel as bytes: the fields `image`, `lastFrame`
//! and `referenceImages` of a route hold `data:` URLs. A film is behind a link that wants the key.
//!
//! `"webhookConfig": {"uris"}` beside them has Google tell of this one work, in place of what is registered
//! for the whole account (python-genai `types.py`, ai.google.dev/gemini-api/docs/webhooks). Whether all
//! models take it is not documented, so a refusal of the field itself is not held against the order. Nor is
//! it documented that `data.id` of `video.generated` is the operation's name: another id is a nudge only.

use domain::upstream::{Fault, FaultClass, Output, Reply, Request, Source};
use domain::webhook::Scheme;
use serde_json::{Map, Value, json};

use crate::conversation::bytes_of;
use crate::fault::{fault, nonsense, text_at};
use crate::gemini::{KEY, refusal};
use crate::hook::{Hook, Place};
use crate::queue::{Profile, State, Ticket, escaped, with_prompt};

/// The protocol.
pub(crate) const VEO: Profile = Profile {
    submit: |order, cx| {
        let mut instance = with_prompt(order, cx);
        let parameters = instance.remove("parameters").unwrap_or_else(|| json!({}));
        write_pictures(&mut instance);
        let body = json!({ "instances": [instance], "parameters": parameters });
        let url = format!("{}/models/{}:predictLongRunning", cx.base_url, cx.model);
        Ok(Request::post(url, body).auth(KEY))
    },
    created,
    poll: |cx, ticket| {
        let parts: Vec<String> = ticket.id.split('/').map(escaped).collect();
        Request::get(format!("{}/{}", cx.base_url, parts.join("/"))).auth(KEY)
    },
    state,
    find: None,
    cancel: None,
    result: None,
    hook: Some(Hook {
        place: Place::List("webhookConfig", "uris"),
        form: Some("models/*/operations/*"),
        ..Hook::field("", &["/data/id"]).signed(Scheme::Gemini)
    }),
    pause_ms: 10_000,
    grace: 0,
};

/// Where Google says what is wrong.
const WORDS: &str = "/error/message";

/// Writes pictures the way the API wants them.
fn write_pictures(instance: &mut Map<String, Value>) {
    let written = |url: &Value| {
        let bytes = bytes_of(url.as_str()?)?;
        Some(json!({ "bytesBase64Encoded": bytes.base64, "mimeType": bytes.mime }))
    };
    for name in ["image", "lastFrame"] {
        if let Some(image) = instance.get(name).and_then(written) {
            instance.insert(name.to_owned(), image);
        }
    }
    let references = instance.get("referenceImages").and_then(Value::as_array);
    if let Some(references) = references {
        let images = references.iter().filter_map(written);
        let images = images.map(|image| json!({ "image": image, "referenceType": "asset" }));
        let images = images.collect();
        instance.insert("referenceImages".to_owned(), Value::Array(images));
    }
}

fn created(reply: &Reply) -> Result<Ticket, Fault> {
    let body = reply.json();
    if reply.status != 200 {
        let refused = refusal(reply, &body);
        return Err(match refused.class {
            FaultClass::InvalidInput if is_about_webhooks(&body) => {
                fault(FaultClass::Unavailable, reply, text_at(&body, &[WORDS]))
            }
            _ => refused,
        });
    }
    let name = text_at(&body, &["/name"]).ok_or_else(|| nonsense(reply))?;
    Ok(Ticket::new(name))
}

/// Whether an error is about the field that we added to the order: another provider does without it.
fn is_about_webhooks(body: &Value) -> bool {
    let words = text_at(body, &[WORDS]).unwrap_or_default();
    ["webhookConfig", "webhook_config"]
        .iter()
        .any(|name| words.contains(name))
}

fn state(reply: &Reply) -> Result<State, Fault> {
    let body = reply.json();
    let words = text_at(&body, &[WORDS]);
    match reply.status {
        200 => {}
        404 => return Err(fault(FaultClass::NotFound, reply, words)),
        _ => return Err(fault(FaultClass::Ambiguous, reply, words)),
    }
    if body.get("done").and_then(Value::as_bool) != Some(true) {
        return Ok(State::Working(None));
    }
    if body.get("error").is_some_and(|error| !error.is_null()) {
        return Err(fault(class_of(words.unwrap_or_default()), reply, words));
    }
    let made = body
        .pointer("/response/generateVideoResponse")
        .unwrap_or(&Value::Null);
    let samples = made.get("generatedSamples").and_then(Value::as_array);
    let sources: Vec<Source> = samples.into_iter().flatten().filter_map(film).collect();
    if !sources.is_empty() {
        return Ok(State::Done(Output {
            sources,
            answer: None,
        }));
    }
    let filtered = made.get("raiMediaFilteredCount").and_then(Value::as_u64);
    let class = match filtered {
        Some(1..) => FaultClass::Moderated,
        _ => FaultClass::Failed,
    };
    Err(fault(
        class,
        reply,
        text_at(made, &["/raiMediaFilteredReasons/0"]),
    ))
}

fn film(sample: &Value) -> Option<Source> {
    let link = text_at(sample, &["/video/uri"]);
    let link = link.map(|link| Source::Fetch(Request::get(link).auth(KEY)));
    let bytes = || text_at(sample, &["/video/encodedVideo"]);
    link.or_else(|| Some(Source::Inline(bytes()?.to_owned())))
}

/// What the error of an operation means; its code tells the content rules apart from nothing else.
fn class_of(words: &str) -> FaultClass {
    let words = words.to_lowercase();
    let signs = [
        "responsible ai",
        "usage guidelines",
        "safety",
        "sensitive",
        "violat",
    ];
    match signs.iter().any(|sign| words.contains(sign)) {
        true => FaultClass::Moderated,
        false => FaultClass::Failed,
    }
}
