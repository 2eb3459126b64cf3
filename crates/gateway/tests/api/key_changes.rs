//! Keys changed: at once, only what is named, and never to more than whoever asks has.

use domain::key::{ApiKey, Grant, Scope};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::client::{Call, Reply};
use crate::world::{CHAT, IMAGE, World};

const KEYS: &str = "/api/v1/api-keys";

const TASKS: &str = "/api/v1/run/tasks";

fn path_of(key: &str) -> String {
    format!("{KEYS}/{}", ApiKey::parse(key).unwrap().id())
}

/// Changes a key with another.
async fn change(world: &World, by: &str, key: &str, body: Value) -> Reply {
    let call = Call::new(world.address, "PUT", &path_of(key)).key(by);
    call.json(&body).send().await
}

/// What the list of keys says of one. It is found by its id: keys made in the same millisecond are
/// listed in the order of their ids.
async fn listed(world: &World, key: &str) -> Value {
    let list = world.get(KEYS).send().await.ok();
    let id = ApiKey::parse(key).unwrap().id().clone();
    let mut keys = list["data"].as_array().unwrap().iter();
    keys.find(|key| key["id"] == id.as_str()).unwrap().clone()
}

fn restricted(world: &World) -> Grant {
    Grant {
        scopes: vec![Scope::Run, Scope::Keys],
        models: Some(vec![IMAGE.to_owned()]),
        expires_ms: Some(world.now_ms() + 3_600_000),
        ip_whitelist: vec!["203.0.113.0/24".to_owned()],
        ..Grant::account("restricted")
    }
}

#[tokio::test]
async fn only_what_is_named_changes_and_null_takes_a_limit_away() {
    let world = World::new().await;
    let new = json!({
        "name": "k", "rate_limit_rpm": 10, "rate_limit_tph": 20, "rate_limit_tpd": 30,
        "daily_credit_limit": 1.5, "expires_at": "2999-01-01T00:00:00Z", "models": [IMAGE],
        "ip_whitelist": ["203.0.113.9"], "scopes": ["run", "read"],
    });
    let mut made = world.post(KEYS, &new).send().await.ok();
    let key = made["key"].as_str().unwrap().to_owned();
    let id = made["id"].as_str().unwrap();
    made["key"] = json!(format!("sk-t0-{}-****", id.trim_start_matches("key_")));
    assert_eq!(
        change(&world, &world.key, &key, json!({})).await.ok(),
        made,
        "nothing is named, nothing changes"
    );
    for (name, value, shown) in [
        ("name", json!(" renamed "), json!("renamed")),
        ("rate_limit_rpm", json!(11), json!(11)),
        ("rate_limit_tph", json!(null), json!(null)),
        ("rate_limit_tpd", json!(null), json!(null)),
        ("daily_credit_limit", json!(2.25), json!(2.25)),
        ("daily_credit_limit", json!(null), json!(null)),
        ("expires_at", json!(null), json!(null)),
        ("models", json!([CHAT, IMAGE, CHAT]), json!([IMAGE, CHAT])),
        ("models", json!(null), json!(null)),
        ("ip_whitelist", json!([]), json!([])),
        ("ip_whitelist", json!(["::/0"]), json!(["::/0"])),
        ("ip_whitelist", json!(null), json!([])),
        ("scopes", json!(["read"]), json!(["read"])),
        ("sandbox", json!(true), json!(true)),
    ] {
        let mut body = json!({ "unknown": 1 });
        body[name] = value;
        made[name] = shown;
        if name == "models" && made[name].is_array() {
            let mut sorted = vec![IMAGE, CHAT];
            sorted.sort_unstable();
            made[name] = json!(sorted);
        }
        assert_eq!(change(&world, &world.key, &key, body).await.ok(), made);
    }
    assert_eq!(listed(&world, &key).await, made);
}

