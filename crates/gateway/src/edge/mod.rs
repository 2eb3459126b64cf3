//! The edge: connections of clients, from the accepted socket to the router.
//!
//! Invariant: a client that is silent, slow or ambiguous costs one bounded connection for a bounded
//! time, and no request of it reaches the router unless its framing is beyond doubt.

mod chunked;
mod exchange;
mod framing;
mod guarded;
mod limits;
mod refusal;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use exchange::{Exchange, answer};
pub use framing::{HEAD_BYTES_MAX, Violation};
use guarded::{Guarded, Shared};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use limits::Connections;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client_ip::Proxies;
use crate::entropy::Entropy;

/// What the HTTP library may buffer of a connection; a head is bounded before it.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// How long and how much a client may go on sending after our last word, so that it reads the word
/// instead of a reset.
const LINGER_MS: u64 = 2_000;
const LINGER_BYTES_MAX: usize = 1 << 20;

/// How long accepting rests when the system has no more sockets.
const ACCEPT_REST_MS: u64 = 50;

/// How long a client may leave something undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// From the connection to its first byte.
    pub first_byte_ms: u64,
    /// From the first byte of a head to its last.
    pub head_ms: u64,
    /// Between two pieces of a body.
    pub body_ms: u64,
    /// Between two requests.
    pub idle_ms: u64,
    /// Between two pieces of a reply that the client reads.
    pub write_ms: u64,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            first_byte_ms: 10_000,
            head_ms: 10_000,
            body_ms: 30_000,
            idle_ms: 75_000,
            write_ms: 60_000,
        }
    }
}

/// What the operator decides about connections.
#[derive(Debug, Clone)]
pub struct EdgeSettings {
    /// Who may say who the client is.
    pub proxies: Proxies,
    /// Most connections at the same time; further ones wait to be accepted.
    pub connections_max: usize,
    /// Most from one address that is no proxy's; further ones are closed.
    pub connections_per_ip_max: Option<usize>,
    /// How long a client may leave something undone.
    pub timers: Timers,
    /// How long requests under way may take to end when the edge shuts down.
    pub drain_ms: u64,
    /// How long idle connections stay open then, for the request that is on its way already; it is
    /// answered with `Connection: close`.
    pub drain_idle_ms: u64,
}

impl Default for EdgeSettings {
    fn default() -> Self {
        Self {
            proxies: Proxies::default(),
            connections_max: 10_000,
            connections_per_ip_max: None,
            timers: Timers::default(),
            drain_ms: 30_000,
            drain_idle_ms: 500,
        }
    }
}

/// What all connections share.
struct Edge {
    router: Router,
    settings: EdgeSettings,
    entropy: Entropy,
    /// No new requests; set before `closing` tells the connections.
    is_draining: AtomicBool,
    closing: CancellationToken,
    /// No requests at all.
    kill: CancellationToken,
}

impl Edge {
    fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }
}

/// Answers connections with the router until `shutdown`, then lets requests under way end. Requests
/// carry a [`ClientIp`](crate::client_ip::ClientIp), unless a proxy does not say clearly who it is.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: EdgeSettings,
    shutdown: CancellationToken,
) {
    let connections = Connections::new(settings.connections_max, settings.connections_per_ip_max);
    let drain = Duration::from_millis(settings.drain_ms);
    let kill = CancellationToken::new();
    let edge = Arc::new(Edge {
        router: router.with_state(()),
        settings,
        entropy: Entropy::system(),
        closing: CancellationToken::new(),
        is_draining: AtomicBool::new(false),
        kill: kill.clone(),
    });
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        match accepted {
            Ok((socket, peer, slot)) => {
                let is_proxy = edge.settings.proxies.contain(peer.ip());
                // One address alone must not take every slot.
                if let Some(place) = connections.place(peer.ip(), is_proxy) {
                    let edge = Arc::clone(&edge);
                    tracker.spawn(async move {
                        connection(&edge, socket, peer).await;
                        drop((slot, place));
                    });
                }
            }
            Err(error) => {
                // Clients that gave up are nothing; what stays is a lack of file handles.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tracing::warn!(%error, "accepting a connection failed");
                    sleep(Duration::from_millis(ACCEPT_REST_MS)).await;
                }
            }
        }
    }
    edge.is_draining.store(true, Ordering::Release);
    edge.closing.cancel();
    drop(listener);
    tracker.close();
    if timeout(drain, tracker.wait()).await.is_err() {
        tracing::warn!(
            connections = tracker.len(),
            "closing connections that did not end in time"
        );
        kill.cancel();
        tracker.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Connections,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = connections.slot().await;
    let (socket, peer) = listener.accept().await?;
    Ok((socket, peer, slot))
}

async fn connection(edge: &Arc<Edge>, socket: TcpStream, peer: SocketAddr) {
    // Replies are written whole; waiting for more of them would only delay the last one.
    let _ = socket.set_nodelay(true);
    let shared = Arc::new(Shared::new());
    let io = Guarded::new(socket, Arc::clone(&shared), edge.settings.timers);
    let exchange = Arc::new(Exchange {
        edge: Arc::clone(edge),
        peer: peer.ip(),
        shared: Arc::clone(&shared),
    });
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(
            TokioIo::new(io),
            service_fn(move |request| answer(&exchange, request)),
        );
    let mut draining = pin!(drain(edge));
    let mut is_watching = false;
    let outcome = poll_fn(|cx| {
        if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        // Polled once it wakes this task when it is time; polling it for every request would cost
        // several locks each.
        if is_watching && !edge.is_draining() {
            return Poll::Pending;
        }
        is_watching = true;
        draining.as_mut().poll(cx).map(|()| None)
    })
    .await;
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                outcome = &mut connection => outcome,
                () = edge.kill.cancelled() => return,
            }
        }
    };
    if let Err(error) = outcome {
        tracing::trace!(%error, %peer, "a connection ended");
    }
    let (socket, is_sending) = connection.into_parts().io.into_inner().into_socket();
    farewell(edge, socket, shared.violation(), is_sending).await;
}

/// Ends when an idle connection is to be closed.
async fn drain(edge: &Edge) {
    // A token of its own, so that connections do not share a lock.
    edge.closing.child_token().cancelled().await;
    sleep(Duration::from_millis(edge.settings.drain_idle_ms)).await;
}

/// Says why the connection is closed, where nobody else could, and lets the client hear it.
async fn farewell(
    edge: &Edge,
    mut socket: TcpStream,
    violation: Option<Violation>,
    is_sending: bool,
) {
    let in_head = violation.filter(|found| !found.is_in_body());
    if in_head == Some(Violation::Silent) || (violation.is_none() && !is_sending) {
        return;
    }
    let linger = async {
        if let Some(found) = in_head
            && let Some(bytes) = refusal::bytes(found, &edge.entropy).await
        {
            socket.write_all(&bytes).await?;
        }
        socket.shutdown().await?;
        let mut sink = vec![0; 8 << 10];
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match socket.read(&mut sink).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    tokio::select! {
        _ = timeout(Duration::from_millis(LINGER_MS), linger) => {}
        () = edge.kill.cancelled() => {}
    }
}
