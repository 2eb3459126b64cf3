//! Keys made and changed: judged by what whoever asks may do at that moment, one change after another.

use domain::catalogue::Catalogue;
use domain::key::{ApiKey, Grant, Scope, Wish};
use futures_util::future::join_all;
use gateway::store::audit::AuditFilter;
use gateway::store::key_changes::{KEYS_MAX, KeyChanged, KeyOrder, Right};
use gateway::store::submit::Admission;
use serde_json::{Value, json};

use crate::fixture::{Tenant, act_of, cli, random, tenant, try_by_hand};
use crate::support::{NOW_MS, TestStore, stores};

fn wish(body: Value) -> Wish {
    Wish::read(&Catalogue::default(), &body, NOW_MS).unwrap()
}

/// The keys of a tenant, changed by one of them.
fn own(tenant: &Tenant) -> KeyOrder {
    KeyOrder {
        account: tenant.account.clone(),
        right: Right::Account,
        act: act_of(tenant),
    }
}

/// Another key of a tenant.
async fn second(db: &TestStore, tenant: &Tenant, grant: Grant) -> Tenant {
    let api_key = ApiKey::mint(&random(), &random());
    let made = db
        .store
        .create_key(&tenant.account, &api_key, grant, NOW_MS);
    made.await.unwrap();
    Tenant {
        key: api_key.id().clone(),
        api_key,
        ..tenant.clone()
    }
}

async fn grant_of(db: &TestStore, tenant: &Tenant) -> Grant {
    let known = db.store.authenticate(&tenant.api_key, NOW_MS).await;
    known.unwrap().unwrap().grant
}

#[tokio::test]
async fn changes_on_several_nodes_do_not_lose_each_other() {
    for db in stores().await {
        let twin = db.twin().await;
        let nodes = [&db.store, &twin];
        let tenant = tenant(&db.store, 0).await;
        let fields = [
            json!({"name": "renamed"}),
            json!({"rate_limit_rpm": 1}),
            json!({"rate_limit_tph": 2}),
            json!({"rate_limit_tpd": 3}),
            json!({"daily_credit_limit": 4}),
            json!({"ip_whitelist": ["10.0.0.1"]}),
            json!({"sandbox": true}),
            json!({"expires_at": "2999-01-01T00:00:00Z"}),
        ];
        let changes = fields.iter().enumerate().map(|(n, body)| {
            let key = tenant.key.clone();
            nodes[n % 2].change_key(cli(&tenant.account), key, wish(body.clone()))
        });
        for changed in join_all(changes).await {
            assert!(matches!(changed, Ok(KeyChanged::Yes(_))), "{changed:?}");
        }
        let grant = grant_of(&db, &tenant).await;
        assert_eq!(grant.name, "renamed", "{}", db.name);
        let rates = [
            grant.rate_limit_rpm,
            grant.rate_limit_tph,
            grant.rate_limit_tpd,
        ];
        assert_eq!(rates, [Some(1), Some(2), Some(3)]);
        assert_eq!(grant.daily_credit_limit.unwrap().0, 4_000_000);
        assert!(grant.sandbox && grant.expires_ms.is_some());
        assert_eq!(grant.ip_whitelist, ["10.0.0.1"]);
        let lines = db.store.any_audit(&every()).await.unwrap();
        assert_eq!(lines.len(), fields.len());
    }
}

fn every() -> AuditFilter {
    AuditFilter {
        limit: 1_000,
        ..AuditFilter::default()
    }
}

