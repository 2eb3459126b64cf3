//! Migrations are applied once, whole, and never backwards.

use gateway::store::{Access, MIGRATIONS, Store, StoreError};

use crate::fixture::by_hand;
use crate::support::{NOW_MS, stores};

#[tokio::test]
async fn a_second_run_applies_nothing() {
    for db in stores().await {
        assert_eq!(db.store.migrate(NOW_MS).await, Ok(vec![]), "{}", db.name);
        let beside = Store::open(&db.url, Access::Beside, NOW_MS).await;
        assert!(beside.is_ok(), "{}", db.name);
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    for db in stores().await {
        by_hand(
            &db,
            "INSERT INTO schema_migrations VALUES (9999, 'later', 0)",
        )
        .await;
        let refused = db.store.migrate(NOW_MS).await;
        let Err(StoreError::Unavailable(text)) = refused else {
            panic!("{}: {refused:?}", db.name);
        };
        assert!(text.contains("9999"), "{text}");
    }
}

/// A script that cannot be applied leaves nothing behind, as a crash in it would.
#[tokio::test]
async fn a_failed_run_changes_nothing() {
    for db in stores().await {
        let undo = format!(
            "{} DROP TABLE schema_migrations; CREATE TABLE files (x TEXT);",
            drop_tables()
        );
        by_hand(&db, &undo).await;
        let refused = db.store.migrate(NOW_MS).await;
        assert!(matches!(refused, Err(StoreError::Broken(_))), "{refused:?}");
        // Nothing of the script is there, so it can be applied once the obstacle is gone.
        by_hand(&db, "DROP TABLE files").await;
        let versions: Vec<_> = MIGRATIONS.iter().map(|step| step.version).collect();
        assert_eq!(db.store.migrate(NOW_MS).await, Ok(versions), "{}", db.name);
    }
}

#[tokio::test]
async fn nodes_that_start_together_migrate_once() {
    for db in stores().await {
        by_hand(
            &db,
            &format!("{} DROP TABLE schema_migrations;", drop_tables()),
        )
        .await;
        let runs = (0..4).map(|_| async {
            let store = Store::connect(&db.url, Access::Beside).await.unwrap();
            store.migrate(NOW_MS).await.unwrap()
        });
        let applied = futures_util::future::join_all(runs).await;
        let count: usize = applied.iter().map(Vec::len).sum();
        assert_eq!(count, MIGRATIONS.len(), "{}: {applied:?}", db.name);
    }
}

fn drop_tables() -> String {
    let created = MIGRATIONS
        .iter()
        .flat_map(|step| step.sql.split("CREATE TABLE ").skip(1));
    let name = |text: &str| text.split_whitespace().next().unwrap().to_owned();
    created
        .map(|text| format!("DROP TABLE {};", name(text)))
        .collect()
}
