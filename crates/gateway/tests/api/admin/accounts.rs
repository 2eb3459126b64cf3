//! Accounts made, listed, renamed, suspended.

use domain::key::{Grant, Scope};
use serde_json::{Value, json};

use super::{Operated, account, text};
use crate::client::Call;
use crate::world::IMAGE;

#[tokio::test]
async fn an_account_is_made_once_for_its_name() {
    let operated = Operated::new().await;
    let body = json!({"name": " shop ", "credits": 12.5});
    let made = operated.post("accounts", body.clone()).await.ok();
    assert!(text(&made, "id").starts_with("acc_"));
    assert_eq!(made["name"], "shop");
    assert_eq!((&made["credits"], &made["held"]), (&json!(12.5), &json!(0)));
    assert_eq!(
        (&made["suspended"], &made["suspended_at"]),
        (&json!(false), &json!(null))
    );
    let twin = operated.post("accounts", body).await;
    assert_eq!(twin.refusal(409, "conflict")["param"], "name");
    let named = operated.get("accounts?name=shop").await.ok();
    assert_eq!(named, json!({"data": [made], "next_cursor": null}));
    let nobody = operated.get("accounts?name=nobody").await.ok();
    assert_eq!(nobody["data"], json!([]));
    for (name, body) in [
        ("name", json!({})),
        ("name", json!({"name": "x".repeat(101)})),
        ("name", json!({"name": "a\u{7}b"})),
        ("credits", json!({"name": "n", "credits": -1})),
        ("credits", json!({"name": "n", "credits": 0.000_000_1})),
        ("credits", json!({"name": "n", "credits": "1"})),
        ("credits", json!({"name": "n", "credits": 1e12})),
    ] {
        assert_eq!(operated.post("accounts", body).await.invalid(), name);
    }
}

#[tokio::test]
async fn accounts_are_listed_newest_first_page_after_page() {
    let operated = Operated::new().await;
    let mut made = Vec::new();
    for n in 0..7 {
        let body = json!({"name": format!("account {n}")});
        made.push(operated.post("accounts", body).await.ok());
    }
    for limit in [1, 2, 3, 100] {
        let all = operated.all("accounts", limit).await;
        assert_eq!(all.len(), 9, "seven and the two of the world");
        let times: Vec<_> = all.iter().map(|one| text(one, "created_at")).collect();
        assert!(times.is_sorted_by(|one, next| one >= next), "{times:?}");
        assert!(made.iter().all(|one| all.contains(one)));
    }
    for odd in [
        "limit=0",
        "limit=101",
        "cursor=!",
        "cursor=YQ",
        "cursor=MS4n",
    ] {
        let name = odd.split('=').next().unwrap();
        let reply = operated.get(&format!("accounts?{odd}")).await;
        assert_eq!(reply.invalid(), name, "{odd}");
    }
}

#[tokio::test]
async fn an_account_is_read_with_what_it_has() {
    let operated = Operated::new().await;
    let world = &operated.world;
    let first = world.submitted().await;
    world.submitted().await;
    world.started(&first).await;
    let read = operated.get(&operated.tenant()).await.ok();
    assert_eq!(read["credits"], 99.92);
    assert_eq!(read["held"], 0.08);
    let counts = json!({"keys": 1, "tasks_queued": 1, "tasks_under_way": 1});
    assert_eq!(read["counts"], counts);
    for id in ["acc_nobody", "%00", "x%27"] {
        for path in [format!("accounts/{id}"), format!("accounts/{id}/api-keys")] {
            operated.get(&path).await.refusal(404, "not_found");
        }
        let path = format!("accounts/{id}");
        let put = operated.put(&path, json!({"suspended": true})).await;
        put.refusal(404, "not_found");
    }
}

#[tokio::test]
async fn an_account_is_renamed_to_what_is_free() {
    let operated = Operated::new().await;
    let shop = operated
        .post("accounts", json!({"name": "shop"}))
        .await
        .ok();
    let path = format!("accounts/{}", account(&shop));
    let put = |body| operated.put(&path, body);
    let taken = put(json!({"name": "default"})).await;
    assert_eq!(taken.refusal(409, "conflict")["param"], "name");
    assert_eq!(put(json!({"name": "shop"})).await.ok(), shop, "its own");
    assert_eq!(put(json!({})).await.ok(), shop);
    let renamed = put(json!({"name": "store"})).await.ok();
    assert_eq!(renamed["name"], "store");
    assert_eq!(put(json!({"name": null})).await.invalid(), "name");
    assert_eq!(
        put(json!({"suspended": "yes"})).await.invalid(),
        "suspended"
    );
    let again = operated.post("accounts", json!({"name": "shop"})).await;
    again.ok();
}

