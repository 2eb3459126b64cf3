//! How long, how often, on what.

use std::path::PathBuf;

/// How a comparison is run.
#[derive(Debug, clap::Args)]
pub struct Settings {
    /// `sqlite`, `postgres` (a temporary cluster), or the `postgres://…` URL of an empty database.
    #[arg(long, default_value = "sqlite")]
    pub database: String,
    /// How many connections; one table per number.
    #[arg(long, value_delimiter = ',', default_value = "1,64,512")]
    pub connections: Vec<usize>,
    /// Rounds that count.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds for each contender in a round.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Rounds with more foreign load than this share of the machine are repeated.
    #[arg(long, default_value_t = 0.12)]
    pub foreign_max: f64,
    /// Tasks that status reads pick from.
    #[arg(long, default_value_t = 10_000)]
    pub tasks: usize,
    /// The server; a release build of this tree unless given.
    #[arg(long)]
    pub binary: Option<PathBuf>,
    /// Only the bare handlers: how steady is this machine?
    #[arg(long)]
    pub bare_only: bool,
    /// Where the databases lie while the bench runs; `target/bench` unless given.
    #[arg(long)]
    pub folder: Option<PathBuf>,
    /// Keep databases and logs.
    #[arg(long)]
    pub keep: bool,
}

/// What the servers store their tasks in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A file of each server's own.
    Sqlite,
    /// A cluster that lives as long as the bench, with a database for each server.
    Cluster,
    /// A database somewhere.
    Given(String),
}

impl Settings {
    /// Which database is meant.
    ///
    /// # Errors
    /// It is none we know.
    pub fn database(&self) -> anyhow::Result<Database> {
        match self.database.as_str() {
            "sqlite" => Ok(Database::Sqlite),
            "postgres" => Ok(Database::Cluster),
            url if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Ok(Database::Given(url.to_owned()))
            }
            other => anyhow::bail!("`{other}`: neither sqlite, postgres nor a postgres:// URL"),
        }
    }
}
