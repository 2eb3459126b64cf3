//! KIE's protocol for Flux Kontext (docs.kie.ai, `/flux-kontext-api/*`), older than its market.

use domain::upstream::Request;
use serde_json::Value;

use crate::kie::{GRACE, created, flagged, record, texts};
use crate::queue::{Profile, with_prompt};

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
