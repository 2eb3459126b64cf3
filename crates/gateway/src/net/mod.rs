//! The one place that opens outbound connections.
//!
//! Invariant: HTTP/1.1 only, no redirect is followed unless [`Net::fetch`] says so, and no environment
//! proxy is asked. A [`Connection`] carries one request, once: an error of [`Net::connect`] proves
//! that nothing was sent; an error of [`Connection::send`] does only when it is
//! [`SendError::NotSent`]. Only GETs of [`Net::read`] use connections again.

mod connect;
mod exchange;
mod follow;
mod form;
mod guard;
mod idle;
mod outgoing;
mod read;
mod reply;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::sync::Arc;

use domain::upstream::{Reply, Request};
use futures_util::future::BoxFuture;
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;
use tokio_rustls::TlsConnector;

use self::idle::Idle;

pub use connect::Connection;
pub use follow::CallbackReply;
pub use guard::{Blocked, Egress, Trust, UNREACHABLE};
pub use outgoing::{Outgoing, Refused, Secret, USER_AGENT};
pub use reply::{Body, CallError, Download, Limits, NetError, RATE_WINDOW_MS, SendError};
pub use wire::{Dialed, Internet, Stream, Wire};

/// The host of the upstream that lives in this process.
pub const LOCAL_HOST: &str = "sandbox.internal";

/// The current instant in milliseconds since 1970.
pub type NowMs = Arc<dyn Fn() -> i64 + Send + Sync>;

/// An upstream that lives in this process, behind [`LOCAL_HOST`].
pub trait LocalUpstream: Send + Sync {
    /// Answers; `None` is silence, which the caller takes for a lost reply when its time is up.
    fn answer<'a>(&'a self, request: &'a Request, now_ms: i64) -> BoxFuture<'a, Option<Reply>>;
}

/// What the operator decides about outbound connections.
#[derive(Debug, Clone)]
pub struct NetSettings {
    /// Networks that outsiders' URLs may reach although they are not public.
    pub allow: Vec<IpNet>,
    /// Time for name, connection and handshakes where the caller names none, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Certificates to trust besides the public roots.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl Default for NetSettings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            connect_timeout_ms: 10_000,
            extra_roots: Vec::new(),
        }
    }
}

/// The outbound client; clones share everything.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Inner>,
}

struct Inner {
    egress: Egress,
    tls: TlsConnector,
    wire: Arc<dyn Wire>,
    idle: Arc<Idle>,
    local: Option<(Arc<dyn LocalUpstream>, NowMs)>,
    connect_timeout_ms: u64,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let egress = &self.inner.egress;
        f.debug_struct("Net")
            .field("egress", egress)
            .finish_non_exhaustive()
    }
}

impl Net {
    /// A client for the internet, and for the upstream in this process when there is one.
    ///
    /// # Errors
    /// When a certificate of the settings cannot be used.
    pub fn new(
        settings: NetSettings,
        local: Option<(Arc<dyn LocalUpstream>, NowMs)>,
    ) -> Result<Self, rustls::Error> {
        Self::over(Arc::new(Internet), settings, local)
    }

    /// The same over another network: the seam for simulations.
    ///
    /// # Errors
    /// As [`Net::new`].
    pub fn over(
        wire: Arc<dyn Wire>,
        settings: NetSettings,
        local: Option<(Arc<dyn LocalUpstream>, NowMs)>,
    ) -> Result<Self, rustls::Error> {
        let inner = Inner {
            egress: Egress::new(settings.allow),
            tls: tls::connector(&settings.extra_roots)?,
            wire,
            idle: Arc::default(),
            local,
            connect_timeout_ms: settings.connect_timeout_ms,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The guard, for feedback when somebody saves a URL.
    #[must_use]
    pub fn egress(&self) -> &Egress {
        &self.inner.egress
    }
}
