//! What comes back: the limits on it, how it can fail, and its body as a stream.
//!
//! Invariant: nothing is read without a bound in bytes and in time.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};

use super::exchange::Exchange;
use super::guard::{Blocked, UNREACHABLE};
use super::outgoing::Refused;

/// Bounds on one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte of the request to the last of the reply, in milliseconds.
    pub call_timeout_ms: u64,
    /// The largest body that is taken.
    pub body_bytes_max: u64,
    /// The least average speed over [`RATE_WINDOW_MS`] of waiting for the body; 0 for any.
    pub bytes_per_s_min: u64,
}

/// Over how much waiting the speed of a body is measured, in milliseconds.
pub const RATE_WINDOW_MS: u64 = 30_000;

impl Limits {
    /// For a JSON reply: 4 MiB at any speed. Upstreams send the head and think before the body.
    #[must_use]
    pub fn json(call_timeout_ms: u64) -> Self {
        Self {
            call_timeout_ms,
            body_bytes_max: 4 << 20,
            bytes_per_s_min: 0,
        }
    }

    /// The same with 64 MiB: pictures come in base64 inside of it, of up to 48 MiB.
    #[must_use]
    pub fn json_with_files(call_timeout_ms: u64) -> Self {
        Self {
            body_bytes_max: 64 << 20,
            ..Self::json(call_timeout_ms)
        }
    }

    /// For a file: 2 GiB at 16 KiB/s or more.
    #[must_use]
    pub fn file(call_timeout_ms: u64) -> Self {
        Self {
            call_timeout_ms,
            body_bytes_max: 2 << 30,
            bytes_per_s_min: 16 << 10,
        }
    }
}

/// No connection: no byte of a request has left. It displays as [`UNREACHABLE`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The guard refused.
    #[error("{UNREACHABLE}")]
    Blocked(#[from] Blocked),
    /// Names, network or TLS failed, with the reason for the operator.
    #[error("{UNREACHABLE}")]
    Unreachable(String),
}

impl NetError {
    /// Why, for the operator's log alone.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Blocked(blocked) => blocked.detail(),
            Self::Unreachable(detail) => detail,
        }
    }
}

/// No reply, with the reason for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Proof that the other side got nothing: not one byte was written after the connection stood.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The other side may have got the request, and may have acted on it: a timeout, a reset, a
    /// truncated or an oversized reply.
    #[error("unanswered: {0}")]
    Unanswered(String),
}

/// What can go wrong from the connection to the end of the reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request could not be built.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There was no connection.
    #[error(transparent)]
    Connect(#[from] NetError),
    /// There was no reply.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// A reply whose body is still on its way.
pub struct Download {
    /// HTTP status.
    pub status: u16,
    /// Headers; lower-case names, values that are no text left out.
    pub headers: Vec<(String, String)>,
    /// The declared type; the content may differ.
    pub content_type: Option<String>,
    /// The declared size in bytes; checked against the limit already.
    pub content_length: Option<u64>,
    /// The bytes.
    pub body: Body,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("content_length", &self.content_length)
            .finish_non_exhaustive()
    }
}

impl Download {
    pub(super) fn new(
        status: u16,
        headers: Vec<(String, String)>,
        body: Body,
    ) -> Result<Self, SendError> {
        let first = |name: &str| headers.iter().find(|(known, _)| known == name);
        let content_type = first("content-type").map(|(_, value)| value.clone());
        let content_length = first("content-length").and_then(|(_, value)| value.parse().ok());
        if content_length.is_some_and(|bytes| bytes > body.limits.body_bytes_max) {
            return Err(too_large());
        }
        Ok(Self {
            status,
            headers,
            content_type,
            content_length,
            body,
        })
    }

    /// A header's first value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Where a body comes from.
pub(super) enum Origin {
    /// A connection, which lives as long as the body.
    Wire {
        incoming: Incoming,
        exchange: Box<Exchange>,
    },
    /// This process.
    Whole(Bytes),
}

/// A body under its limits. Dropping it closes the connection.
pub struct Body {
    origin: Option<Origin>,
    limits: Limits,
    deadline: Instant,
    received_bytes: u64,
    window_bytes: u64,
    window_waited: Duration,
}

impl Body {
    pub(super) fn new(origin: Origin, limits: Limits, deadline: Instant) -> Self {
        Self {
            origin: Some(origin),
            limits,
            deadline,
            received_bytes: 0,
            window_bytes: 0,
            window_waited: Duration::ZERO,
        }
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`SendError::Unanswered`] when the body breaks off, is too large, too slow or late. After an
    /// error there is nothing more.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, SendError> {
        let next = self.next().await;
        if !matches!(next, Ok(Some(_))) {
            self.origin = None;
        }
        next
    }

    /// The whole body.
    ///
    /// # Errors
    /// As [`Body::chunk`].
    pub async fn collect(self) -> Result<Vec<u8>, SendError> {
        Ok(self.drain().await?.0)
    }

    /// The whole body, and the connection that it came over.
    pub(super) async fn drain(mut self) -> Result<(Vec<u8>, Option<Box<Exchange>>), SendError> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.next().await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(match self.origin {
            Some(Origin::Wire { exchange, .. }) => (whole, Some(exchange)),
            _ => (whole, None),
        })
    }

    /// The body as a stream of [`Body::chunk`]s.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes, SendError>> {
        let step = |mut body: Self| async move {
            let bytes = body.chunk().await?;
            Ok(bytes.map(|bytes| (bytes, body)))
        };
        stream::try_unfold(self, step).boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SendError> {
        let (incoming, exchange) = match &mut self.origin {
            None => return Ok(None),
            Some(Origin::Whole(bytes)) if bytes.is_empty() => return Ok(None),
            Some(Origin::Whole(bytes)) => {
                let bytes = std::mem::take(bytes);
                return self.count(bytes).map(Some);
            }
            Some(Origin::Wire { incoming, exchange }) => (incoming, exchange),
        };
        // Only our waiting counts against the peer; a slow reader of this body does not.
        let started = Instant::now();
        let left = Duration::from_millis(RATE_WINDOW_MS).saturating_sub(self.window_waited);
        let patience = match self.limits.bytes_per_s_min {
            0 => Duration::from_millis(self.limits.call_timeout_ms),
            _ => left,
        };
        let bytes = timeout(patience, exchange.body_bytes(incoming));
        let bytes = match timeout_at(self.deadline, bytes).await {
            Err(_) => return Err(unanswered("the reply did not end in time")),
            Ok(Err(_)) => return Err(unanswered("the reply is too slow")),
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(Err(error)))) => return Err(SendError::Unanswered(chain(&error))),
            Ok(Ok(Some(Ok(bytes)))) => bytes,
        };
        self.window_waited += started.elapsed();
        self.count(bytes).map(Some)
    }

    fn count(&mut self, bytes: Bytes) -> Result<Bytes, SendError> {
        self.received_bytes += bytes.len() as u64;
        if self.received_bytes > self.limits.body_bytes_max {
            return Err(too_large());
        }
        self.window_bytes += bytes.len() as u64;
        if self.window_bytes >= self.limits.bytes_per_s_min * (RATE_WINDOW_MS / 1_000) {
            self.window_bytes = 0;
            self.window_waited = Duration::ZERO;
        }
        Ok(bytes)
    }
}

pub(super) fn unanswered(detail: &str) -> SendError {
    SendError::Unanswered(detail.to_owned())
}

fn too_large() -> SendError {
    unanswered("the reply is too large")
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
