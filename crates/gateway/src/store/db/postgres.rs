//! PostgreSQL: a few pipelined connections to read with, one to write with; lost ones are replaced.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, Statement};

use super::{Cells, DbError, Row, SKIP_LOCKED, Value};
use crate::entropy::Entropy;

/// Reading connections. Reads are pipelined, so a few serve many.
const READERS: usize = 4;

/// How long a connection may take, in milliseconds.
const CONNECT_MS: u64 = 5_000;

/// How long the server may leave what it was sent unconfirmed.
const SILENCE_MS: u64 = 10_000;

/// How long a statement may take.
const STATEMENT_MS: u64 = 15_000;

/// How long a transaction may wait for us; below [`STATEMENT_MS`], so that whoever waits for the end
/// of a transaction whose connection is lost sees it.
const IDLE_MS: u64 = 10_000;

const LOCK_ACCOUNTS: &str =
    "SELECT id FROM accounts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

const CLOCK: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";

/// A PostgreSQL database with its connections.
pub struct Postgres {
    url: String,
    readers: Vec<tokio::sync::Mutex<Option<Arc<PostgresSession>>>>,
    turn: AtomicUsize,
}

/// One connection with the statements prepared on it.
pub struct PostgresSession {
    client: Client,
    /// Locked by every transaction of this connection: it is free once none is open.
    lock: i64,
    statements: Mutex<HashMap<&'static str, Statement>>,
}

impl Postgres {
    /// Checks that the database answers.
    pub async fn open(url: &str) -> Result<Self, DbError> {
        let database = Self {
            url: url.to_owned(),
            readers: (0..READERS)
                .map(|_| tokio::sync::Mutex::new(None))
                .collect(),
            turn: AtomicUsize::new(0),
        };
        database.reader().await?;
        Ok(database)
    }

    /// A new connection, for the caller alone.
    pub async fn connect(&self) -> Result<PostgresSession, DbError> {
        let mut config: tokio_postgres::Config = self
            .url
            .parse()
            .map_err(|error| DbError::Unavailable(format!("not a PostgreSQL URL: {error}")))?;
        config.connect_timeout(Duration::from_millis(CONNECT_MS));
        // A server that went silent is given up in seconds, not when the kernel does.
        config.tcp_user_timeout(Duration::from_millis(SILENCE_MS));
        config.keepalives_idle(Duration::from_millis(SILENCE_MS));
        config.keepalives_interval(Duration::from_millis(SILENCE_MS / 2));
        config.keepalives_retries(2);
        if config.get_application_name().is_none() {
            config.application_name("routerbase");
        }
        let attempt = config.connect(NoTls);
        let (client, connection) = tokio::time::timeout(Duration::from_millis(CONNECT_MS), attempt)
            .await
            .map_err(|_| DbError::Unavailable("connecting took too long".to_owned()))?
            .map_err(convert)?;
        crate::spawn::detached("postgres connection", async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "a database connection ended");
            }
        });
        let random = Entropy::system().bytes();
        let session = PostgresSession {
            client,
            lock: i64::from_le_bytes(random),
            statements: Mutex::default(),
        };
        let settings = format!(
            "SET synchronous_commit = on; SET statement_timeout = {STATEMENT_MS}; \
             SET idle_in_transaction_session_timeout = {IDLE_MS}; \
             SET client_min_messages = warning"
        );
        session.script(&settings).await?;
        Ok(session)
    }

    /// A connection to read with, connected anew if it was lost.
    pub async fn reader(&self) -> Result<Arc<PostgresSession>, DbError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % READERS;
        let mut slot = self.readers[turn].lock().await;
        if let Some(session) = slot.as_ref().filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(self.connect().await?);
        *slot = Some(Arc::clone(&session));
        Ok(session)
    }
}

impl PostgresSession {
    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
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

    pub(super) async fn begin(&self) -> Result<(), DbError> {
        // The isolation is named because the database may have another default.
        let lock = self.transaction_lock();
        self.script(&format!("BEGIN ISOLATION LEVEL READ COMMITTED; {lock}"))
            .await
    }

    /// Prepares the lock on accounts ahead, so that no statement of a batch is sent before it.
    pub async fn prepare_lock(&self) -> Result<(), DbError> {
        self.statement(LOCK_ACCOUNTS).await.map(drop)
    }

    pub(super) async fn lock_accounts(&self, ids: &[String]) -> Result<(), DbError> {
        if ids.is_empty() {
            return Ok(());
        }
        let statement = self.statement(LOCK_ACCOUNTS).await?;
        let done = self.client.query(&statement, &[&ids]).await;
        done.map(drop).map_err(convert)
    }

    pub(super) async fn statement(&self, sql: &'static str) -> Result<Statement, DbError> {
        let known = self.lock().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let text = sql.replace(SKIP_LOCKED, "FOR UPDATE SKIP LOCKED");
        let statement = self.client.prepare(&text).await.map_err(convert)?;
        self.lock().insert(sql, statement.clone());
        Ok(statement)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Statement>> {
        // The map is only ever added to, whole entries at a time.
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn execute(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, DbError> {
        let statement = self.statement(sql).await?;
        let values = borrowed(values);
        self.client
            .execute(&statement, &values)
            .await
            .map_err(convert)
    }

    pub(super) async fn rows(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, DbError> {
        let statement = self.statement(sql).await?;
        let values = borrowed(values);
        let rows = self
            .client
            .query(&statement, &values)
            .await
            .map_err(convert)?;
        Ok(rows
            .into_iter()
            .map(|row| Row(Cells::Postgres(row)))
            .collect())
    }

    pub(super) async fn script(&self, sql: &str) -> Result<(), DbError> {
        self.client.batch_execute(sql).await.map_err(convert)
    }

    pub(super) async fn commit(&self) -> Result<(), DbError> {
        self.script("COMMIT").await
    }

    pub(super) async fn rollback(&self) {
        let _ = self.script("ROLLBACK").await;
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
