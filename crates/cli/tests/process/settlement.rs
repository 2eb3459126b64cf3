//! kill -9 between any two statements of a settlement: triggers stall the database behind one of them,
//! the process dies there, and after a restart the hold is closed exactly once.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tokio_postgres::NoTls;

use crate::cluster;
use crate::server::{Folder, Receiver, Server, command};

/// The statements of a settlement: what happens to which table, and which rows are meant.
const STATEMENTS: [(&str, &str, &str); 6] = [
    ("UPDATE", "tasks", "NEW.lane = 0"),
    ("UPDATE", "attempts", "NEW.is_open = 0"),
    ("INSERT", "entries", "NEW.kind = 'close'"),
    ("UPDATE", "accounts", "NEW.held < OLD.held"),
    ("INSERT", "files", "NEW.bytes > 0"),
    ("INSERT", "notices", "NEW.attempts = 0"),
];

const MODEL: &str = "image_generate.imagen_4";

/// A store whose settlements can be stalled.
trait Stalled {
    fn command(&self) -> Command;

    /// Stalls whoever runs this statement, behind it.
    fn stall(&self, statement: (&str, &str, &str));

    /// Ends the stall, after the server died.
    fn go_on(&self);
}

struct OnSqlite(Folder);

impl OnSqlite {
    fn run(&self, sql: &str) {
        let file = self.0.0.join("data/routerbase.db");
        let connection = rusqlite::Connection::open(file).unwrap();
        connection.busy_timeout(Duration::from_secs(30)).unwrap();
        connection.execute_batch(sql).unwrap();
    }
}

impl Stalled for OnSqlite {
    fn command(&self) -> Command {
        command(&self.0.0)
    }

    fn stall(&self, (verb, table, rows): (&str, &str, &str)) {
        // SQLite cannot sleep: it counts, for minutes.
        self.run(&format!(
            "CREATE VIEW stall AS WITH RECURSIVE n(x) AS
                (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 9000000000)
                SELECT COUNT(*) AS counted FROM n;
             CREATE TRIGGER stalled AFTER {verb} ON {table} WHEN {rows}
                BEGIN SELECT counted FROM stall; END;"
        ));
    }

    fn go_on(&self) {
        self.run("DROP TRIGGER stalled; DROP VIEW stall;");
    }
}

struct OnPostgres {
    folder: Folder,
    database: String,
}

impl OnPostgres {
    fn run(&self, sql: &str) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let url = cluster::url(&self.database);
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            let statement = async {
                let done = client.batch_execute(sql).await;
                drop(client);
                done
            };
            let (done, _) = tokio::join!(statement, connection);
            done.unwrap();
        });
    }
}

impl Stalled for OnPostgres {
    fn command(&self) -> Command {
        let mut command = command(&self.folder.0);
        command.env("ROUTERBASE_DATABASE__URL", cluster::url(&self.database));
        command
    }

    fn stall(&self, (verb, table, rows): (&str, &str, &str)) {
        self.run(&format!(
            "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep(600); RETURN NEW; END $$;
             CREATE TRIGGER stalled AFTER {verb} ON {table} FOR EACH ROW WHEN ({rows})
                EXECUTE FUNCTION stall();"
        ));
    }

    fn go_on(&self) {
        // A backend that sleeps does not notice that its client died.
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid();
             DROP FUNCTION stall() CASCADE;",
        );
    }
}

impl Drop for OnPostgres {
    fn drop(&mut self) {
        cluster::drop_database(&self.database);
    }
}

fn is_ended(server: &Server, id: &str) -> bool {
    let task = server.get(&format!("/api/v1/run/tasks/{id}"));
    task["finished_at"].is_string()
}

fn dies_behind(store: &impl Stalled, statement: (&str, &str, &str)) {
    let receiver = Receiver::start();
    let server = Server::spawn(store.command().arg("serve"));
    let body = json!({"prompt": "fox", "callback_url": receiver.url});
    // Only a settlement does these things, so the task gets as far as that.
    store.stall(statement);
    let id = server.submit(MODEL, "", &body);
    std::thread::sleep(Duration::from_secs(4));
    assert!(!is_ended(&server, &id), "{statement:?} did not stall");
    server.kill();
    store.go_on();

    let server = Server::spawn(store.command().arg("serve"));
    let task = server.ended(&id);
    assert_eq!(task["status"], "success", "{statement:?}: {task}");
    let balance = server.get("/api/v1/billing/balance");
    let spent = task["credits"]["charged"].as_f64().unwrap();
    assert!(spent > 0.0);
    assert!((1_000.0 - spent - balance["credits"].as_f64().unwrap()).abs() < 1e-6);
    assert_eq!(balance["held"], 0, "{statement:?}");
    for _ in 0..100 {
        if !receiver.got().is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let ids: BTreeSet<String> = receiver.got().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), 1, "{statement:?}: {ids:?}");
    assert!(server.terminate().success());
    let check = store.command().args(["ledger", "check"]).output().unwrap();
    let found = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success(), "{statement:?}: {found}");
}

#[test]
fn a_settlement_on_sqlite_survives_a_kill_behind_each_statement() {
    std::thread::scope(|scope| {
        for (n, statement) in STATEMENTS.into_iter().enumerate() {
            scope.spawn(move || {
                let store = OnSqlite(Folder::new(&format!("settlement-{n}")));
                dies_behind(&store, statement);
            });
        }
    });
}

#[test]
fn a_settlement_on_postgres_survives_a_kill_behind_each_statement() {
    std::thread::scope(|scope| {
        for (n, statement) in STATEMENTS.into_iter().enumerate() {
            scope.spawn(move || {
                let database = format!("settlement_{n}_{}", std::process::id());
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let make = format!("CREATE DATABASE {database}");
                runtime.block_on(cluster::administer(&make));
                let folder = Folder::new(&format!("settlements-{n}"));
                dies_behind(&OnPostgres { folder, database }, statement);
            });
        }
    });
}
