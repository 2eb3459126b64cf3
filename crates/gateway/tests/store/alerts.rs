//! Alerts and their mails.

use domain::credits::Credits;
use domain::ids::{AccountId, AlertId};
use futures_util::future::join_all;
use gateway::store::accounts::Grant;
use gateway::store::alerts::{ALERTS_MAX, Alert, AlertState, BURST, PACE_MS, Turn};
use gateway::store::mails::{LEASE_MS, Mail, Tried};
use gateway::store::{Store, StoreError};

use crate::fixture::{random, tenant};
use crate::support::{NOW_MS, stores};

fn alert(threshold: i64) -> Alert {
    Alert {
        id: AlertId::mint(&random()),
        threshold: Credits(threshold),
        email: "finance@example.com".to_owned(),
        state: AlertState::Armed,
        sent_ms: None,
        created_ms: NOW_MS,
    }
}

async fn made(store: &Store, account: &AccountId, threshold: i64) -> AlertId {
    let alert = alert(threshold);
    assert_eq!(store.create_alert(account, &alert).await, Ok(true));
    alert.id
}

async fn state(store: &Store, account: &AccountId) -> AlertState {
    store.alerts(account).await.unwrap()[0].state
}

/// Looks at every alert and turns what wants it.
async fn look(store: &Store, now_ms: i64) -> u64 {
    let looked = store.any_look_at_alerts("", 1_000).await.unwrap();
    store.any_turn_alerts(looked.turns, now_ms).await.unwrap()
}

async fn adjust(store: &Store, account: &AccountId, micros: i64) {
    let reference = hex::encode(random::<8>());
    let done = store.grant(account, Grant::Adjust, Credits(micros), &reference, NOW_MS);
    done.await.unwrap();
}

async fn claimed(store: &Store, now_ms: i64) -> Vec<Mail> {
    store.any_claim_mails(100, now_ms).await.unwrap()
}

const SENT: Tried = Tried {
    state: AlertState::Sent,
    due_ms: NOW_MS,
};

#[tokio::test]
async fn an_account_has_room_for_ten_on_all_nodes_together() {
    for db in stores().await {
        let account = tenant(&db.store, 5).await.account;
        let twin = db.twin().await;
        let nodes = [&db.store, &twin];
        let wishes: Vec<_> = (1..=24).map(alert).collect();
        let made = wishes
            .iter()
            .enumerate()
            .map(|(n, wish)| nodes[n % 2].create_alert(&account, wish));
        let made = join_all(made).await;
        let room = made.iter().filter(|done| **done == Ok(true)).count();
        assert_eq!(i64::try_from(room), Ok(ALERTS_MAX), "{}", db.name);
        let listed = db.store.alerts(&account).await.unwrap();
        assert_eq!(listed.len(), room);
        assert!(listed.iter().all(|one| wishes.contains(one)));
        // Another account has its own, and touches nobody's.
        let other = tenant(&db.store, 5).await.account;
        let first = &listed[0].id;
        assert_eq!(db.store.delete_alert(&other, first).await, Ok(false));
        assert_eq!(db.store.delete_alert(&account, first).await, Ok(true));
        assert_eq!(db.store.delete_alert(&account, first).await, Ok(false));
        made_one(&db.store, &other).await;
        made_one(&db.store, &account).await;
        let nothing = db.store.create_alert(&other, &alert(0)).await;
        assert!(matches!(nothing, Err(StoreError::Duplicate(_))));
    }
}

async fn made_one(store: &Store, account: &AccountId) {
    made(store, account, 1).await;
}

#[tokio::test]
async fn a_crossing_is_one_mail_and_the_way_back_arms() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let account = &tenant.account;
        let id = made(&db.store, account, 50).await;
        assert_eq!(look(&db.store, NOW_MS).await, 0, "{}", db.name);
        // At the threshold is not below it; what is held cannot be spent.
        tenant.submitted(&db.store, 50).await;
        assert_eq!(look(&db.store, NOW_MS).await, 0);
        tenant.submitted(&db.store, 1).await;
        assert_eq!(look(&db.store, NOW_MS + 1).await, 1);
        assert_eq!(look(&db.store, NOW_MS + 2).await, 0);
        let mails = claimed(&db.store, NOW_MS + 1).await;
        let [mail] = &mails[..] else {
            panic!("{}: {mails:?}", db.name);
        };
        assert_eq!((&mail.alert, mail.crossing, mail.attempts), (&id, 1, 0));
        assert_eq!((mail.threshold, mail.left_over), (Credits(50), Credits(49)));
        assert_eq!(mail.crossed_ms, NOW_MS + 1);
        assert!(mail.account.starts_with("account "), "{mail:?}");
        let recorded = db.store.any_record_mail(mail, SENT, NOW_MS + 3).await;
        assert_eq!(recorded, Ok(()));
        assert_eq!(look(&db.store, NOW_MS + 4).await, 0);
        let known = db.store.alerts(account).await.unwrap();
        assert_eq!(known[0].state, AlertState::Sent);
        assert_eq!(known[0].sent_ms, Some(NOW_MS + 3));
        adjust(&db.store, account, 1).await;
        assert_eq!(look(&db.store, NOW_MS + 5).await, 1);
        assert_eq!(state(&db.store, account).await, AlertState::Armed);
        assert_eq!(look(&db.store, NOW_MS + 6).await, 0);
        adjust(&db.store, account, -1).await;
        assert_eq!(look(&db.store, NOW_MS + 7).await, 1);
        let again = claimed(&db.store, NOW_MS + 7).await;
        assert_eq!(again[0].crossing, 2, "{}", db.name);
    }
}