#[tokio::test]
async fn a_change_is_effective_at_once_on_every_node() {
    let world = World::new().await;
    let other = world.node().await;
    let made = world.post(KEYS, &json!({"name": "k"})).send().await.ok();
    let key = made["key"].as_str().unwrap();
    let body = json!({"prompt": "x"});
    let submit = || {
        let call = Call::new(other, "POST", &format!("/api/v1/run/{IMAGE}"));
        call.key(key).json(&body).send()
    };
    let task = submit().await.ok();
    let path = format!("{TASKS}/{}", task["task_id"].as_str().unwrap());
    let read = || Call::new(other, "GET", &path).key(key).send();
    read().await.ok();
    let set = |body| change(&world, &world.key, key, body);
    set(json!({"models": [CHAT]})).await.ok();
    submit().await.refusal(404, "not_found");
    read().await.ok();
    set(json!({"models": null, "ip_whitelist": ["198.51.100.1"]}))
        .await
        .ok();
    read().await.refusal(401, "unauthorized");
    submit().await.refusal(401, "unauthorized");
    set(json!({"ip_whitelist": null, "scopes": ["read"]}))
        .await
        .ok();
    read().await.ok();
    submit().await.refusal(401, "unauthorized");
    set(json!({"scopes": ["run"]})).await.ok();
    read().await.refusal(401, "unauthorized");
    submit().await.ok();
    let soon = gateway::clock::rfc3339(world.now_ms() + 300);
    set(json!({"expires_at": soon})).await.ok();
    while world.now_ms() < domain_ms(&soon) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    submit().await.refusal(401, "unauthorized");
    // One that has expired can be given time again.
    set(json!({"expires_at": null})).await.ok();
    submit().await.ok();
    set(json!({"scopes": ["run", "read"]})).await.ok();
    read().await.ok();
    let deleted = Call::new(world.address, "DELETE", &path_of(key)).key(&world.key);
    deleted.send().await.ok();
    read().await.refusal(401, "unauthorized");
    submit().await.refusal(401, "unauthorized");
}

fn domain_ms(instant: &str) -> i64 {
    gateway::clock::parse_rfc3339(instant).unwrap()
}

#[tokio::test]
async fn values_are_checked_as_those_of_a_new_key_are() {
    let world = World::new().await;
    let made = world.post(KEYS, &json!({"name": "k"})).send().await.ok();
    let key = made["key"].as_str().unwrap();
    for (name, value) in [
        ("name", json!(null)),
        ("name", json!("")),
        ("scopes", json!(null)),
        ("scopes", json!([])),
        ("scopes", json!(["fly"])),
        ("scopes", json!(["admin"])),
        ("models", json!([])),
        ("models", json!(["nothing.here"])),
        ("expires_at", json!("2020-01-01T00:00:00Z")),
        ("expires_at", json!(gateway::clock::rfc3339(world.now_ms()))),
        ("sandbox", json!(null)),
        ("ip_whitelist", json!(["fe80::1%eth0"])),
        ("ip_whitelist", json!(vec!["10.0.0.1"; 11])),
        ("rate_limit_rpm", json!(0)),
        ("daily_credit_limit", json!(0.000_000_5)),
    ] {
        let mut body = json!({"rate_limit_tpd": 5});
        body[name] = value.clone();
        let reply = change(&world, &world.key, key, body).await;
        assert_eq!(reply.invalid(), name, "{value}");
    }
    let call = Call::new(world.address, "PUT", &path_of(key)).key(&world.key);
    let reply = call.header("content-type", "application/json").body("[]");
    reply.send().await.refusal(400, "bad_request");
    assert_eq!(listed(&world, key).await["rate_limit_tpd"], json!(null));
}

