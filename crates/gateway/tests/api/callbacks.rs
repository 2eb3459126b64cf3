//! Callbacks, as far as they are read and asked for.

use domain::ids::NoticeId;
use domain::key::{Grant, Scope};
use domain::signing::Secret;
use serde_json::json;

use crate::client::Call;
use crate::world::{IMAGE, World};

async fn with_notice(world: &World) -> (String, String) {
    let body = json!({"prompt": "x", "callback_url": "https://example.com/hook"});
    let id = world.submitted_to(IMAGE, &body).await;
    world.succeeded(&id).await;
    (id.to_string(), NoticeId::of(&id).to_string())
}

#[tokio::test]
async fn callbacks_are_listed_and_read() {
    let world = World::new().await;
    let (task, notice) = with_notice(&world).await;
    with_notice(&world).await;
    let all = world.get("/api/v1/callbacks").send().await.ok();
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
    let one = world
        .get(&format!("/api/v1/callbacks?task_id={task}"))
        .send()
        .await
        .ok();
    let listed = &one["data"][0];
    assert_eq!(listed["id"], notice.as_str());
    assert_eq!(listed["state"], "pending");
    assert!(listed["next_attempt_at"].is_string());
    let read = world
        .get(&format!("/api/v1/callbacks/{notice}"))
        .send()
        .await
        .ok();
    assert_eq!(read["task_id"], task.as_str());
    assert_eq!(read["deliveries"], json!([]));
    for (query, param) in [
        ("task_id=x", "task_id"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
    ] {
        let reply = world
            .get(&format!("/api/v1/callbacks?{query}"))
            .send()
            .await;
        assert_eq!(reply.invalid(), param);
    }
}

#[tokio::test]
async fn foreign_and_unknown_callbacks_are_not_found() {
    let world = World::new().await;
    let (_, notice) = with_notice(&world).await;
    let stranger = world.new_account("stranger", 1).await;
    let key = world.new_key(&stranger, Grant::account("strange")).await;
    for id in [notice.as_str(), "msg_0", "%00", "a%2fb"] {
        for (method, end) in [("GET", ""), ("POST", "/replay")] {
            let path = format!("/api/v1/callbacks/{id}{end}");
            let reply = Call::new(world.address, method, &path)
                .key(&key)
                .send()
                .await;
            reply.refusal(404, "not_found");
        }
    }
}

#[tokio::test]
async fn a_callback_is_replayed_for_thirty_days() {
    let world = World::new().await;
    let (_, notice) = with_notice(&world).await;
    let path = format!("/api/v1/callbacks/{notice}/replay");
    let reply = world.post(&path, &json!({})).send().await.ok();
    assert_eq!(reply["id"], notice.as_str());
    assert_eq!(reply["state"], "pending");
}

#[tokio::test]
async fn an_old_callback_is_a_conflict() {
    let (clock, hand) = gateway::clock::Clock::manual(1_000);
    let world = World::with(|api| api.clock = clock).await;
    let (_, notice) = with_notice(&world).await;
    hand.store(31 * 86_400_000, std::sync::atomic::Ordering::Release);
    let path = format!("/api/v1/callbacks/{notice}/replay");
    world
        .post(&path, &json!({}))
        .send()
        .await
        .refusal(409, "conflict");
}

#[tokio::test]
async fn the_secret_is_read_and_rotated() {
    let world = World::new().await;
    let path = "/api/v1/callbacks/secret";
    let reply = world.get(path).send().await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let first = reply.ok()["secret"].clone();
    assert!(Secret::parse(first.as_str().unwrap()).is_some());
    let rotated = world
        .post(&format!("{path}/rotate"), &json!({}))
        .send()
        .await
        .ok();
    assert_ne!(rotated["secret"], first);
    assert_eq!(world.get(path).send().await.ok(), rotated);
    let secrets = world.store.callback_secrets(&world.account, world.now_ms());
    let secrets: Vec<String> = secrets.await.unwrap().iter().map(Secret::reveal).collect();
    assert_eq!(json!(secrets), json!([rotated["secret"], first]));
    let reader = Grant {
        scopes: vec![Scope::Read, Scope::Run],
        ..Grant::account("reader")
    };
    let key = world.new_key(&world.account, reader).await;
    let call = Call::new(world.address, "GET", path).key(&key);
    call.send().await.refusal(401, "unauthorized");
}

#[tokio::test]
async fn a_test_callback_goes_where_it_may() {
    let world = World::new().await;
    let path = "/api/v1/callbacks/test";
    let body = json!({"url": "https://example.com/hook"});
    let reply = world.post(path, &body).send().await.ok();
    let expected = json!({"delivered": true, "status": 204, "took_ms": 12, "note": ""});
    assert_eq!(reply, expected);
    let sent = world.tests_sent.lock().unwrap().clone();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (&sent[0].account, sent[0].url.as_str()),
        (&world.account, "https://example.com/hook")
    );
    for url in [
        json!(null),
        json!(1),
        json!("nothing"),
        json!("ftp://example.com"),
        json!("https://user@example.com"),
        json!("http://metadata.internal"),
    ] {
        let reply = world.post(path, &json!({"url": url})).send().await;
        assert_eq!(reply.invalid(), "url", "{url}");
    }
    assert_eq!(world.tests_sent.lock().unwrap().len(), 1);
}
