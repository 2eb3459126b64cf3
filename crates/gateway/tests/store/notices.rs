//! Notices: claimed, recorded once, replayed.

use futures_util::future::join_all;
use gateway::store::notices::{Delivery, LEASE_MS, Notice, REPLAY_MS, Verdict};

use crate::fixture::{Tenant, steps, success, tenant};
use crate::support::{NOW_MS, TestStore, stores};

async fn ended(db: &TestStore, tenant: &Tenant) {
    let mut held = tenant.claimed(&db.store, 1).await;
    steps(&db.store, &mut held, success()).await;
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
        assert_eq!(db.store.any_next_notice_ms(NOW_MS).await, Ok(None));
        ended(&db, &tenant).await;
        assert_eq!(db.store.any_next_notice_ms(NOW_MS).await, Ok(Some(NOW_MS)));
        let claim = |now_ms| db.store.any_claim_notices(10, now_ms);
        assert_eq!(claim(NOW_MS - 1).await, Ok(vec![]));
        let claimed = claim(NOW_MS).await.unwrap();
        assert_eq!(claimed.len(), 1, "{}", db.name);
        assert_eq!(db.store.any_next_notice_ms(NOW_MS).await, Ok(None));
        assert_eq!(claim(NOW_MS + LEASE_MS - 1).await, Ok(vec![]));
        db.store.any_unclaim_notice(&claimed[0]).await.unwrap();
        assert_eq!(claim(NOW_MS).await, Ok(claimed.clone()));
        let late = claim(NOW_MS + LEASE_MS).await.unwrap();
        assert_eq!(late[0].id, claimed[0].id, "{}", db.name);
        // Whoever had it before has nothing to give back any more.
        db.store.any_unclaim_notice(&claimed[0]).await.unwrap();
        assert_eq!(claim(NOW_MS + LEASE_MS).await, Ok(vec![]));
        db.store.any_unclaim_all_notices().await.unwrap();
        assert_eq!(claim(NOW_MS).await, Ok(claimed));
    }
}

/// A POST that outlasts its lease is recorded, and leaves the lease to who has it now.
#[tokio::test]
async fn a_late_delivery_takes_no_lease_from_another() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        ended(&db, &tenant).await;
        let claim = |now_ms| db.store.any_claim_notices(1, now_ms);
        let slow = claim(NOW_MS).await.unwrap().remove(0);
        let late_ms = NOW_MS + LEASE_MS;
        let other = claim(late_ms).await.unwrap().remove(0);
        record(&db, &slow, "pending", late_ms).await;
        assert_eq!(claim(late_ms).await, Ok(vec![]), "{}", db.name);
        let end_ms = other.lease_until_ms;
        assert_eq!(claim(end_ms).await.unwrap()[0].attempts, 1);
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
        let claims = (0..20).map(|n| nodes[n % 2].any_claim_notices(3, NOW_MS));
        let mut claimed: Vec<_> = join_all(claims)
            .await
            .into_iter()
            .flat_map(|claims| {
                let claims = claims.unwrap();
                assert!(claims.len() <= 3);
                claims
            })
            .collect();
        claimed.extend(db.store.any_claim_notices(100, NOW_MS).await.unwrap());
        claimed.sort_by(|one, other| one.id.cmp(&other.id));
        claimed.dedup_by(|one, other| one.id == other.id);
        assert_eq!(claimed.len(), 40, "{}", db.name);
    }
}

#[tokio::test]
async fn a_delivery_is_recorded_once() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        ended(&db, &tenant).await;
        let notice = db
            .store
            .any_claim_notices(1, NOW_MS)
            .await
            .unwrap()
            .remove(0);
        record(&db, &notice, "pending", NOW_MS + 500).await;
        // Whoever comes late with the same one changes nothing.
        record(&db, &notice, "gone", 0).await;
        assert_eq!(
            db.store.any_next_notice_ms(NOW_MS).await,
            Ok(Some(NOW_MS + 500))
        );
        let again = db
            .store
            .any_claim_notices(1, NOW_MS + 500)
            .await
            .unwrap()
            .remove(0);
        assert_eq!((again.attempts, again.last_status), (1, Some(500)));
        record(&db, &again, "delivered", 0).await;
        let read = db.store.notice(&tenant.account, &notice.id).await.unwrap();
        let (read, deliveries) = read.unwrap();
        assert_eq!((read.state.as_str(), read.attempts), ("delivered", 2));
        let numbers: Vec<_> = deliveries.iter().map(|delivery| delivery.n).collect();
        assert_eq!(numbers, [1, 2], "{}", db.name);
        let late = NOW_MS + 10 * LEASE_MS;
        assert_eq!(db.store.any_claim_notices(1, late).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn a_replay_makes_a_notice_due_again_for_thirty_days() {
    for db in stores().await {
        let (owner, other) = (tenant(&db.store, 100).await, tenant(&db.store, 100).await);
        ended(&db, &owner).await;
        let notice = db
            .store
            .any_claim_notices(1, NOW_MS)
            .await
            .unwrap()
            .remove(0);
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
        let again = db.store.any_claim_notices(1, late).await.unwrap().remove(0);
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
