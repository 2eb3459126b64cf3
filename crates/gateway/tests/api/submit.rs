//! Submitting: the documented reply, the hold, what goes into the task.

use std::sync::Arc;

use domain::catalogue::Route;
use domain::ids::TaskId;
use domain::key::Grant;
use domain::order::Modality;
use domain::task::Phase;
use serde_json::{Value, json};

use crate::client::Call;
use crate::world::{CHAT, IMAGE, NARROW, PICKY, VIDEO, World};

#[tokio::test]
async fn the_reply_is_the_documented_one() {
    let world = World::new().await;
    let reply = world.run(IMAGE, &json!({"prompt": "a fox"})).send().await;
    let mut body = reply.ok();
    let id = body["task_id"].take();
    assert!(TaskId::parse(id.as_str().unwrap()).is_some());
    assert_eq!(
        body,
        json!({
            "code": 200, "message": "Task submitted successfully",
            "task_id": null, "status": "waiting",
        })
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn the_price_is_held_and_frozen() {
    let world = World::new().await;
    let before = world.balance().await;
    let body = json!({"prompt": "a fox", "video_params": {"duration": 10}});
    let id = world.submitted_to(VIDEO, &body).await;
    let read = world
        .store
        .task(&world.account, &id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read.task.hold.0, 550_000);
    assert_eq!(read.task.price.hold(&read.task.order), read.task.hold);
    assert_eq!(world.balance().await, (before.0, before.1 + 550_000));
    let task = read.task;
    assert_eq!(task.deadline_ms, task.created_ms + 3_600_000);
    assert_eq!(task.phase, Phase::Queued { route: 0 });
    assert_eq!(task.routes, vec![Route::sandbox(VIDEO)]);
}

#[tokio::test]
async fn without_the_credits_nothing_is_recorded() {
    let world = World::new().await;
    let poor = world.new_account("poor", 0).await;
    let key = world.new_key(&poor, Grant::account("poor")).await;
    let call = Call::new(world.address, "POST", &format!("/api/v1/run/{IMAGE}"));
    let reply = call.key(&key).json(&json!({"prompt": "x"})).send().await;
    reply.refusal(402, "insufficient_credits");
    let none = world.store.tasks(&poor, &Default::default()).await.unwrap();
    assert!(none.tasks.is_empty());
}

#[tokio::test]
async fn sandbox_keys_cost_nothing_and_the_header_costs_the_price() {
    let world = World::new().await;
    let grant = Grant {
        sandbox: true,
        ..Grant::account("sandbox")
    };
    let key = world.new_key(&world.account, grant).await;
    let path = format!("/api/v1/run/{PICKY}");
    let body = json!({"prompt": "x"});
    let call = Call::new(world.address, "POST", &path)
        .key(&key)
        .json(&body);
    let free = call.send().await.ok();
    assert_eq!(world.balance().await.1, 0);
    let scripted = world.post(&path, &body);
    let scripted = scripted.header("routerbase-sandbox", "delay=2s, outcome=fail");
    let scripted = scripted.send().await.ok();
    assert_eq!(world.balance().await.1, 1_000_000);
    let plain = world.post(&path, &body).send().await.ok();
    for (reply, provider) in [(free, "sandbox"), (scripted, "sandbox"), (plain, "weak")] {
        let id = TaskId::parse(reply["task_id"].as_str().unwrap()).unwrap();
        let read = world
            .store
            .task(&world.account, &id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(read.task.routes[0].provider, provider);
    }
    let odd = world.post(&path, &body);
    let odd = odd
        .header("routerbase-sandbox", "outcome=maybe")
        .send()
        .await;
    assert_eq!(odd.invalid(), "RouterBase-Sandbox");
}

#[tokio::test]
async fn what_nobody_honours_is_refused_not_dropped() {
    let world = World::new().await;
    for (name, value) in [
        ("watermark", json!("mine")),
        ("multi_shots", json!(true)),
        ("enable_translation", json!(true)),
    ] {
        let mut body = json!({"prompt": "x", "video_params": {}});
        body["video_params"][name] = value;
        let reply = world.run(PICKY, &body).send().await;
        assert_eq!(reply.invalid(), format!("video_params.{name}"));
        // The sandbox honours everything.
        world.run(VIDEO, &body).send().await.ok();
    }
    let nothing = json!({"prompt": "x", "video_params": {"watermark": " ", "multi_shots": false}});
    world.run(PICKY, &nothing).send().await.ok();
}

#[tokio::test]
async fn what_no_route_takes_is_refused_with_what_is_allowed() {
    let world = World::new().await;
    let submit = |params: Value| {
        let body = json!({"prompt": "x", "image_params": params});
        let world = &world;
        async move { world.run(NARROW, &body).send().await }
    };
    let link = json!(["https://example.com/a.png"]);
    submit(json!({"aspect_ratio": "16:9"})).await.ok();
    submit(json!({"image_urls": link})).await.ok();
    let wide = submit(json!({"aspect_ratio": "4:3"})).await;
    assert_eq!(wide.invalid(), "image_params.aspect_ratio");
    assert_eq!(wide.json()["allowed"], json!(["1:1", "16:9"]));
    let both =
        submit(json!({"image_urls": ["https://example.com/a.png", "https://example.com/b.png"]}));
    assert_eq!(both.await.invalid(), "image_params.image_urls");
    let data = submit(json!({"image_urls": ["data:image/png;base64,QUJD"]})).await;
    assert_eq!(data.invalid(), "image_params.image_urls[0]");
}

#[tokio::test]
async fn what_the_gateway_itself_can_is_honoured() {
    let world = World::with(|api| {
        api.does_itself = Arc::new(|name, order| {
            assert_eq!(order.modality, Modality::Video);
            let can = name == "watermark" && order.text(name) == Some("mine");
            can.then_some(()).ok_or_else(|| "it is not ours".to_owned())
        });
    })
    .await;
    let mut body = json!({"prompt": "x", "video_params": {"watermark": "mine"}});
    world.run(PICKY, &body).send().await.ok();
    body["video_params"]["multi_shots"] = json!(true);
    let reply = world.run(PICKY, &body).send().await;
    assert_eq!(reply.invalid(), "video_params.multi_shots");
    body["video_params"] = json!({"watermark": "yours"});
    let reply = world.run(PICKY, &body).send().await;
    assert_eq!(reply.invalid(), "video_params.watermark");
    let message = reply.json()["message"].as_str().unwrap().to_owned();
    assert!(
        message.ends_with("nor by the gateway: it is not ours."),
        "{message}"
    );
}

#[tokio::test]
async fn unused_parameters_are_named_or_refused() {
    let world = World::new().await;
    let mut body = json!({"prompt": "x", "image_params": {"steps": 3, "unknown": 1}});
    let reply = world.run(IMAGE, &body).send().await.ok();
    assert_eq!(reply["ignored"], json!(["image_params.steps"]));
    body["strict"] = json!(true);
    let reply = world.run(IMAGE, &body).send().await;
    assert_eq!(reply.invalid(), "image_params.steps");
}

#[tokio::test]
async fn callback_urls_are_judged() {
    let world = World::new().await;
    for url in [
        json!("http://metadata.internal/"),
        json!("ftp://example.com/"),
        json!("https://user:secret@example.com/"),
        json!("not a link"),
        json!(7),
    ] {
        let body = json!({"prompt": "x", "callback_url": url});
        let reply = world.run(IMAGE, &body).send().await;
        assert_eq!(reply.invalid(), "callback_url", "{url}");
    }
    let body = json!({"prompt": "x", "callback_url": "https://example.com/hook"});
    let id = world.submitted_to(IMAGE, &body).await;
    let task = world
        .get(&format!("/api/v1/run/tasks/{id}"))
        .send()
        .await
        .ok();
    assert_eq!(
        task["callback"],
        json!({"state": "waiting", "attempts": 0, "last_status": null})
    );
}

#[tokio::test]
async fn an_estimate_runs_nothing() {
    let world = World::new().await;
    let path = format!("/api/v1/run/{VIDEO}/estimate");
    let body = json!({"prompt": "x", "video_params": {"duration": 10}});
    let reply = world.post(&path, &body).send().await.ok();
    assert_eq!(reply["credits"], 0.55);
    assert_eq!(reply["max_credits"], 0.55);
    assert_eq!(reply["currency"], "USD");
    assert_eq!(reply["breakdown"][0]["amount"], 0.55);
    assert_eq!(world.balance().await.1, 0);
    let path = format!("/api/v1/run/{CHAT}/estimate");
    let reply = world.post(&path, &json!({"prompt": "x"})).send().await.ok();
    assert!(reply["max_credits"].as_f64().unwrap() > 0.0);
    let bad = world.post(&path, &json!({})).send().await;
    assert_eq!(bad.invalid(), "prompt");
}
