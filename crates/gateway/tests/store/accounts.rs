//! Accounts, grants, the secrets of callbacks.

use domain::credits::Credits;
use domain::ids::AccountId;
use domain::signing::Secret;
use futures_util::future::join_all;
use gateway::store::StoreError;
use gateway::store::accounts::{Grant, Granted, NewAccount};
use gateway::store::callback_secrets::ROTATION_MS;

use crate::fixture::{new_account, random, tenant};
use crate::support::{NOW_MS, stores};

#[tokio::test]
async fn an_account_is_made_once_for_its_name() {
    for db in stores().await {
        let wish = new_account(700);
        let (id, is_new) = db.store.any_account(wish.clone(), NOW_MS).await.unwrap();
        assert!(is_new && id == wish.id, "{}", db.name);
        let again = NewAccount {
            id: AccountId::mint(&random()),
            ..wish.clone()
        };
        let found = db.store.any_account(again, NOW_MS).await;
        assert_eq!(found, Ok((id.clone(), false)));
        let named = db.store.any_account_by_name(&wish.name).await.unwrap();
        assert_eq!(named.map(|account| account.id), Some(id.clone()));
        assert_eq!(db.store.any_account_by_name("nobody").await, Ok(None));
        assert_eq!(db.store.any_account_count().await, Ok(1));
        assert_eq!(db.store.balance(&id).await.unwrap().posted, Credits(700));
    }
}

#[tokio::test]
async fn nodes_that_start_together_make_one_account() {
    for db in stores().await {
        let twin = db.twin().await;
        let wish = |n: usize| NewAccount {
            name: "first".to_owned(),
            ..new_account(i64::try_from(n).unwrap())
        };
        let nodes = [&db.store, &twin];
        let made = (0..10).map(|n| nodes[n % 2].any_account(wish(n), NOW_MS));
        let made: Vec<_> = join_all(made)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(made.iter().filter(|(_, is_new)| *is_new).count(), 1);
        assert!(made.iter().all(|(id, _)| *id == made[0].0), "{}", db.name);
    }
}

#[tokio::test]
async fn a_grant_counts_once_for_its_reference() {
    for db in stores().await {
        let account = tenant(&db.store, 0).await.account;
        let grant = |kind, micros| {
            let store = &db.store;
            let account = &account;
            async move {
                let credits = Credits(micros);
                store.grant(account, kind, credits, "r", NOW_MS).await
            }
        };
        let twins = join_all((0..20).map(|_| grant(Grant::TopUp, 100))).await;
        let entered = twins
            .iter()
            .filter(|done| **done == Ok(Granted::Yes))
            .count();
        assert_eq!(entered, 1, "{}", db.name);
        // The same reference of another kind is another entry.
        assert_eq!(grant(Grant::Adjust, -30).await, Ok(Granted::Yes));
        assert_eq!(grant(Grant::Adjust, -30).await, Ok(Granted::Before));
        let posted = db.store.balance(&account).await.unwrap().posted;
        assert_eq!(posted, Credits(70));
    }
}

#[tokio::test]
async fn a_correction_never_takes_what_is_held() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        tenant.submitted(&db.store, 60).await;
        let adjust = |micros, reference: &'static str| {
            let (store, account) = (&db.store, &tenant.account);
            async move {
                let credits = Credits(micros);
                store
                    .grant(account, Grant::Adjust, credits, reference, NOW_MS)
                    .await
            }
        };
        assert_eq!(adjust(-41, "a").await, Ok(Granted::Insufficient));
        // Refused is not entered: the reference is free.
        assert_eq!(adjust(-40, "a").await, Ok(Granted::Yes));
        let balance = db.store.balance(&tenant.account).await.unwrap();
        assert_eq!((balance.posted, balance.held), (Credits(60), Credits(60)));
        let nobody = AccountId("acc_nobody".to_owned());
        let granted = db
            .store
            .grant(&nobody, Grant::TopUp, Credits(1), "b", NOW_MS)
            .await;
        assert_eq!(granted, Ok(Granted::Insufficient), "{}", db.name);
        assert!(
            db.store
                .any_ledger_check()
                .await
                .unwrap()
                .problems
                .is_empty()
        );
    }
}

#[tokio::test]
async fn an_amount_beyond_all_sense_is_refused() {
    for db in stores().await {
        let account = tenant(&db.store, 500).await.account;
        for (n, micros) in [i64::MAX, i64::MAX - 499, i64::MIN].into_iter().enumerate() {
            let reference = n.to_string();
            for kind in [Grant::TopUp, Grant::Adjust] {
                let done = db
                    .store
                    .grant(&account, kind, Credits(micros), &reference, NOW_MS);
                assert_ne!(done.await, Ok(Granted::Yes), "{}: {micros}", db.name);
            }
        }
        let done = db
            .store
            .grant(&account, Grant::TopUp, Credits(-1), "negative", NOW_MS);
        assert!(matches!(done.await, Err(StoreError::Duplicate(_))));
        let balance = db.store.balance(&account).await;
        assert_eq!(balance.unwrap().posted, Credits(500), "{}", db.name);
    }
}

#[tokio::test]
async fn a_rotation_keeps_the_old_secret_for_a_day() {
    for db in stores().await {
        let wish = new_account(0);
        let first = wish.secret.clone();
        let (account, _) = db.store.any_account(wish, NOW_MS).await.unwrap();
        let second = Secret::mint(&random());
        let rotate = db
            .store
            .rotate_callback_secret(&account, second.clone(), NOW_MS);
        assert_eq!(rotate.await, Ok(()));
        let secrets = |now_ms| db.store.callback_secrets(&account, now_ms);
        let both = secrets(NOW_MS + ROTATION_MS - 1).await;
        assert_eq!(both, Ok(vec![second.clone(), first]), "{}", db.name);
        assert_eq!(secrets(NOW_MS + ROTATION_MS).await, Ok(vec![second]));
        // Rotations at once come one after the other.
        let wishes: Vec<_> = (0..8).map(|_| Secret::mint(&random())).collect();
        let twin = db.twin().await;
        let nodes = [&db.store, &twin];
        let rotations = wishes.iter().enumerate().map(|(n, secret)| {
            nodes[n % 2].rotate_callback_secret(&account, secret.clone(), NOW_MS)
        });
        assert!(join_all(rotations).await.iter().all(Result::is_ok));
        let left = secrets(NOW_MS).await.unwrap();
        assert!(left.len() == 2 && left.iter().all(|secret| wishes.contains(secret)));
        let nobody = AccountId("acc_nobody".to_owned());
        assert_eq!(db.store.callback_secrets(&nobody, NOW_MS).await, Ok(vec![]));
    }
}
