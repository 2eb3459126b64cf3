//! Many clients on one balance and one key: what the ledger and the limits say holds to the last one.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::NoTls;

use crate::cluster;
use crate::server::{Folder, Server, command};

/// Clients at the same time.
const CLIENTS: usize = 64;

/// How many runs the balance covers, and how many are tried.
const COVERED: usize = 500;
const TRIED: usize = 700;

/// Requests a minute, and for how long they are tried: long enough for two windows.
const RPM: usize = 20;
const LASTS: Duration = Duration::from_secs(75);

/// How long a client rests between two tries of a limit.
const REST: Duration = Duration::from_millis(150);

const MODEL: &str = "image_generate.imagen_4";

/// Servers on one store.
struct Nodes {
    folder: Folder,
    /// The URL of a database that they share, where they are several.
    database: Option<String>,
    servers: Vec<Server>,
}

impl Nodes {
    /// One server on SQLite.
    fn alone(name: &str) -> Self {
        let folder = Folder::new(name);
        let servers = vec![Server::start(&folder.0)];
        Self {
            folder,
            database: None,
            servers,
        }
    }

    /// Two servers on PostgreSQL.
    fn two(name: &str) -> Self {
        let folder = Folder::new(name);
        let database = format!("{name}_{}", std::process::id());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(cluster::administer(&format!("CREATE DATABASE {database}")));
        let mut nodes = Self {
            folder,
            database: Some(database),
            servers: Vec::new(),
        };
        for _ in 0..2 {
            nodes
                .servers
                .push(Server::spawn(nodes.command().arg("serve")));
        }
        nodes
    }

    fn command(&self) -> Command {
        let mut command = command(&self.folder.0);
        if let Some(database) = &self.database {
            command.env("ROUTERBASE_DATABASE__URL", cluster::url(database));
        }
        command
    }

    /// What a command prints; it must succeed.
    fn output(&self, arguments: &[&str]) -> String {
        let done = self.command().args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments:?}: {said}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// Submits with a key from many clients at once, on all nodes in turn, while `goes_on` with the
    /// count of those before; answers the statuses.
    fn submit(&self, key: &str, goes_on: impl Fn(usize) -> bool + Sync) -> Vec<(u16, Value)> {
        let (before, path) = (AtomicUsize::new(0), format!("/api/v1/run/{MODEL}"));
        let (body, script) = (
            json!({"prompt": "fox"}),
            [("RouterBase-Sandbox", "delay=600s")],
        );
        let client = || {
            let mut answers = Vec::new();
            loop {
                let n = before.fetch_add(1, Ordering::Relaxed);
                if !goes_on(n) {
                    return answers;
                }
                let server = &self.servers[n % self.servers.len()];
                answers.push(
                    server
                        .call_as(key, "POST", &path, &script, Some(&body))
                        .unwrap(),
                );
            }
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            let answers = clients.into_iter().map(|client| client.join().unwrap());
            answers.flatten().collect()
        })
    }

    fn get_as(&self, key: &str, path: &str) -> Value {
        let (status, body) = self.servers[0]
            .call_as(key, "GET", path, &[], None)
            .unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.servers.clear();
        if let Some(database) = &self.database {
            cluster::drop_database(database);
        }
    }
}

fn count(answers: &[(u16, Value)], status: u16) -> usize {
    answers.iter().filter(|answer| answer.0 == status).count()
}

fn the_balance_covers_so_many_and_no_more(nodes: &Nodes) {
    let estimate = format!("/api/v1/run/{MODEL}/estimate");
    let (_, price) = nodes.servers[0]
        .call("POST", &estimate, &[], Some(&json!({"prompt": "fox"})))
        .unwrap();
    let micros = (price["max_credits"].as_f64().unwrap() * 1e6).round();
    let credits = format!("{:.6}", micros * COVERED as f64 / 1e6);
    let tenant = ["--account", "tenant", "--credits", &credits];
    let key = nodes.output(&[&["key", "create", "--name", "pressure"][..], &tenant].concat());
    let answers = nodes.submit(&key, |n| n < TRIED);
    assert_eq!(count(&answers, 200), COVERED);
    assert_eq!(count(&answers, 402), TRIED - COVERED);
    let balance = nodes.get_as(&key, "/api/v1/billing/balance");
    assert_eq!(balance["credits"], 0, "{balance}");
    nodes.output(&["ledger", "check"]);
}

#[test]
fn one_node_never_overdraws_a_balance() {
    the_balance_covers_so_many_and_no_more(&Nodes::alone("overdraft"));
}

#[test]
fn two_nodes_never_overdraw_a_balance() {
    the_balance_covers_so_many_and_no_more(&Nodes::two("overdrafts"));
}

/// When the tasks of a key were admitted, as the database says, in milliseconds.
fn admissions(nodes: &Nodes) -> Vec<i64> {
    let url = cluster::url(nodes.database.as_ref().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let read = async {
            let sql = "SELECT created_ms FROM tasks ORDER BY created_ms";
            let rows = client.query(sql, &[]).await;
            drop(client);
            rows
        };
        let (rows, _) = tokio::join!(read, connection);
        rows.unwrap().iter().map(|row| row.get(0)).collect()
    })
}

#[test]
fn two_nodes_never_admit_more_than_a_key_may() {
    let nodes = Nodes::two("limits");
    let wish = json!({"name": "limited", "rate_limit_rpm": RPM});
    let (status, key) = nodes.servers[0]
        .call("POST", "/api/v1/api-keys", &[], Some(&wish))
        .unwrap();
    assert_eq!(status, 200, "{key}");
    let is_over = AtomicBool::new(false);
    let answers = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(LASTS);
            is_over.store(true, Ordering::Relaxed);
        });
        nodes.submit(key["key"].as_str().unwrap(), |_| {
            std::thread::sleep(REST);
            !is_over.load(Ordering::Relaxed)
        })
    });
    let admitted = admissions(&nodes);
    assert_eq!(count(&answers, 200), admitted.len());
    assert_eq!(count(&answers, 429), answers.len() - admitted.len());
    assert!(answers.len() > 100 * RPM, "{} tries", answers.len());
    assert!(admitted.len() >= 2 * RPM, "{} admitted", admitted.len());
    for run in admitted.windows(RPM + 1) {
        let minute = run[RPM] - run[0];
        assert!(minute >= 60_000, "{} in {minute} ms", run.len());
    }
}
