//! Many operations in one transaction: none suffers for another, none is answered too early.

use std::time::Duration;

use domain::credits::Credits;
use futures_util::future::join_all;
use gateway::store::submit::Admission;
use gateway::store::tasks::TaskFilter;
use gateway::store::work::{Committed, Lease};
use gateway::store::{Access, Store, StoreError};

use crate::fixture::{accepted, intended, step, steps, tenant, upstream_id};
use crate::support::{NOW_MS, TestStore, stores};

#[tokio::test]
async fn a_refused_operation_does_not_affect_its_batch() {
    for db in stores().await {
        let tenant = tenant(&db.store, 10_000).await;
        let mut first = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut first, [intended(0), accepted("taken")]).await;
        let mut claims = Vec::new();
        for _ in 0..40 {
            let mut claim = tenant.claimed(&db.store, 1).await;
            steps(&db.store, &mut claim, [intended(0)]).await;
            claims.push(claim);
        }
        // All at once, so that they share batches; every tenth claims the id that is taken.
        let commits = claims.iter_mut().enumerate().map(|(n, claim)| {
            let id = match n % 10 {
                3 => "taken".to_owned(),
                _ => upstream_id(),
            };
            let store = &db.store;
            async move { step(store, claim, accepted(&id), Lease::Keep).await }
        });
        let submits = (0..40).map(|_| {
            let task = tenant.task(1);
            let store = &db.store;
            async move { store.submit(&task, None).await }
        });
        let (commits, submits) = tokio::join!(join_all(commits), join_all(submits));
        for (n, done) in commits.iter().enumerate() {
            match n % 10 {
                3 => assert!(matches!(done, Err(StoreError::Duplicate(_))), "{done:?}"),
                _ => assert_eq!(*done, Ok(Committed::Yes), "{}", db.name),
            }
        }
        assert!(
            submits
                .iter()
                .all(|done| *done == Ok(Admission::Accepted(vec![])))
        );
        let balance = db.store.balance(&tenant.account).await.unwrap();
        assert_eq!(balance.held, Credits(81), "{}", db.name);
        for (n, claim) in claims.iter().enumerate() {
            let attempts = db
                .store
                .attempts(&tenant.account, &claim.task.id)
                .await
                .unwrap();
            let is_taken = attempts[0].state == "accepted";
            assert_eq!(is_taken, n % 10 != 3, "{}", db.name);
        }
    }
}

#[tokio::test]
async fn a_server_is_alone_on_its_file() {
    let db = TestStore::sqlite().await;
    let second = Store::open(&db.url, Access::Server, NOW_MS).await;
    let Err(StoreError::Unavailable(text)) = second.map(drop) else {
        panic!("a second server");
    };
    assert!(text.contains("another server"), "{text}");
    // A command beside it may write, and so may the server meanwhile.
    let beside = Store::open(&db.url, Access::Beside, NOW_MS).await.unwrap();
    let tenant = tenant(&beside, 1_000).await;
    let nodes = [&db.store, &beside];
    let submits = (0..200).map(|n| {
        let task = tenant.task(1);
        async move { nodes[n % 2].submit(&task, None).await }
    });
    let answers = join_all(submits).await;
    assert!(
        answers
            .iter()
            .all(|done| *done == Ok(Admission::Accepted(vec![])))
    );
    drop(beside);
    // The lock ends with the server.
    let TestStore { store, url, .. } = &db;
    let balance = store.balance(&tenant.account).await.unwrap();
    assert_eq!(balance.held, Credits(200));
    assert!(Store::connect(url, Access::Server).await.is_err());
}

#[tokio::test]
async fn a_full_queue_refuses_and_records_nothing() {
    /// More than can wait and be under way together.
    const CALLERS: usize = 6_000;
    for db in stores().await {
        let tenant = tenant(&db.store, 1_000_000).await;
        let tasks: Vec<_> = (0..CALLERS).map(|_| tenant.task(1)).collect();
        let blocker = Blocker::start(&db).await;
        // The committer takes this one and is stuck with it; what follows fills the queue.
        let stuck = db.store.submit(&tasks[0], None);
        let rest = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let submits = tasks[1..].iter().map(|task| db.store.submit(task, None));
            let release = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                blocker.end().await;
            };
            tokio::join!(join_all(submits), release).0
        };
        let (first, answers) = tokio::join!(stuck, rest);
        assert_eq!(first, Ok(Admission::Accepted(vec![])), "{}", db.name);
        let count = |wanted: &Result<Admission, StoreError>| {
            answers.iter().filter(|answer| *answer == wanted).count()
        };
        let accepted = count(&Ok(Admission::Accepted(vec![])));
        let refused = count(&Err(StoreError::Overloaded));
        assert!(refused > 0 && accepted > 0, "{}: {accepted}", db.name);
        assert_eq!(accepted + refused, CALLERS - 1);
        let balance = db.store.balance(&tenant.account).await.unwrap();
        let held = i64::try_from(accepted + 1).unwrap();
        assert_eq!(balance.held, Credits(held), "{}", db.name);
        let filter = TaskFilter {
            limit: 10_000,
            ..TaskFilter::default()
        };
        let listed = db
            .store
            .tasks(&tenant.account, &filter)
            .await
            .unwrap()
            .tasks;
        assert_eq!(listed.len(), accepted + 1, "{}", db.name);
    }
}

/// A foreign transaction that keeps everybody from writing.
pub enum Blocker {
    Sqlite(rusqlite::Connection),
    Postgres(tokio_postgres::Client),
}

impl Blocker {
    pub async fn start(db: &TestStore) -> Self {
        if let Some(path) = db.url.strip_prefix("sqlite://") {
            let file = rusqlite::Connection::open(path).unwrap();
            file.execute_batch("BEGIN IMMEDIATE").unwrap();
            return Self::Sqlite(file);
        }
        let (client, connection) = tokio_postgres::connect(&db.url, tokio_postgres::NoTls)
            .await
            .unwrap();
        gateway::spawn::detached("blocker", async move { drop(connection.await) });
        let lock = "BEGIN; LOCK TABLE accounts IN EXCLUSIVE MODE";
        client.batch_execute(lock).await.unwrap();
        Self::Postgres(client)
    }

    pub async fn end(self) {
        match self {
            Self::Sqlite(file) => file.execute_batch("ROLLBACK").unwrap(),
            Self::Postgres(client) => client.batch_execute("ROLLBACK").await.unwrap(),
        }
    }
}
