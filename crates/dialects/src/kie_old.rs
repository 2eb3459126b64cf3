//! KIE's protocols for single families, older than its market: Veo (docs.kie.ai, `/veo3-api/*`) and Flux
//! Kontext (`/flux-kontext-api/*`). They say `successFlag` in place of `state`: 0 at work, 1 done, 2 and 3
//! failed.

use domain::upstream::{Fault, FaultClass, Reply, Request};
use serde_json::Value;

use crate::Context;
use crate::fault::fault;
use crate::kie::{Asked, GRACE, created, decoded, escaped, failed, opened, texts};
use crate::queue::{Profile, State, Ticket, links, with_prompt};

/// Veo 3.1.
pub(crate) const VEO: Profile = Profile {
    submit: |order, cx| {
        let mut body = with_prompt(order, cx);
        body.insert("model".to_owned(), Value::from(cx.model));
        let url = format!("{}/api/v1/veo/generate", cx.base_url);
        Ok(Request::post(url, Value::Object(body)))
    },
    created,
    poll: |cx, ticket| record(cx, "veo", ticket),
    state: |reply| {
        flagged(reply, |response| {
            let urls = decoded(response.get("resultUrls"));
            texts(Some(&urls)).into_iter().map(str::to_owned).collect()
        })
    },
    result: None,
    pause_ms: 5_000,
    grace: GRACE,
};

/// Flux Kontext.
pub(crate) const KONTEXT: Profile = Profile {
    submit: |order, cx| {
        let mut body = with_prompt(order, cx);
        body.insert("model".to_owned(), Value::from(cx.model));
        let url = format!("{}/api/v1/flux/kontext/generate", cx.base_url);
        Ok(Request::post(url, Value::Object(body)))
    },
    created,
    poll: |cx, ticket| record(cx, "flux/kontext", ticket),
    state: |reply| {
        flagged(reply, |response| {
            let url = response.get("resultImageUrl");
            texts(url).into_iter().map(str::to_owned).collect()
        })
    },
    result: None,
    pause_ms: 3_000,
    grace: GRACE,
};

fn record(cx: &Context<'_>, family: &str, ticket: &Ticket) -> Request {
    let id = escaped(&ticket.id);
    Request::get(format!(
        "{}/api/v1/{family}/record-info?taskId={id}",
        cx.base_url
    ))
}

/// How work stands by its flag; `made` finds the links in the response.
fn flagged(reply: &Reply, made: fn(&Value) -> Vec<String>) -> Result<State, Fault> {
    let body = opened(reply, Asked::ToRead)?;
    let data = body.get("data").filter(|data| data.is_object());
    let data = data.ok_or_else(|| fault(FaultClass::NotFound, reply, None))?;
    let flag = data.get("successFlag").map(domain::mapping::word);
    match flag.as_deref() {
        Some("1") => {
            let response = data.get("response").unwrap_or(&Value::Null);
            let urls = made(response);
            links(urls.iter().map(String::as_str))
                .map(State::Done)
                .ok_or_else(|| {
                    fault(
                        FaultClass::Failed,
                        reply,
                        Some("a success without a result"),
                    )
                })
        }
        Some("2" | "3") => Err(failed(reply, data)),
        _ => Ok(State::Working(None)),
    }
}
