//! PostgreSQL connections that are lost: every answer stays true, and the store goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::credits::Credits;
use futures_util::future::join_all;
use gateway::store::accounts::{Grant, Granted};
use gateway::store::submit::Admission;
use gateway::store::{Access, Store, StoreError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::fixture::{by_hand, steps, success, tenant};
use crate::support::{NOW_MS, TestStore};

const KILL_ALL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[tokio::test]
async fn connections_killed_while_idle_are_replaced() {
    let db = TestStore::postgres().await;
    let tenant = tenant(&db.store, 1_000).await;
    for round in 0..10 {
        by_hand(&db, KILL_ALL).await;
        if round % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tenant.submitted(&db.store, 1).await;
    }
    // A read may fail over a connection that just died, and then no more.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let balance = db.store.balance(&tenant.account).await.unwrap();
    assert_eq!(balance.held, Credits(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_killed_while_committing_lose_and_double_nothing() {
    let db = TestStore::postgres().await;
    let tenant = tenant(&db.store, 1_000_000).await;
    let killer = async {
        for _ in 0..25 {
            tokio::time::sleep(Duration::from_millis(13)).await;
            by_hand(&db, KILL_ALL).await;
        }
    };
    let accepted = AtomicI64::new(0);
    let callers = (0..32).map(|_| async {
        for _ in 0..40 {
            let task = tenant.task(1);
            let answer = db.store.submit(&task, None).await;
            let is_accepted = answer == Ok(Admission::Accepted(vec![]));
            accepted.fetch_add(i64::from(is_accepted), Ordering::Relaxed);
            // What was answered is what a read says.
            let read = eventually(&db.store, &task).await;
            assert_eq!(read, is_accepted, "{answer:?}");
        }
    });
    tokio::join!(killer, join_all(callers));
    let accepted = accepted.into_inner();
    assert!(accepted > 0, "the store recovers");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let balance = db.store.balance(&tenant.account).await.unwrap();
    assert_eq!(balance.held, Credits(accepted));
    let check = db.store.any_ledger_check().await.unwrap();
    assert_eq!(check.problems, [""; 0]);
}

/// Whether a task is there; asked again when the connection asked over was killed.
async fn eventually(store: &Store, task: &domain::task::Task) -> bool {
    for _ in 0..50 {
        if let Ok(read) = store.task(&task.account, &task.id).await {
            return read.is_some();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the store does not recover");
}

/// The reply to COMMIT never arrives; whether the COMMIT did is found out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_is_read_back() {
    for cut in [Cut::BeforeCommit, Cut::AfterCommit] {
        let db = TestStore::postgres().await;
        let proxy = Proxy::start(&db, cut).await;
        let store = Store::connect(&proxy.url, Access::Server).await.unwrap();
        let tenant = tenant(&store, 1_000).await;
        for _ in 0..10 {
            proxy.arm();
            let submits = (0..5).map(|_| tenant.submitted(&store, 1));
            join_all(submits).await;
            proxy.arm();
            let mut held = tenant.claimed(&store, 1).await;
            for outcome in success() {
                proxy.arm();
                steps(&store, &mut held, [outcome]).await;
            }
        }
        assert!(proxy.cuts.load(Ordering::Relaxed) >= 50, "COMMITs were cut");
        let balance = db.store.balance(&tenant.account).await.unwrap();
        assert_eq!((balance.posted.0, balance.held.0), (990, 50));
        let check = db.store.any_ledger_check().await.unwrap();
        assert_eq!(check.problems, [""; 0]);
    }
}

/// An operation whose rows do not tell whose they are: neither yes nor no would be true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_that_cannot_be_read_back_is_unclear() {
    for (cut, after) in [
        (Cut::BeforeCommit, Granted::Yes),
        (Cut::AfterCommit, Granted::Before),
    ] {
        let db = TestStore::postgres().await;
        let proxy = Proxy::start(&db, cut).await;
        let store = Store::connect(&proxy.url, Access::Server).await.unwrap();
        let tenant = tenant(&store, 1).await;
        let grant = || store.grant(&tenant.account, Grant::TopUp, Credits(5), "once", NOW_MS);
        proxy.arm();
        let unclear = grant().await;
        assert!(
            matches!(unclear, Err(StoreError::Unclear(_))),
            "{unclear:?}"
        );
        assert_eq!(grant().await, Ok(after));
        let balance = store.balance(&tenant.account).await.unwrap();
        assert_eq!(balance.posted, Credits(6));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The COMMIT is swallowed.
    BeforeCommit,
    /// The COMMIT goes through, its reply does not.
    AfterCommit,
}

/// Stands between the store and the server; when armed, cuts the connection of the next COMMIT.
struct Proxy {
    url: String,
    armed: Arc<AtomicI64>,
    cuts: Arc<AtomicI64>,
}

impl Proxy {
    async fn start(db: &TestStore, cut: Cut) -> Self {
        let config: tokio_postgres::Config = db.url.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let user = config.get_user().unwrap();
        let name = config.get_dbname().unwrap();
        let password = config
            .get_password()
            .map(|word| String::from_utf8_lossy(word));
        let password = password.map_or(String::new(), |word| format!(":{word}"));
        let proxy = Self {
            url: format!("postgres://{user}{password}@127.0.0.1:{port}/{name}?sslmode=disable"),
            armed: Arc::default(),
            cuts: Arc::default(),
        };
        let (armed, cuts) = (Arc::clone(&proxy.armed), Arc::clone(&proxy.cuts));
        gateway::spawn::detached("proxy", async move {
            while let Ok((client, _)) = listener.accept().await {
                let config = config.clone();
                let (armed, cuts) = (Arc::clone(&armed), Arc::clone(&cuts));
                gateway::spawn::detached("proxied", async move {
                    match &config.get_hosts()[0] {
                        tokio_postgres::config::Host::Unix(folder) => {
                            let socket = folder.join(".s.PGSQL.5432");
                            let server = UnixStream::connect(socket).await.unwrap();
                            relay(client, server, cut, &armed, &cuts).await;
                        }
                        tokio_postgres::config::Host::Tcp(host) => {
                            let port = config.get_ports().first().copied().unwrap_or(5432);
                            let server = TcpStream::connect((host.as_str(), port)).await.unwrap();
                            relay(client, server, cut, &armed, &cuts).await;
                        }
                    }
                });
            }
        });
        proxy
    }

    fn arm(&self) {
        self.armed.store(1, Ordering::Relaxed);
    }
}

async fn relay<S: tokio::io::AsyncRead + tokio::io::AsyncWrite>(
    client: TcpStream,
    server: S,
    cut: Cut,
    armed: &AtomicI64,
    cuts: &AtomicI64,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = async {
        let mut buffer = vec![0; 65_536];
        loop {
            let count = from_client.read(&mut buffer).await.unwrap_or(0);
            let part = &buffer[..count];
            let is_commit = part.windows(7).any(|bytes| bytes == b"COMMIT\0");
            if count == 0 {
                return false;
            }
            if is_commit && armed.swap(0, Ordering::Relaxed) == 1 {
                cuts.fetch_add(1, Ordering::Relaxed);
                if cut == Cut::AfterCommit {
                    to_server.write_all(part).await.unwrap();
                }
                return true;
            }
            if to_server.write_all(part).await.is_err() {
                return false;
            }
        }
    };
    let down = async {
        drop(tokio::io::copy(&mut from_server, &mut to_client).await);
    };
    // Whoever ends first ends both; what is in flight is lost, as on a network.
    tokio::select! {
        _ = up => {}
        () = down => {}
    }
}
