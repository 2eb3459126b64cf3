//! A thin façade over two concrete database drivers.
//!
//! Invariant: the only module that names a driver. Statements are written once, for both: columns are
//! TEXT or BIGINT, parameters are `$1` to `$n` in the order of their first appearance.

mod many;
mod postgres;
mod sqlite;

use std::path::PathBuf;

use futures_util::future::try_join_all;

pub use many::Many;
pub use postgres::{Patience, Postgres, PostgresSession};
pub use sqlite::{Sqlite, SqliteSession};

/// Marks, in a statement that claims rows, where PostgreSQL is told to pass over rows that another
/// node is claiming. SQLite has one writer and reads it as a comment.
pub const SKIP_LOCKED: &str = "/* skip locked */";

/// Why a statement did not run.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The database cannot be reached, is full, or is busy beyond its time limit.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A unique index or a check refused a row.
    #[error("a constraint refused the row: {0}")]
    Constraint(String),
    /// Another transaction was in the way; the same again may work.
    #[error("another transaction was in the way: {0}")]
    Conflict(String),
    /// The statement took longer than it may; the transaction is void, the connection is not.
    #[error("a statement took too long: {0}")]
    Slow(String),
    /// The statement, or what it returned, is not what the code expects.
    #[error("the statement failed: {0}")]
    Broken(String),
}

/// A parameter.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// TEXT.
    Text(&'a str),
    /// BIGINT.
    Int(i64),
    /// No value.
    Null,
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Parameters of a statement: `values![id, now_ms]`.
#[macro_export]
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::db::Value::from($value)),*]
    };
}

/// One row of an answer.
#[derive(Debug)]
pub struct Row(Cells);

#[derive(Debug)]
enum Cells {
    Sqlite(Vec<rusqlite::types::Value>),
    Postgres(tokio_postgres::Row),
}

impl Row {
    /// The text in a column that is never null.
    pub fn text(&self, column: usize) -> Result<String, DbError> {
        self.str(column).map(str::to_owned)
    }

    /// The same as it lies in the row.
    pub fn str(&self, column: usize) -> Result<&str, DbError> {
        self.str_or_null(column)?
            .ok_or_else(|| DbError::Broken(format!("column {column} is null")))
    }

    /// The number in a column that is never null.
    pub fn int(&self, column: usize) -> Result<i64, DbError> {
        self.int_or_null(column)?
            .ok_or_else(|| DbError::Broken(format!("column {column} is null")))
    }

    /// The text in a column.
    pub fn text_or_null(&self, column: usize) -> Result<Option<String>, DbError> {
        Ok(self.str_or_null(column)?.map(str::to_owned))
    }

    /// The same as it lies in the row.
    pub fn str_or_null(&self, column: usize) -> Result<Option<&str>, DbError> {
        match &self.0 {
            Cells::Postgres(row) => row
                .try_get(column)
                .map_err(|error| DbError::Broken(error.to_string())),
            Cells::Sqlite(cells) => match cells.get(column) {
                Some(rusqlite::types::Value::Text(text)) => Ok(Some(text)),
                Some(rusqlite::types::Value::Null) => Ok(None),
                other => Err(DbError::Broken(format!("column {column} is {other:?}"))),
            },
        }
    }

    /// The number in a column.
    pub fn int_or_null(&self, column: usize) -> Result<Option<i64>, DbError> {
        match &self.0 {
            Cells::Postgres(row) => row
                .try_get(column)
                .map_err(|error| DbError::Broken(error.to_string())),
            Cells::Sqlite(cells) => match cells.get(column) {
                Some(rusqlite::types::Value::Integer(number)) => Ok(Some(*number)),
                Some(rusqlite::types::Value::Null) => Ok(None),
                other => Err(DbError::Broken(format!("column {column} is {other:?}"))),
            },
        }
    }
}

/// Where statements run: inside the committer's transaction, or each on its own for reads.
///
/// What waits for PostgreSQL is boxed: it has kilobytes, and would be part of every future that reads.
#[derive(Clone, Copy)]
pub enum Session<'a> {
    /// On a SQLite connection.
    Sqlite(&'a SqliteSession),
    /// On a PostgreSQL connection.
    Postgres(&'a PostgresSession),
}

impl Session<'_> {
    /// Runs a statement; answers how many rows it changed.
    pub async fn execute(self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, DbError> {
        match self {
            Self::Sqlite(session) => session.execute(sql, values),
            Self::Postgres(session) => Box::pin(session.execute(sql, values)).await,
        }
    }

    /// Runs a statement; answers its rows.
    pub async fn rows(self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, DbError> {
        match self {
            Self::Sqlite(session) => session.rows(sql, values),
            Self::Postgres(session) => Box::pin(session.rows(sql, values)).await,
        }
    }

    /// Inserts rows; answers how many are new.
    pub async fn insert<const N: usize>(
        self,
        many: &'static Many,
        rows: &[[Value<'_>; N]],
    ) -> Result<u64, DbError> {
        let mut rest = rows;
        let statements = many.statements(rows.len());
        let inserts = statements.into_iter().map(|(sql, count)| {
            let (now, later) = rest.split_at(count);
            rest = later;
            self.execute(sql, now.as_flattened())
        });
        Ok(try_join_all(inserts).await?.into_iter().sum())
    }

    /// Runs a statement; answers its first row.
    pub async fn row(
        self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, DbError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Prepares a statement without running it.
    pub async fn prepare(self, sql: &'static str) -> Result<(), DbError> {
        match self {
            Self::Sqlite(session) => session.prepare(sql),
            Self::Postgres(session) => session.statement(sql).await.map(drop),
        }
    }

    /// Runs several statements without parameters, such as a migration or `BEGIN`.
    pub async fn script(self, sql: &str) -> Result<(), DbError> {
        match self {
            Self::Sqlite(session) => session.script(sql),
            Self::Postgres(session) => session.script(sql).await,
        }
    }

    /// Starts a transaction that may write.
    pub async fn begin(self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(session) => session.script("BEGIN IMMEDIATE"),
            Self::Postgres(session) => session.begin().await,
        }
    }

    /// Locks the rows of accounts, in the order of their ids, which must be sorted. SQLite has one
    /// writer and needs no locks.
    pub async fn lock_accounts(self, ids: &[String]) -> Result<(), DbError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.lock_accounts(ids).await,
        }
    }

    /// Ends the transaction; what it wrote is synced.
    pub async fn commit(self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(session) => session.commit(),
            Self::Postgres(session) => session.commit().await,
        }
    }

    /// Ends the transaction; it wrote nothing.
    pub async fn rollback(self) {
        match self {
            Self::Sqlite(session) => session.rollback(),
            Self::Postgres(session) => session.rollback().await,
        }
    }

    /// Whether its rows can be changed by other processes' transactions at the same time.
    #[must_use]
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

/// Which database a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL connection URL.
    Postgres(String),
}

impl Location {
    /// Reads `sqlite://PATH` or `postgres://…`.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            return (!path.is_empty()).then(|| Self::Sqlite(PathBuf::from(path)));
        }
        let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        is_postgres.then(|| Self::Postgres(url.to_owned()))
    }
}