#[tokio::test]
async fn a_suspended_account_is_refused_on_every_node_and_its_tasks_finish() {
    let operated = Operated::new().await;
    let world = &operated.world;
    let other = world.node().await;
    let running = world.submitted().await;
    let running = world.started(&running).await;
    let queued = world.submitted().await;
    let path = operated.tenant();
    let put = |body| operated.put(&path, body);
    let suspended = put(json!({"suspended": true})).await.ok();
    assert_eq!(suspended["suspended"], true);
    let since = suspended["suspended_at"].clone();
    assert!(since.is_string());
    for node in [world.address, other] {
        let task = format!("/api/v1/run/tasks/{queued}");
        for path in [task.as_str(), "/api/v1/billing/balance", "/api/v1/api-keys"] {
            let call = Call::new(node, "GET", path).key(&world.key);
            call.send().await.refusal(401, "unauthorized");
        }
        let call = Call::new(node, "POST", &format!("/api/v1/run/{IMAGE}")).key(&world.key);
        let reply = call.json(&json!({"prompt": "x"})).send().await;
        reply.refusal(401, "unauthorized");
    }
    let again = put(json!({"suspended": true, "name": "renamed"})).await;
    assert_eq!(again.ok()["suspended_at"], since, "since it was");
    let done = world.finished(running).await;
    assert_eq!(done.task.status().as_str(), "success");
    world.succeeded(&queued).await;
    assert_eq!(world.balance().await, (99_920_000, 0));
    let open = put(json!({"suspended": false})).await.ok();
    assert_eq!(
        (&open["suspended"], &open["suspended_at"]),
        (&json!(false), &json!(null))
    );
    for node in [world.address, other] {
        let path = format!("/api/v1/run/tasks/{queued}");
        let call = Call::new(node, "GET", &path).key(&world.key);
        assert_eq!(call.send().await.ok()["status"], "success");
    }
}

#[tokio::test]
async fn nobody_suspends_the_account_it_acts_from() {
    let operated = Operated::new().await;
    let world = &operated.world;
    let grant = Grant {
        scopes: vec![Scope::Admin],
        ..Grant::account("operator")
    };
    let key = world.new_key(&world.account, grant).await;
    let path = format!("/api/v1/admin/{}", operated.tenant());
    let call = Call::new(world.address, "PUT", &path).key(&key);
    let reply = call.json(&json!({"suspended": true})).send().await;
    reply.refusal(409, "conflict");
    // Another operator may.
    let body = json!({"suspended": true});
    operated.put(&operated.tenant(), body).await.ok();
    let call = Call::new(world.address, "GET", &path).key(&key);
    call.send().await.refusal(401, "unauthorized");
}

#[tokio::test]
async fn a_limit_of_tasks_at_once_makes_the_others_wait() {
    let operated = Operated::new().await;
    let world = &operated.world;
    let path = operated.tenant();
    let put = |limit: Value| operated.put(&path, json!({"concurrency_limit": limit}));
    assert_eq!(put(json!(1)).await.ok()["concurrency_limit"], 1);
    let (first, second) = (world.submitted().await, world.submitted().await);
    let claims = world.store.claim("w", 10, world.now_ms()).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].task.id, first);
    let account = operated.get(&operated.tenant()).await.ok();
    assert_eq!(account["counts"]["tasks_queued"], 2);
    assert_eq!(
        put(Value::Null).await.ok()["concurrency_limit"],
        Value::Null
    );
    let claims = world.store.claim("w", 10, world.now_ms()).await.unwrap();
    assert_eq!(
        claims[0].task.id, second,
        "a raised limit has places at once"
    );
    for wrong in [json!(0), json!(1.5), json!("1"), json!(1_000_001)] {
        assert_eq!(put(wrong).await.invalid(), "concurrency_limit");
    }
}
