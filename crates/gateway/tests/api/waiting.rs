//! Waiting instead of polling.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::world::{IMAGE, World, progress};

#[tokio::test]
async fn a_long_poll_ends_with_the_task() {
    let world = World::new().await;
    let id = world.submitted().await;
    let poll = world.get(&format!("/api/v1/run/tasks/{id}?wait=60"));
    let (reply, ()) = tokio::join!(poll.send(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let claim = world.started(&id).await;
        let claim = world.step(claim, progress(Some(0.5))).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.finished(claim).await;
    });
    assert_eq!(reply.ok()["status"], "success");
}

#[tokio::test]
async fn a_long_poll_ends_with_its_time() {
    let world = World::new().await;
    let id = world.submitted().await;
    let began = Instant::now();
    let poll = world.get(&format!("/api/v1/run/tasks/{id}?wait=1"));
    assert_eq!(poll.send().await.ok()["status"], "waiting");
    assert!(began.elapsed() >= Duration::from_secs(1));
    for wait in ["61", "-1", "x", "1.5"] {
        let poll = world.get(&format!("/api/v1/run/tasks/{id}?wait={wait}"));
        assert_eq!(poll.send().await.invalid(), "wait");
    }
}

#[tokio::test]
async fn a_draining_server_lets_nobody_wait() {
    let world = World::new().await;
    let id = world.submitted().await;
    let began = Instant::now();
    let poll = world.get(&format!("/api/v1/run/tasks/{id}?wait=60"));
    let (reply, ()) = tokio::join!(poll.send(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.api.is_draining.store(true, Ordering::Relaxed);
    });
    assert_eq!(reply.ok()["status"], "waiting");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_submit_can_wait_for_the_result() {
    let world = World::new().await;
    let submit = world.run(IMAGE, &json!({"prompt": "x"}));
    let submit = submit.header("prefer", "wait=30");
    let (reply, ()) = tokio::join!(submit.send(), async {
        let id = loop {
            let claims = world
                .store
                .tasks(&world.account, &filter())
                .await
                .unwrap()
                .tasks;
            if let Some(read) = claims.first() {
                break read.task.id.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        world.succeeded(&id).await;
    });
    let body = reply.ok();
    assert_eq!(body["code"], 200);
    assert_eq!(body["message"], "Task submitted successfully");
    assert_eq!(body["status"], "success");
    assert_eq!(body["result_urls"].as_array().unwrap().len(), 1);
    assert!(body["created_at"].is_string());
}

fn filter() -> gateway::store::tasks::TaskFilter {
    gateway::store::tasks::TaskFilter {
        limit: 1,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_submit_whose_task_goes_on_is_the_plain_reply() {
    let world = World::new().await;
    for prefer in ["wait=1", "wait=nonsense"] {
        let submit = world.run(IMAGE, &json!({"prompt": "x"}));
        let body = submit.header("prefer", prefer).send().await.ok();
        let names: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(names, ["code", "message", "status", "task_id"]);
    }
}
