//! Files behind redirects, callbacks.
//!
//! Invariant: each redirect is judged anew, and only one inside the same origin keeps the secret.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::time::Instant;
use url::Url;

use super::Net;
use super::guard::Trust;
use super::outgoing::Outgoing;
use super::reply::{CallError, Download, Limits, SendError, unanswered};

/// How many redirects a file may be behind.
const REDIRECTS_MAX: usize = 3;
/// How much of the reply to a callback is read, in bytes.
const CALLBACK_BYTES_MAX: u64 = 64 << 10;
/// How much of the reply to a callback is kept, in bytes.
const EXCERPT_BYTES_MAX: usize = 1 << 10;

/// What a receiver of callbacks answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackReply {
    /// HTTP status.
    pub status: u16,
    /// The `Retry-After` header as it came: seconds or a date.
    pub retry_after: Option<String>,
    /// The first bytes of the body, at most 1 KiB, made text.
    pub excerpt: String,
}

impl Net {
    /// Streams a file behind a link without any secret, through up to three redirects. The status
    /// is the caller's to judge.
    ///
    /// # Errors
    /// [`CallError`]; the time limit covers everything up to the last byte.
    pub async fn download(
        &self,
        url: &Url,
        trust: Trust,
        limits: Limits,
    ) -> Result<Download, CallError> {
        let outgoing = Outgoing::get(url.clone(), trust)?;
        self.fetch(&outgoing, limits).await
    }

    /// Streams the reply of a request to a provider. Redirects of a GET are followed as by
    /// [`Net::download`]; outside the provider's origin without secret and under the guard.
    ///
    /// # Errors
    /// As [`Net::download`].
    pub async fn fetch(
        &self,
        outgoing: &Outgoing<'_>,
        limits: Limits,
    ) -> Result<Download, CallError> {
        let deadline = Instant::now() + Duration::from_millis(limits.call_timeout_ms);
        let mut outgoing = outgoing.clone();
        for _ in 0..=REDIRECTS_MAX {
            let download = self.once(&outgoing, limits, deadline).await?;
            match target(&outgoing, &download)? {
                None => return Ok(download),
                Some(url) => outgoing = outgoing.redirected(url)?,
            }
        }
        Err(unanswered("too many redirects").into())
    }

    /// One exchange over a connection of its own, connecting included in the time.
    pub(super) async fn once(
        &self,
        outgoing: &Outgoing<'_>,
        limits: Limits,
        deadline: Instant,
    ) -> Result<Download, CallError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let connect_timeout_ms = self.inner.connect_timeout_ms.min(left_ms);
        let connection = self
            .connect(outgoing.url(), outgoing.trust(), connect_timeout_ms)
            .await?;
        Ok(connection.open_until(outgoing, limits, deadline).await?)
    }

    /// Delivers a callback: judged, no redirects, `timeout_ms` for all of it. `headers` are those
    /// besides host, user agent and a content type of JSON.
    ///
    /// # Errors
    /// [`CallError`] when there is no status. A reply whose body fails still counts as one.
    pub async fn post_callback(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        timeout_ms: u64,
    ) -> Result<CallbackReply, CallError> {
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        let outgoing = Outgoing::post(url.clone(), headers, body)?;
        let limits = Limits {
            call_timeout_ms: timeout_ms,
            // The size is bounded by reading no further, so that a long reply is still a reply.
            body_bytes_max: u64::MAX,
            bytes_per_s_min: 0,
        };
        let mut reply = self.once(&outgoing, limits, deadline).await?;
        let mut excerpt = Vec::new();
        let mut read_bytes = 0;
        while read_bytes < CALLBACK_BYTES_MAX {
            let Ok(Some(bytes)) = reply.body.chunk().await else {
                break;
            };
            read_bytes += bytes.len() as u64;
            let wanted = EXCERPT_BYTES_MAX - excerpt.len();
            excerpt.extend_from_slice(&bytes[..bytes.len().min(wanted)]);
        }
        Ok(CallbackReply {
            status: reply.status,
            retry_after: reply.header("retry-after").map(str::to_owned),
            excerpt: String::from_utf8_lossy(&excerpt).into_owned(),
        })
    }
}

/// Where a reply redirects to; `None` when it is final.
fn target(outgoing: &Outgoing<'_>, reply: &Download) -> Result<Option<Url>, CallError> {
    let is_redirect = matches!(reply.status, 301 | 302 | 303 | 307 | 308);
    if !is_redirect || outgoing.wire.method() != Method::GET {
        return Ok(None);
    }
    let location = reply.header("location");
    let target = location.and_then(|location| outgoing.url().join(location).ok());
    let Some(target) = target else {
        return Err(lost("a redirect to nowhere"));
    };
    if outgoing.url().scheme() == "https" && target.scheme() != "https" {
        return Err(lost("a redirect away from TLS"));
    }
    Ok(Some(target))
}

fn lost(detail: &str) -> CallError {
    CallError::Send(SendError::Unanswered(detail.to_owned()))
}
