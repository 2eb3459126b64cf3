//! The audit log: a line for everything an operator does.

use domain::key::{ApiKey, Grant, Scope};
use serde_json::{Value, json};

use super::{Operated, text};
use crate::client::Call;
use crate::world::IMAGE;

/// A call for every operation that changes something: its id in the document, how it is called, the
/// action it is audited as.
fn changes(
    operated: &Operated,
    key: &str,
) -> Vec<(&'static str, &'static str, String, Value, &'static str)> {
    let tenant = operated.tenant();
    let keys = format!("{tenant}/api-keys");
    let one = format!("{keys}/{key}");
    vec![
        (
            "adminCreateAccount",
            "POST",
            "accounts".to_owned(),
            json!({"name": "new", "credits": 3}),
            "account.create",
        ),
        (
            "adminUpdateAccount",
            "PUT",
            tenant.clone(),
            json!({"name": "renamed", "suspended": true}),
            "account.update",
        ),
        (
            "adminCreateKey",
            "POST",
            keys,
            json!({"name": "new"}),
            "key.create",
        ),
        (
            "adminUpdateKey",
            "PUT",
            one.clone(),
            json!({"models": [IMAGE], "expires_at": "2999-01-01T00:00:00Z"}),
            "key.update",
        ),
        ("adminDeleteKey", "DELETE", one, json!({}), "key.delete"),
        (
            "adminGrantCredits",
            "POST",
            format!("{tenant}/credits"),
            json!({"amount": 1, "reference": "r", "note": "n"}),
            "credits.grant",
        ),
        (
            "adminSetMaintenance",
            "PUT",
            "maintenance".to_owned(),
            json!({"enabled": true, "message": "m"}),
            "maintenance.set",
        ),
        (
            "adminSetFeatures",
            "PUT",
            "features".to_owned(),
            json!({"features": {"chat": false}, "models": {IMAGE: false}}),
            "features.set",
        ),
    ]
}

#[tokio::test]
async fn everything_an_operator_changes_leaves_a_line() {
    let operated = Operated::new().await;
    let world = &operated.world;
    let key = ApiKey::parse(&world.key).unwrap().id().clone();
    let calls = changes(&operated, key.as_str());
    let mut known: Vec<_> = calls.iter().map(|(id, ..)| (*id).to_owned()).collect();
    known.sort();
    assert_eq!(
        known,
        changing(),
        "an operation of the document has no call here"
    );
    let admin = ApiKey::parse(&operated.key).unwrap();
    for (n, (id, verb, path, body, action)) in calls.iter().enumerate() {
        let request_id = format!("request-{n}");
        let call = operated.call(verb, path);
        let call = call.header("x-request-id", &request_id);
        let reply = call.json(body).send().await;
        reply.ok();
        let lines = operated.all("audit", 100).await;
        assert_eq!(lines.len(), n + 1, "{id}");
        let line = &lines[0];
        assert_eq!(line["action"], *action, "{id}");
        let actor = &line["actor"];
        assert_eq!(actor["kind"], "key");
        assert_eq!(actor["key"], admin.id().as_str());
        assert!(text(actor, "account").starts_with("acc_"));
        assert_eq!(actor["ip"], "203.0.113.9");
        assert_eq!(actor["request_id"], request_id.as_str());
        assert!(text(line, "id").starts_with("aud_") && text(line, "at").ends_with('Z'));
        let is_made = matches!(*action, "account.create" | "key.create" | "credits.grant");
        assert_eq!(line["before"].is_null(), is_made, "{line}");
        assert_eq!(line["after"].is_null(), *action == "key.delete", "{line}");
        if !path.starts_with("accounts/") && *action != "account.create" {
            assert_eq!(line["account"], json!(null));
        }
    }
    let log = Value::from(operated.all("audit", 3).await).to_string();
    let secret = |key: &str| key.rsplit('-').next().unwrap().to_owned();
    for secret in [
        secret(&world.key),
        secret(&operated.key),
        "whsec_".to_owned(),
    ] {
        assert!(!log.contains(&secret), "{secret}");
    }
}

