//! A new connection, for one request.
//!
//! Invariant: connecting writes nothing of a request, sending happens once, and nothing here ever
//! retries. The connection is closed when its future or its body is dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::upstream::Reply;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::exchange::{Exchange, Head};
use super::guard::{Trust, check_form, literal};
use super::outgoing::Outgoing;
use super::reply::{Body, Download, Limits, NetError, Origin, SendError, chain, unanswered};
use super::wire::{Meter, Metered, Stream};
use super::{LOCAL_HOST, LocalUpstream, Net, NowMs, tls};

/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 4;

/// An open connection that has carried nothing of a request yet.
pub struct Connection {
    url: Url,
    path: Path,
}

enum Path {
    Wire(Box<Exchange>),
    Local(Arc<dyn LocalUpstream>, NowMs),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

impl Net {
    /// Resolves, judges, connects and shakes hands within `timeout_ms`.
    ///
    /// # Errors
    /// Any error proves that no byte of a request has left.
    pub async fn connect(
        &self,
        url: &Url,
        trust: Trust,
        timeout_ms: u64,
    ) -> Result<Connection, NetError> {
        check_form(url)?;
        let path = match self.local(url, trust) {
            Some(path) => path,
            None => {
                let limit = Duration::from_millis(timeout_ms);
                let late = |_| NetError::Unreachable("no connection in time".to_owned());
                let reached = timeout(limit, self.reach(url, trust, limit)).await;
                Path::Wire(reached.map_err(late)??)
            }
        };
        let url = url.clone();
        Ok(Connection { url, path })
    }

    fn local(&self, url: &Url, trust: Trust) -> Option<Path> {
        let (local, now_ms) = self.inner.local.as_ref()?;
        let is_local = trust == Trust::Operator && url.host_str() == Some(LOCAL_HOST);
        is_local.then(|| Path::Local(Arc::clone(local), Arc::clone(now_ms)))
    }

    async fn reach(
        &self,
        url: &Url,
        trust: Trust,
        limit: Duration,
    ) -> Result<Box<Exchange>, NetError> {
        if trust == Trust::Outside {
            // A name that is refused anyway is not even looked up.
            self.inner.egress.check_url(url)?;
        }
        let answers = self.resolve(url).await.map_err(unreachable)?;
        if trust == Trust::Outside {
            self.inner.egress.admit(url, &answers)?;
        }
        let stream = self.dial(&answers, limit).await.map_err(unreachable)?;
        let meter = Meter::new();
        let stream = Metered::new(stream, Arc::clone(&meter));
        if url.scheme() == "https" {
            let stream = tls::handshake(&self.inner.tls, url, stream).await;
            Exchange::over(stream.map_err(unreachable)?, meter).await
        } else {
            Exchange::over(stream, meter).await
        }
    }

    async fn resolve(&self, url: &Url) -> io::Result<Vec<SocketAddr>> {
        let port = url
            .port_or_known_default()
            .ok_or_else(|| io::Error::other("no port"))?;
        if let Some(address) = literal(url) {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let name = url.domain().ok_or_else(|| io::Error::other("no host"))?;
        self.inner.wire.resolve(name, port).await
    }

    /// Connects to the first address that answers. Each gets its share of the time, so that one
    /// black hole does not use it up.
    async fn dial(&self, answers: &[SocketAddr], limit: Duration) -> io::Result<Box<dyn Stream>> {
        let addresses = &answers[..answers.len().min(ADDRESSES_MAX)];
        let mut last = io::Error::other("the name has no address");
        for address in addresses {
            let share = limit / addresses.len() as u32;
            last = match timeout(share, self.inner.wire.dial(*address)).await {
                Err(_) => io::Error::from(io::ErrorKind::TimedOut),
                Ok(Err(error)) => error,
                Ok(Ok(dialed)) if is_same(dialed.peer, *address) => return Ok(dialed.stream),
                Ok(Ok(_)) => io::Error::other("connected to another address"),
            };
        }
        Err(last)
    }
}

// Scope and flow label of IPv6 are the system's to fill in.
fn is_same(peer: SocketAddr, judged: SocketAddr) -> bool {
    peer.ip() == judged.ip() && peer.port() == judged.port()
}

fn unreachable(error: io::Error) -> NetError {
    NetError::Unreachable(chain(&error))
}

impl Connection {
    /// Sends the request once and reads the whole reply.
    ///
    /// # Errors
    /// [`SendError::NotSent`] only with proof; everything else is [`SendError::Unanswered`].
    pub async fn send(self, outgoing: &Outgoing<'_>, limits: Limits) -> Result<Reply, SendError> {
        let download = self.open(outgoing, limits).await?;
        Ok(Reply {
            status: download.status,
            headers: download.headers,
            body: download.body.collect().await?,
        })
    }

    /// Sends the request once and hands out the reply when its head is there.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn open(
        self,
        outgoing: &Outgoing<'_>,
        limits: Limits,
    ) -> Result<Download, SendError> {
        let deadline = Instant::now() + Duration::from_millis(limits.call_timeout_ms);
        self.open_until(outgoing, limits, deadline).await
    }

    pub(super) async fn open_until(
        self,
        outgoing: &Outgoing<'_>,
        limits: Limits,
        deadline: Instant,
    ) -> Result<Download, SendError> {
        if outgoing.url().origin() != self.url.origin() {
            return Err(not_sent("the connection leads to another host"));
        }
        let (status, headers, origin) = match self.path {
            Path::Local(local, now_ms) => ask(&*local, now_ms(), outgoing, deadline).await?,
            Path::Wire(exchange) => exchange.ask(outgoing, deadline).await?,
        };
        Download::new(status, headers, Body::new(origin, limits, deadline))
    }
}

async fn ask(
    local: &dyn LocalUpstream,
    now_ms: i64,
    outgoing: &Outgoing<'_>,
    deadline: Instant,
) -> Result<Head, SendError> {
    let request = outgoing
        .upstream
        .ok_or_else(|| not_sent("only requests of a dialect go to the built-in upstream"))?;
    match timeout_at(deadline, local.answer(request, now_ms)).await {
        Ok(Some(reply)) => {
            let body = Origin::Whole(Bytes::from(reply.body));
            Ok((reply.status, reply.headers, body))
        }
        Ok(None) => {
            tokio::time::sleep_until(deadline).await;
            Err(unanswered("no reply in time"))
        }
        Err(_) => Err(unanswered("no reply in time")),
    }
}

fn not_sent(detail: &str) -> SendError {
    SendError::NotSent(detail.to_owned())
}
