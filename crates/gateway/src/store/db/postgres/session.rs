//! One connection to PostgreSQL, with the statements prepared on it.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, Statement};
use tokio_util::sync::CancellationToken;

use super::super::{Cells, DbError, Row, SKIP_LOCKED, Value};
use super::tls::Tls;
use super::{IDLE_MS, Patience};
use crate::entropy::Entropy;

const LOCK_ACCOUNTS: &str =
    "SELECT id FROM accounts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

const CLOCK: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";

/// A connection. What is asked over it is answered in turn.
pub struct PostgresSession {
    client: Client,
    /// Locked by every transaction of this connection: it is free once none is open.
    lock: i64,
    patience: Patience,
    statements: Mutex<HashMap<&'static str, Statement>>,
    /// Closes the connection, whatever it waits for.
    cut: CancellationToken,
}

/// Each statement is planned once, whatever its values: planning it anew took longer than running it. A
/// plan made while a table is small must hold when it is large, so indexes are used from the beginning.
const STEADY_PLANS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off";

impl PostgresSession {
    pub(super) async fn connect(
        config: &Config,
        tls: &Tls,
        patience: Patience,
    ) -> Result<Self, DbError> {
        let (client, connection) = config.connect(tls.clone()).await.map_err(convert)?;
        let cut = CancellationToken::new();
        let cut_off = cut.clone();
        crate::spawn::detached("postgres connection", async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::warn!(%error, "a database connection ended");
                    }
                }
                () = cut_off.cancelled() => {
                    tracing::warn!("a database connection was given up: no answer came");
                }
            }
        });
        let random = Entropy::system().bytes();
        let session = Self {
            client,
            lock: i64::from_le_bytes(random),
            patience,
            statements: Mutex::default(),
            cut,
        };
        let statement_ms = patience.statement_ms;
        let settings = format!(
            "SET synchronous_commit = on; SET statement_timeout = {statement_ms}; \
             SET idle_in_transaction_session_timeout = {IDLE_MS}; \
             SET client_min_messages = warning; {STEADY_PLANS}"
        );
        session.command(&settings).await?;
        Ok(session)
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed() || self.cut.is_cancelled()
    }

    /// An answer, or the end of the connection when it does not come: the server may hang where none
    /// of its own limits holds.
    async fn answered<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DbError> {
        let limit = Duration::from_millis(self.patience.answer_ms);
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer.map_err(convert),
            Err(_) => {
                self.cut.cancel();
                let text = "the database did not answer in time";
                Err(DbError::Unavailable(text.to_owned()))
            }
        }
    }

    /// The statement that waits until no transaction of this connection is open.
    #[must_use]
    pub fn transaction_lock(&self) -> String {
        format!("SELECT pg_advisory_xact_lock({})", self.lock)
    }

    /// What the server's clock says, Unix milliseconds.
    pub async fn clock_ms(&self) -> Result<i64, DbError> {
        let rows = self.rows(CLOCK, &[]).await?;
        let row = rows.first();
        row.map_or_else(
            || Err(DbError::Broken("no row".to_owned())),
            |row| row.int(0),
        )
    }

    pub(in super::super) async fn begin(&self) -> Result<(), DbError> {
        // The isolation is named because the database may have another default.
        let lock = self.transaction_lock();
        self.command(&format!("BEGIN ISOLATION LEVEL READ COMMITTED; {lock}"))
            .await
    }

    /// Prepares the lock on accounts ahead, so that no statement of a batch is sent before it.
    pub async fn prepare_lock(&self) -> Result<(), DbError> {
        self.statement(LOCK_ACCOUNTS).await.map(drop)
    }

    pub(in super::super) async fn lock_accounts(&self, ids: &[String]) -> Result<(), DbError> {
        if ids.is_empty() {
            return Ok(());
        }
        let statement = self.statement(LOCK_ACCOUNTS).await?;
        let done = self.answered(self.client.query(&statement, &[&ids])).await;
        done.map(drop)
    }

    pub(in super::super) async fn statement(
        &self,
        sql: &'static str,
    ) -> Result<Statement, DbError> {
        let known = self.lock().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let text = sql.replace(SKIP_LOCKED, "FOR UPDATE SKIP LOCKED");
        let statement = self.answered(self.client.prepare(&text)).await?;
        self.lock().insert(sql, statement.clone());
        Ok(statement)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Statement>> {
        // The map is only ever added to, whole entries at a time.
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(in super::super) async fn execute(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, DbError> {
        let statement = self.statement(sql).await?;
        let values = borrowed(values);
        self.answered(self.client.execute(&statement, &values))
            .await
    }

    pub(in super::super) async fn rows(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, DbError> {
        let statement = self.statement(sql).await?;
        let values = borrowed(values);
        let rows = self
            .answered(self.client.query(&statement, &values))
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| Row(Cells::Postgres(row)))
            .collect())
    }

    /// Runs statements that may take as long as they take, such as a migration.
    pub(in super::super) async fn script(&self, sql: &str) -> Result<(), DbError> {
        self.client.batch_execute(sql).await.map_err(convert)
    }

    /// Runs statements without parameters.
    pub async fn command(&self, sql: &str) -> Result<(), DbError> {
        self.answered(self.client.batch_execute(sql)).await
    }

    pub(in super::super) async fn commit(&self) -> Result<(), DbError> {
        self.command("COMMIT").await
    }

    pub(in super::super) async fn rollback(&self) {
        let _ = self.command("ROLLBACK").await;
    }
}

fn borrowed<'a>(values: &'a [Value<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values
        .iter()
        .map(|value| value as &(dyn ToSql + Sync))
        .collect()
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            // A text in PostgreSQL has no NUL; what a client or an upstream sends may have.
            Self::Text(text) if text.contains('\0') => {
                text.replace('\0', "\u{fffd}").to_sql(kind, out)
            }
            Self::Text(text) => text.to_sql(kind, out),
            Self::Int(number) => number.to_sql(kind, out),
            Self::Null => Ok(IsNull::Yes),
        }
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::TEXT | Type::VARCHAR | Type::INT8)
    }

    to_sql_checked!();
}

fn convert(error: tokio_postgres::Error) -> DbError {
    let Some(state) = error.code() else {
        // Without an SQLSTATE the server did not answer; a wrong parameter type is our own mistake.
        let is_ours = error
            .source()
            .is_some_and(|source| source.is::<tokio_postgres::types::WrongType>());
        let text = format!("{error}: {:?}", error.source().map(ToString::to_string));
        return if is_ours {
            DbError::Broken(text)
        } else {
            DbError::Unavailable(text)
        };
    };
    let text = format!(
        "{error}: {}",
        error.as_db_error().map_or("", |db| db.message())
    );
    if *state == SqlState::T_R_SERIALIZATION_FAILURE || *state == SqlState::T_R_DEADLOCK_DETECTED {
        return DbError::Conflict(text);
    }
    if *state == SqlState::QUERY_CANCELED {
        return DbError::Slow(text);
    }
    // A primary that was demoted, or went read-only on a full disk: another may answer soon.
    if *state == SqlState::READ_ONLY_SQL_TRANSACTION {
        return DbError::Unavailable(text);
    }
    match state.code().get(..2) {
        Some("23") => DbError::Constraint(text),
        Some("08" | "53" | "57" | "58" | "28" | "3D") => DbError::Unavailable(text),
        _ => DbError::Broken(text),
    }
}
