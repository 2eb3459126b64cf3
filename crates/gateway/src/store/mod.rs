//! The store: every fact the gateway keeps.
//!
//! Invariant: operations are use cases; each is one transaction. Reads take the account first; the
//! ones that do not carry `any_` in their name. No call leaves the process while one is under way.

pub mod accounts;
pub mod admin_accounts;
pub mod alerts;
pub mod audit;
pub mod callback_secrets;
pub mod checkouts;
mod commit;
mod committer;
pub mod db;
pub mod files;
mod hints;
mod intake;
pub mod key_changes;
pub mod keyring;
pub mod keys;
pub mod lanes;
pub mod last_looks;
pub mod ledger;
pub mod mails;
mod meters;
mod migrate;
pub mod notices;
mod parked;
mod put_back;
mod read_once;
pub mod submit;
pub mod switches;
pub mod tasks;
pub mod transactions;
pub mod uploads;
mod waiting;
pub mod webhooks;
pub mod work;

use std::sync::Arc;
use std::time::Duration;

pub use committer::Gate;
use committer::{Committer, Operation};
use db::{DbError, Location, Patience, Postgres, Session, Sqlite};
use domain::ids::TaskId;
use hints::Hints;
pub use hints::Watch;
use keyring::Keyring;
pub use migrate::{MIGRATIONS, Migration};

/// Why an operation has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too much is waiting to be written; nothing was recorded.
    #[error("too much is waiting to be written")]
    Overloaded,
    /// The database cannot be reached; nothing was recorded.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The database was lost in COMMIT, and what became of it could not be read back: it is recorded
    /// or it is not.
    #[error("it is not known whether it was recorded: {0}")]
    Unclear(String),
    /// A unique index or a check refused it.
    #[error("a constraint refused it: {0}")]
    Duplicate(String),
    /// A mistake of ours.
    #[error("the store is broken: {0}")]
    Broken(String),
}

impl From<&DbError> for StoreError {
    fn from(error: &DbError) -> Self {
        match error {
            DbError::Unavailable(text) | DbError::Slow(text) | DbError::Conflict(text) => {
                Self::Unavailable(text.clone())
            }
            DbError::Constraint(text) => Self::Duplicate(text.clone()),
            DbError::Broken(text) => Self::Broken(text.clone()),
        }
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        Self::from(&error)
    }
}

/// Who opens the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The server: alone on a SQLite file.
    Server,
    /// A command beside a running server.
    Beside,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    database: Database,
    committer: Committer,
    hints: Arc<Hints>,
    keyring: Arc<Keyring>,
}

#[derive(Clone)]
enum Database {
    Sqlite(Arc<Sqlite>),
    Postgres(Arc<Postgres>),
}

/// A connection to read with.
enum Reader<'a> {
    Sqlite(&'a db::SqliteSession),
    Postgres(Arc<db::PostgresSession>),
}

impl Reader<'_> {
    fn session(&self) -> Session<'_> {
        match self {
            Self::Sqlite(session) => Session::Sqlite(session),
            Self::Postgres(session) => Session::Postgres(session),
        }
    }
}

fn no_thread(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("the committer has no thread: {error}"))
}

impl Store {
    /// Opens a store and brings its tables up to date.
    ///
    /// # Errors
    /// The database cannot be reached, is used by another server, or is newer than this program.
    pub async fn open(url: &str, access: Access, now_ms: i64) -> Result<Self, StoreError> {
        let store = Self::connect(url, access).await?;
        store.migrate(now_ms).await?;
        Ok(store)
    }

    /// Opens a store as it is.
    ///
    /// # Errors
    /// The database cannot be reached or is used by another server.
    pub async fn connect(url: &str, access: Access) -> Result<Self, StoreError> {
        Self::connect_patiently(url, access, Patience::default()).await
    }

    /// The same with other limits on what PostgreSQL may take.
    ///
    /// # Errors
    /// The database cannot be reached or is used by another server.
    pub async fn connect_patiently(
        url: &str,
        access: Access,
        patience: Patience,
    ) -> Result<Self, StoreError> {
        let location = Location::parse(url).ok_or_else(|| {
            StoreError::Unavailable(
                "database.url must start with sqlite:// or postgres://".to_owned(),
            )
        })?;
        match location {
            Location::Sqlite(path) => {
                let database = Arc::new(Sqlite::open(&path, access == Access::Server)?);
                let committer = Committer::sqlite(&database).map_err(no_thread)?;
                Ok(Self::over(Database::Sqlite(database), committer))
            }
            Location::Postgres(url) => {
                let database = Postgres::open(&url, patience).await?;
                let committer = Committer::postgres(Arc::clone(&database)).map_err(no_thread)?;
                Ok(Self::over(Database::Postgres(database), committer))
            }
        }
    }