#[tokio::test]
async fn an_end_that_is_changed_counts_at_once() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let set = |body| {
            let key = tenant.key.clone();
            db.store.change_key(cli(&tenant.account), key, wish(body))
        };
        let soon = gateway::clock::rfc3339(NOW_MS + 10);
        set(json!({ "expires_at": soon })).await.unwrap();
        let known = |now_ms| db.store.authenticate(&tenant.api_key, now_ms);
        assert!(known(NOW_MS + 9).await.unwrap().is_some());
        assert_eq!(known(NOW_MS + 10).await, Ok(None), "{}", db.name);
        set(json!({"expires_at": null})).await.unwrap();
        assert!(known(NOW_MS + 10).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn whoever_was_narrowed_or_deleted_meanwhile_hands_on_nothing() {
    for db in stores().await {
        let owner = tenant(&db.store, 0).await;
        let maker = second(&db, &owner, Grant::account("maker")).await;
        let other = second(&db, &owner, Grant::account("other")).await;
        let narrow = json!({"scopes": ["keys", "read"]});
        let narrowed = db
            .store
            .change_key(own(&owner), maker.key.clone(), wish(narrow));
        assert!(matches!(narrowed.await, Ok(KeyChanged::Yes(_))));
        // What follows was let in before, when the maker had more.
        let make = |grant: Grant| {
            let key = ApiKey::mint(&random(), &random());
            db.store.make_key(own(&maker), key, grant)
        };
        let made = make(Grant::account("child")).await.unwrap();
        assert!(matches!(&made, KeyChanged::Refused(why) if why.param == "scopes"));
        let reader = Grant {
            scopes: vec![Scope::Read],
            ..Grant::account("reader")
        };
        let made = make(reader.clone()).await.unwrap();
        assert!(matches!(made, KeyChanged::Yes(_)), "{}: {made:?}", db.name);
        let widen = wish(json!({"scopes": ["keys", "read", "run"]}));
        let itself = db
            .store
            .change_key(own(&maker), maker.key.clone(), widen)
            .await;
        assert!(matches!(itself, Ok(KeyChanged::Refused(_))));
        let deleted = db.store.delete_key(own(&owner), maker.key.clone()).await;
        assert_eq!(deleted, Ok(KeyChanged::Yes(())));
        assert_eq!(make(reader).await, Ok(KeyChanged::Unauthorized));
        let rename = wish(json!({"name": "x"}));
        let changed = db.store.change_key(own(&maker), other.key.clone(), rename);
        assert_eq!(changed.await, Ok(KeyChanged::Unauthorized));
        let deleted = db.store.delete_key(own(&maker), other.key.clone()).await;
        assert_eq!(deleted, Ok(KeyChanged::Unauthorized));
        assert_eq!(grant_of(&db, &other).await, Grant::account("other"));
        assert_eq!(db.store.any_audit(&every()).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn an_account_on_two_nodes_has_at_most_so_many_keys() {
    for db in stores().await {
        let twin = db.twin().await;
        let nodes = [&db.store, &twin];
        let tenant = tenant(&db.store, 0).await;
        let before = (3..KEYS_MAX).map(|_| {
            let key = ApiKey::mint(&random(), &random());
            let (account, grant) = (tenant.account.clone(), Grant::account("key"));
            let store = db.store.clone();
            async move { store.create_key(&account, &key, grant, NOW_MS).await }
        });
        assert!(join_all(before).await.iter().all(Result::is_ok));
        let more = (0..6).map(|n| {
            let key = ApiKey::mint(&random(), &random());
            nodes[n % 2].make_key(own(&tenant), key, Grant::account("one more"))
        });
        let made = join_all(more).await;
        let full = made.iter().filter(|made| **made == Ok(KeyChanged::Full));
        assert_eq!(full.count(), 4, "{}", db.name);
        let keys = db.store.keys(&tenant.account).await.unwrap();
        assert_eq!(i64::try_from(keys.len()).unwrap(), KEYS_MAX);
    }
}

#[tokio::test]
async fn what_a_deleted_key_has_used_is_forgotten() {
    for db in stores().await {
        let owner = tenant(&db.store, 100).await;
        let grant = Grant {
            rate_limit_rpm: Some(1),
            ..Grant::account("limited")
        };
        let key = second(&db, &owner, grant).await;
        let admission = db.store.submit(&key.task(1), None).await;
        assert!(matches!(admission, Ok(Admission::Accepted(_))));
        let row = format!(
            "INSERT INTO meters (key, body) VALUES ('{}', '{{}}')",
            key.key
        );
        assert!(try_by_hand(&db, &row).await.is_err(), "it is there");
        let deleted = db.store.delete_key(cli(&owner.account), key.key.clone());
        assert_eq!(deleted.await, Ok(KeyChanged::Yes(())));
        assert!(try_by_hand(&db, &row).await.is_ok(), "{}", db.name);
    }
}

#[tokio::test]
async fn keys_of_one_account_are_not_there_for_another() {
    for db in stores().await {
        let (owner, other) = (tenant(&db.store, 0).await, tenant(&db.store, 0).await);
        let rename = || wish(json!({"name": "mine"}));
        let changed = db
            .store
            .change_key(own(&other), owner.key.clone(), rename());
        assert_eq!(changed.await, Ok(KeyChanged::Missing));
        let deleted = db.store.delete_key(own(&other), owner.key.clone());
        assert_eq!(deleted.await, Ok(KeyChanged::Missing), "{}", db.name);
        assert_eq!(grant_of(&db, &owner).await.name, "test");
        let nobody = domain::ids::AccountId("acc_nobody".to_owned());
        let key = ApiKey::mint(&random(), &random());
        let made = db.store.make_key(cli(&nobody), key, Grant::account("x"));
        assert_eq!(made.await, Ok(KeyChanged::Missing));
    }
}

#[tokio::test]
async fn a_command_and_an_operator_are_audited_and_an_account_is_not() {
    for db in stores().await {
        let owner = tenant(&db.store, 0).await;
        let admin = Grant {
            scopes: vec![Scope::Keys, Scope::Admin],
            ..Grant::account("admin")
        };
        let admin = second(&db, &owner, admin).await;
        let orders = [own(&owner), cli(&owner.account), own(&admin)];
        for order in orders {
            let key = ApiKey::mint(&random(), &random());
            let grant = Grant {
                scopes: vec![Scope::Keys],
                ..Grant::account("made")
            };
            let made = db.store.make_key(order.clone(), key.clone(), grant);
            assert!(matches!(made.await, Ok(KeyChanged::Yes(_))));
        }
        let lines = db.store.any_audit(&every()).await.unwrap();
        let actors: Vec<_> = lines.iter().map(|line| &line.actor).collect();
        assert_eq!(actors.len(), 2, "{}: {actors:?}", db.name);
        let kept = serde_json::to_string(&actors).unwrap();
        assert!(
            kept.contains("cli") && kept.contains(admin.key.as_str()),
            "{kept}"
        );
    }
}
