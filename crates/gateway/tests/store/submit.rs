//! Submit: a task with its hold, or nothing.

use domain::credits::Credits;
use futures_util::future::join_all;
use gateway::store::StoreError;
use gateway::store::submit::{Admission, Idempotency};
use gateway::store::tasks::TaskFilter;

use crate::fixture::tenant;
use crate::support::{NOW_MS, TestStore, stores};

fn wish(fingerprint: &str, reply: &str) -> Option<Idempotency> {
    Some(Idempotency {
        key: "once".to_owned(),
        fingerprint: fingerprint.to_owned(),
        reply: reply.to_owned(),
    })
}

async fn is_clean(db: &TestStore) {
    let check = db.store.any_ledger_check().await.unwrap();
    assert_eq!(check.problems, [""; 0], "{}", db.name);
}

#[tokio::test]
async fn an_accepted_task_is_there_with_its_hold() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let task = tenant.submitted(&db.store, 60).await;
        let read = db.store.task(&tenant.account, &task.id).await.unwrap();
        assert_eq!(read.unwrap().task, task, "{}", db.name);
        let balance = db.store.balance(&tenant.account).await.unwrap();
        assert_eq!((balance.posted, balance.held), (Credits(100), Credits(60)));
        is_clean(&db).await;
    }
}

#[tokio::test]
async fn a_hold_that_is_not_covered_records_nothing() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let task = tenant.task(101);
        let admission = db.store.submit(&task, wish("f", "r")).await;
        assert_eq!(admission, Ok(Admission::Insufficient), "{}", db.name);
        assert_eq!(db.store.task(&tenant.account, &task.id).await, Ok(None));
        // Nor is the idempotency key used up.
        let admission = db.store.submit(&tenant.task(100), wish("f", "r")).await;
        assert_eq!(admission, Ok(Admission::Accepted(vec![])));
        let admission = db.store.submit(&tenant.task(0), None).await;
        assert_eq!(
            admission,
            Ok(Admission::Accepted(vec![])),
            "nothing costs nothing"
        );
        is_clean(&db).await;
    }
}

#[tokio::test]
async fn a_repetition_gets_the_first_reply() {
    for db in stores().await {
        let (one, other) = (tenant(&db.store, 10).await, tenant(&db.store, 10).await);
        let submit = |tenant: &crate::fixture::Tenant, fingerprint, reply| {
            let (store, task) = (&db.store, tenant.task(10));
            let wish = wish(fingerprint, reply);
            async move { store.submit(&task, wish).await.unwrap() }
        };
        assert_eq!(
            submit(&one, "f", "first").await,
            Admission::Accepted(vec![])
        );
        // The balance is spent, and that does not matter.
        let replayed = Admission::Replayed("first".to_owned());
        assert_eq!(submit(&one, "f", "second").await, replayed, "{}", db.name);
        assert_eq!(submit(&one, "g", "second").await, Admission::Reused);
        // Another account's key is another key.
        assert_eq!(
            submit(&other, "g", "third").await,
            Admission::Accepted(vec![])
        );
        is_clean(&db).await;
    }
}

#[tokio::test]
async fn the_same_task_twice_is_refused() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let task = tenant.submitted(&db.store, 10).await;
        let twice = db.store.submit(&task, None).await;
        assert!(
            matches!(twice, Err(StoreError::Duplicate(_))),
            "{}",
            db.name
        );
        let balance = db.store.balance(&tenant.account).await.unwrap();
        assert_eq!(balance.held, Credits(10));
        is_clean(&db).await;
    }
}

/// The balance covers one only, so a twin that looked too early would be told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_twins_on_two_nodes_one_counts() {
    for db in stores().await {
        let twin = db.twin().await;
        let tenant = tenant(&db.store, 10).await;
        for round in 0..5 {
            let nodes = [&db.store, &twin];
            let key = format!("round {round}");
            let submits = (0..50).map(|n| {
                let (task, mut wish) = (tenant.task(2), wish("f", &n.to_string()).unwrap());
                wish.key.clone_from(&key);
                let node = nodes[n % 2];
                async move { (n, node.submit(&task, Some(wish)).await.unwrap()) }
            });
            let answers = join_all(submits).await;
            let accepted: Vec<_> = answers
                .iter()
                .filter(|(_, answer)| *answer == Admission::Accepted(vec![]))
                .collect();
            assert_eq!(accepted.len(), 1, "{}: {answers:?}", db.name);
            let first = Admission::Replayed(accepted[0].0.to_string());
            let rest = answers.iter().filter(|(n, _)| *n != accepted[0].0);
            assert!(
                rest.clone().all(|(_, answer)| *answer == first),
                "{answers:?}"
            );
        }
        let filter = TaskFilter {
            limit: 100,
            ..TaskFilter::default()
        };
        let tasks = db
            .store
            .tasks(&tenant.account, &filter)
            .await
            .unwrap()
            .tasks;
        assert_eq!(tasks.len(), 5);
        let balance = db.store.balance(&tenant.account).await.unwrap();
        assert_eq!(balance.held, Credits(10));
        is_clean(&db).await;
    }
}

#[tokio::test]
async fn idempotency_keys_are_forgotten_in_time() {
    use gateway::store::files::IDEMPOTENCY_MS;
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let submit = |reply: &'static str| {
            let (store, task) = (&db.store, tenant.task(1));
            async move { store.submit(&task, wish("f", reply)).await.unwrap() }
        };
        assert_eq!(submit("first").await, Admission::Accepted(vec![]));
        let sweep = |now_ms| db.store.any_sweep_idempotency(now_ms);
        assert_eq!(sweep(NOW_MS + IDEMPOTENCY_MS).await, Ok(0), "{}", db.name);
        let replayed = Admission::Replayed("first".to_owned());
        assert_eq!(submit("second").await, replayed);
        assert_eq!(sweep(NOW_MS + IDEMPOTENCY_MS + 1).await, Ok(1));
        assert_eq!(submit("third").await, Admission::Accepted(vec![]));
    }
}
