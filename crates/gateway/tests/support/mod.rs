//! Databases for tests: every test that takes [`stores`] runs on SQLite and on PostgreSQL.
//!
//! Invariant: nothing is skipped. Without PostgreSQL the test fails and says how to get it.

pub(crate) mod cluster;

use std::path::PathBuf;

use gateway::entropy::Entropy;
use gateway::store::{Access, Store};

/// An instant for tests, Unix milliseconds.
pub const NOW_MS: i64 = 1_800_000_000_000;

/// A store on a database of its own, which goes with it.
pub struct TestStore {
    /// `SQLite` or `PostgreSQL`, for messages.
    pub name: &'static str,
    /// The store, opened as a server's.
    pub store: Store,
    /// What to open it by again.
    pub url: String,
    // Behind the store, so that it is closed before.
    _home: Home,
}

enum Home {
    Folder(PathBuf),
    Database(String),
}

/// One store of each kind, empty and migrated.
pub async fn stores() -> Vec<TestStore> {
    vec![TestStore::sqlite().await, TestStore::postgres().await]
}

impl TestStore {
    /// A store on a new SQLite file on the disk that holds `target`.
    pub async fn sqlite() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(fresh_name());
        std::fs::create_dir_all(&folder).expect("a folder for the file");
        let url = format!("sqlite://{}", folder.join("test.db").display());
        Self::open("SQLite", url, Home::Folder(folder)).await
    }

    /// A store on a new PostgreSQL database.
    pub async fn postgres() -> Self {
        let name = fresh_name();
        cluster::administer(&format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        let url = cluster::url(&name);
        Self::open("PostgreSQL", url, Home::Database(name)).await
    }

    async fn open(name: &'static str, url: String, home: Home) -> Self {
        let store = Store::open(&url, Access::Server, NOW_MS).await;
        Self {
            name,
            store: store.expect("a new database can be opened"),
            url,
            _home: home,
        }
    }

    /// A second handle: on PostgreSQL what another node would have, on SQLite a clone, as there one
    /// process has the file.
    pub async fn twin(&self) -> Store {
        if !self.store.is_shared() {
            return self.store.clone();
        }
        let twin = Store::connect(&self.url, Access::Server).await;
        twin.expect("a second node can connect")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        match self {
            Self::Folder(path) => drop(std::fs::remove_dir_all(path)),
            Self::Database(name) => cluster::drop_database(name),
        }
    }
}

fn fresh_name() -> String {
    format!("rb_test_{}", hex::encode(Entropy::system().bytes::<8>()))
}
