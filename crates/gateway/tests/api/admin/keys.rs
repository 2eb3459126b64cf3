//! Keys of any account.

use domain::key::{ApiKey, Grant, Scope};
use serde_json::{Value, json};

use super::{Operated, text};
use crate::client::{Call, Reply};
use crate::world::IMAGE;

#[tokio::test]
async fn an_operator_makes_keys_for_accounts() {
    let operated = Operated::new().await;
    let path = format!("{}/api-keys", operated.tenant());
    let body = json!({"name": "given", "rate_limit_rpm": 5, "models": [IMAGE]});
    let reply = operated.post(&path, body).await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let made = reply.ok();
    assert_eq!(made["scopes"], json!(["run", "read", "keys", "billing"]));
    let key = text(&made, "key");
    let call = Call::new(operated.world.address, "GET", "/api/v1/billing/balance").key(key);
    assert_eq!(call.send().await.ok()["credits"], 100);
    let listed = operated.all(&path, 1).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["id"], made["id"]);
    assert_ne!(listed[1]["key"], made["key"], "masked");
    let one = format!("{path}/{}", text(&made, "id"));
    let changed = operated.put(&one, json!({"rate_limit_rpm": null})).await;
    assert_eq!(changed.ok()["rate_limit_rpm"], json!(null));
    let reply = operated.put(&one, json!({"scopes": []})).await;
    assert_eq!(reply.invalid(), "scopes");
    operated.delete(&one).await.ok();
    operated.delete(&one).await.refusal(404, "not_found");
    let put = operated.put(&one, json!({"name": "x"})).await;
    put.refusal(404, "not_found");
    let call = Call::new(operated.world.address, "GET", "/api/v1/billing/balance").key(key);
    call.send().await.refusal(401, "unauthorized");
    let nobody = operated.post("accounts/acc_nobody/api-keys", json!({"name": "x"}));
    nobody.await.refusal(404, "not_found");
}

#[tokio::test]
async fn a_key_is_found_only_below_its_own_account() {
    let operated = Operated::new().await;
    let world = &operated.world;
    let other = world.new_account("other", 0).await;
    let key = ApiKey::parse(&world.key).unwrap().id().clone();
    let path = format!("accounts/{other}/api-keys/{key}");
    let put = operated.put(&path, json!({"name": "x"})).await;
    put.refusal(404, "not_found");
    operated.delete(&path).await.refusal(404, "not_found");
    assert_eq!(world.store.keys(&world.account).await.unwrap().len(), 1);
}

/// An operator whose own key is restricted.
async fn restricted(operated: &Operated) -> (String, String) {
    let world = &operated.world;
    let account = world.new_account("restricted", 0).await;
    let grant = Grant {
        scopes: vec![Scope::Admin],
        expires_ms: Some(world.now_ms() + 3_600_000),
        ip_whitelist: vec!["203.0.113.0/24".to_owned()],
        ..Grant::account("restricted")
    };
    let key = world.new_key(&account, grant).await;
    (key, format!("/api/v1/admin/accounts/{account}/api-keys"))
}

async fn send(operated: &Operated, key: &str, verb: &str, path: &str, body: Value) -> Reply {
    let call = Call::new(operated.world.address, verb, path).key(key);
    call.json(&body).send().await
}

#[tokio::test]
async fn of_the_operators_scope_nobody_gives_more_than_it_has() {
    let operated = Operated::new().await;
    let (key, path) = restricted(&operated).await;
    let soon = gateway::clock::rfc3339(operated.world.now_ms() + 60_000);
    let admin = |more: Value| {
        let mut body = json!({"name": "child", "scopes": ["admin"], "expires_at": soon,
            "ip_whitelist": ["203.0.113.7"]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    for (name, more) in [
        ("expires_at", json!({"expires_at": null})),
        ("expires_at", json!({"expires_at": "2999-01-01T00:00:00Z"})),
        ("ip_whitelist", json!({"ip_whitelist": null})),
        ("ip_whitelist", json!({"ip_whitelist": ["0.0.0.0/0"]})),
        ("scopes", json!({"scopes": ["admin", "run"]})),
    ] {
        let reply = send(&operated, &key, "POST", &path, admin(more)).await;
        assert_eq!(reply.invalid(), name);
    }
    let made = send(&operated, &key, "POST", &path, admin(json!({}))).await;
    let child = format!("{path}/{}", text(&made.ok(), "id"));
    for (name, body) in [
        ("expires_at", json!({"expires_at": null})),
        ("ip_whitelist", json!({"ip_whitelist": []})),
        ("scopes", json!({"scopes": ["admin", "keys"]})),
    ] {
        let reply = send(&operated, &key, "PUT", &child, body).await;
        assert_eq!(reply.invalid(), name);
    }
    // What accounts may do with their keys is the operator's to give.
    let tenant = format!("/api/v1/admin/{}/api-keys", operated.tenant());
    let body = json!({"name": "free"});
    send(&operated, &key, "POST", &tenant, body).await.ok();
    let body = json!({"name": "admin", "scopes": ["admin"]});
    let reply = send(&operated, &key, "POST", &tenant, body).await;
    assert_eq!(reply.invalid(), "expires_at");
}

#[tokio::test]
async fn an_operators_key_does_not_widen_itself() {
    let operated = Operated::new().await;
    let (key, path) = restricted(&operated).await;
    let itself = format!("{path}/{}", ApiKey::parse(&key).unwrap().id());
    for (name, body) in [
        ("expires_at", json!({"expires_at": null})),
        ("ip_whitelist", json!({"ip_whitelist": null})),
        ("scopes", json!({"scopes": ["admin", "run"]})),
        ("scopes", json!({"scopes": ["run"]})),
    ] {
        let reply = send(&operated, &key, "PUT", &itself, body).await;
        assert_eq!(reply.invalid(), name);
    }
    let body = json!({"ip_whitelist": ["203.0.113.9"]});
    send(&operated, &key, "PUT", &itself, body).await.ok();
    send(&operated, &key, "DELETE", &itself, json!({}))
        .await
        .ok();
    operated.get("audit").await.ok();
    let reply = send(&operated, &key, "GET", "/api/v1/admin/audit", json!({})).await;
    reply.refusal(401, "unauthorized");
}
