//! Requests that only read, over connections that are used again.
//!
//! Invariant: only what the operator configured is kept open; an address that somebody outside
//! chose is judged anew for each request.

use std::time::Duration;

use domain::upstream::Reply;
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

    /// The same with other limits. It may go out twice: an idle connection can turn out to be dead.
    ///
    /// # Errors
    /// [`CallError`]; a read may be repeated after any of them.
    pub async fn read_within(
        &self,
        outgoing: &Outgoing<'_>,
        limits: Limits,
    ) -> Result<Reply, CallError> {
        let origin = outgoing.url().origin();
        let is_kept = outgoing.trust() == Trust::Operator;
        let deadline = Instant::now() + Duration::from_millis(limits.call_timeout_ms);
        let used = match is_kept {
            true => self.over_used(&origin, outgoing, limits, deadline).await?,
            false => None,
        };
        let download = match used {
            Some(download) => download,
            None => self.once(outgoing, limits, deadline).await?,
        };
        let (body, exchange) = download.body.drain().await?;
        if is_kept && let Some(exchange) = exchange {
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
