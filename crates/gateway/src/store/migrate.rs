//! Migrations: numbered scripts, applied once, each with its record in one transaction.

use super::db::{DbError, Session};
use super::{Database, Store, StoreError};
use crate::values;

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// From 1, without gaps.
    pub version: i64,
    /// The file's name without number and ending.
    pub name: &'static str,
    /// Statements for both databases.
    pub sql: &'static str,
}

/// Every step, in order.
pub const MIGRATIONS: [Migration; 6] = [
    Migration {
        version: 1,
        name: "tasks",
        sql: include_str!("migrations/0001_tasks.sql"),
    },
    Migration {
        version: 2,
        name: "limits",
        sql: include_str!("migrations/0002_limits.sql"),
    },
    Migration {
        version: 3,
        name: "billing",
        sql: include_str!("migrations/0003_billing.sql"),
    },
    Migration {
        version: 4,
        name: "admin",
        sql: include_str!("migrations/0004_admin.sql"),
    },
    Migration {
        version: 5,
        name: "traffic",
        sql: include_str!("migrations/0005_traffic.sql"),
    },
    Migration {
        version: 6,
        name: "webhooks",
        sql: include_str!("migrations/0006_webhooks.sql"),
    },
];

/// Any number will do, as long as every version of the program uses the same. Making an index, or
/// waiting for a node that makes one, may take longer than other statements may.
const LOCK: &str = "SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock(7065212)";

const RECORDS: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_ms BIGINT NOT NULL)";

const NEWEST: &str = "SELECT COALESCE(MAX(version), 0) FROM schema_migrations";

const RECORD: &str =
    "INSERT INTO schema_migrations (version, name, applied_ms) VALUES ($1, $2, $3)";

impl Store {
    /// Brings the tables up to date; answers the versions applied.
    ///
    /// # Errors
    /// The database cannot be written, or its schema is newer than this program.
    pub async fn migrate(&self, now_ms: i64) -> Result<Vec<i64>, StoreError> {
        let applied = match &self.database {
            Database::Sqlite(database) => run(Session::Sqlite(database.writer()), now_ms).await,
            Database::Postgres(database) => {
                let session = database.connect().await?;
                run(Session::Postgres(&session), now_ms).await
            }
        };
        Ok(applied?)
    }
}

impl Store {
    /// The version of the tables.
    ///
    /// # Errors
    /// The store is unavailable; `Broken` where there are no tables.
    pub async fn any_schema_version(&self) -> Result<i64, StoreError> {
        let reader = self.reader().await?;
        let newest = reader.session().row(NEWEST, &[]).await?;
        Ok(newest.map_or(Ok(0), |row| row.int(0))?)
    }
}

/// All in one transaction: a crash leaves the schema as it was.
async fn run(db: Session<'_>, now_ms: i64) -> Result<Vec<i64>, DbError> {
    db.begin().await?;
    let applied = steps(db, now_ms).await;
    match applied {
        Ok(applied) => {
            db.commit().await?;
            Ok(applied)
        }
        Err(error) => {
            db.rollback().await;
            Err(error)
        }
    }
}

async fn steps(db: Session<'_>, now_ms: i64) -> Result<Vec<i64>, DbError> {
    if db.is_shared() {
        db.script(LOCK).await?;
    }
    db.script(RECORDS).await?;
    let newest = db.row(NEWEST, &[]).await?;
    let newest = newest.map_or(Ok(0), |row| row.int(0))?;
    let known = MIGRATIONS.last().map_or(0, |last| last.version);
    if newest > known {
        return Err(DbError::Unavailable(format!(
            "the database has schema {newest}, this program knows only {known}; use a newer one"
        )));
    }
    let mut applied = Vec::new();
    for migration in MIGRATIONS.iter().filter(|step| step.version > newest) {
        db.script(migration.sql).await?;
        let values = values![migration.version, migration.name, now_ms];
        db.execute(RECORD, values).await?;
        applied.push(migration.version);
    }
    Ok(applied)
}
