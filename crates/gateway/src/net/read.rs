//! Requests that may be repeated; those that only read go over connections that are used again.
//!
//! Invariant: what goes over a used connection is a GET, which HTTP lets a client repeat by itself
//! (RFC 9110, section 9.2.2), to an address that the operator configured; one that somebody outside
//! chose is judged anew for each request.

use std::time::Duration;

use domain::upstream::Reply;
use http::Method;
use tokio::time::Instant;
use url::Origin;

use super::Net;
use super::guard::Trust;
use super::outgoing::Outgoing;
use super::reply::{Body, CallError, Download, Limits, SendError};

impl Net {
    /// Sends a request that may be repeated and takes a JSON-sized reply. Redirects are not
    /// followed.
    ///
    /// # Errors
    /// [`CallError`]; a read may be repeated after any of them.
    pub async fn read(
        &self,
        outgoing: &Outgoing<'_>,
        call_timeout_ms: u64,
    ) -> Result<Reply, CallError> {
        self.read_within(outgoing, Limits::json(call_timeout_ms))
            .await
    }

    /// The same with other limits. A GET may go out twice: an idle connection can turn out to be dead.
    ///
    /// # Errors
    /// [`CallError`]; a read may be repeated after any of them.
    pub async fn read_within(
        &self,
        outgoing: &Outgoing<'_>,
        limits: Limits,
    ) -> Result<Reply, CallError> {
        let is_shared =
            outgoing.trust() == Trust::Operator && outgoing.wire.method() == Method::GET;
        let origin = is_shared.then(|| outgoing.url().origin());
        let deadline = Instant::now() + Duration::from_millis(limits.call_timeout_ms);
        let used = match &origin {
            Some(origin) => self.over_used(origin, outgoing, limits, deadline).await?,
            None => None,
        };
        let download = match used {
            Some(download) => download,
            None => self.once(outgoing, limits, deadline).await?,
        };
        let (body, exchange) = download.body.drain().await?;
        if let (Some(origin), Some(exchange)) = (origin, exchange) {
            self.inner.idle.keep(origin, exchange).await;
        }
        Ok(Reply {
            status: download.status,
            headers: download.headers,
            body,
        })
    }

    /// The reply over a connection that waited; `None` when there is none that works.
    async fn over_used(
        &self,
        origin: &Origin,
        outgoing: &Outgoing<'_>,
        limits: Limits,
        deadline: Instant,
    ) -> Result<Option<Download>, SendError> {
        let Some(exchange) = self.inner.idle.take(origin).await else {
            return Ok(None);
        };
        match exchange.ask(outgoing, deadline).await {
            Ok((status, headers, from)) => {
                let body = Body::new(from, limits, deadline);
                Download::new(status, headers, body).map(Some)
            }
            Err(error) if Instant::now() >= deadline => Err(error),
            // The other side has closed it, or was about to.
            Err(_) => Ok(None),
        }
    }
}
