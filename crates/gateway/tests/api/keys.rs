//! Keys: made, listed, deleted, and never wider than their maker.

use domain::key::{Grant, Scope};
use serde_json::{Value, json};

use crate::client::Call;
use crate::world::{IMAGE, World};

const KEYS: &str = "/api/v1/api-keys";

#[tokio::test]
async fn a_key_is_shown_once() {
    let world = World::new().await;
    let reply = world
        .post(KEYS, &json!({"name": "production"}))
        .send()
        .await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let made = reply.ok();
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("sk-t0-"));
    assert!(made["id"].as_str().unwrap().starts_with("key_"));
    assert_eq!(made["name"], "production");
    assert!(made["created_at"].is_string());
    let call = Call::new(world.address, "POST", &format!("/api/v1/run/{IMAGE}")).key(key);
    call.json(&json!({"prompt": "x"})).send().await.ok();
    let list = world.get(KEYS).send().await;
    assert!(!std::str::from_utf8(&list.body).unwrap().contains(key));
    let list = list.ok();
    let listed = list["data"].as_array().unwrap();
    let listed = listed
        .iter()
        .find(|known| known["id"] == made["id"])
        .unwrap();
    let public = made["id"].as_str().unwrap().trim_start_matches("key_");
    assert_eq!(listed["key"], format!("sk-t0-{public}-****"));
}

#[tokio::test]
async fn a_deleted_key_is_dead_at_once() {
    let world = World::new().await;
    let made = world.post(KEYS, &json!({"name": "k"})).send().await.ok();
    let path = format!("{KEYS}/{}", made["id"].as_str().unwrap());
    let delete = || world.bare("DELETE", &path).key(&world.key).send();
    assert_eq!(
        delete().await.ok(),
        json!({"code": 200, "message": "deleted"})
    );
    delete().await.refusal(404, "not_found");
    let dead = Call::new(world.address, "GET", KEYS).key(made["key"].as_str().unwrap());
    dead.send().await.refusal(401, "unauthorized");
    for id in ["key_nothing", "%00", "a%2fb"] {
        let reply = world
            .bare("DELETE", &format!("{KEYS}/{id}"))
            .key(&world.key);
        reply.send().await.refusal(404, "not_found");
    }
}

