//! PostgreSQL: a few pipelined connections to read with, one to write with; lost ones are replaced.
//!
//! Invariant: nobody waits for the server without end, and nobody waits for a connection while there
//! is another that lives.

mod session;
mod slot;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub use session::PostgresSession;
use slot::Slot;
use tokio_postgres::Config;

use super::DbError;
use tls::Tls;

/// Reading connections. Reads are pipelined, so a few serve many.
const READERS: usize = 4;

/// How long the server may leave what it was sent unconfirmed, in milliseconds.
const SILENCE_MS: u64 = 10_000;

/// How long a transaction may wait for us, in milliseconds; below [`Patience::statement_ms`], so that
/// whoever waits for the end of a transaction whose connection is lost sees it.
const IDLE_MS: u64 = 10_000;

/// How long the server may take, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection, until it can be used.
    pub connect_ms: u64,
    /// For a statement; the server watches it, but not over COMMIT.
    pub statement_ms: u64,
    /// For any answer, from when it was asked for: a server that hangs watches nothing. Above the
    /// other, as answers come in turn.
    pub answer_ms: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            statement_ms: 15_000,
            answer_ms: 20_000,
        }
    }
}

/// A PostgreSQL database with its connections.
pub struct Postgres {
    config: Config,
    tls: Tls,
    patience: Patience,
    readers: [Slot; READERS],
    turn: AtomicUsize,
}

impl Postgres {
    /// Checks that the database answers.
    pub async fn open(url: &str, patience: Patience) -> Result<Arc<Self>, DbError> {
        let (tls, url) = tls::read(url)?;
        let mut config: Config = url
            .parse()
            .map_err(|error| DbError::Unavailable(format!("not a PostgreSQL URL: {error}")))?;
        config.ssl_mode(tls.mode());
        // Each host of several has its part of the time.
        let hosts = u64::try_from(config.get_hosts().len()).unwrap_or(1).max(1);
        config.connect_timeout(Duration::from_millis(patience.connect_ms / hosts));
        // A server that went silent is given up in seconds, not when the kernel does.
        config.tcp_user_timeout(Duration::from_millis(SILENCE_MS));
        config.keepalives_idle(Duration::from_millis(SILENCE_MS));
        config.keepalives_interval(Duration::from_millis(SILENCE_MS / 2));
        config.keepalives_retries(2);
        if config.get_application_name().is_none() {
            config.application_name("routerbase");
        }
        let database = Arc::new(Self {
            config,
            tls,
            patience,
            readers: std::array::from_fn(|_| Slot::default()),
            turn: AtomicUsize::new(0),
        });
        database.reader().await?;
        Ok(database)
    }

    /// A new connection, for the caller alone.
    pub async fn connect(&self) -> Result<PostgresSession, DbError> {
        let limit = Duration::from_millis(self.patience.connect_ms);
        let attempt = PostgresSession::connect(&self.config, &self.tls, self.patience);
        let connected = tokio::time::timeout(limit, attempt).await;
        connected.map_err(|_| DbError::Unavailable("connecting took too long".to_owned()))?
    }

    /// A connection to read with: the one whose turn it is; while that is connected anew, any other
    /// that lives.
    pub async fn reader(self: &Arc<Self>) -> Result<Arc<PostgresSession>, DbError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let slot = |offset: usize| &self.readers[turn.wrapping_add(offset) % READERS];
        if let Some(session) = slot(0).live() {
            return Ok(session);
        }
        let Some(other) = (1..READERS).find_map(|offset| slot(offset).live()) else {
            // Boxed, as it is rare and would make every read's future nine kilobytes larger.
            return Box::pin(slot(0).connected(self.connect())).await;
        };
        let database = Arc::clone(self);
        crate::spawn::detached("postgres reader", async move {
            let slot = &database.readers[turn % READERS];
            if let Err(error) = slot.connected(database.connect()).await {
                tracing::debug!(%error, "a reading connection could not be replaced");
            }
        });
        Ok(other)
    }
}