#[tokio::test]
async fn foreign_and_unknown_keys_look_the_same() {
    let world = World::new().await;
    let stranger = world.new_account("stranger", 1).await;
    let strange = world.new_key(&stranger, Grant::account("strange")).await;
    let unknown = "sk-t0-unknown-0123456789";
    let mut replies = Vec::new();
    for key in [strange.as_str(), unknown] {
        for (verb, body) in [("PUT", json!({"name": "mine"})), ("DELETE", json!({}))] {
            let call = Call::new(world.address, verb, &path_of(key)).key(&world.key);
            let call = call.header("x-request-id", "same");
            let reply = call.json(&body).send().await;
            reply.refusal(404, "not_found");
            replies.push(reply.body);
        }
    }
    assert!(replies.iter().all(|reply| *reply == replies[0]));
    for id in ["%00", "a%2fb", &"x".repeat(81)] {
        let call = world.call("PUT", &format!("{KEYS}/{id}"));
        call.json(&json!({"name": "x"}))
            .send()
            .await
            .refusal(404, "not_found");
    }
    let keys = world.store.keys(&stranger).await.unwrap();
    assert_eq!(keys[0].grant.name, "strange");
}

/// Everything that would give a restricted key more.
fn wider(world: &World) -> Vec<(&'static str, Value)> {
    let later = gateway::clock::rfc3339(world.now_ms() + 7_200_000);
    vec![
        ("scopes", json!(["run", "keys", "read"])),
        ("scopes", json!(["billing"])),
        ("scopes", json!(["run", "keys", "admin"])),
        ("models", json!([IMAGE, CHAT])),
        ("models", json!(null)),
        ("expires_at", json!(later)),
        ("expires_at", json!(null)),
        ("ip_whitelist", json!(["203.0.112.0/23"])),
        ("ip_whitelist", json!(["203.0.113.1", "198.51.100.1"])),
        ("ip_whitelist", json!(["::ffff:203.0.0.0/112"])),
        ("ip_whitelist", json!([])),
        ("ip_whitelist", json!(null)),
    ]
}

#[tokio::test]
async fn no_key_widens_itself() {
    let world = World::new().await;
    let key = world.new_key(&world.account, restricted(&world)).await;
    for (name, value) in wider(&world) {
        let mut body = json!({});
        body[name] = value.clone();
        let reply = change(&world, &key, &key, body).await;
        assert_eq!(reply.invalid(), name, "{value}");
    }
    // What it may give away it may.
    let less = json!({"name": "less", "ip_whitelist": ["203.0.113.9", "::ffff:203.0.113.128/121"],
        "rate_limit_rpm": 5, "daily_credit_limit": 1, "sandbox": true});
    change(&world, &key, &key, less).await.ok();
    for (name, value) in [
        ("rate_limit_rpm", json!(6)),
        ("rate_limit_rpm", json!(null)),
        ("daily_credit_limit", json!(1.000_001)),
        ("daily_credit_limit", json!(null)),
        ("sandbox", json!(false)),
        ("ip_whitelist", json!(["203.0.113.0/24"])),
    ] {
        let mut body = json!({});
        body[name] = value.clone();
        let reply = change(&world, &key, &key, body).await;
        assert_eq!(reply.invalid(), name, "{value}");
    }
    change(&world, &key, &key, json!({"scopes": ["run"]}))
        .await
        .ok();
    let again = json!({"scopes": ["run", "keys"]});
    change(&world, &key, &key, again)
        .await
        .refusal(401, "unauthorized");
}

