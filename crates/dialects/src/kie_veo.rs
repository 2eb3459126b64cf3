//! KIE's protocol for Veo (docs.kie.ai, `/veo3-api/*`), older than its market.

use domain::upstream::Request;
use serde_json::Value;

use crate::kie::{GRACE, created, decoded, flagged, record, texts};
use crate::queue::{Profile, with_prompt};

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
