//! KIE's protocol for Veo (docs.kie.ai, `/veo3-api/*`), older than its market.

use crate::kie::{GRACE, HOOK, created, flagged, generate, record};
use crate::queue::Profile;

/// Veo 3.1.
pub(crate) const VEO: Profile = Profile {
    submit: |order, cx| Ok(generate(order, cx, "veo")),
    created,
    poll: |cx, ticket| record(cx, "veo", ticket),
    state: |reply| flagged(reply, &["resultUrls"]),
    find: None,
    cancel: None,
    result: None,
    hook: Some(HOOK),
    pause_ms: 5_000,
    grace: GRACE,
};
