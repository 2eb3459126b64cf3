//! A PostgreSQL for one test, which does to it what others would suffer from.

use std::path::Path;
use std::process::Child;

use tokio_postgres::NoTls;

use crate::support::cluster;

/// The server; it ends with this.
pub struct OwnServer {
    /// Its only database, over the server's socket.
    pub url: String,
    _keeper: Child,
}

impl OwnServer {
    /// Starts it with these settings, once `prepare` has put into the folder of its files what it
    /// wants there.
    pub fn start(settings: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let launched = cluster::launch(settings, prepare);
        let host = launched.home.display().to_string().replace('/', "%2F");
        Self {
            url: format!("postgres://tests@{host}/postgres"),
            _keeper: launched.keeper,
        }
    }

    /// Runs a statement outside of a transaction.
    pub async fn administer(&self, sql: &str) {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        let run = async {
            client.batch_execute(sql).await.unwrap();
            drop(client);
        };
        drop(tokio::join!(run, connection));
    }
}
