//! Accounts as the operator lists, changes and credits them.

use domain::credits::Credits;
use domain::ids::AccountId;
use futures_util::future::join_all;
use gateway::store::StoreError;
use gateway::store::accounts::{Grant, NewAccount};
use gateway::store::admin_accounts::{
    AccountChanged, AccountCounts, AccountWish, CreditOrder, Credited, Place,
};
use gateway::store::audit::AuditFilter;
use gateway::store::submit::Admission;

use crate::fixture::{act, new_account, steps, success, tenant};
use crate::support::{NOW_MS, TestStore, stores};

fn renamed(name: &str) -> AccountWish {
    AccountWish {
        name: Some(name.to_owned()),
        ..AccountWish::default()
    }
}

fn suspended(is_suspended: bool) -> AccountWish {
    AccountWish {
        is_suspended: Some(is_suspended),
        ..AccountWish::default()
    }
}

async fn lines(db: &TestStore) -> usize {
    let filter = AuditFilter {
        limit: 1_000,
        ..AuditFilter::default()
    };
    db.store.any_audit(&filter).await.unwrap().len()
}

#[tokio::test]
async fn a_suspended_account_has_no_keys_on_any_node() {
    for db in stores().await {
        let twin = db.twin().await;
        let tenant = tenant(&db.store, 1_000).await;
        let mut claim = tenant.claimed(&db.store, 100).await;
        assert!(
            twin.authenticate(&tenant.api_key, NOW_MS)
                .await
                .unwrap()
                .is_some()
        );
        let set = |is_suspended| {
            let wish = suspended(is_suspended);
            db.store.change_account(&tenant.account, wish, act())
        };
        let Ok(AccountChanged::Yes(account)) = set(true).await else {
            panic!("{}", db.name);
        };
        assert_eq!(account.suspended_ms, Some(NOW_MS));
        for node in [&db.store, &twin] {
            assert_eq!(node.authenticate(&tenant.api_key, NOW_MS).await, Ok(None));
            // Authenticated before, submitted after.
            let admission = node.submit(&tenant.task(1), None).await;
            assert_eq!(admission, Ok(Admission::KeyDead), "{}", db.name);
        }
        // Its tasks finish all the same.
        steps(&db.store, &mut claim, success()).await;
        let balance = db.store.balance(&tenant.account).await.unwrap();
        assert_eq!((balance.posted, balance.held), (Credits(900), Credits(0)));
        let Ok(AccountChanged::Yes(account)) = set(false).await else {
            panic!("{}", db.name);
        };
        assert_eq!(account.suspended_ms, None);
        assert!(
            twin.authenticate(&tenant.api_key, NOW_MS)
                .await
                .unwrap()
                .is_some()
        );
        assert_eq!(lines(&db).await, 2);
    }
}

#[tokio::test]
async fn a_name_belongs_to_one_account_whoever_asks_first() {
    for db in stores().await {
        let twin = db.twin().await;
        let nodes = [&db.store, &twin];
        let mut accounts = Vec::new();
        for _ in 0..6 {
            accounts.push(tenant(&db.store, 0).await.account);
        }
        let renames = accounts
            .iter()
            .enumerate()
            .map(|(n, account)| nodes[n % 2].change_account(account, renamed("shop"), act()));
        let mut won = 0;
        for changed in join_all(renames).await {
            match changed {
                Ok(AccountChanged::Yes(account)) => {
                    assert_eq!(account.name, "shop");
                    won += 1;
                }
                // The index refuses what two nodes try in the same moment.
                Ok(AccountChanged::NameTaken) | Err(StoreError::Duplicate(_)) => {}
                other => panic!("{}: {other:?}", db.name),
            }
        }
        assert_eq!(won, 1, "{}", db.name);
        let named = db.store.any_account_by_name("shop").await.unwrap();
        assert!(accounts.contains(&named.unwrap().id));
        assert_eq!(lines(&db).await, 1, "only what was done is told");
        let nobody = AccountId("acc_nobody".to_owned());
        let changed = db.store.change_account(&nobody, renamed("x"), act());
        assert_eq!(changed.await, Ok(AccountChanged::Missing));
    }
}