#[tokio::test]
async fn foreign_keys_are_not_there() {
    let world = World::new().await;
    let stranger = world.new_account("stranger", 1).await;
    let strange = world.new_key(&stranger, Grant::account("strange")).await;
    let made = world.post(KEYS, &json!({"name": "k"})).send().await.ok();
    let path = format!("{KEYS}/{}", made["id"].as_str().unwrap());
    let reply = Call::new(world.address, "DELETE", &path)
        .key(&strange)
        .send()
        .await;
    reply.refusal(404, "not_found");
    let list = Call::new(world.address, "GET", KEYS)
        .key(&strange)
        .send()
        .await
        .ok();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_key_may_do_is_checked() {
    let world = World::new().await;
    let with = |name: &str, value: Value| {
        let mut body = json!({"name": "k"});
        body[name] = value;
        world.post(KEYS, &body).send()
    };
    let eleven = vec!["10.0.0.1"; 11];
    for (name, value) in [
        ("name", json!(null)),
        ("name", json!(" ")),
        ("name", json!(1)),
        ("name", json!("x".repeat(101))),
        ("name", json!("a\u{0}b")),
        ("scopes", json!([])),
        ("scopes", json!(["admin"])),
        ("scopes", json!(["fly"])),
        ("scopes", json!("run")),
        ("models", json!([])),
        ("models", json!(["nothing"])),
        ("models", json!([1])),
        ("expires_at", json!("yesterday")),
        ("expires_at", json!("2020-01-01T00:00:00Z")),
        ("expires_at", json!(1)),
        ("sandbox", json!("yes")),
        ("ip_whitelist", json!(["10.0.0"])),
        ("ip_whitelist", json!(["10.0.0.0/33"])),
        ("ip_whitelist", json!("10.0.0.1")),
        ("ip_whitelist", json!(eleven)),
        ("rate_limit_rpm", json!("x")),
        ("rate_limit_rpm", json!(0)),
        ("rate_limit_tph", json!(-1)),
        ("rate_limit_tpd", json!(1.5)),
        ("rate_limit_tpd", json!(1_000_000_001)),
        ("rate_limit_tpd", json!(u64::MAX)),
        ("daily_credit_limit", json!(0)),
        ("daily_credit_limit", json!(-1)),
        ("daily_credit_limit", json!("1")),
        ("daily_credit_limit", json!(0.000_000_1)),
        ("daily_credit_limit", json!(1.000_000_1)),
        ("daily_credit_limit", json!(1_000_000_001)),
        ("daily_credit_limit", json!(1e300)),
    ] {
        assert_eq!(with(name, value.clone()).await.invalid(), name, "{value}");
    }
    for (name, value) in [
        ("scopes", json!(["run", "read", "run"])),
        ("models", json!([IMAGE])),
        ("expires_at", json!("2999-01-01T00:00:00+02:00")),
        ("sandbox", json!(true)),
        (
            "ip_whitelist",
            json!(["10.0.0.1", "2001:db8::/32", "192.168.0.0/16"]),
        ),
        ("rate_limit_tpd", json!(null)),
    ] {
        with(name, value).await.ok();
    }
}

#[tokio::test]
async fn limits_are_kept_and_shown() {
    let world = World::new().await;
    let limits = json!({
        "name": "limited", "rate_limit_rpm": 1, "rate_limit_tph": 2.0,
        "rate_limit_tpd": 1_000_000_000, "daily_credit_limit": 0.000_001,
    });
    let made = world.post(KEYS, &limits).send().await.ok();
    let list = world.get(KEYS).send().await.ok();
    // Keys made in the same millisecond are listed in the order of their ids.
    let mut listed = list["data"].as_array().unwrap().iter();
    let listed = listed.find(|key| key["id"] == made["id"]).unwrap();
    for shown in [&made, listed] {
        assert_eq!(shown["rate_limit_rpm"], 1);
        assert_eq!(shown["rate_limit_tph"], 2);
        assert_eq!(shown["rate_limit_tpd"], 1_000_000_000);
        assert_eq!(shown["daily_credit_limit"], 0.000_001);
    }
    let most = json!({"name": "rich", "daily_credit_limit": 999_999_999.999_999});
    let made = world.post(KEYS, &most).send().await.ok();
    assert_eq!(made["daily_credit_limit"], 999_999_999.999_999);
}

#[tokio::test]
async fn an_account_has_so_many_keys_and_no_more() {
    let world = World::new().await;
    let grants = (1..1_000).map(|n| world.new_key(&world.account, Grant::account(n.to_string())));
    let _ = futures_util::future::join_all(grants).await;
    let body = json!({"name": "one more"});
    world
        .post(KEYS, &body)
        .send()
        .await
        .refusal(409, "conflict");
    let list = world.get(KEYS).send().await.ok();
    let keys = list["data"].as_array().unwrap();
    assert_eq!(keys.len(), 1_000);
    let path = format!("{KEYS}/{}", keys[500]["id"].as_str().unwrap());
    world.call("DELETE", &path).send().await.ok();
    world.post(KEYS, &body).send().await.ok();
}

#[tokio::test]
async fn a_key_makes_no_key_that_may_do_more() {
    let world = World::new().await;
    let expires_ms = world.now_ms() + 3_600_000;
    let maker = Grant {
        scopes: vec![Scope::Keys, Scope::Run],
        models: Some(vec![IMAGE.to_owned()]),
        expires_ms: Some(expires_ms),
        sandbox: true,
        ip_whitelist: vec!["203.0.113.0/24".to_owned()],
        ..Grant::account("maker")
    };
    let maker = world.new_key(&world.account, maker).await;
    let with = |body: Value| {
        Call::new(world.address, "POST", KEYS)
            .key(&maker)
            .json(&body)
            .send()
    };
    for (name, value) in [
        ("scopes", json!(["read"])),
        ("models", json!(["image_generate.imagen_4_fast"])),
        ("expires_at", json!("2999-01-01T00:00:00Z")),
        ("sandbox", json!(false)),
        ("ip_whitelist", json!(["0.0.0.0/0"])),
        ("ip_whitelist", json!(["203.0.0.0/16"])),
    ] {
        let mut body = json!({"name": "k"});
        body[name] = value;
        assert_eq!(with(body).await.invalid(), name);
    }
    let made = with(json!({"name": "child", "ip_whitelist": ["203.0.113.9"]}))
        .await
        .ok();
    assert_eq!(made["scopes"], json!(["run", "keys"]));
    assert_eq!(made["models"], json!([IMAGE]));
    assert_eq!(made["sandbox"], true);
    assert_eq!(made["expires_at"], gateway::clock::rfc3339(expires_ms));
}

#[tokio::test]
async fn the_balance_shows_what_can_be_spent() {
    let world = World::new().await;
    let path = "/api/v1/billing/balance";
    let balance = world.get(path).send().await.ok();
    assert_eq!(
        balance,
        json!({"credits": 100, "currency": "USD", "held": 0})
    );
    world.submitted().await;
    let balance = world.get(path).send().await.ok();
    assert_eq!(
        balance,
        json!({"credits": 99.96, "currency": "USD", "held": 0.04})
    );
}
