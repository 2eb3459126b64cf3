//! SQLite: one writing connection, several reading ones, write-ahead log, every commit synced.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{Cells, DbError, Row, Value};

/// Oldest library without the WAL-reset corruption bug.
const LIBRARY_MIN: i32 = 3_051_003;

/// Reading connections; a read takes microseconds, so a few serve many.
const READERS: usize = 8;

/// Every commit empties a reader's own cache; mapped, the pages are the system's cache, which all share
/// and nobody copies. So much of the file, in bytes; a larger file is read as before.
const READ_FROM_MEMORY: &str = "PRAGMA mmap_size = 268435456;";

/// What the writer keeps of the file, in KiB behind the minus. Submits go to the ends of tables and
/// indexes and need little of it; a larger cache is memory for every task under way.
const WRITE_CACHE: &str = "PRAGMA cache_size = -8192;";

/// How long a writer waits for another process, in milliseconds.
const BUSY_MS: u64 = 5_000;

/// Prepared statements kept on a connection; more than there are.
const STATEMENTS: usize = 256;

/// A SQLite file with its connections.
pub struct Sqlite {
    writer: Arc<SqliteSession>,
    readers: Vec<SqliteSession>,
    turn: AtomicUsize,
    /// Held while the process lives; the lock ends with it.
    _lock: Option<File>,
}

/// One connection. The lock is never contended on the writer and held only for one statement.
pub struct SqliteSession(Mutex<Connection>);

impl Sqlite {
    /// Opens a file, making it and its folder if needed. With `exclusive` a second server on the
    /// same file is refused.
    pub fn open(path: &Path, exclusive: bool) -> Result<Self, DbError> {
        if rusqlite::version_number() < LIBRARY_MIN {
            return Err(DbError::Unavailable(format!(
                "SQLite {} can corrupt its log; 3.51.3 or newer is needed",
                rusqlite::version()
            )));
        }
        let unavailable = |what: &str, error: std::io::Error| {
            DbError::Unavailable(format!("{what} {}: {error}", path.display()))
        };
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder)
                .map_err(|error| unavailable("cannot make the folder of", error))?;
        }
        let lock = if exclusive { Some(lock(path)?) } else { None };
        let writer = SqliteSession::open(path, OpenFlags::default())?;
        writer.script("PRAGMA journal_mode = WAL;")?;
        writer.script(WRITE_CACHE)?;
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        let reader = |_| {
            let session = SqliteSession::open(path, read_only)?;
            session.script(READ_FROM_MEMORY)?;
            Ok(session)
        };
        let readers: Result<Vec<_>, DbError> = (0..READERS).map(reader).collect();
        Ok(Self {
            writer: Arc::new(writer),
            readers: readers?,
            turn: AtomicUsize::new(0),
            _lock: lock,
        })
    }

    /// The connection that writes; the committer's alone.
    pub fn writer(&self) -> &Arc<SqliteSession> {
        &self.writer
    }

    /// A connection to read with: a free one, else the one whose turn it is.
    pub fn reader(&self) -> &SqliteSession {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let at = |offset: usize| &self.readers[first.wrapping_add(offset) % READERS];
        (0..READERS)
            .map(at)
            .find(|reader| reader.0.try_lock().is_ok())
            .unwrap_or_else(|| at(0))
    }
}

fn lock(path: &Path) -> Result<File, DbError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|error| DbError::Unavailable(format!("cannot open the lock file: {error}")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DbError::Unavailable(format!(
            "another server is running on {}",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(DbError::Unavailable(format!("cannot lock: {error}")))
        }
    }
}

impl SqliteSession {
    fn open(path: &Path, flags: OpenFlags) -> Result<Self, DbError> {
        let connection = Connection::open_with_flags(path, flags).map_err(convert)?;
        connection
            .busy_timeout(std::time::Duration::from_millis(BUSY_MS))
            .map_err(convert)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // Else a statement whose plan might be better for other values is compiled for each of them.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
            .map_err(convert)?;
        connection
            .execute_batch("PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;")
            .map_err(convert)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn with<T>(
        &self,
        run: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, DbError> {
        // A panic while the lock was held leaves a connection that SQLite itself keeps consistent.
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        run(&connection).map_err(convert)
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, DbError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            bind(&mut statement, values)?;
            let rows = statement.raw_execute()?;
            Ok(u64::try_from(rows).unwrap_or(u64::MAX))
        })
    }

    pub(super) fn rows(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, DbError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            bind(&mut statement, values)?;
            let columns = statement.column_count();
            let mut found = Vec::new();
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                let cells: Result<Vec<_>, _> = (0..columns).map(|column| row.get(column)).collect();
                found.push(Row(Cells::Sqlite(cells?)));
            }
            Ok(found)
        })
    }

    /// Checks, besides the syntax, that parameter `n` of the statement is `$n`.
    pub(super) fn prepare(&self, sql: &str) -> Result<(), DbError> {
        self.with(|connection| {
            let statement = connection.prepare(sql)?;
            for index in 1..=statement.parameter_count() {
                let name = statement.parameter_name(index);
                if name != Some(format!("${index}").as_str()) {
                    return Err(rusqlite::Error::InvalidParameterName(format!(
                        "parameter {index} is {name:?} in: {sql}"
                    )));
                }
            }
            Ok(())
        })
    }

    pub(super) fn script(&self, sql: &str) -> Result<(), DbError> {
        self.with(|connection| connection.execute_batch(sql))
    }

    /// Commits. A failed sync means that what the disk holds is not known: going on, or trying the
    /// sync again, could acknowledge what is lost, so the process ends and recovery starts from the
    /// log.
    pub(super) fn commit(&self) -> Result<(), DbError> {
        let done = self.with(|connection| {
            debug_assert!(!connection.is_autocommit(), "a transaction is committed once");
            let done = connection.execute_batch("COMMIT");
            if let Err(rusqlite::Error::SqliteFailure(error, message)) = &done
                && matches!(
                    error.extended_code,
                    rusqlite::ffi::SQLITE_IOERR_FSYNC | rusqlite::ffi::SQLITE_IOERR_DIR_FSYNC
                )
            {
                tracing::error!(error = %error, message, "the database could not be synced; aborting");
                std::process::abort();
            }
            done
        });
        if done.is_err() {
            self.rollback();
        }
        done
    }

    pub(super) fn rollback(&self) {
        let _ = self.with(|connection| {
            if connection.is_autocommit() {
                return Ok(());
            }
            connection.execute_batch("ROLLBACK")
        });
    }
}

fn bind(
    statement: &mut rusqlite::CachedStatement<'_>,
    values: &[Value<'_>],
) -> Result<(), rusqlite::Error> {
    for (index, value) in (1..).zip(values) {
        match value {
            Value::Text(text) => statement.raw_bind_parameter(index, text)?,
            Value::Int(number) => statement.raw_bind_parameter(index, number)?,
            Value::Null => statement.raw_bind_parameter(index, rusqlite::types::Null)?,
        }
    }
    Ok(())
}

fn convert(error: rusqlite::Error) -> DbError {
    let text = error.to_string();
    let Some(code) = error.sqlite_error_code() else {
        return DbError::Broken(text);
    };
    match code {
        ErrorCode::ConstraintViolation => DbError::Constraint(text),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => DbError::Conflict(text),
        ErrorCode::DiskFull
        | ErrorCode::CannotOpen
        | ErrorCode::SystemIoFailure
        | ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::OutOfMemory
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::NotADatabase => DbError::Unavailable(text),
        _ => DbError::Broken(text),
    }
}
