//! The connection that batches are committed over on PostgreSQL.
//!
//! Invariant: a batch is run again only when it is known that it was not committed.

use std::sync::Arc;
use std::time::Duration;

use super::super::db::{DbError, Postgres, PostgresSession, Session};
use super::attempt::attempt;
use super::{Failed, Queued};

/// How often a batch is run over another connection after one was lost.
const LOSSES: u32 = 2;

/// How long to go on looking for a database that was lost while committing, in seconds.
const RECALL_S: u64 = 10;

pub(super) struct Writer {
    database: Arc<Postgres>,
    session: Option<PostgresSession>,
}

impl Writer {
    pub(super) fn new(database: Arc<Postgres>) -> Self {
        Self {
            database,
            session: None,
        }
    }

    /// Runs a batch in one transaction; over another connection if this one is lost.
    pub(super) async fn attempt(&mut self, batch: &mut [Box<dyn Queued>]) -> Result<(), Failed> {
        let mut losses = 0;
        loop {
            let session = match self.session.take().filter(|session| !session.is_closed()) {
                Some(session) => session,
                None => self.connect().await.map_err(Failed::Database)?,
            };
            let error = match attempt(Session::Postgres(&session), batch).await {
                // Over another connection it would take as long.
                done @ Err(Failed::Database(DbError::Slow(_))) => {
                    self.session = Some(session);
                    return done;
                }
                Err(Failed::Database(error)) => error,
                Err(Failed::InCommit(error)) => {
                    tracing::warn!(%error, "the database was lost while committing; reading back");
                    match self.recall(&session.transaction_lock(), batch).await {
                        Some(true) => return Ok(()),
                        Some(false) => error,
                        None => return Err(Failed::Unclear(error)),
                    }
                }
                done => {
                    self.session = Some(session);
                    return done;
                }
            };
            losses += 1;
            if losses > LOSSES {
                return Err(Failed::Database(error));
            }
        }
    }

    async fn connect(&self) -> Result<PostgresSession, DbError> {
        let session = self.database.connect().await?;
        session.prepare_lock().await?;
        Ok(session)
    }

    /// Finds out by our own ids what a lost COMMIT did; `None` if they cannot tell. A transaction is
    /// whole, so what is true of one operation is true of all.
    async fn recall(&self, lock: &str, batch: &mut [Box<dyn Queued>]) -> Option<bool> {
        let session = self.reconnect().await.ok()?;
        // The server may still be at it: the lock is free once the lost transaction has ended.
        session.command(lock).await.ok()?;
        let db = Session::Postgres(&session);
        for operation in batch {
            let recorded = operation.is_recorded(db).await;
            if let Some(is_recorded) = recorded.ok()? {
                return Some(is_recorded);
            }
        }
        None
    }

    async fn reconnect(&self) -> Result<PostgresSession, DbError> {
        for _ in 0..RECALL_S {
            if let Ok(session) = self.database.connect().await {
                return Ok(session);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.database.connect().await
    }
}
