//! What a key's limits leave, as headers: `RateLimit-Policy` says the limits, `RateLimit` what is left
//! of them (draft-ietf-httpapi-ratelimit-headers-09).

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use domain::credits::Credits;
use domain::limits::{Allowance, Exceeded};

use super::error::{ApiError, Kind};

static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Says what the limits leave; nothing for a key without limits.
pub(super) fn tell(headers: &mut HeaderMap, allowances: &[Allowance]) {
    if allowances.is_empty() {
        return;
    }
    let list = |item: &dyn Fn(&Allowance) -> String| {
        let items: Vec<String> = allowances.iter().map(item).collect();
        HeaderValue::from_str(&items.join(", "))
    };
    let policy = list(&|one| {
        let (name, window_s) = (one.span.as_str(), one.span.length_ms() / 1_000);
        format!("\"{name}\";q={};w={window_s}", one.limit)
    });
    let left = list(&|one| {
        let (name, reset_s) = (one.span.as_str(), seconds(one.reset_ms));
        format!("\"{name}\";r={};t={reset_s}", one.left)
    });
    if let (Ok(policy), Ok(left)) = (policy, left) {
        headers.insert(POLICY.clone(), policy);
        headers.insert(LEFT.clone(), left);
    }
}

/// Says when a full window has a place again.
pub(super) fn tell_full(headers: &mut HeaderMap, full: Allowance) {
    tell(headers, &[full]);
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds(full.reset_ms)));
}

/// The refusal of a request that is over a limit of its key.
pub(super) fn refusal(exceeded: Exceeded, hold: Credits) -> ApiError {
    match exceeded {
        Exceeded::Requests(full) => {
            let (limit, name) = (full.limit, full.span.name());
            let message = format!(
                "This key may make {limit} requests in {name}; try again in {} s.",
                seconds(full.reset_ms)
            );
            ApiError::new(Kind::RateLimited, message).with_limit(full)
        }
        Exceeded::Credits {
            limit,
            spent,
            reset_ms,
        } => {
            let left = limit.minus(spent).unwrap_or_default().max(Credits::ZERO);
            let message = format!(
                "This costs up to {hold} credits, but the key's limit of {limit} a day leaves \
                 {left} for the next {} s.",
                seconds(reset_ms)
            );
            ApiError::new(Kind::InsufficientCredits, message)
        }
    }
}

/// Whole seconds, never too early.
fn seconds(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).div_ceil(1_000)
}
