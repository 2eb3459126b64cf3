//! The bare network under the client: names, byte streams, and a meter on them.
//!
//! [`Wire`] is what a simulator replaces; the guard, TLS, HTTP and every limit above it stay real.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connected stream of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream and the address that it turned out to lead to.
pub struct Dialed {
    /// The stream.
    pub stream: Box<dyn Stream>,
    /// The address of the other end as the system reports it.
    pub peer: SocketAddr,
}

/// Names and connections. The real one is [`Internet`].
pub trait Wire: Send + Sync {
    /// All addresses of a name; the caller bounds the time.
    fn resolve<'a>(
        &'a self,
        name: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// Connects to exactly this address; the caller bounds the time.
    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Dialed>>;
}

/// The system's resolver and its sockets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Internet;

impl Wire for Internet {
    fn resolve<'a>(
        &'a self,
        name: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
    }

    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Dialed>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let peer = stream.peer_addr()?;
            let stream = Box::new(stream);
            Ok(Dialed { stream, peer })
        })
    }
}

/// Counts the bytes of one connection, below TLS.
#[derive(Debug)]
pub(super) struct Meter {
    written: AtomicU64,
    readable: AtomicU64,
}

impl Meter {
    /// A meter that lets any amount through.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            written: AtomicU64::new(0),
            readable: AtomicU64::new(u64::MAX),
        })
    }

    /// How many bytes the system has taken from us.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// How many more bytes may come in before the stream fails.
    pub(super) fn set_readable(&self, bytes: u64) {
        self.readable.store(bytes, Ordering::Relaxed);
    }
}

/// A stream under a [`Meter`].
pub(super) struct Metered {
    stream: Box<dyn Stream>,
    meter: Arc<Meter>,
}

impl Metered {
    /// Puts a stream under a meter.
    pub(super) fn new(stream: Box<dyn Stream>, meter: Arc<Meter>) -> Self {
        Self { stream, meter }
    }

    fn count(&self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        if let Ok(bytes) = &written {
            self.meter
                .written
                .fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        Poll::Ready(written)
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let bytes = (buf.filled().len() - before) as u64;
        let readable = self.meter.readable.load(Ordering::Relaxed);
        if bytes > readable {
            return Poll::Ready(Err(io::Error::other("more bytes than allowed here")));
        }
        if readable != u64::MAX {
            self.meter.set_readable(readable - bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.count(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
