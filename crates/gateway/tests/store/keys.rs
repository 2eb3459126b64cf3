//! Keys: recognised while they live, by nothing but the whole key.

use domain::ids::{AccountId, KeyId};
use domain::key::{ApiKey, Grant, Scope};
use gateway::store::StoreError;
use gateway::store::key_changes::KeyChanged;
use gateway::store::submit::{Admission, Idempotency};

use crate::fixture::{cli, random, tenant};
use crate::support::{NOW_MS, stores};

#[tokio::test]
async fn a_key_is_recognised_by_its_secret() {
    for db in stores().await {
        let tenant = tenant(&db.store, 0).await;
        let public: [u8; 10] = random();
        let key = ApiKey::mint(&public, &random());
        let grant = Grant {
            scopes: vec![Scope::Read],
            models: Some(vec!["m".to_owned()]),
            ..Grant::account("ünïcode")
        };
        let create = db
            .store
            .create_key(&tenant.account, &key, grant.clone(), NOW_MS + 1);
        assert_eq!(create.await, Ok(()));
        let principal = db.store.authenticate(&key, NOW_MS).await.unwrap().unwrap();
        assert_eq!(principal.account, tenant.account);
        assert_eq!(
            (principal.key, principal.grant),
            (key.id().clone(), grant.clone())
        );
        let forged = ApiKey::mint(&public, &random());
        assert_eq!(db.store.authenticate(&forged, NOW_MS).await, Ok(None));
        let unknown = ApiKey::mint(&random(), &random());
        assert_eq!(db.store.authenticate(&unknown, NOW_MS).await, Ok(None));
        let twice = db
            .store
            .create_key(&tenant.account, &forged, grant, NOW_MS)
            .await;
        assert!(
            matches!(twice, Err(StoreError::Duplicate(_))),
            "{}",
            db.name
        );
        let listed = db.store.keys(&tenant.account).await.unwrap();
        let ids: Vec<_> = listed.iter().map(|key| key.id.clone()).collect();
        assert_eq!(ids, [tenant.key, key.id().clone()], "oldest first");
    }
}

#[tokio::test]
async fn a_key_ends_when_it_expires() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let key = ApiKey::mint(&random(), &random());
        let grant = Grant {
            expires_ms: Some(NOW_MS + 10),
            ..Grant::account("short")
        };
        let create = db.store.create_key(&tenant.account, &key, grant, NOW_MS);
        create.await.unwrap();
        let known = |now_ms| db.store.authenticate(&key, now_ms);
        assert!(known(NOW_MS + 9).await.unwrap().is_some(), "{}", db.name);
        assert_eq!(known(NOW_MS + 10).await, Ok(None));
        let mut task = tenant.task(1);
        task.key = key.id().clone();
        task.created_ms = NOW_MS + 10;
        assert_eq!(db.store.submit(&task, None).await, Ok(Admission::KeyDead));
    }
}

#[tokio::test]
async fn a_deleted_key_admits_nothing_on_any_node() {
    for db in stores().await {
        let twin = db.twin().await;
        let (owner, other) = (tenant(&db.store, 100).await, tenant(&db.store, 0).await);
        let principal = twin.authenticate(&owner.api_key, NOW_MS).await.unwrap();
        assert!(principal.is_some());
        let once = || {
            Some(Idempotency {
                key: "once".to_owned(),
                fingerprint: "f".to_owned(),
                reply: "r".to_owned(),
            })
        };
        let admission = twin.submit(&owner.task(0), once()).await;
        assert_eq!(admission, Ok(Admission::Accepted(vec![])));
        let delete = |of: &AccountId, id: &KeyId| db.store.delete_key(cli(of), id.clone());
        let foreign = delete(&other.account, &owner.key).await;
        assert_eq!(
            foreign,
            Ok(KeyChanged::Missing),
            "only below its own account"
        );
        let deleted = delete(&owner.account, &owner.key).await;
        assert_eq!(deleted, Ok(KeyChanged::Yes(())));
        let deleted = delete(&owner.account, &owner.key).await;
        assert_eq!(deleted, Ok(KeyChanged::Missing));
        // Authenticated before, submitted after.
        let admission = twin.submit(&owner.task(1), None).await;
        assert_eq!(admission, Ok(Admission::KeyDead), "{}", db.name);
        // Nor does it learn what it was answered before.
        let admission = twin.submit(&owner.task(1), once()).await;
        assert_eq!(admission, Ok(Admission::KeyDead));
        assert_eq!(twin.authenticate(&owner.api_key, NOW_MS).await, Ok(None));
        let balance = db.store.balance(&owner.account).await.unwrap();
        assert_eq!(balance.held.0, 0);
        let nobody = AccountId("acc_nobody".to_owned());
        assert_eq!(db.store.keys(&nobody).await, Ok(vec![]));
    }
}