/// Operations of the document that an operator changes something with.
fn changing() -> Vec<String> {
    let text = gateway::api::openapi().to_json().unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    for calls in document["paths"].as_object().unwrap().values() {
        for (verb, call) in calls.as_object().unwrap() {
            if call["tags"] == json!(["Admin"]) && verb != "get" {
                found.push(call["operationId"].as_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_line_tells_what_was_and_what_is() {
    let operated = Operated::new().await;
    let key = ApiKey::parse(&operated.world.key).unwrap().id().clone();
    for (_, verb, path, body, _) in changes(&operated, key.as_str()) {
        operated.call(verb, &path).json(&body).send().await.ok();
    }
    let lines = operated.all("audit", 100).await;
    let of = |action: &str| lines.iter().find(|line| line["action"] == action).unwrap();
    let both = |action: &str| (of(action)["before"].clone(), of(action)["after"].clone());
    assert_eq!(
        both("account.update"),
        (
            json!({"name": "default", "suspended": false, "concurrency_limit": null}),
            json!({"name": "renamed", "suspended": true, "concurrency_limit": null})
        )
    );
    let (before, after) = both("key.update");
    assert_eq!(
        (&before["models"], &after["models"]),
        (&json!(null), &json!([IMAGE]))
    );
    assert_eq!(before["name"], after["name"]);
    assert_eq!(after["expires_at"], "2999-01-01T00:00:00.000Z");
    assert_eq!(of("key.update")["subject"], key.as_str());
    assert_eq!(of("key.delete")["before"], after);
    assert_eq!(
        both("maintenance.set"),
        (
            json!({"enabled": false, "message": null}),
            json!({"enabled": true, "message": "m"})
        )
    );
    assert_eq!(
        both("features.set"),
        (
            json!({"features": {"chat": true}, "models": {IMAGE: true}}),
            json!({"features": {"chat": false}, "models": {IMAGE: false}})
        )
    );
    assert_eq!(
        of("account.create")["after"],
        json!({"name": "new", "credits": 3})
    );
    assert_eq!(
        of("credits.grant")["after"],
        json!({"kind": "top_up", "amount": 1, "reference": "r", "note": "n"})
    );
}

#[tokio::test]
async fn the_log_is_read_by_account_and_action() {
    let operated = Operated::new().await;
    let key = ApiKey::parse(&operated.world.key).unwrap().id().clone();
    for (_, verb, path, body, _) in changes(&operated, key.as_str()) {
        operated.call(verb, &path).json(&body).send().await.ok();
    }
    let tenant = operated.world.account.to_string();
    for (filter, count) in [
        ("action=key.update".to_owned(), 1),
        (format!("account={tenant}"), 5),
        (format!("account={tenant}&action=key.create"), 1),
        (format!("account={tenant}&action=features.set"), 0),
        ("account=acc_nobody".to_owned(), 0),
    ] {
        let lines = operated.get(&format!("audit?{filter}")).await.ok();
        assert_eq!(lines["data"].as_array().unwrap().len(), count, "{filter}");
    }
    let whole = operated.all("audit", 100).await;
    for limit in [1, 3, 8] {
        assert_eq!(operated.all("audit", limit).await, whole);
    }
    for odd in ["action=fly", "account=%27", "cursor=%27", "limit=0"] {
        let name = odd.split('=').next().unwrap();
        let reply = operated.get(&format!("audit?{odd}")).await;
        assert_eq!(reply.invalid(), name);
    }
}

#[tokio::test]
async fn what_is_refused_leaves_no_line() {
    let operated = Operated::new().await;
    operated.post("accounts", json!({"name": "default"})).await;
    operated
        .put("accounts/acc_nobody", json!({"name": "x"}))
        .await;
    operated.put("maintenance", json!({})).await;
    operated
        .delete(&format!("{}/api-keys/key_x", operated.tenant()))
        .await;
    let world = &operated.world;
    world
        .call("GET", "/api/v1/admin/audit")
        .send()
        .await
        .refusal(401, "unauthorized");
    assert_eq!(operated.get("audit").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn an_operator_is_audited_at_the_endpoints_of_accounts_too() {
    let operated = Operated::new().await;
    let world = &operated.world;
    let path = "/api/v1/api-keys";
    // What an account does with its own keys is its own.
    world.post(path, &json!({"name": "own"})).send().await.ok();
    let grant = Grant {
        scopes: vec![Scope::Admin, Scope::Keys],
        ..Grant::account("operator")
    };
    let key = world.new_key(&world.account, grant).await;
    let call = Call::new(world.address, "POST", path).key(&key);
    let body = json!({"name": "second", "scopes": ["admin"]});
    let made = call.json(&body).send().await.ok();
    let lines = operated.all("audit", 100).await;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["subject"], made["id"]);
    assert_eq!(lines[0]["after"]["scopes"], json!(["admin"]));
}