    /// Opens a SQLite file for a simulation: beside others, with everything that is written passing
    /// a gate and no thread of its own, so that the same seed gives the same run.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn open_simulated(
        path: &std::path::Path,
        now_ms: i64,
        gate: Gate,
    ) -> Result<Self, StoreError> {
        let database = Arc::new(Sqlite::open(path, false)?);
        let committer = Committer::sqlite_in_runtime(&database, gate);
        let store = Self::over(Database::Sqlite(database), committer);
        store.migrate(now_ms).await?;
        Ok(store)
    }

    fn over(database: Database, committer: Committer) -> Self {
        Self {
            database,
            committer,
            hints: Arc::new(Hints::new()),
            keyring: Arc::default(),
        }
    }

    /// The same with an observer that is told of each commit how many operations it had and how long
    /// it took. It holds the next commit up, and there is only one.
    #[must_use]
    pub fn observed(self, observer: impl Fn(usize, Duration) + Send + Sync + 'static) -> Self {
        self.committer.observe(Box::new(observer));
        self
    }

    /// Whether other nodes may work on the same store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.database, Database::Postgres(_))
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let reader = self.reader().await?;
        reader.session().row(PING, &[]).await?;
        Ok(())
    }

    /// What the clock of the machine that all nodes share says, Unix milliseconds; `None` where one
    /// process is alone. For comparing clocks: nothing that is recorded comes from it.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_clock_ms(&self) -> Result<Option<i64>, StoreError> {
        match self.reader().await? {
            Reader::Sqlite(_) => Ok(None),
            Reader::Postgres(session) => Ok(Some(session.clock_ms().await?)),
        }
    }

    async fn reader(&self) -> Result<Reader<'_>, DbError> {
        match &self.database {
            Database::Sqlite(database) => Ok(Reader::Sqlite(database.reader())),
            Database::Postgres(database) => Ok(Reader::Postgres(database.reader().await?)),
        }
    }

    async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer, StoreError> {
        self.committer.write(operation).await
    }

    async fn admit<O: Operation>(&self, operation: O) -> Result<O::Answer, StoreError> {
        self.committer.admit(operation).await
    }

    /// Hears of a task's changes in this process.
    #[must_use]
    pub fn watch(&self, id: &TaskId) -> Watch {
        self.hints.watch(id)
    }

    /// Ends when this process has recorded work that may be due, since the last call.
    pub async fn work_hinted(&self) {
        self.hints.work.notified().await;
    }

    /// Ends when this process has recorded a callback that may be due, since the last call.
    pub async fn notice_hinted(&self) {
        self.hints.notices.notified().await;
    }

    /// Makes whoever waits in [`Store::work_hinted`] look again.
    pub fn hint_work(&self) {
        self.hints.work.notify_one();
    }

    /// Prepares a statement on the database without running it; for tests of the one text.
    ///
    /// # Errors
    /// The database does not understand it.
    pub async fn any_prepare(&self, sql: &'static str) -> Result<(), StoreError> {
        let reader = self.reader().await?;
        Ok(reader.session().prepare(sql).await?)
    }
}

const PING: &str = "SELECT 1";

/// As long as most of what is written, in bytes: a text that grows as it is written is copied each time.
const JSON_BYTES: usize = 1 << 10;

/// JSON of our own types; cannot fail for them.
fn json<T: serde::Serialize>(value: &T) -> Result<String, DbError> {
    let broken = |error: &dyn std::fmt::Display| DbError::Broken(error.to_string());
    let mut bytes = Vec::with_capacity(JSON_BYTES);
    serde_json::to_writer(&mut bytes, value).map_err(|error| broken(&error))?;
    String::from_utf8(bytes).map_err(|error| broken(&error))
}

/// Our own types from JSON that we wrote.
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|error| DbError::Broken(error.to_string()))
}
