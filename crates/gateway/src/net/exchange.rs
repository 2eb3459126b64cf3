//! One HTTP/1.1 connection and whoever waits for it.
//!
//! Invariant: it carries one request at a time, and dropping it closes it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use super::outgoing::Outgoing;
use super::reply::{NetError, Origin, SendError, chain};
use super::wire::{Meter, Stream};

/// The largest head of a reply, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// What the connection may buffer, in bytes.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// What may come in before the final head, in bytes: interim replies, the head, and what of the
/// body is already in the buffer. It ends an endless row of 1xx.
const BEFORE_BODY_BYTES_MAX: u64 = 192 << 10;

/// Status, headers and where the body comes from.
pub(super) type Head = (u16, Vec<(String, String)>, Origin);

/// A connection that carries nothing at the moment.
pub(super) struct Exchange {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    meter: Arc<Meter>,
    opened: Instant,
}

impl Exchange {
    /// Speaks HTTP on a stream that this meter counts.
    pub(super) async fn over(
        stream: impl Stream + 'static,
        meter: Arc<Meter>,
    ) -> Result<Box<Self>, NetError> {
        let (sender, connection) = http1::Builder::new()
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| NetError::Unreachable(chain(&error)))?;
        let driver = Driver(Some(Box::pin(connection)));
        Ok(Box::new(Self {
            sender,
            driver,
            meter,
            opened: Instant::now(),
        }))
    }

    /// Sends the request once and waits for the head of its reply.
    ///
    /// # Errors
    /// [`SendError::NotSent`] only with proof.
    pub(super) async fn ask(
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
                // The meter sits below TLS: no byte more than before means that the other side has
                // nothing of this request, whatever became of the connection.
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
            exchange: self,
        };
        Ok((head.status.as_u16(), texts(&head.headers), origin))
    }

    /// The next bytes of a body that comes over this connection; `None` at its end.
    pub(super) async fn body_bytes(
        &mut self,
        incoming: &mut Incoming,
    ) -> Option<hyper::Result<Bytes>> {
        loop {
            match self.driver.until(incoming.frame()).await? {
                Err(error) => return Some(Err(error)),
                // Trailers say nothing that anybody here wants to know.
                Ok(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Some(Ok(bytes));
                    }
                }
            }
        }
    }

    /// Since when it stands.
    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether it can carry another request, as far as this side can know: the last reply is
    /// through, and the other side has neither closed nor said anything since.
    pub(super) async fn is_free(&mut self) -> bool {
        self.driver.step().await;
        self.sender.is_ready()
    }
}

/// Drives one HTTP/1.1 connection. It is polled together with whoever waits for it, not spawned, so
/// that dropping the wait closes the connection.
struct Driver(Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>);

impl Driver {
    /// Waits for something that needs the connection to move.
    async fn until<F: Future>(&mut self, wanted: F) -> F::Output {
        let mut wanted = pin!(wanted);
        poll_fn(|cx| {
            if let Poll::Ready(output) = wanted.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            self.advance(cx);
            wanted.as_mut().poll(cx)
        })
        .await
    }

    /// Lets the connection do what it can do at once.
    async fn step(&mut self) {
        poll_fn(|cx| {
            self.advance(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// How the connection ended, whoever waits learns from what they wait for.
    fn advance(&mut self, cx: &mut std::task::Context<'_>) {
        let driver = self.0.as_mut();
        if driver.is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
            self.0 = None;
        }
    }
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_owned);
    let pairs = headers.iter();
    pairs
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
        .collect()
}