#[tokio::test]
async fn no_key_widens_another_beyond_itself() {
    let world = World::new().await;
    let grant = restricted(&world);
    let maker = world.new_key(&world.account, grant.clone()).await;
    let other = world.new_key(&world.account, grant).await;
    for (name, value) in wider(&world) {
        let mut body = json!({});
        body[name] = value.clone();
        let reply = change(&world, &maker, &other, body).await;
        assert_eq!(reply.invalid(), name, "{value}");
    }
    // A key that is wider already may be narrowed, but nothing is added to it, not even what the maker
    // has: together they would be more than that.
    let wide = Grant {
        scopes: vec![Scope::Read, Scope::Billing],
        ..Grant::account("wide")
    };
    let wide = world.new_key(&world.account, wide).await;
    let set = |body| change(&world, &maker, &wide, body);
    set(json!({"name": "renamed", "scopes": ["read"]}))
        .await
        .ok();
    assert_eq!(
        set(json!({"scopes": ["read", "run"]})).await.invalid(),
        "scopes"
    );
    assert_eq!(set(json!({"scopes": ["run"]})).await.invalid(), "models");
    let all = json!({"scopes": ["run"], "models": [IMAGE], "ip_whitelist": ["203.0.113.7"],
        "expires_at": gateway::clock::rfc3339(world.now_ms() + 60_000)});
    set(all).await.ok();
}

#[tokio::test]
async fn a_key_with_a_limit_makes_none_that_runs() {
    let world = World::new().await;
    for limit in [
        json!({"rate_limit_rpm": 10}),
        json!({"rate_limit_tph": 10}),
        json!({"rate_limit_tpd": 10}),
        json!({"daily_credit_limit": 10}),
    ] {
        let mut body = limit.clone();
        body["name"] = json!("limited");
        let made = world.post(KEYS, &body).send().await.ok();
        let limited = made["key"].as_str().unwrap();
        let make = |body: Value| {
            let call = Call::new(world.address, "POST", KEYS).key(limited);
            call.json(&body).send()
        };
        assert_eq!(make(json!({"name": "child"})).await.invalid(), "scopes");
        let mut twin = limit.clone();
        twin["name"] = json!("twin");
        assert_eq!(make(twin).await.invalid(), "scopes");
        let child = make(json!({"name": "reader", "scopes": ["read"]})).await;
        let child = child.ok();
        for (name, value) in limit.as_object().unwrap() {
            assert_eq!(&child[name], value, "it is inherited");
            let mut body = json!({"name": "reader", "scopes": ["read"]});
            body[name] = json!(11);
            assert_eq!(make(body).await.invalid(), *name);
        }
        let reader = child["key"].as_str().unwrap();
        let run = json!({"scopes": ["read", "run"]});
        let reply = change(&world, limited, reader, run).await;
        assert_eq!(reply.invalid(), "scopes");
    }
}

#[tokio::test]
async fn changes_at_once_do_not_lose_each_other() {
    let world = World::new().await;
    let made = world.post(KEYS, &json!({"name": "k"})).send().await.ok();
    let key = made["key"].as_str().unwrap();
    let fields = [
        ("rate_limit_rpm", json!(1)),
        ("rate_limit_tph", json!(2)),
        ("rate_limit_tpd", json!(3)),
        ("daily_credit_limit", json!(4)),
        ("ip_whitelist", json!(["10.0.0.1"])),
        ("models", json!([IMAGE])),
        ("expires_at", json!("2999-01-01T00:00:00.000Z")),
        ("name", json!("renamed")),
    ];
    let changes = fields.iter().map(|(name, value)| {
        let mut body = json!({});
        body[name] = value.clone();
        change(&world, &world.key, key, body)
    });
    for reply in join_all(changes).await {
        reply.ok();
    }
    let listed = listed(&world, key).await;
    for (name, value) in &fields {
        assert_eq!(&listed[name], value, "{name}");
    }
}

#[tokio::test]
async fn an_operators_key_is_out_of_reach_for_its_account() {
    let world = World::new().await;
    let operator = Grant {
        scopes: vec![Scope::Admin, Scope::Keys],
        ..Grant::account("operator")
    };
    let operator = world.new_key(&world.account, operator).await;
    change(&world, &world.key, &operator, json!({"scopes": ["keys"]}))
        .await
        .refusal(401, "unauthorized");
    let delete = |by: &str| Call::new(world.address, "DELETE", &path_of(&operator)).key(by);
    let reply = delete(&world.key).send().await;
    reply.refusal(401, "unauthorized");
    delete(&operator).send().await.ok();
}