#[tokio::test]
async fn accounts_are_listed_in_pages_without_gaps() {
    for db in stores().await {
        let mut made = Vec::new();
        for n in 0..9 {
            // Several of the same moment: the id decides.
            let now_ms = NOW_MS + i64::from(n / 3);
            let (id, _) = db.store.any_account(new_account(0), now_ms).await.unwrap();
            made.push((now_ms, id));
        }
        made.sort();
        made.reverse();
        for limit in [1, 2, 5, 100] {
            let mut listed = Vec::new();
            let mut behind: Option<Place> = None;
            loop {
                let page = db.store.any_accounts(behind.as_ref(), limit).await.unwrap();
                let Some(last) = page.last() else {
                    break;
                };
                behind = Some(Place {
                    created_ms: last.created_ms,
                    id: last.id.0.clone(),
                });
                listed.extend(page.into_iter().map(|one| (one.created_ms, one.id)));
            }
            assert_eq!(listed, made, "{} {limit}", db.name);
        }
    }
}

#[tokio::test]
async fn an_account_is_read_with_its_counts() {
    for db in stores().await {
        let tenant = tenant(&db.store, 1_000).await;
        let mut moving = tenant.claimed(&db.store, 10).await;
        let [intended, accepted, ..] = &success()[..] else {
            panic!("a success has steps");
        };
        let begun = [intended.clone(), accepted.clone()];
        steps(&db.store, &mut moving, begun).await;
        tenant.submitted(&db.store, 20).await;
        tenant.submitted(&db.store, 30).await;
        let (account, counts) = db.store.account(&tenant.account).await.unwrap().unwrap();
        assert_eq!(account.balance.held, Credits(60), "{}", db.name);
        let wanted = AccountCounts {
            keys: 1,
            queued: 2,
            under_way: 1,
        };
        assert_eq!(counts, wanted);
        let nobody = AccountId("acc_nobody".to_owned());
        assert_eq!(db.store.account(&nobody).await, Ok(None));
    }
}

#[tokio::test]
async fn credits_are_told_with_what_they_change_and_only_then() {
    for db in stores().await {
        let twin = db.twin().await;
        let nodes = [&db.store, &twin];
        let (one, other) = (tenant(&db.store, 0).await, tenant(&db.store, 0).await);
        let order = |account: &AccountId, kind, micros| CreditOrder {
            account: account.clone(),
            kind,
            credits: Credits(micros),
            reference: "r".to_owned(),
            note: Some("n".to_owned()),
        };
        let twins = (0..8).map(|n| {
            let order = order(&one.account, Grant::TopUp, 100);
            nodes[n % 2].credit(order, act())
        });
        let mut entered = 0;
        for credited in join_all(twins).await {
            match credited.unwrap() {
                Credited::Yes(balance) => {
                    assert_eq!(balance.posted, Credits(100));
                    entered += 1;
                }
                Credited::Before(_) => {}
                other => panic!("{}: {other:?}", db.name),
            }
        }
        assert_eq!(entered, 1, "{}", db.name);
        for (account, kind, micros, wanted) in [
            (&one.account, Grant::TopUp, 101, Credited::Reused),
            (&other.account, Grant::TopUp, 100, Credited::Reused),
            (&one.account, Grant::Adjust, -101, Credited::Insufficient),
            (
                &AccountId("acc_nobody".to_owned()),
                Grant::Adjust,
                1,
                Credited::Missing,
            ),
        ] {
            let credited = db.store.credit(order(account, kind, micros), act()).await;
            assert_eq!(credited, Ok(wanted), "{}", db.name);
        }
        let odd = db
            .store
            .credit(order(&one.account, Grant::TopUp, -1), act());
        assert!(matches!(odd.await, Err(StoreError::Duplicate(_))));
        assert_eq!(lines(&db).await, 1);
        let check = db.store.any_ledger_check().await.unwrap();
        assert!(check.problems.is_empty(), "{:?}", check.problems);
    }
}

#[tokio::test]
async fn an_account_that_is_made_is_told_once() {
    for db in stores().await {
        let wish = new_account(700);
        let (id, is_new) = db
            .store
            .any_make_account(wish.clone(), act())
            .await
            .unwrap();
        assert!(is_new, "{}", db.name);
        let again = NewAccount {
            id: AccountId("acc_again".to_owned()),
            ..wish
        };
        let found = db.store.any_make_account(again, act()).await;
        assert_eq!(found, Ok((id, false)));
        assert_eq!(lines(&db).await, 1);
    }
}
