//! Tasks that wait for a slot at a provider.

use std::collections::BTreeMap;

use domain::ids::TaskId;
use domain::task::Outcome;

use crate::fixture::{accepted, claim, finished, intended, steps, tenant, upstream_id};
use crate::support::{NOW_MS, stores};

#[tokio::test]
async fn open_attempts_are_counted_by_provider() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        assert_eq!(db.store.any_open_attempts().await, Ok(BTreeMap::new()));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(tenant.claimed(&db.store, 1).await);
        }
        for claim in &mut held {
            steps(&db.store, claim, [intended(0)]).await;
        }
        let provider = held[0].task.routes[0].provider.clone();
        let open = |count: u64| Ok(BTreeMap::from([(provider.clone(), count)]));
        assert_eq!(db.store.any_open_attempts().await, open(3), "{}", db.name);
        // One that nobody knows the outcome of may still be at work.
        let waiting = accepted(&upstream_id());
        steps(&db.store, &mut held[0], [waiting, finished()]).await;
        steps(&db.store, &mut held[1], [Outcome::Unanswered]).await;
        assert_eq!(db.store.any_open_attempts().await, open(2), "{}", db.name);
    }
}

#[tokio::test]
async fn a_task_that_waits_is_called_and_no_other() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let waiting = tenant.submitted(&db.store, 1).await;
        let later_ms = NOW_MS + 60_000;
        let claimed = claim(&db.store, "a", &waiting.id).await;
        db.store.put_back(&claimed, later_ms, NOW_MS).await.unwrap();
        let held = tenant.claimed(&db.store, 1).await.task;
        let nobody = TaskId("nobody".to_owned());
        let tasks = vec![waiting.id.clone(), held.id.clone(), nobody];
        let called = db.store.any_call_in(tasks.clone(), NOW_MS).await;
        assert_eq!(called, Ok(1), "{}", db.name);
        assert_eq!(db.store.any_call_in(tasks, NOW_MS).await, Ok(0));
        let next = db.store.claim("b", 10, NOW_MS).await.unwrap();
        assert_eq!(next.len(), 1);
        assert_eq!(next[0].task, waiting, "nothing of it has changed");
    }
}
