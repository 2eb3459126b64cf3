//! Claims: one worker at a time, in turn.

use std::collections::HashSet;

use domain::task::Outcome;
use futures_util::future::join_all;
use gateway::store::Store;
use gateway::store::work::{Committed, LEASE_MS, Lease};

use crate::fixture::{
    Tenant, accepted, claim, intended, step, steps, success, tenant, upstream_id,
};
use crate::support::{NOW_MS, stores};

#[tokio::test]
async fn a_claim_lasts_as_long_as_its_lease() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let task = tenant.submitted(&db.store, 1).await;
        let claim = |owner: &'static str, now_ms| db.store.claim(owner, 10, now_ms);
        assert_eq!(claim("a", NOW_MS - 1).await, Ok(vec![]), "it is not due");
        let first = claim("a", NOW_MS).await.unwrap();
        assert_eq!(first.len(), 1, "{}", db.name);
        assert_eq!((&first[0].task, first[0].epoch), (&task, 1));
        assert_eq!(claim("b", NOW_MS + LEASE_MS - 1).await, Ok(vec![]));
        let second = claim("b", NOW_MS + LEASE_MS).await.unwrap();
        assert_eq!((second[0].owner.as_str(), second[0].epoch), ("b", 2));
        // Whoever had it before has lost it.
        let mut late = first[0].clone();
        let lost = step(&db.store, &mut late, intended(0), Lease::Keep).await;
        assert_eq!(lost, Ok(Committed::Lost));
        let attempts = db.store.attempts(&tenant.account, &task.id).await;
        assert_eq!(attempts, Ok(vec![]));
    }
}

