//! The same request counts once.

use std::collections::HashSet;

use domain::key::Grant;
use serde_json::{Value, json};

use crate::client::{Call, Reply};
use crate::world::{IMAGE, VIDEO, World};

async fn keyed(world: &World, key: &str, model: &str, body: &Value) -> Reply {
    world
        .run(model, body)
        .header("idempotency-key", key)
        .send()
        .await
}

#[tokio::test]
async fn a_repetition_gets_the_first_reply_and_holds_nothing() {
    let world = World::new().await;
    let body = json!({"prompt": "x", "image_params": {"steps": 1}});
    let first = keyed(&world, "k-1", IMAGE, &body).await;
    assert_eq!(first.header("idempotent-replayed"), None);
    let held = world.balance().await.1;
    let again = keyed(&world, "k-1", IMAGE, &body).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    assert_eq!(world.balance().await.1, held);
    let other = keyed(&world, "k-2", IMAGE, &body).await;
    assert_ne!(other.ok()["task_id"], first.ok()["task_id"]);
}

#[tokio::test]
async fn spelling_does_not_matter_but_everything_else_does() {
    let world = World::new().await;
    let path = format!("/api/v1/run/{IMAGE}");
    let spelled = |text: &'static str| {
        let call = world.bare("POST", &path).key(&world.key);
        call.header("idempotency-key", "k").body(text).send()
    };
    let first = spelled("{\"prompt\":\"x\",\"metadata\":{\"a\":\"1\",\"b\":\"2\"}}").await;
    let again =
        spelled("{ \"metadata\": {\"b\":\"2\", \"a\":\"1\"}, \"prompt\": \"\\u0078\" }").await;
    assert_eq!(again.ok(), first.ok());
    for text in [
        "{\"prompt\":\"y\"}",
        "{\"prompt\":\"x\",\"metadata\":{\"a\":\"1\"}}",
    ] {
        assert_eq!(spelled(text).await.invalid(), "Idempotency-Key");
    }
    let body = json!({"prompt": "x", "metadata": {"a": "1", "b": "2"}});
    let other = keyed(&world, "k", "image_generate.imagen_4_fast", &body).await;
    assert_eq!(other.invalid(), "Idempotency-Key");
    let scripted = world.run(IMAGE, &body).header("idempotency-key", "k");
    let scripted = scripted
        .header("routerbase-sandbox", "delay=1s")
        .send()
        .await;
    assert_eq!(scripted.invalid(), "Idempotency-Key");
}

#[tokio::test]
async fn a_refused_submit_does_not_use_the_key_up() {
    let world = World::new().await;
    let bad = keyed(&world, "k", IMAGE, &json!({"prompt": ""})).await;
    assert_eq!(bad.invalid(), "prompt");
    keyed(&world, "k", IMAGE, &json!({"prompt": "x"}))
        .await
        .ok();
}

#[tokio::test]
async fn keys_belong_to_the_account() {
    let world = World::new().await;
    let body = json!({"prompt": "x"});
    let first = keyed(&world, "k", IMAGE, &body).await.ok();
    let second_key = world
        .new_key(&world.account, Grant::account("second"))
        .await;
    let stranger = world.new_account("stranger", 1).await;
    let strange_key = world.new_key(&stranger, Grant::account("strange")).await;
    let path = format!("/api/v1/run/{IMAGE}");
    let with = |key: &str| {
        let call = Call::new(world.address, "POST", &path).key(key).json(&body);
        call.header("idempotency-key", "k").send()
    };
    assert_eq!(with(&second_key).await.ok()["task_id"], first["task_id"]);
    assert_ne!(with(&strange_key).await.ok()["task_id"], first["task_id"]);
}

#[tokio::test]
async fn odd_keys_are_refused() {
    let world = World::new().await;
    let body = json!({"prompt": "x"});
    let long = "k".repeat(256);
    for key in ["", "a b", "caf\u{e9}", long.as_str()] {
        assert_eq!(
            keyed(&world, key, IMAGE, &body).await.invalid(),
            "Idempotency-Key"
        );
    }
    keyed(&world, &"k".repeat(255), IMAGE, &body).await.ok();
    let twice = world.run(IMAGE, &body).header("idempotency-key", "a");
    let twice = twice.header("idempotency-key", "b").send().await;
    assert_eq!(twice.invalid(), "Idempotency-Key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_once_are_one_task_and_one_hold() {
    let world = World::new().await;
    let body = json!({"prompt": "x", "video_params": {"duration": 5}});
    let calls = (0..50).map(|_| keyed(&world, "race", VIDEO, &body));
    let replies = futures_util::future::join_all(calls).await;
    let ids: HashSet<String> = replies
        .iter()
        .map(|reply| reply.ok()["task_id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1);
    let fresh = replies
        .iter()
        .filter(|reply| reply.header("idempotent-replayed").is_none());
    assert_eq!(fresh.count(), 1);
    assert_eq!(world.balance().await.1, 275_000);
    let list = world.get("/api/v1/run/tasks").send().await.ok();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    let check = world.store.any_ledger_check().await.unwrap();
    assert_eq!(check.problems, Vec::<String>::new());
}
