//! Reading, listing and cancelling tasks.

use std::time::Duration;

use domain::key::{Grant, Scope};
use domain::task::Outcome;
use serde_json::{Value, json};

use crate::client::Call;
use crate::world::{CHAT, IMAGE, World, progress};

fn path(id: impl std::fmt::Display) -> String {
    format!("/api/v1/run/tasks/{id}")
}

#[tokio::test]
async fn a_waiting_task_has_every_field() {
    let world = World::new().await;
    let body = json!({"prompt": "x", "metadata": {"order": "7"}});
    let id = world.submitted_to(IMAGE, &body).await;
    let mut task = world.get(&path(&id)).send().await.ok();
    for name in ["created_at", "updated_at"] {
        let text = task[name].take();
        assert!(text.as_str().unwrap().ends_with('Z'), "{name}");
    }
    assert_eq!(
        task,
        json!({
            "task_id": id.as_str(), "status": "waiting", "result_urls": [], "error_message": null,
            "created_at": null, "model_id": IMAGE, "generation_type": "image", "updated_at": null,
            "started_at": null, "finished_at": null, "metadata": {"order": "7"}, "progress": null,
            "output": null, "results": [], "error": null,
            "credits": {"held": 0.04, "charged": null}, "callback": null,
        })
    );
}

#[tokio::test]
async fn a_task_goes_its_way() {
    let world = World::new().await;
    let id = world.submitted().await;
    let claim = world.started(&id).await;
    let claim = world.step(claim, progress(Some(0.5))).await;
    let task = world.get(&path(&id)).send().await.ok();
    assert_eq!(
        (&task["status"], &task["progress"]),
        (&json!("generating"), &json!(0.5))
    );
    assert_eq!(task["result_urls"], json!([]));
    world.finished(claim).await;
    let task = world.get(&path(&id)).send().await.ok();
    assert_eq!(task["status"], "success");
    let url = format!("https://gateway.test/results/unguessable{id}/fox.png");
    assert_eq!(task["result_urls"], json!([url]));
    assert_eq!(task["results"][0]["content_type"], "image/png");
    assert_eq!(task["credits"]["held"], 0);
    assert_eq!(task["credits"]["charged"], 0.04);
    assert!(task["finished_at"].is_string());
}

#[tokio::test]
async fn a_failure_says_what_may_be_said() {
    let world = World::new().await;
    let body = json!({"prompt": "x", "callback_url": "https://example.com/hook"});
    let id = world.submitted_to(IMAGE, &body).await;
    world.failed(&id).await;
    let reply = world.get(&path(&id)).send().await;
    let task = reply.ok();
    assert_eq!(task["status"], "fail");
    assert_eq!(task["error_message"], "the fox ran away");
    assert_eq!(
        task["error"],
        json!({"type": "provider_error", "retryable": true})
    );
    assert_eq!(task["credits"], json!({"held": 0, "charged": 0}));
    assert_eq!(task["callback"]["state"], "pending");
    assert!(!task.to_string().contains("secret detail"));
    assert_eq!(world.balance().await.1, 0);
}

