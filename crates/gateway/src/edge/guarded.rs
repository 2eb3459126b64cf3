//! A socket that keeps time and judges framing before the HTTP library reads.
//!
//! Invariant: the reader of this socket sees only complete, sound heads; an unfinished head is kept
//! here. No timer runs while a request is being answered, except for a body that is waited for and a
//! client that does not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Timers;
use super::framing::{Framing, Violation};

/// What the socket and the requests on it know of each other.
#[derive(Debug)]
pub(super) struct Shared {
    violation: AtomicU8,
    is_answering: AtomicBool,
    /// When the last answer was complete, in milliseconds after `start`.
    answered_ms: AtomicU64,
    start: Instant,
    /// Wants to know when the answer is complete; hardly ever set.
    waiter: AtomicWaker,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            violation: AtomicU8::new(0),
            is_answering: AtomicBool::new(false),
            answered_ms: AtomicU64::new(0),
            start: Instant::now(),
            waiter: AtomicWaker::new(),
        }
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        Violation::of(self.violation.load(Ordering::Relaxed))
    }

    /// A request is being answered from now on.
    pub(super) fn begin_answer(&self) {
        self.is_answering.store(true, Ordering::Release);
    }

    /// The answer is complete.
    pub(super) fn end_answer(&self) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answered_ms.store(ms, Ordering::Relaxed);
        self.is_answering.store(false, Ordering::Release);
        self.waiter.wake();
    }

    fn is_answering(&self) -> bool {
        self.is_answering.load(Ordering::Acquire)
    }

    fn answered_at(&self) -> Instant {
        self.start + Duration::from_millis(self.answered_ms.load(Ordering::Relaxed))
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    FirstByte,
    Head,
    Body,
    NextHead,
}

pub(super) struct Guarded<S> {
    socket: S,
    framing: Framing,
    shared: Arc<Shared>,
    timers: Timers,
    /// A head that is not complete, or a sound part that did not fit the reader's buffer.
    held: Vec<u8>,
    /// So many of the held bytes may be read.
    sound: usize,
    /// Found behind bytes that are still to be read.
    doom: Option<Violation>,
    wait: Wait,
    since: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
    alarm_at: Option<Instant>,
    /// Runs while a write waits for the client.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    pub(super) fn new(socket: S, shared: Arc<Shared>, timers: Timers) -> Self {
        let now = Instant::now();
        Self {
            socket,
            framing: Framing::new(),
            shared,
            timers,
            held: Vec::new(),
            sound: 0,
            doom: None,
            wait: Wait::FirstByte,
            since: Some(now),
            alarm: Box::pin(sleep_until(now)),
            alarm_at: None,
            stall: None,
        }
    }

    /// The bare socket, and whether the client is still sending a body.
    pub(super) fn into_socket(self) -> (S, bool) {
        let is_sending = self.framing.is_in_body();
        (self.socket, is_sending)
    }

    fn end(&mut self, violation: Violation) -> io::Error {
        let number = violation as u8;
        self.shared.violation.store(number, Ordering::Relaxed);
        self.doom = Some(violation);
        io::Error::new(io::ErrorKind::InvalidData, "refused by the edge")
    }

    /// Gives the reader what it may have.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let given = self.sound.min(buf.remaining());
        buf.put_slice(&self.held[..given]);
        self.held.drain(..given);
        self.sound -= given;
        if self.held.is_empty() {
            // Idle connections keep no buffer.
            self.held = Vec::new();
        }
    }

    /// Judges bytes that just came into `buf` behind its first `before`.
    fn judge(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let scan = if self.held.is_empty() {
            let scan = self.framing.scan(&buf.filled()[before..]);
            self.held
                .extend_from_slice(&buf.filled()[before + scan.passed..]);
            buf.set_filled(before + scan.passed);
            scan
        } else {
            self.held.extend_from_slice(&buf.filled()[before..]);
            buf.set_filled(before);
            let scan = self.framing.scan(&self.held);
            self.sound = scan.passed;
            scan
        };
        self.doom = scan.violation;
        let wait = if self.framing.is_in_body() {
            Wait::Body
        } else if self.held.len() > self.sound {
            Wait::Head
        } else {
            Wait::NextHead
        };
        // A head has one allowance from its first byte, a body one for every byte.
        if self.wait != wait || wait != Wait::Head || scan.passed > 0 {
            self.since = None;
        }
        self.wait = wait;
    }

    /// When what is waited for is late; `None` while a request is answered.
    fn deadline(&mut self) -> Option<Instant> {
        if self.wait != Wait::Body && self.shared.is_answering() {
            self.since = None;
            return None;
        }
        let limit_ms = match self.wait {
            Wait::FirstByte => self.timers.first_byte_ms,
            Wait::Head => self.timers.head_ms,
            Wait::Body => self.timers.body_ms,
            Wait::NextHead => self.timers.idle_ms,
        };
        let since = match self.wait {
            // The end of an answer makes nobody read here, so it is not seen when it comes.
            Wait::NextHead => self.shared.answered_at(),
            _ => *self.since.get_or_insert_with(Instant::now),
        };
        Some(since + Duration::from_millis(limit_ms))
    }

    /// Pending until the time for what is waited for is up. The alarm is not set anew for every
    /// request: it rings, looks at the time, and goes on.
    fn time_is_up(&mut self, cx: &mut Context<'_>) -> Poll<Violation> {
        loop {
            let ring_at = match self.deadline() {
                Some(deadline) if self.alarm_at.is_none_or(|at| at > deadline) => Some(deadline),
                None if self.alarm_at.is_none() => {
                    Some(Instant::now() + Duration::from_millis(self.timers.idle_ms))
                }
                _ => None,
            };
            if let Some(ring_at) = ring_at {
                self.alarm.as_mut().reset(ring_at);
                self.alarm_at = Some(ring_at);
            }
            ready!(self.alarm.as_mut().poll(cx));
            self.alarm_at = None;
            let now = Instant::now();
            if self.deadline().is_some_and(|deadline| now >= deadline) {
                return Poll::Ready(match self.wait {
                    Wait::Body => Violation::SlowBody,
                    Wait::Head => Violation::SlowHead,
                    Wait::FirstByte | Wait::NextHead => Violation::Silent,
                });
            }
        }
    }

    /// Ends a write that has made no progress for too long.
    fn is_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let patience = Duration::from_millis(self.timers.write_ms);
        let stall = self
            .stall
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.sound > 0 {
                this.give(buf);
                return Poll::Ready(Ok(()));
            }
            if let Some(violation) = this.doom {
                // A request before it is answered first.
                if !violation.is_in_body() && this.shared.is_answering() {
                    this.shared.waiter.register(cx.waker());
                    if this.shared.is_answering() {
                        return Poll::Pending;
                    }
                }
                return Poll::Ready(Err(this.end(violation)));
            }
            let before = buf.filled().len();
            match Pin::new(&mut this.socket).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() == before => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => this.judge(buf, before),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let violation = ready!(this.time_is_up(cx));
                    return Poll::Ready(Err(this.end(violation)));
                }
            }
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.is_stalled(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.is_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is found in a head is answered on the bare socket afterwards.
        if self
            .shared
            .violation()
            .is_some_and(|found| !found.is_in_body())
        {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
