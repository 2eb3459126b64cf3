//! KIE's protocols for Runway and its Aleph (docs.kie.ai, `/runway-api/*`), older than its market.
//!
//! A route's `model` is the family, `runway` or `aleph`; neither takes the name of a model. Runway says
//! how work stands by `state`, Aleph by `successFlag`, which stays 0 when the work has failed.

use domain::upstream::{Fault, Reply, Request};
use serde_json::Value;

use crate::fault::text_at;
use crate::kie::{GRACE, HOOK, created, failed, flagged, record, work};
use crate::queue::{Profile, State, escaped, made, with_prompt};

/// Runway and Aleph.
pub(crate) const RUNWAY: Profile = Profile {
    submit: |order, cx| {
        let url = format!("{}/api/v1/{}/generate", cx.base_url, cx.model);
        let body = Value::Object(with_prompt(order, cx));
        Ok(Request::post(url, body))
    },
    created,
    poll: |cx, ticket| {
        if cx.model == "aleph" {
            return record(cx, "aleph", ticket);
        }
        let (base, id) = (cx.base_url, escaped(&ticket.id));
        Request::get(format!("{base}/api/v1/runway/record-detail?taskId={id}"))
    },
    state,
    find: None,
    cancel: None,
    result: None,
    hook: Some(HOOK),
    pause_ms: 5_000,
    grace: GRACE,
};

fn state(reply: &Reply) -> Result<State, Fault> {
    let work = work(reply)?;
    match text_at(&work, &["/state"]) {
        Some("success") => {
            let link = text_at(&work, &["/videoInfo/videoUrl"]);
            made(reply, link).map(State::Done)
        }
        Some("fail") => Err(failed(reply, &work)),
        Some(_) => Ok(State::Working(None)),
        None => match flagged(reply, &["resultVideoUrl"])? {
            State::Working(_) if text_at(&work, &["/errorMessage"]).is_some() => {
                Err(failed(reply, &work))
            }
            state => Ok(state),
        },
    }
}
