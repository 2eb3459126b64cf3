//! What the edge itself answers, in the shape of every error of the API.

use axum::body::Body;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::framing::{HEAD_BYTES_MAX, Violation};
use crate::entropy::Entropy;

/// Status, kind and words of a refusal; `None` for what gets no reply.
fn words(violation: Violation) -> Option<(StatusCode, &'static str, String)> {
    let bad = |message: &str| {
        let message = message.to_owned();
        Some((StatusCode::BAD_REQUEST, "bad_request", message))
    };
    let slow = |message: &str| {
        let message = message.to_owned();
        Some((StatusCode::REQUEST_TIMEOUT, "timeout", message))
    };
    match violation {
        Violation::Head => bad("the head of the request is malformed"),
        Violation::Host => bad("a request has exactly one Host header"),
        Violation::Length => bad(
            "a request has one Content-Length in digits, or Transfer-Encoding: chunked, not both",
        ),
        Violation::Coding => bad("the only Transfer-Encoding is chunked, once, in HTTP/1.1"),
        Violation::Chunks => bad("the chunks of the body are malformed"),
        Violation::HeadTooLarge => Some((
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "too_large",
            format!("the head of a request has at most {HEAD_BYTES_MAX} bytes and 100 fields"),
        )),
        Violation::SlowHead => slow("the head of the request did not come in time"),
        Violation::SlowBody => slow("the body of the request stopped coming"),
        Violation::Silent => None,
    }
}

/// The reply to a request under way; `None` where there is none.
pub(super) fn response(violation: Violation, entropy: &Entropy) -> Option<Response<Body>> {
    let (status, kind, message) = words(violation)?;
    let id = format!("req_{}", hex::encode(entropy.bytes::<10>()));
    let body = json!({
        "code": status.as_u16(),
        "message": message,
        "msg": message,
        "type": kind,
        "retryable": status == StatusCode::REQUEST_TIMEOUT,
        "request_id": id,
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert("x-request-id", id);
    }
    Some(response)
}

/// The same as bytes for a bare socket.
pub(super) async fn bytes(violation: Violation, entropy: &Entropy) -> Option<Vec<u8>> {
    let (head, body) = response(violation, entropy)?.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.ok()?;
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(&body);
    Some(bytes)
}
