//! The check of the ledger: silent when all is well, and only then.

use crate::fixture::{by_hand, failed, intended, steps, success, tenant};
use crate::support::{TestStore, stores};

/// A store in which every kind of entry has been made.
async fn lived_in(db: &TestStore) {
    let tenant = tenant(&db.store, 1_000).await;
    let mut good = tenant.claimed(&db.store, 30).await;
    steps(&db.store, &mut good, success()).await;
    let mut bad = tenant.claimed(&db.store, 30).await;
    steps(&db.store, &mut bad, [intended(0), failed()]).await;
    tenant.submitted(&db.store, 30).await;
}

#[tokio::test]
async fn it_is_silent_when_all_is_well() {
    for db in stores().await {
        lived_in(&db).await;
        let check = db.store.any_ledger_check().await.unwrap();
        assert_eq!(check.problems, [""; 0], "{}", db.name);
        // A top-up, three holds, two closes.
        assert_eq!((check.accounts, check.entries), (1, 6));
    }
}

#[tokio::test]
async fn it_finds_every_corruption() {
    let corruptions = [
        ("UPDATE accounts SET posted = posted + 1", "its entries say"),
        ("UPDATE accounts SET held = held - 1", "its entries say"),
        (
            "DELETE FROM entries WHERE kind = 'top_up'",
            "its entries say",
        ),
        ("DELETE FROM entries WHERE kind = 'hold'", "has no hold"),
        ("DELETE FROM entries WHERE kind = 'close'", "ended without"),
        ("UPDATE tasks SET lane = 1", "goes on although"),
        (
            "UPDATE entries SET amount = 1 WHERE kind = 'close' AND amount = 0",
            "failed and was charged",
        ),
        (
            "UPDATE entries SET amount = amount + 1 WHERE kind = 'hold'",
            "closes a hold that is not there",
        ),
        (
            "DELETE FROM tasks WHERE lane > 0",
            "holds for a task that is not there",
        ),
        (
            "UPDATE accounts SET id = 'another'",
            "belongs to no account",
        ),
    ];
    for (sql, problem) in corruptions {
        for db in stores().await {
            lived_in(&db).await;
            by_hand(&db, sql).await;
            let found = db.store.any_ledger_check().await.unwrap().problems;
            let is_found = found.iter().any(|text| text.contains(problem));
            assert!(is_found, "{}: {sql}: {found:?}", db.name);
        }
    }
}

/// The second fence: what no rule lets through, the schema refuses too.
#[tokio::test]
async fn the_schema_refuses_what_no_rule_lets_through() {
    let forbidden = [
        "UPDATE accounts SET held = -1",
        "UPDATE accounts SET held = posted + 1",
        "UPDATE entries SET amount = -1 WHERE kind = 'hold'",
        "UPDATE entries SET amount = hold + 1 WHERE kind = 'close'",
        "UPDATE entries SET hold = NULL WHERE kind = 'close'",
        "INSERT INTO entries SELECT * FROM entries",
    ];
    for db in stores().await {
        lived_in(&db).await;
        for sql in forbidden {
            let done = crate::fixture::try_by_hand(&db, sql).await;
            assert!(done.is_err(), "{}: {sql}", db.name);
        }
    }
}
