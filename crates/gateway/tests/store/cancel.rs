//! Cancelling: a wish that is recorded at once and heeded where it can be.

use domain::ids::TaskId;
use domain::task::Outcome;
use gateway::store::Store;
use gateway::store::tasks::CancelWish;
use gateway::store::work::{Claim, Committed, Lease};

use crate::fixture::{accepted, claim, intended, step, steps, success, tenant, upstream_id};
use crate::support::{NOW_MS, stores};

#[tokio::test]
async fn a_wish_is_recorded_for_open_tasks_of_the_account() {
    for db in stores().await {
        let (owner, other) = (tenant(&db.store, 100).await, tenant(&db.store, 100).await);
        let mut held = owner.claimed(&db.store, 1).await;
        let id = held.task.id.clone();
        let cancel = |account| db.store.cancel(account, &id, NOW_MS);
        assert_eq!(cancel(&other.account).await, Ok(CancelWish::Missing));
        assert_eq!(cancel(&owner.account).await, Ok(CancelWish::Recorded));
        assert_eq!(cancel(&owner.account).await, Ok(CancelWish::Recorded));
        let read = db.store.task(&owner.account, &id).await.unwrap().unwrap();
        assert!(read.task.is_cancel_asked, "{}", db.name);
        steps(&db.store, &mut held, [Outcome::Cancelled]).await;
        assert_eq!(cancel(&owner.account).await, Ok(CancelWish::Ended));
        let balance = db.store.balance(&owner.account).await.unwrap();
        assert_eq!((balance.posted.0, balance.held.0), (100, 0));
    }
}

#[tokio::test]
async fn a_waiting_task_is_due_at_once() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        let until_ms = NOW_MS + 60_000;
        let postponed = Outcome::Postponed { until_ms };
        step(&db.store, &mut held, postponed, Lease::Release)
            .await
            .unwrap();
        assert_eq!(db.store.claim("b", 10, NOW_MS + 5).await, Ok(vec![]));
        let id = &held.task.id;
        db.store
            .cancel(&tenant.account, id, NOW_MS + 5)
            .await
            .unwrap();
        let claims = db.store.claim("b", 10, NOW_MS + 5).await.unwrap();
        assert_eq!(claims.len(), 1, "{}", db.name);
        assert!(claims[0].task.is_cancel_asked);
    }
}

/// The worker that holds the task does not know of the wish; what it commits makes the task due.
#[tokio::test]
async fn a_wish_that_comes_during_a_step_is_seen_after_it() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut held, [intended(0)]).await;
        let id = held.task.id.clone();
        db.store.cancel(&tenant.account, &id, NOW_MS).await.unwrap();
        let wait = accepted(&upstream_id());
        step(&db.store, &mut held, wait, Lease::Release)
            .await
            .unwrap();
        let mut next = claim(&db.store, "b", &id).await;
        assert!(next.task.is_cancel_asked, "{}", db.name);
        // The provider does not confirm: the wish is over, and the task is not due for it again.
        let denied = step(&db.store, &mut next, Outcome::CancelDenied, Lease::Keep).await;
        assert_eq!(denied, Ok(Committed::Yes));
        let read = db.store.task(&tenant.account, &id).await.unwrap().unwrap();
        assert!(!read.task.is_cancel_asked);
        let wait = accepted(&upstream_id());
        step(&db.store, &mut next, wait, Lease::Release)
            .await
            .unwrap();
        assert_eq!(db.store.claim("c", 10, NOW_MS).await, Ok(vec![]));
        // It can be wished again.
        db.store.cancel(&tenant.account, &id, NOW_MS).await.unwrap();
        assert_eq!(db.store.claim("c", 10, NOW_MS).await.unwrap().len(), 1);
    }
}

/// The worker gives the task back unchanged, for later; a wish that it knew of makes nobody busy.
#[tokio::test]
async fn a_wish_that_comes_before_a_task_is_put_back_is_not_slept_over() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let held = tenant.claimed(&db.store, 1).await;
        let id = &held.task.id;
        db.store.cancel(&tenant.account, id, NOW_MS).await.unwrap();
        let later_ms = NOW_MS + 60_000;
        let put_back = db.store.put_back(&held, later_ms, NOW_MS + 7).await;
        assert_eq!(put_back, Ok(()));
        assert_eq!(db.store.claim("b", 10, NOW_MS + 6).await, Ok(vec![]));
        let next = claim_at(&db.store, id, NOW_MS + 7).await;
        assert!(next.task.is_cancel_asked, "{}", db.name);
        let put_back = db.store.put_back(&next, later_ms, NOW_MS + 8).await;
        assert_eq!(put_back, Ok(()));
        assert_eq!(db.store.claim("c", 10, later_ms - 1).await, Ok(vec![]));
        claim_at(&db.store, id, later_ms).await;
    }
}

async fn claim_at(store: &Store, id: &TaskId, now_ms: i64) -> Claim {
    let mut claims = store.claim("b", 10, now_ms).await.unwrap();
    assert_eq!(claims.len(), 1);
    let claim = claims.remove(0);
    assert_eq!(claim.task.id, *id);
    claim
}

/// In these phases nothing can be done about the wish, so it makes nobody busy.
#[tokio::test]
async fn an_unanswered_attempt_is_not_hurried() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut held, [intended(0)]).await;
        let id = held.task.id.clone();
        db.store.cancel(&tenant.account, &id, NOW_MS).await.unwrap();
        step(&db.store, &mut held, Outcome::Unanswered, Lease::Release)
            .await
            .unwrap();
        db.store.cancel(&tenant.account, &id, NOW_MS).await.unwrap();
        assert_eq!(
            db.store.claim("b", 10, NOW_MS).await,
            Ok(vec![]),
            "{}",
            db.name
        );
        let later = held.task.due_ms;
        assert_eq!(db.store.claim("b", 10, later).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_finished_task_stays_as_it_is() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut held, success()).await;
        let before = db.store.task(&tenant.account, &held.task.id).await.unwrap();
        let cancel = db
            .store
            .cancel(&tenant.account, &held.task.id, NOW_MS)
            .await;
        assert_eq!(cancel, Ok(CancelWish::Ended), "{}", db.name);
        let after = db.store.task(&tenant.account, &held.task.id).await.unwrap();
        assert_eq!(before, after);
    }
}
