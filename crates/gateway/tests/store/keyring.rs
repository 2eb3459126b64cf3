//! Keys that are remembered: a guess that is checked where it counts, whoever changed them.

use domain::catalogue::Catalogue;
use domain::key::{ApiKey, Wish};
use gateway::store::Store;
use gateway::store::keyring::Presumed;
use gateway::store::submit::Admission;
use serde_json::{Value, json};

use crate::fixture::{Tenant, cli, random, tenant};
use crate::support::{NOW_MS, stores};

/// A key that `node` has read before.
async fn remembered(node: &Store, key: &ApiKey) -> Presumed {
    let first = node.presume(key, NOW_MS).await.unwrap().unwrap();
    assert!(first.is_fresh);
    let second = node.presume(key, NOW_MS).await.unwrap().unwrap();
    assert!(!second.is_fresh);
    assert_eq!(first.principal, second.principal);
    second
}

async fn change(node: &Store, tenant: &Tenant, body: Value) {
    let wish = Wish::read(&Catalogue::default(), &body, NOW_MS).unwrap();
    let changed = node.change_key(cli(&tenant.account), tenant.key.clone(), wish);
    changed.await.unwrap();
}

#[tokio::test]
async fn a_remembered_key_does_what_it_may() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let known = remembered(&db.store, &tenant.api_key).await;
        let task = tenant.task(1);
        let admission = db.store.submit_presumed(&task, &known).await;
        assert_eq!(admission, Ok(Admission::Accepted(vec![])), "{}", db.name);
        let read = |id| db.store.task_presumed(&known, id, NOW_MS);
        let found = read(&task.id).await.unwrap().unwrap().unwrap();
        let same = db.store.task(&tenant.account, &task.id).await.unwrap();
        assert_eq!(Some(found), same, "{}", db.name);
        assert_eq!(read(&tenant.task(1).id).await, Ok(Some(None)));
    }
}

#[tokio::test]
async fn a_remembered_key_opens_nothing_of_others() {
    for db in stores().await {
        let (owner, other) = (tenant(&db.store, 100).await, tenant(&db.store, 0).await);
        let task = owner.submitted(&db.store, 1).await;
        let known = remembered(&db.store, &other.api_key).await;
        let found = db.store.task_presumed(&known, &task.id, NOW_MS).await;
        assert_eq!(found, Ok(Some(None)), "{}", db.name);
        // Nor does another secret behind the same public part.
        let hex = other.api_key.public_id().to_owned();
        let secret = hex::encode(random::<24>());
        let forged = ApiKey::parse(&format!("sk-t0-{hex}-{secret}")).unwrap();
        let forged = db.store.presume(&forged, NOW_MS).await.unwrap();
        assert!(forged.is_none());
    }
}

#[tokio::test]
async fn what_another_node_changed_is_noticed_at_once() {
    for db in stores().await {
        let twin = db.twin().await;
        let tenant = tenant(&db.store, 100).await;
        let task = tenant.submitted(&db.store, 1).await;
        let known = remembered(&db.store, &tenant.api_key).await;
        change(&twin, &tenant, json!({"rate_limit_rpm": 5})).await;
        let admission = db.store.submit_presumed(&tenant.task(1), &known).await;
        assert_eq!(admission, Ok(Admission::KeyChanged), "{}", db.name);
        let read = |known| db.store.task_presumed(known, &task.id, NOW_MS);
        assert_eq!(read(&known).await, Ok(None));
        // It was forgotten with that, and is read anew.
        let known = remembered(&db.store, &tenant.api_key).await;
        assert_eq!(known.principal.grant.rate_limit_rpm, Some(5));
        let admission = db.store.submit_presumed(&tenant.task(1), &known).await;
        assert!(matches!(admission, Ok(Admission::Accepted(left)) if left.len() == 1));
        assert!(matches!(read(&known).await, Ok(Some(Some(_)))));

        let deleted = twin.delete_key(cli(&tenant.account), tenant.key.clone());
        deleted.await.unwrap();
        assert_eq!(read(&known).await, Ok(None));
        let admission = db.store.submit_presumed(&tenant.task(1), &known).await;
        assert_eq!(admission, Ok(Admission::KeyDead));
        let gone = db.store.presume(&tenant.api_key, NOW_MS).await.unwrap();
        assert!(gone.is_none(), "{}", db.name);
    }
}

#[tokio::test]
async fn a_remembered_key_ends_in_time() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let task = tenant.submitted(&db.store, 1).await;
        let end = gateway::clock::rfc3339(NOW_MS + 10);
        change(&db.store, &tenant, json!({ "expires_at": end })).await;
        let known = remembered(&db.store, &tenant.api_key).await;
        let read = |now_ms| db.store.task_presumed(&known, &task.id, now_ms);
        assert!(matches!(read(NOW_MS + 9).await, Ok(Some(Some(_)))));
        assert_eq!(read(NOW_MS + 10).await, Ok(None), "{}", db.name);
        let mut late = tenant.task(1);
        late.created_ms = NOW_MS + 10;
        let admission = db.store.submit_presumed(&late, &known).await;
        assert_eq!(admission, Ok(Admission::KeyDead));
    }
}

/// An operator who puts another secret behind the same public part has replaced the key.
#[tokio::test]
async fn a_secret_that_was_replaced_opens_nothing() {
    for db in stores().await {
        let twin = db.twin().await;
        let tenant = tenant(&db.store, 100).await;
        let task = tenant.submitted(&db.store, 1).await;
        let known = remembered(&db.store, &tenant.api_key).await;
        let deleted = twin.delete_key(cli(&tenant.account), tenant.key.clone());
        deleted.await.unwrap();
        let public = tenant.api_key.public_id();
        let other = format!("sk-t0-{public}-{}", hex::encode(random::<24>()));
        let other = ApiKey::parse(&other).unwrap();
        let grant = known.principal.grant.clone();
        let made = twin.create_key(&tenant.account, &other, grant, NOW_MS);
        made.await.unwrap();
        let found = db.store.task_presumed(&known, &task.id, NOW_MS).await;
        assert_eq!(found, Ok(None), "{}", db.name);
        let admission = db.store.submit_presumed(&tenant.task(1), &known).await;
        assert_eq!(admission, Ok(Admission::KeyChanged));
        let gone = db.store.presume(&tenant.api_key, NOW_MS).await.unwrap();
        assert!(gone.is_none());
    }
}
