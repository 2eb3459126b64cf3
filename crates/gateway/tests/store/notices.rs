//! Notices: claimed, recorded once, replayed.

use std::collections::HashSet;

use futures_util::future::join_all;
use gateway::store::Store;
use gateway::store::notices::{Delivery, LEASE_MS, Notice, REPLAY_MS, Verdict};

use crate::fixture::{Tenant, steps, success, tenant};
use crate::support::{NOW_MS, TestStore, stores};

async fn ended(db: &TestStore, tenant: &Tenant) {
    let mut held = tenant.claimed(&db.store, 1).await;
    steps(&db.store, &mut held, success()).await;
}

/// Claims up to `limit` notices that are due of each lane, as a dispatcher does.
async fn claim(store: &Store, limit: i64, now_ms: i64) -> Vec<Notice> {
    let lanes = store.any_lanes("", 100, now_ms).await.unwrap();
    let wanted: Vec<_> = lanes.into_iter().map(|lane| (lane, limit)).collect();
    store.any_claim_lanes(&wanted, now_ms).await.unwrap()
}

/// When the next notice is due that nobody holds.
async fn next_ms(store: &Store, now_ms: i64) -> Option<i64> {
    let lanes = store.any_lanes("", 100, now_ms).await.unwrap();
    lanes.iter().filter_map(|lane| lane.due_ms).min()
}

fn delivery(n: i64) -> Delivery {
    Delivery {
        n,
        at_ms: NOW_MS,
        took_ms: 12,
        status: Some(500),
        note: "a reply with a \u{0} in it".to_owned(),
    }
}

async fn record(db: &TestStore, notice: &Notice, state: &'static str, due_ms: i64) {
    let delivery = delivery(notice.attempts + 1);
    let verdict = Verdict { state, due_ms };
    let done = db
        .store
        .any_record_delivery(notice, delivery, verdict)
        .await;
    assert_eq!(done, Ok(()), "{}", db.name);
}

#[tokio::test]
async fn a_claimed_notice_is_left_to_its_deliverer() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        assert_eq!(next_ms(&db.store, NOW_MS).await, None);
        ended(&db, &tenant).await;
        assert_eq!(next_ms(&db.store, NOW_MS).await, Some(NOW_MS));
        let claim = |now_ms| claim(&db.store, 10, now_ms);
        assert_eq!(claim(NOW_MS - 1).await, []);
        let claimed = claim(NOW_MS).await;
        assert_eq!(claimed.len(), 1, "{}", db.name);
        assert_eq!(next_ms(&db.store, NOW_MS).await, None);
        assert_eq!(claim(NOW_MS + LEASE_MS - 1).await, []);
        db.store.any_unclaim_notice(&claimed[0]).await.unwrap();
        assert_eq!(claim(NOW_MS).await, claimed);
        let late = claim(NOW_MS + LEASE_MS).await;
        assert_eq!(late[0].id, claimed[0].id, "{}", db.name);
        // Whoever had it before has nothing to give back any more.
        db.store.any_unclaim_notice(&claimed[0]).await.unwrap();
        assert_eq!(claim(NOW_MS + LEASE_MS).await, []);
        db.store.any_unclaim_all_notices().await.unwrap();
        assert_eq!(claim(NOW_MS).await, claimed);
    }
}

/// A POST that outlasts its lease is recorded, and leaves the lease to who has it now.
#[tokio::test]
async fn a_late_delivery_takes_no_lease_from_another() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        ended(&db, &tenant).await;
        let claim = |now_ms| claim(&db.store, 1, now_ms);
        let slow = claim(NOW_MS).await.remove(0);
        let late_ms = NOW_MS + LEASE_MS;
        let other = claim(late_ms).await.remove(0);
        record(&db, &slow, "pending", late_ms).await;
        assert_eq!(claim(late_ms).await, [], "{}", db.name);
        let end_ms = other.lease_until_ms;
        assert_eq!(claim(end_ms).await[0].attempts, 1);
    }
}

#[tokio::test]
async fn claimers_on_two_nodes_never_meet() {
    for db in stores().await {
        let (twin, tenant) = (db.twin().await, tenant(&db.store, 1_000).await);
        for _ in 0..40 {
            ended(&db, &tenant).await;
        }
        let nodes = [&db.store, &twin];
        let claims = (0..20).map(|n| claim(nodes[n % 2], 3, NOW_MS));
        let mut claimed = Vec::new();
        for claims in join_all(claims).await {
            assert!(claims.len() <= 3);
            claimed.extend(claims);
        }
        claimed.extend(claim(&db.store, 100, NOW_MS).await);
        let ids: HashSet<_> = claimed.iter().map(|notice| &notice.id).collect();
        assert_eq!(ids.len(), 40, "{}", db.name);
        assert_eq!(claimed.len(), 40, "{}", db.name);
    }
}

#[tokio::test]
async fn a_delivery_is_recorded_once() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        ended(&db, &tenant).await;
        let notice = claim(&db.store, 1, NOW_MS).await.remove(0);
        record(&db, &notice, "pending", NOW_MS + 500).await;
        // Whoever comes late with the same one changes nothing.
        record(&db, &notice, "gone", 0).await;
        assert_eq!(next_ms(&db.store, NOW_MS).await, Some(NOW_MS + 500));
        let again = claim(&db.store, 1, NOW_MS + 500).await.remove(0);
        assert_eq!((again.attempts, again.last_status), (1, Some(500)));
        record(&db, &again, "delivered", 0).await;
        let read = db.store.notice(&tenant.account, &notice.id).await.unwrap();
        let (read, deliveries) = read.unwrap();
        assert_eq!((read.state.as_str(), read.attempts), ("delivered", 2));
        let numbers: Vec<_> = deliveries.iter().map(|delivery| delivery.n).collect();
        assert_eq!(numbers, [1, 2], "{}", db.name);
        let late = NOW_MS + 10 * LEASE_MS;
        assert_eq!(claim(&db.store, 1, late).await, []);
    }
}

#[tokio::test]
async fn a_replay_makes_a_notice_due_again_for_thirty_days() {
    for db in stores().await {
        let (owner, other) = (tenant(&db.store, 100).await, tenant(&db.store, 100).await);
        ended(&db, &owner).await;
        let notice = claim(&db.store, 1, NOW_MS).await.remove(0);
        record(&db, &notice, "exhausted", 0).await;
        let replay = |account, now_ms| db.store.replay_notice(account, &notice.id, now_ms);
        assert_eq!(replay(&other.account, NOW_MS).await, Ok(false));
        let late = NOW_MS + REPLAY_MS + 1;
        assert_eq!(replay(&owner.account, late).await, Ok(false));
        assert_eq!(
            replay(&owner.account, late - 1).await,
            Ok(true),
            "{}",
            db.name
        );
        let again = claim(&db.store, 1, late).await.remove(0);
        assert_eq!((&again.id, again.attempts), (&notice.id, 1));
        record(&db, &again, "delivered", 0).await;
        let foreign = db.store.notice(&other.account, &notice.id).await;
        assert_eq!(foreign, Ok(None));
        let read = db
            .store
            .notice(&owner.account, &notice.id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(read.1.len(), 2);
    }
}