#[tokio::test]
async fn what_was_seen_is_compared_once_more() {
    for db in stores().await {
        let account = tenant(&db.store, 10).await.account;
        let id = made(&db.store, &account, 50).await;
        let seen = db.store.any_look_at_alerts("", 10).await.unwrap();
        assert_eq!(seen.turns, [(id, Turn::Trip)]);
        adjust(&db.store, &account, 40).await;
        let turned = db.store.any_turn_alerts(seen.turns.clone(), NOW_MS).await;
        assert_eq!(turned, Ok(0), "{}", db.name);
        adjust(&db.store, &account, -1).await;
        let nodes = [db.store.clone(), db.twin().await];
        let at_once = (0..8).map(|n| nodes[n % 2].any_turn_alerts(seen.turns.clone(), NOW_MS));
        let turned: u64 = join_all(at_once)
            .await
            .into_iter()
            .map(Result::unwrap)
            .sum();
        assert_eq!(turned, 1, "{}", db.name);
    }
}

#[tokio::test]
async fn a_look_goes_on_where_it_ended() {
    for db in stores().await {
        let account = tenant(&db.store, 0).await.account;
        let mut wanted = Vec::new();
        for _ in 0..7 {
            wanted.push(made(&db.store, &account, 1).await);
        }
        wanted.sort();
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let looked = db.store.any_look_at_alerts(&after, 3).await.unwrap();
            found.extend(looked.turns.into_iter().map(|(id, _)| id));
            let Some(last) = looked.last else { break };
            after = last.0;
        }
        assert_eq!(found, wanted, "{}", db.name);
    }
}

#[tokio::test]
async fn a_mail_belongs_to_one_node_until_its_lease_ends() {
    for db in stores().await {
        let account = tenant(&db.store, 0).await.account;
        for _ in 0..ALERTS_MAX {
            made(&db.store, &account, 1).await;
        }
        assert_eq!(look(&db.store, NOW_MS).await, 10);
        let nodes = [db.store.clone(), db.twin().await];
        let claims = (0..12).map(|n| nodes[n % 2].any_claim_mails(2, NOW_MS));
        let claims = join_all(claims).await.into_iter().flat_map(Result::unwrap);
        let mut ids: Vec<_> = claims.map(|mail| mail.alert).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 10, "{}", db.name);
        assert!(claimed(&db.store, NOW_MS + LEASE_MS - 1).await.is_empty());
        let again = claimed(&db.store, NOW_MS + LEASE_MS).await;
        assert_eq!(again.len(), 10);
        // Whoever comes late with the first claim records nothing over the second's.
        let [first, second] = [0, 1].map(|attempts| Mail {
            attempts,
            ..again[0].clone()
        });
        let later = Tried {
            state: AlertState::Due,
            due_ms: NOW_MS + 5 * LEASE_MS,
        };
        for (mail, tried) in [(&first, later), (&first, SENT)] {
            let recorded = db.store.any_record_mail(mail, tried, NOW_MS).await;
            assert_eq!(recorded, Ok(()));
        }
        let alerts = db.store.alerts(&account).await.unwrap();
        let one = alerts.iter().find(|one| one.id == first.alert).unwrap();
        assert_eq!(one.state, AlertState::Due, "{}", db.name);
        assert!(
            claimed(&db.store, later.due_ms - 1)
                .await
                .iter()
                .all(|mail| mail.alert != first.alert)
        );
        let due = claimed(&db.store, later.due_ms + LEASE_MS).await;
        assert!(due.contains(&second), "{}", db.name);
    }
}

#[tokio::test]
async fn a_balance_that_goes_up_and_down_fills_no_mailbox() {
    for db in stores().await {
        let account = tenant(&db.store, 0).await.account;
        made(&db.store, &account, 1).await;
        let mut due = Vec::new();
        for n in 0..BURST + 2 {
            let now_ms = NOW_MS + n;
            assert_eq!(look(&db.store, now_ms).await, 1);
            let soon = now_ms + 3 * PACE_MS;
            let mails = claimed(&db.store, now_ms).await;
            due.push(mails.len());
            let mails = match mails.is_empty() {
                true => claimed(&db.store, soon).await,
                false => mails,
            };
            let recorded = db.store.any_record_mail(&mails[0], SENT, now_ms).await;
            assert_eq!(recorded, Ok(()));
            adjust(&db.store, &account, 1).await;
            assert_eq!(look(&db.store, now_ms).await, 1);
            adjust(&db.store, &account, -1).await;
        }
        assert_eq!(due, [1, 1, 1, 1, 0, 0], "{}", db.name);
        // Later there is room again.
        assert_eq!(look(&db.store, NOW_MS + 10 * PACE_MS).await, 1);
        assert_eq!(claimed(&db.store, NOW_MS + 10 * PACE_MS).await.len(), 1);
    }
}
