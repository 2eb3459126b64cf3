//! KIE's protocol for Flux Kontext (docs.kie.ai, `/flux-kontext-api/*`), older than its market.

use crate::kie::{GRACE, HOOK, created, flagged, generate, record};
use crate::queue::Profile;

/// Flux Kontext.
pub(crate) const KONTEXT: Profile = Profile {
    submit: |order, cx| Ok(generate(order, cx, "flux/kontext")),
    created,
    poll: |cx, ticket| record(cx, "flux/kontext", ticket),
    state: |reply| flagged(reply, &["resultImageUrl"]),
    find: None,
    cancel: None,
    result: None,
    hook: Some(HOOK),
    pause_ms: 3_000,
    grace: GRACE,
};
