//! Files that come along in an order as `data:` URLs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ids::TaskId;
use gateway::store::{Access, Store};
use serde_json::{Value, json};

use crate::client::Reply;
use crate::place::{found, get, png};
use crate::world::{IMAGE, NARROW, World};

const NOTHING: Vec<String> = Vec::new();

fn as_url(bytes: &[u8]) -> String {
    format!("data:text/html;base64,{}", STANDARD.encode(bytes))
}

fn order(links: &[String]) -> Value {
    json!({"prompt": "x", "image_params": {"image_urls": links}})
}

async fn submit(world: &World, links: &[String]) -> Reply {
    world.run(NARROW, &order(links)).send().await
}

/// The links that a task was recorded with.
async fn links(store: &Store, world: &World, reply: &Reply) -> Vec<String> {
    let id = reply.ok()["task_id"].as_str().unwrap().to_owned();
    let id = TaskId::parse(&id).unwrap();
    let read = store.task(&world.account, &id).await.unwrap().unwrap();
    let text = serde_json::to_string(&read.task).unwrap();
    assert!(!text.contains("data:"), "{text}");
    let links = read.task.order.list("image_urls");
    links.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_file_in_an_order_is_stored_and_becomes_a_link() {
    let world = World::new().await;
    // The last one is as large as one may be.
    for bytes in [40, 3 << 20, 10 << 20] {
        let content = png(bytes);
        let reply = submit(&world, &[as_url(&content)]).await;
        // What a restart would find.
        let url = format!("sqlite://{}/gateway.db", world.folder.display());
        let store = Store::connect(&url, Access::Beside).await.unwrap();
        let links = links(&store, &world, &reply).await;
        let (status, kind, served) = get(&world, &links[0]).await;
        assert_eq!((status, kind.as_str()), (200, "image/png"));
        assert!(served == content);
    }
}

#[tokio::test]
async fn a_file_that_is_none_is_named() {
    let world = World::new().await;
    for link in [
        as_url(b"<html>"),
        as_url(&png((10 << 20) + 1)),
        "data:image/png;base64,AAA*".to_owned(),
        "data:image/png,AAAA".to_owned(),
        "data:image/png;base64,".to_owned(),
        "data:".to_owned(),
    ] {
        let status = if link.len() > 10 << 20 { 413 } else { 422 };
        let shown = link.get(..30).unwrap_or(&link).to_owned();
        let reply = submit(&world, &[link]).await;
        assert_eq!(reply.status, status, "{shown}: {reply:?}");
        let param = &reply.json()["param"];
        assert_eq!(param, "image_params.image_urls[0]", "{shown}");
    }
    assert_eq!(found(&world), NOTHING);
}

#[tokio::test]
async fn what_is_refused_leaves_no_file() {
    let world = World::new().await;
    let path = format!("/api/v1/run/{NARROW}/estimate");
    let body = order(&[as_url(&png(2 << 20))]);
    world.post(&path, &body).send().await.ok();
    assert_eq!(found(&world), NOTHING, "an estimate stores nothing");
    let two = [as_url(&png(40)), as_url(&png(41))];
    let reply = submit(&world, &two).await;
    assert_eq!(reply.invalid(), "image_params.image_urls");
    assert_eq!(found(&world), NOTHING);
    // Nobody pays for this one: its file ends at once.
    let poor = world.new_account("poor", 0).await;
    let key = world
        .new_key(&poor, domain::key::Grant::account("poor"))
        .await;
    let call = world.bare("POST", &format!("/api/v1/run/{NARROW}"));
    let reply = call.key(&key).json(&body).send().await;
    reply.refusal(402, "insufficient_credits");
    let ended = world.store.any_expired_files(world.now_ms(), 10).await;
    assert_eq!(ended.unwrap().len(), 1);
    // A second file that is none ends the first one, too.
    let body = json!({"prompt": "x", "image_params": {"image_urls": [
        as_url(&png(40)), "https://example.com/a.png", as_url(b"<html>"),
    ]}});
    let reply = world.run(IMAGE, &body).send().await;
    if reply.status == 422 {
        assert_eq!(reply.invalid(), "image_params.image_urls[2]");
    }
}

#[tokio::test]
async fn only_files_make_a_body_large() {
    let world = World::new().await;
    let mut body = order(&[as_url(&png(2 << 20))]);
    body["unknown"] = json!("x".repeat(2 << 20));
    let reply = world.run(NARROW, &body).send().await;
    reply.refusal(413, "too_large");
    let prompt = json!({"prompt": "x".repeat(2 << 20)});
    let reply = world.run(NARROW, &prompt).send().await;
    reply.refusal(413, "too_large");
    let path = format!("/api/v1/run/{NARROW}/estimate");
    let reply = world.post(&path, &prompt).send().await;
    reply.refusal(413, "too_large");
    // Every other endpoint takes a megabyte, files or not.
    let keys = world.post("/api/v1/api-keys", &body).send().await;
    keys.refusal(413, "too_large");
    assert_eq!(found(&world), NOTHING);
}

#[tokio::test]
async fn a_repetition_stores_nothing_and_answers_the_same() {
    let world = World::new().await;
    let (one, other) = (order(&[as_url(&png(40))]), order(&[as_url(&png(41))]));
    let send = |body: &Value| {
        let call = world.run(NARROW, body);
        call.header("idempotency-key", "k").send()
    };
    let first = send(&one).await.ok();
    let again = send(&one).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.ok(), first);
    assert_eq!(send(&other).await.invalid(), "Idempotency-Key");
    assert_eq!(found(&world).len(), 1);
}
