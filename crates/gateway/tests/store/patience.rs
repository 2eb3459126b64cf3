//! PostgreSQL that does not answer: nobody waits without end, and no answer is made up.

use std::time::Duration;

use domain::credits::Credits;
use futures_util::future::join_all;
use gateway::store::db::Patience;
use gateway::store::submit::Admission;
use gateway::store::{Access, Store, StoreError};

use crate::fixture::{asked, steps, success, tenant};
use crate::group_commit::Blocker;
use crate::own_server::OwnServer;
use crate::proxy::{Cut, Proxy};
use crate::support::{NOW_MS, TestStore};

/// Short, as every limit here is waited for.
const PATIENCE: Patience = Patience {
    connect_ms: 1_000,
    statement_ms: 300,
    answer_ms: 600,
};

async fn impatient(url: &str) -> Store {
    let store = Store::connect_patiently(url, Access::Server, PATIENCE).await;
    store.expect("the database can be reached")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_not_answered_is_read_back() {
    for cut in [Cut::HushedBefore, Cut::HushedAfter] {
        let db = TestStore::postgres().await;
        let proxy = Proxy::start(&db, cut).await;
        let store = impatient(&proxy.url).await;
        let tenant = tenant(&store, 1_000).await;
        proxy.arm();
        join_all((0..5).map(|_| tenant.submitted(&store, 1))).await;
        let mut held = tenant.claimed(&store, 1).await;
        for outcome in success() {
            proxy.arm();
            steps(&store, &mut held, [outcome]).await;
        }
        assert!(proxy.cuts.load(std::sync::atomic::Ordering::Relaxed) >= 5);
        let balance = db.store.balance(&tenant.account).await.unwrap();
        assert_eq!((balance.posted.0, balance.held.0), (999, 5));
        let check = db.store.any_ledger_check().await.unwrap();
        assert_eq!(check.problems, [""; 0]);
    }
}

/// Reads over a server that hangs end, and go on over another connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_is_not_answered_ends() {
    let db = TestStore::postgres().await;
    let proxy = Proxy::start(&db, Cut::HushedBefore).await;
    let store = impatient(&proxy.url).await;
    let tenant = tenant(&store, 1_000).await;
    proxy.hush();
    let read = store.balance(&tenant.account).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let balance = store.balance(&tenant.account).await.unwrap();
    assert_eq!(balance.posted, Credits(1_000));
}

/// While one reading connection is being made anew, the others are used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_connect_keeps_no_reader_waiting() {
    let db = TestStore::postgres().await;
    let proxy = Proxy::start(&db, Cut::Before).await;
    let store = Store::connect(&proxy.url, Access::Server).await.unwrap();
    let tenant = tenant(&store, 1_000).await;
    while proxy.connections() < 5 {
        store.balance(&tenant.account).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    store.balance(&tenant.account).await.unwrap();
    proxy.set_deaf(true);
    // The first connection of all reads.
    proxy.end(0);
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..20 {
        store.balance(&tenant.account).await.unwrap();
    }
    proxy.set_deaf(false);
}

/// The writing connection is not at fault, and over another it would take as long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_statement_is_refused_once_and_its_connection_kept() {
    const WRITER: &str = "SELECT CAST(pid AS BIGINT) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'routerbase'
        AND query IN ('COMMIT', 'ROLLBACK')";
    let db = TestStore::postgres().await;
    let store = impatient(&db.url).await;
    let tenant = tenant(&store, 1_000).await;
    let before = asked(&db, WRITER).await;
    let blocker = Blocker::start(&db).await;
    let refused = store.submit(&tenant.task(1), None).await;
    assert!(
        matches!(&refused, Err(StoreError::Unavailable(text)) if text.contains("timeout")),
        "{refused:?}"
    );
    blocker.end().await;
    assert_eq!(asked(&db, WRITER).await, before);
    tenant.submitted(&store, 1).await;
    assert_eq!(asked(&db, WRITER).await, before);
}

/// A commit whose standby does not answer is not told as done: a failover would lose it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_its_standby_is_not_acknowledged() {
    let server = OwnServer::start(&["listen_addresses="], |_| {});
    let store = impatient(&server.url).await;
    store.migrate(NOW_MS).await.unwrap();
    let tenant = tenant(&store, 1_000).await;
    let set = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";
    server.administer(set).await;
    server.administer("SELECT pg_reload_conf()").await;
    // The setting takes a moment to arrive.
    let mut answer = Ok(Admission::Accepted(vec![]));
    for _ in 0..100 {
        answer = store.submit(&tenant.task(1), None).await;
        if answer != Ok(Admission::Accepted(vec![])) {
            break;
        }
    }
    assert!(matches!(answer, Err(StoreError::Unclear(_))), "{answer:?}");
    let reset = "ALTER SYSTEM RESET synchronous_standby_names";
    server.administer(reset).await;
    server.administer("SELECT pg_reload_conf()").await;
    while store.submit(&tenant.task(1), None).await != Ok(Admission::Accepted(vec![])) {}
}
