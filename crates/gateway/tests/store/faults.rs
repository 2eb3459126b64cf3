//! PostgreSQL connections that are lost: every answer stays true, and the store goes on.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::credits::Credits;
use futures_util::future::join_all;
use gateway::store::accounts::{Grant, Granted};
use gateway::store::submit::Admission;
use gateway::store::{Access, Store, StoreError};

use crate::fixture::{by_hand, steps, success, tenant};
use crate::proxy::{Cut, Proxy};
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
    for cut in [Cut::Before, Cut::After] {
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
    for (cut, after) in [(Cut::Before, Granted::Yes), (Cut::After, Granted::Before)] {
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
