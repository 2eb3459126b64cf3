//! Replies that a client may already have.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::{ApiError, json_text};

/// What `If-None-Match` says.
pub(super) struct KnownTags(Vec<HeaderValue>);

impl<S: Send + Sync> FromRequestParts<S> for KnownTags {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let lines = parts.headers.get_all(IF_NONE_MATCH).iter();
        Ok(Self(lines.cloned().collect()))
    }
}

/// The reply, or 304 when the client names its tag. Nothing is written out for a 304.
pub(super) fn tagged<T: Serialize>(
    known: &KnownTags,
    tag: &str,
    reply: impl FnOnce() -> T,
) -> Result<Response, ApiError> {
    let mut response = if is_known(known, tag) {
        let mut unchanged = Response::new(Body::empty());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        let text = serde_json::to_string(&reply());
        json_text(text.map_err(|error| ApiError::internal(error.to_string()))?)
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Whether `If-None-Match` names the tag; a weak comparison (RFC 9110, section 13.1.2).
fn is_known(known: &KnownTags, tag: &str) -> bool {
    let mut tags = known
        .0
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
