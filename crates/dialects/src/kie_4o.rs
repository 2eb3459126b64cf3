//! KIE's protocol for the pictures of GPT-4o (docs.kie.ai, `/4o-image-api/*`), older than its market.
//! Its pages have spelled the list of links in two ways.

use domain::upstream::Request;
use serde_json::Value;

use crate::kie::{GRACE, HOOK, created, flagged, record};
use crate::queue::{Profile, with_prompt};

/// Pictures of GPT-4o.
pub(crate) const PICTURES: Profile = Profile {
    submit: |order, cx| {
        let url = format!("{}/api/v1/gpt4o-image/generate", cx.base_url);
        let body = Value::Object(with_prompt(order, cx));
        Ok(Request::post(url, body))
    },
    created,
    poll: |cx, ticket| record(cx, "gpt4o-image", ticket),
    state: |reply| flagged(reply, &["resultUrls", "result_urls"]),
    find: None,
    cancel: None,
    result: None,
    hook: Some(HOOK),
    pause_ms: 5_000,
    grace: GRACE,
};
