//! Luma's Agents API (docs.agents.lumalabs.ai; lumalabs/luma-agents-python `types/`), the successor of
//! the Dream Machine.
//!
//! `POST {base}/generations` with `{"type", "model", "prompt", …}` answers a generation with its `id`;
//! `GET {base}/generations/{id}` answers `state` (`queued`, `processing`, `completed`, `failed`),
//! `output[].url` with links that live an hour, or `failure_code` and `failure_reason`. What kind of
//! generation it is (`type`) is a word of the route.

use domain::upstream::{Fault, FaultClass, Reply, Request};
use serde_json::Value;

use crate::fault::{fault, nonsense, text_at};
use crate::luma::{as_links, asked, created, read};
use crate::queue::{Profile, State, made, with_prompt};

/// The protocol.
pub(crate) const AGENTS: Profile = Profile {
    submit: |order, cx| {
        let mut fields = with_prompt(order, cx);
        fields.insert("model".to_owned(), Value::from(cx.model));
        as_links(&mut fields, "image_ref");
        let url = format!("{}/generations", cx.base_url);
        Ok(Request::post(url, Value::Object(fields)))
    },
    created,
    poll: asked,
    state,
    find: None,
    cancel: None,
    result: None,
    hook: None,
    pause_ms: 3_000,
    grace: 2,
};

fn state(reply: &Reply) -> Result<State, Fault> {
    let body = read(reply)?;
    match text_at(&body, &["/state"]) {
        Some("completed") => {
            let files = body.get("output").and_then(Value::as_array);
            let files = files.into_iter().flatten();
            made(reply, files.filter_map(|file| text_at(file, &["/url"]))).map(State::Done)
        }
        Some("failed") => {
            let class = match text_at(&body, &["/failure_code"]) {
                Some("content_moderated") => FaultClass::Moderated,
                Some(
                    "image_too_large" | "unsupported_format" | "corrupt_input" | "invalid_request",
                ) => FaultClass::InvalidInput,
                _ => FaultClass::Failed,
            };
            Err(fault(
                class,
                reply,
                text_at(&body, &["/failure_reason", "/failure_code"]),
            ))
        }
        Some(_) => Ok(State::Working(None)),
        None => Err(nonsense(reply)),
    }
}
