//! Serving result files: public, by unguessable name, with ranges, never as a page.

use std::ops::Range;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use object_store::{GetOptions, GetRange, ObjectStore};

use super::Media;
use crate::clock::Clock;
use crate::store::Store;
use crate::store::files::FileRead;

struct Results {
    store: Store,
    media: Media,
    clock: Clock,
}

/// `GET /results/{unguessable}/{name}`.
pub fn router(store: Store, media: Media, clock: Clock) -> Router {
    let results = Arc::new(Results {
        store,
        media,
        clock,
    });
    Router::new()
        .route("/results/{folder}/{name}", get(result))
        .with_state(results)
}

async fn result(
    State(results): State<Arc<Results>>,
    Path((folder, name)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let path = format!("{folder}/{name}");
    let file = match results.store.any_file(&path, results.clock.now_ms()).await {
        Ok(Some(file)) => file,
        Ok(None) => return plain(StatusCode::NOT_FOUND, "not found"),
        Err(error) => {
            tracing::warn!(%error, "a result could not be looked up");
            return plain(StatusCode::SERVICE_UNAVAILABLE, "try again later");
        }
    };
    let tag = format!("\"{}\"", file.sha256);
    let asks_for = |name: &HeaderName, value: &str| {
        headers
            .get(name)
            .is_some_and(|given| given.as_bytes() == value.as_bytes())
    };
    if asks_for(&IF_NONE_MATCH, &tag) {
        return with_headers(StatusCode::NOT_MODIFIED.into_response(), &file, &tag, &name);
    }
    let total = u64::try_from(file.bytes).unwrap_or(0);
    let is_current = !headers.contains_key(IF_RANGE) || asks_for(&IF_RANGE, &tag);
    let wanted = headers.get(RANGE).filter(|_| is_current);
    let range = match wanted.and_then(|text| asked_range(text, total)) {
        Some(Asked::Beyond) => {
            let mut reply = plain(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "the range is beyond the end",
            );
            set(&mut reply, CONTENT_RANGE, &format!("bytes */{total}"));
            return reply;
        }
        Some(Asked::Part(range)) => Some(range),
        None => None,
    };
    let reply = if method == Method::HEAD {
        Body::empty().into_response()
    } else {
        match body(&results, &path, range.clone()).await {
            Ok(body) => body.into_response(),
            Err(error) => {
                tracing::warn!(%error, path, "a result could not be read");
                return plain(StatusCode::SERVICE_UNAVAILABLE, "try again later");
            }
        }
    };
    let mut reply = with_headers(reply, &file, &tag, &name);
    let length = range
        .as_ref()
        .map_or(total, |range| range.end - range.start);
    set(&mut reply, CONTENT_LENGTH, &length.to_string());
    if let Some(range) = range {
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = range.end.saturating_sub(1);
        set(
            &mut reply,
            CONTENT_RANGE,
            &format!("bytes {}-{last}/{total}", range.start),
        );
    }
    reply
}

async fn body(
    results: &Results,
    path: &str,
    range: Option<Range<u64>>,
) -> Result<Body, object_store::Error> {
    let options = GetOptions {
        range: range.map(GetRange::Bounded),
        ..GetOptions::default()
    };
    let location = object_store::path::Path::from(path);
    let found = results.media.objects.get_opts(&location, options).await?;
    Ok(Body::from_stream(found.into_stream()))
}

enum Asked {
    Part(Range<u64>),
    Beyond,
}

/// One range of bytes (RFC 9110, section 14.1.2). Several ranges, other units and nonsense are
/// answered with the whole file, as the specification allows.
fn asked_range(text: &HeaderValue, total: u64) -> Option<Asked> {
    let spec = text.to_str().ok()?.strip_prefix("bytes=")?;
    let (first, last) = spec.split_once('-')?;
    let range = match (first.trim(), last.trim()) {
        ("", "") => return None,
        ("", suffix) => total.saturating_sub(suffix.parse().ok()?)..total,
        (first, "") => first.parse().ok()?..total,
        (first, last) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(total)
        }
    };
    Some(if range.start >= range.end {
        Asked::Beyond
    } else {
        Asked::Part(range)
    })
}

fn with_headers(mut reply: Response, file: &FileRead, tag: &str, name: &str) -> Response {
    set(&mut reply, CONTENT_TYPE, &file.content_type);
    set(&mut reply, ETAG, tag);
    set(&mut reply, ACCEPT_RANGES, "bytes");
    set(
        &mut reply,
        CACHE_CONTROL,
        "public, max-age=86400, immutable",
    );
    set(&mut reply, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(
        &mut reply,
        CONTENT_SECURITY_POLICY,
        "sandbox; default-src 'none'",
    );
    set(
        &mut reply,
        HeaderName::from_static("cross-origin-resource-policy"),
        "cross-origin",
    );
    let is_shown = ["image/", "video/", "audio/", "text/plain"]
        .iter()
        .any(|start| file.content_type.starts_with(start));
    if !is_shown {
        set(
            &mut reply,
            CONTENT_DISPOSITION,
            &format!("attachment; filename=\"{name}\""),
        );
    }
    reply
}

fn set(reply: &mut Response, name: HeaderName, value: &str) {
    // Every value is ours and ASCII; one that were not is better left out than a crash.
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}