#[tokio::test]
async fn an_answer_is_output() {
    let world = World::new().await;
    let id = world
        .submitted_to(CHAT, &json!({"prompt": "6 times 7?"}))
        .await;
    world.succeeded(&id).await;
    let task = world.get(&path(&id)).send().await.ok();
    let usage = json!({"input_tokens": 3, "output_tokens": 2});
    let output = json!({"text": "42", "finish_reason": "stop", "usage": usage});
    assert_eq!(task["output"], output);
    assert!(task["credits"]["charged"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn foreign_and_unknown_tasks_are_the_same() {
    let world = World::new().await;
    let stranger = world.new_account("stranger", 1).await;
    let key = world.new_key(&stranger, Grant::account("strange")).await;
    let mine = world.submitted().await;
    let unknown = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    for (method, end) in [
        ("GET", ""),
        ("GET", "/attempts"),
        ("GET", "/events"),
        ("POST", "/cancel"),
    ] {
        let mut bodies = Vec::new();
        for id in [mine.as_str(), unknown, "nonsense", "..%2f..", "%00"] {
            let path = format!("/api/v1/run/tasks/{id}{end}");
            let call = Call::new(world.address, method, &path).key(&key);
            let reply = call.header("x-request-id", "same").send().await;
            reply.refusal(404, "not_found");
            bodies.push(reply.body);
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "{end}");
    }
    let list = Call::new(world.address, "GET", "/api/v1/run/tasks").key(&key);
    assert_eq!(
        list.send().await.ok(),
        json!({"data": [], "next_cursor": null})
    );
    world.get(&path(&mine)).send().await.ok();
}

#[tokio::test]
async fn a_key_without_the_scope_reads_nothing() {
    let world = World::new().await;
    let id = world.submitted().await;
    let runner = Grant {
        scopes: vec![Scope::Run],
        ..Grant::account("runner")
    };
    let key = world.new_key(&world.account, runner).await;
    let call = Call::new(world.address, "GET", &path(&id)).key(&key);
    call.send().await.refusal(401, "unauthorized");
}

async fn tag_of(world: &World, id: &impl std::fmt::Display) -> String {
    let reply = world.get(&path(id)).send().await;
    reply.header("etag").unwrap().to_owned()
}

#[tokio::test]
async fn an_unchanged_task_is_a_304() {
    let world = World::new().await;
    let body = json!({"prompt": "x", "callback_url": "https://example.com/hook"});
    let id = world.submitted_to(IMAGE, &body).await;
    let first = world.get(&path(&id)).send().await;
    let tag = first.header("etag").unwrap().to_owned();
    for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let again = world
            .get(&path(&id))
            .header("if-none-match", &known)
            .send()
            .await;
        assert_eq!(again.status, 304, "{known}");
        assert!(again.body.is_empty());
        assert_eq!(again.header("etag"), Some(tag.as_str()));
        assert!(again.header("x-request-id").is_some());
    }
    let mut tags = vec![tag];
    let claim = world.started(&id).await;
    let reply = world
        .get(&path(&id))
        .header("if-none-match", &tags[0])
        .send()
        .await;
    assert_eq!(reply.status, 200);
    tags.push(tag_of(&world, &id).await);
    world.finished(claim).await;
    tags.push(tag_of(&world, &id).await);
    let notices = world.store.notices(&world.account, None, 10).await.unwrap();
    let delivery = gateway::store::notices::Delivery {
        n: 1,
        at_ms: 1,
        took_ms: 1,
        status: Some(204),
        note: String::new(),
    };
    let verdict = gateway::store::notices::Verdict {
        state: "delivered",
        due_ms: 0,
    };
    let recorded = world
        .store
        .any_record_delivery(&notices[0], delivery, verdict);
    recorded.await.unwrap();
    let reply = world
        .get(&path(&id))
        .header("if-none-match", &tags[2])
        .send()
        .await;
    let callback = json!({"state": "delivered", "attempts": 1, "last_status": 204});
    assert_eq!(reply.ok()["callback"], callback);
}

#[tokio::test]
async fn the_timeline_names_the_provider() {
    let world = World::new().await;
    let id = world.submitted().await;
    let attempts = world.get(&format!("{}/attempts", path(&id)));
    assert_eq!(attempts.send().await.ok(), json!({"data": []}));
    world.succeeded(&id).await;
    let attempts = world
        .get(&format!("{}/attempts", path(&id)))
        .send()
        .await
        .ok();
    let attempt = &attempts["data"][0];
    assert_eq!(attempt["provider"], "sandbox");
    assert_eq!(attempt["state"], "done");
    assert!(attempt["started_at"].is_string() && attempt["updated_at"].is_string());
    assert!(!attempts.to_string().contains("token"));
}

#[tokio::test]
async fn tasks_are_listed_page_by_page() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.submitted().await.to_string());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world
            .get(&format!("/api/v1/run/tasks?limit=2{cursor}"))
            .send()
            .await
            .ok();
        let tasks = page["data"].as_array().unwrap();
        assert!(tasks.len() <= 2);
        seen.extend(
            tasks
                .iter()
                .map(|task| task["task_id"].as_str().unwrap().to_owned()),
        );
        match &page["next_cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn lists_are_filtered_and_their_parameters_checked() {
    let world = World::new().await;
    let first = world.submitted().await;
    world.submitted_to(CHAT, &json!({"prompt": "x"})).await;
    world.succeeded(&first).await;
    for (query, count) in [
        ("", 2),
        ("?status=success", 1),
        ("?status=waiting", 1),
        ("?status=fail", 0),
        ("?model_id=image_generate.imagen_4", 1),
        ("?model_id=nothing", 0),
        ("?status=success&model_id=solve_problem.kie_reasoning", 0),
        ("?limit=1", 1),
        ("?status=&cursor=&unknown=1", 2),
    ] {
        let list = world
            .get(&format!("/api/v1/run/tasks{query}"))
            .send()
            .await
            .ok();
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{query}");
    }
    for (query, param) in [
        ("?status=done", "status"),
        ("?status=success&status=fail", "status"),
        ("?limit=0", "limit"),
        ("?limit=101", "limit"),
        ("?limit=x", "limit"),
        ("?limit=1e1", "limit"),
        ("?limit=99999999999999999999", "limit"),
        ("?cursor=nonsense", "cursor"),
        ("?cursor=%00", "cursor"),
        ("?model_id=a%00b", "model_id"),
    ] {
        let reply = world.get(&format!("/api/v1/run/tasks{query}")).send().await;
        assert_eq!(reply.invalid(), param, "{query}");
    }
}

#[tokio::test]
async fn cancelling_waits_for_its_effect() {
    let world = World::new().await;
    let id = world.submitted().await;
    let cancel = world.post(&format!("{}/cancel", path(&id)), &json!({}));
    let (reply, ()) = tokio::join!(cancel.send(), async {
        loop {
            let read = world
                .store
                .task(&world.account, &id)
                .await
                .unwrap()
                .unwrap();
            if read.task.is_cancel_asked {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let claim = world.claim(&id).await;
        world.step(claim, Outcome::Cancelled).await;
    });
    let task = reply.ok();
    assert_eq!(task["status"], "fail");
    assert_eq!(task["error"]["type"], "cancelled");
    assert_eq!(world.balance().await.1, 0);
    let again = world
        .bare("POST", &format!("{}/cancel", path(&id)))
        .key(&world.key);
    again.send().await.refusal(409, "conflict");
}

#[tokio::test]
async fn a_denied_cancel_shows_the_task_going_on() {
    let world = World::new().await;
    let id = world.submitted().await;
    let mut claim = world.started(&id).await;
    let cancel = world.post(&format!("{}/cancel", path(&id)), &json!({}));
    let (reply, ()) = tokio::join!(cancel.send(), async {
        loop {
            let read = world
                .store
                .task(&world.account, &id)
                .await
                .unwrap()
                .unwrap();
            if read.task.is_cancel_asked {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        claim.task.is_cancel_asked = true;
        world.step(claim, Outcome::CancelDenied).await;
    });
    assert_eq!(reply.ok()["status"], "generating");
}
