//! Webhooks of providers, from the outside.

use std::sync::Arc;

use domain::ids::TaskId;
use domain::signing::attempt_token;
use domain::task::{Phase, Task};
use gateway::store::work::Lease;
use serde_json::{Value, json};

use crate::client::{Call, Reply};
use crate::world::{DEPLOYMENT, VIDEO, World, kling_secret, progress};

/// A world in which one provider has its secret.
async fn world(provider: &'static str) -> World {
    World::with(|api| api.is_usable = Arc::new(move |one| one.id == provider)).await
}

fn url(provider: &str, task: &TaskId, attempt: &str) -> String {
    let token = attempt_token(DEPLOYMENT.as_bytes(), task.as_str(), attempt);
    format!("/hooks/{provider}/{task}/{attempt}/{token}")
}

fn attempt(task: &Task) -> String {
    task.phase.attempt().unwrap().id.to_string()
}

/// A running task that nobody holds and that is due later, and where its provider tells of it.
async fn running(world: &World, provider: &str) -> (TaskId, String) {
    let id = world
        .submitted_to(VIDEO, &json!({ "prompt": "a fox" }))
        .await;
    let claim = world.started(&id).await;
    let url = url(provider, &id, &attempt(&claim.task));
    let domain::task::Outcome::Waiting(mut wait) = progress(None) else {
        unreachable!()
    };
    wait.ms = 600_000;
    let rules = domain::task::Rules::of(&domain::catalogue::Provider::sandbox(), 0);
    let outcome = domain::task::Outcome::Waiting(wait);
    let change = domain::task::advance(&claim.task, outcome, world.now_ms(), &rules).unwrap();
    let done = world
        .store
        .commit(&claim, change, Lease::Release, world.now_ms());
    done.await.unwrap();
    (id, url)
}

async fn is_due(world: &World) -> bool {
    let now_ms = world.now_ms();
    let next_ms = world.store.any_next_due_ms(now_ms).await.unwrap();
    next_ms.is_some_and(|next_ms| next_ms <= now_ms)
}

fn signed(call: Call, body: &Value, at_s: i64) -> Call {
    let signature = kling_secret().sign("msg_1", at_s, body.to_string().as_bytes());
    call.header("webhook-id", "msg_1")
        .header("webhook-timestamp", at_s.to_string())
        .header("webhook-signature", signature)
        .json(body)
}

async fn post(world: &World, url: &str, body: &Value) -> Reply {
    world.bare("POST", url).json(body).send().await
}

#[tokio::test]
async fn a_delivery_makes_its_task_due() {
    let world = world("kie").await;
    let (_, url) = running(&world, "kie").await;
    assert!(!is_due(&world).await);
    let reply = post(&world, &url, &json!({ "data": { "taskId": "t1" } })).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert!(is_due(&world).await);
}

#[tokio::test]
async fn what_has_no_token_of_ours_is_found_nowhere() {
    let world = world("kie").await;
    let (id, url) = running(&world, "kie").await;
    let body = json!({ "data": { "taskId": "t1" } });
    let (path, token) = url.rsplit_once('/').unwrap();
    let forged = format!("{path}/{}", "0".repeat(token.len()));
    let other = url.replace("/hooks/kie/", "/hooks/replicate/");
    let foreign = url.replace(id.as_str(), "018f0000-0000-7000-8000-000000000000");
    for url in [forged, format!("{path}/x"), other, foreign] {
        post(&world, &url, &body).await.refusal(404, "not_found");
    }
    let large = " ".repeat((1 << 20) + 1);
    let reply = world.bare("POST", &url).body(large).send().await;
    reply.refusal(413, "too_large");
    let asked = world.bare("GET", &url).send().await;
    asked.refusal(404, "not_found");
    assert!(!is_due(&world).await);
}

#[tokio::test]
async fn a_provider_whose_secret_is_known_has_to_sign() {
    let world = world("kling").await;
    let (_, url) = running(&world, "kling").await;
    let body = json!({ "task_id": "t1", "task_status": "succeed" });
    let now_s = world.now_ms() / 1_000;
    post(&world, &url, &body).await.refusal(401, "unauthorized");
    let late = signed(world.bare("POST", &url), &body, now_s - 301);
    late.send().await.refusal(401, "unauthorized");
    assert!(!is_due(&world).await);
    let good = signed(world.bare("POST", &url), &body, now_s);
    assert_eq!(good.send().await.status, 200);
    assert!(is_due(&world).await);
}

#[tokio::test]
async fn a_finished_task_is_changed_by_nothing() {
    let world = world("kie").await;
    let id = world
        .submitted_to(VIDEO, &json!({ "prompt": "a fox" }))
        .await;
    let claim = world.started(&id).await;
    let url = url("kie", &id, &attempt(&claim.task));
    world.finished(claim).await;
    let path = format!("/api/v1/run/tasks/{id}");
    let before = (world.get(&path).send().await.ok(), world.balance().await);
    let said = json!({ "code": 501, "data": { "taskId": "t1", "state": "fail" } });
    assert_eq!(post(&world, &url, &said).await.status, 200);
    let after = (world.get(&path).send().await.ok(), world.balance().await);
    assert_eq!(before, after);
    let read = world
        .store
        .task(&world.account, &id)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(read.task.phase, Phase::Done { .. }));
}

#[tokio::test]
async fn a_delivery_for_a_task_that_is_lost_is_taken() {
    let world = world("kie").await;
    let lost = TaskId("018f0000-0000-7000-8000-000000000000".to_owned());
    let url = url("kie", &lost, "att_00");
    let reply = post(&world, &url, &json!({ "data": { "taskId": "t1" } })).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_challenge_is_answered() {
    let world = world("minimax").await;
    let model = "video_generate.hailuo_2_3";
    let id = world
        .submitted_to(model, &json!({ "prompt": "a fox" }))
        .await;
    let claim = world.started(&id).await;
    let url = url("minimax", &id, &attempt(&claim.task));
    let reply = post(&world, &url, &json!({ "challenge": "abc" })).await;
    assert_eq!(reply.ok(), json!({ "challenge": "abc" }));
}
