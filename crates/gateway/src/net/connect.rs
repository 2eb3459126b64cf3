//! One connection for one request.
//!
//! Invariant: connecting writes nothing of a request, sending happens once, and nothing here ever
//! retries. The connection is closed when its future or its body is dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::upstream::Reply;
use http::{HeaderMap, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::guard::{Trust, check_form, literal};
use super::outgoing::Outgoing;
use super::reply::{Body, Download, Driver, Limits, NetError, Origin, SendError};
use super::reply::{chain, unanswered};
use super::wire::{Meter, Metered, Stream};
use super::{LOCAL_HOST, LocalUpstream, Net, NowMs, tls};

/// The largest head of a reply, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// What the connection may buffer, in bytes.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// What may come in before the final head, in bytes: interim replies, the head, and what of the
/// body is already in the buffer. It ends an endless row of 1xx.
const BEFORE_BODY_BYTES_MAX: u64 = 192 << 10;
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

struct Exchange {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    meter: Arc<Meter>,
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
                Path::Wire(Box::new(reached.map_err(late)??))
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

    async fn reach(&self, url: &Url, trust: Trust, limit: Duration) -> Result<Exchange, NetError> {
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
            exchange(stream.map_err(unreachable)?, meter).await
        } else {
            exchange(stream, meter).await
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

async fn exchange(stream: impl Stream + 'static, meter: Arc<Meter>) -> Result<Exchange, NetError> {
    let (sender, connection) = http1::Builder::new()
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| NetError::Unreachable(chain(&error)))?;
    Ok(Exchange {
        sender,
        driver: Driver::new(connection),
        meter,
    })
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

type Head = (u16, Vec<(String, String)>, Origin);

impl Exchange {
    async fn ask(
        mut self: Box<Self>,
        outgoing: &Outgoing<'_>,
        deadline: Instant,
    ) -> Result<Head, SendError> {
        let written_before = self.meter.written();
        self.meter.set_readable(BEFORE_BODY_BYTES_MAX);
        let reply = self.sender.send_request(outgoing.wire.clone());
        let reply = timeout_at(deadline, self.driver.until(reply)).await;
        let response: Response<Incoming> = match reply {
            Ok(Ok(response)) => response,
            failed => {
                let detail = match failed {
                    Ok(Err(error)) => chain(&error),
                    _ => "no reply in time".to_owned(),
                };
                // The meter sits below TLS: no byte more than after the handshake means that the
                // other side has nothing, whatever became of the connection.
                return Err(if self.meter.written() == written_before {
                    SendError::NotSent(detail)
                } else {
                    SendError::Unanswered(detail)
                });
            }
        };
        self.meter.set_readable(u64::MAX);
        let (head, incoming) = response.into_parts();
        let origin = Origin::Wire {
            incoming,
            driver: self.driver,
            _sender: self.sender,
        };
        Ok((head.status.as_u16(), texts(&head.headers), origin))
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

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_owned);
    let pairs = headers.iter();
    pairs
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
        .collect()
}
