//! Serving files, results and uploads: public, by unguessable name, with ranges, never as a page.
//!
//! Invariant: a path is looked up among the stored files before anything is read, so that no request
//! reaches another object of the store, or another file of the machine.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use object_store::{GetOptions, GetRange, ObjectStore};
use serde_json::json;

use super::Media;
use super::range::{Asked, asked_range};
use super::uploads::is_upload;
use crate::clock::Clock;
use crate::store::Store;
use crate::store::files::FileRead;

struct Results {
    store: Store,
    media: Media,
    clock: Clock,
}

/// `GET /results/{unguessable}/{name}`, and the same below `/files` for what clients uploaded.
pub fn router(store: Store, media: Media, clock: Clock) -> Router {
    let results = Arc::new(Results {
        store,
        media,
        clock,
    });
    Router::new()
        .route("/results/{*path}", get(result))
        .route("/files/{*path}", get(upload))
        .with_state(results)
}

/// Longest time a file may be kept by caches, in seconds.
const CACHED_S_MAX: i64 = 86_400;

/// Why there is no file in the reply.
enum Refused {
    /// There is none, or it is past its time.
    NotFound,
    /// The range starts at the end of the file or later.
    Beyond {
        /// Size of the file.
        total: u64,
    },
    /// The store or the object store is away.
    Away,
}

async fn result(
    State(results): State<Arc<Results>>,
    path: Result<Path<String>, PathRejection>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let path = path.map(|Path(path)| path).unwrap_or_default();
    answer(&results, &path, !is_upload(&path), &method, &headers).await
}

async fn upload(
    State(results): State<Arc<Results>>,
    path: Result<Path<String>, PathRejection>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let path = path.map(|Path(path)| path).unwrap_or_default();
    answer(&results, &path, is_upload(&path), &method, &headers).await
}

/// A file that belongs here; each has one address.
async fn answer(
    results: &Results,
    path: &str,
    belongs: bool,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    if !belongs {
        return Refused::NotFound.into_response();
    }
    match results.reply(path, method, headers).await {
        Ok(reply) => reply,
        Err(refused) => refused.into_response(),
    }
}

impl Results {
    async fn reply(
        &self,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, Refused> {
        let file = self.file(path).await?;
        let tag = format!("\"{}\"", file.sha256);
        if is_known(headers, &tag) {
            let mut reply = StatusCode::NOT_MODIFIED.into_response();
            self.describe(&mut reply, &file, &tag, path);
            return Ok(reply);
        }
        let total = u64::try_from(file.bytes).unwrap_or(0);
        // Only for GET are ranges defined (RFC 9110, section 14.2).
        let asked = headers.get(RANGE).filter(|_| method == Method::GET);
        let asked = asked.filter(|_| headers.get(IF_RANGE).is_none_or(|given| *given == tag));
        let range = match asked.and_then(|text| asked_range(text, total)) {
            Some(Asked::Beyond) => return Err(Refused::Beyond { total }),
            Some(Asked::Part(range)) => Some(range),
            None => None,
        };
        let body = if method == Method::HEAD {
            Body::empty()
        } else {
            self.body(path, range.clone()).await?
        };
        let mut reply = body.into_response();
        self.describe(&mut reply, &file, &tag, path);
        let Range { start, end } = range.clone().unwrap_or(0..total);
        set(&mut reply, CONTENT_LENGTH, &(end - start).to_string());
        if range.is_some() {
            *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
            let last = end.saturating_sub(1);
            let content_range = format!("bytes {start}-{last}/{total}");
            set(&mut reply, CONTENT_RANGE, &content_range);
        }
        Ok(reply)
    }

    async fn file(&self, path: &str) -> Result<FileRead, Refused> {
        // What cannot be a name is not worth a question; some stores even refuse it.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-.".contains(&byte);
        if path.len() > 128 || !path.bytes().all(is_plain) {
            return Err(Refused::NotFound);
        }
        match self.store.any_file(path, self.clock.now_ms()).await {
            Ok(file) => file.ok_or(Refused::NotFound),
            Err(error) => {
                tracing::warn!(%error, "a result could not be looked up");
                Err(Refused::Away)
            }
        }
    }

    async fn body(&self, path: &str, range: Option<Range<u64>>) -> Result<Body, Refused> {
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let location = object_store::path::Path::from(path);
        match self.media.objects.get_opts(&location, options).await {
            Ok(found) => Ok(Body::from_stream(found.into_stream())),
            Err(error) => {
                tracing::warn!(%error, path, "a result could not be read");
                Err(match error {
                    object_store::Error::NotFound { .. } => Refused::NotFound,
                    _ => Refused::Away,
                })
            }
        }
    }

    fn describe(&self, reply: &mut Response, file: &FileRead, tag: &str, path: &str) {
        set(reply, CONTENT_TYPE, &file.content_type);
        set(reply, ETAG, tag);
        set(reply, ACCEPT_RANGES, "bytes");
        // No cache keeps a file beyond its time here.
        let left_ms = file.expires_ms.saturating_sub(self.clock.now_ms());
        let age_s = left_ms.div_euclid(1_000).clamp(0, CACHED_S_MAX);
        let cached = format!("public, max-age={age_s}, immutable");
        set(reply, CACHE_CONTROL, &cached);
        fence(reply);
        let is_shown = ["image/", "video/", "audio/", "text/plain"]
            .iter()
            .any(|start| file.content_type.starts_with(start));
        if !is_shown || file.content_type.starts_with("image/svg") {
            let name = path.rsplit('/').next().unwrap_or_default();
            let disposition = format!("attachment; filename=\"{name}\"");
            set(reply, CONTENT_DISPOSITION, &disposition);
        }
    }
}

/// Whether the client has the file already (RFC 9110, section 13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(IF_NONE_MATCH).iter();
    let mut given = given.filter_map(|value| value.to_str().ok());
    given.any(|value| {
        let mut tags = value.split(',').map(str::trim);
        tags.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
    })
}

/// Whatever the bytes are, no browser makes a page or a script of them.
fn fence(reply: &mut Response) {
    set(reply, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(
        reply,
        CONTENT_SECURITY_POLICY,
        "sandbox; default-src 'none'",
    );
    set(reply, REFERRER_POLICY, "no-referrer");
    let corp = HeaderName::from_static("cross-origin-resource-policy");
    set(reply, corp, "cross-origin");
}

fn set(reply: &mut Response, name: HeaderName, value: &str) {
    // Every value is ours and ASCII; one that were not is better left out than a crash.
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, kind, message) = match self {
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "not_found",
                "There is no such file, or it is past its time.",
            ),
            Self::Beyond { .. } => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "bad_request",
                "The range starts beyond the end of the file.",
            ),
            Self::Away => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "The result cannot be read at the moment.",
            ),
        };
        let is_retryable = matches!(self, Self::Away);
        let body = json!({
            "code": status.as_u16(), "message": message, "msg": message, "type": kind,
            "retryable": is_retryable,
        });
        let mut reply = (status, Json(body)).into_response();
        fence(&mut reply);
        set(&mut reply, CACHE_CONTROL, "no-store");
        if let Self::Beyond { total } = self {
            set(&mut reply, CONTENT_RANGE, &format!("bytes */{total}"));
        }
        if is_retryable {
            set(&mut reply, RETRY_AFTER, "5");
        }
        reply
    }
}