#[tokio::test]
async fn leases_are_renewed_by_owner_and_given_back() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let task = tenant.submitted(&db.store, 1).await;
        let held = claim(&db.store, "a", &task.id).await;
        let later = NOW_MS + LEASE_MS;
        assert_eq!(db.store.renew("b", later).await, Ok(0));
        assert_eq!(db.store.renew("a", later).await, Ok(1));
        assert_eq!(db.store.claim("b", 10, later).await, Ok(vec![]));
        assert_eq!(db.store.put_back(&held, later, later).await, Ok(()));
        assert_eq!(db.store.claim("b", 10, later).await.unwrap().len(), 1);
        // Whoever had it before has nothing to give back any more.
        assert_eq!(db.store.put_back(&held, later, later).await, Ok(()));
        assert_eq!(
            db.store.claim("c", 10, later).await,
            Ok(vec![]),
            "{}",
            db.name
        );
        assert_eq!(db.store.any_release_all().await, Ok(1));
        assert_eq!(db.store.claim("c", 10, later).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn the_next_due_instant_is_that_of_a_task_under_way_that_nobody_holds() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        assert_eq!(db.store.any_next_due_ms(NOW_MS).await, Ok(None));
        let task = tenant.submitted(&db.store, 1).await;
        let mut held = claim(&db.store, "a", &task.id).await;
        assert_eq!(db.store.any_next_due_ms(NOW_MS).await, Ok(None));
        steps(&db.store, &mut held, [intended(0)]).await;
        let wait = accepted(&upstream_id());
        let done = step(&db.store, &mut held, wait, Lease::Release).await;
        assert_eq!(done, Ok(Committed::Yes));
        let next = db.store.any_next_due_ms(NOW_MS).await;
        assert_eq!(next, Ok(Some(NOW_MS + 3_000)), "{}", db.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_claimers_on_two_nodes_never_meet() {
    const TASKS: usize = 600;
    for db in stores().await {
        let twin = db.twin().await;
        let tenant = tenant(&db.store, 1_000_000).await;
        let submits = (0..TASKS).map(|_| tenant.submitted(&db.store, 1));
        join_all(submits).await;
        let nodes = [&db.store, &twin];
        let claimers = (0..8).map(|n| async move {
            let mut mine = Vec::new();
            let owner = format!("worker {n}");
            loop {
                let claims = nodes[n % 2].claim(&owner, 7, NOW_MS).await.unwrap();
                assert!(
                    claims.len() <= 7,
                    "{} claimed beyond the limit",
                    claims.len()
                );
                if claims.is_empty() {
                    return mine;
                }
                mine.extend(claims.into_iter().map(|claim| claim.task.id));
            }
        });
        let claimed: Vec<_> = join_all(claimers).await.into_iter().flatten().collect();
        let distinct: HashSet<_> = claimed.iter().collect();
        assert_eq!(claimed.len(), distinct.len(), "{}: claimed twice", db.name);
        // A claimer that passed over another's rows may have given up early; nothing is left behind.
        let left = db.store.claim("last", 1_000, NOW_MS).await.unwrap();
        assert_eq!(claimed.len() + left.len(), TASKS, "{}", db.name);
    }
}

#[tokio::test]
async fn one_account_with_a_long_queue_does_not_delay_another() {
    for db in stores().await {
        let (many, few) = (
            tenant(&db.store, 1_000_000).await,
            tenant(&db.store, 1_000_000).await,
        );
        join_all((0..2_500).map(|_| many.submitted(&db.store, 1))).await;
        join_all((0..2_500).map(|_| many.submitted(&db.store, 1))).await;
        // Some of it is worked on already.
        db.store.claim("worker", 40, NOW_MS).await.unwrap();
        join_all((0..5).map(|_| few.submitted(&db.store, 1))).await;
        let claims = db.store.claim("worker", 20, NOW_MS).await.unwrap();
        let theirs = claims
            .iter()
            .filter(|claim| claim.task.account == few.account);
        assert_eq!(theirs.count(), 5, "{}", db.name);
    }
}

/// A task that was put off long ago is no place to queue up beside.
#[tokio::test]
async fn a_task_put_off_opens_no_short_cut() {
    for db in stores().await {
        let (old, busy, newcomer) = (
            tenant(&db.store, 1_000).await,
            tenant(&db.store, 1_000).await,
            tenant(&db.store, 1_000).await,
        );
        let mut put_off = old.claimed(&db.store, 1).await;
        let until_ms = NOW_MS + 60_000;
        let postponed = Outcome::Postponed { until_ms };
        step(&db.store, &mut put_off, postponed, Lease::Release)
            .await
            .unwrap();
        for _ in 0..30 {
            busy.submitted(&db.store, 1).await;
        }
        // Each of the first twenty ends while the account goes on submitting.
        for mut claim in db.store.claim("worker", 20, NOW_MS).await.unwrap() {
            steps(&db.store, &mut claim, success()).await;
        }
        for _ in 0..10 {
            newcomer.submitted(&db.store, 1).await;
        }
        let claims = db.store.claim("worker", 10, NOW_MS).await.unwrap();
        let busy_ones = claims
            .iter()
            .filter(|claim| claim.task.account == busy.account);
        assert!(busy_ones.count() >= 4, "{}: they take turns", db.name);
    }
}

/// So many tasks under way that nobody holds.
async fn under_way(store: &Store, tenant: &Tenant, count: usize) {
    for _ in 0..count {
        let task = tenant.submitted(store, 1).await;
        let mut held = claim(store, "worker", &task.id).await;
        steps(store, &mut held, [intended(0)]).await;
    }
    store.any_release_all().await.unwrap();
}

#[tokio::test]
async fn tasks_under_way_leave_room_for_new_ones() {
    for db in stores().await {
        let tenant = tenant(&db.store, 1_000).await;
        under_way(&db.store, &tenant, 8).await;
        for _ in 0..8 {
            tenant.submitted(&db.store, 1).await;
        }
        for limit in [2, 4, 8] {
            let claims = db.store.claim("worker", limit, NOW_MS).await.unwrap();
            let fresh = claims
                .iter()
                .filter(|claim| claim.task.attempts == 0)
                .count();
            assert!(fresh > 0 && fresh < claims.len(), "{}: {limit}", db.name);
            assert_eq!(i64::try_from(claims.len()), Ok(limit));
            db.store.any_release_all().await.unwrap();
        }
    }
}

#[tokio::test]
async fn room_for_new_ones_goes_to_others_while_there_are_none() {
    for db in stores().await {
        let tenant = tenant(&db.store, 1_000).await;
        under_way(&db.store, &tenant, 8).await;
        for (limit, now_ms) in [(1, NOW_MS), (1, NOW_MS + 1), (2, NOW_MS), (8, NOW_MS)] {
            let claims = db.store.claim("worker", limit, now_ms).await.unwrap();
            assert_eq!(i64::try_from(claims.len()), Ok(limit), "{}", db.name);
            db.store.any_release_all().await.unwrap();
        }
    }
}
