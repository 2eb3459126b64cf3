//! Following a task over server-sent events.

use std::time::Duration;

use domain::ids::TaskId;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

use crate::world::{World, progress};

#[derive(Debug, PartialEq)]
struct Seen {
    name: String,
    id: i64,
    content: Value,
}

struct Source {
    body: Incoming,
    text: String,
}

impl Source {
    async fn open(world: &World, id: &TaskId, last: Option<i64>) -> Self {
        let mut call = world.get(&format!("/api/v1/run/tasks/{id}/events"));
        if let Some(last) = last {
            call = call.header("last-event-id", last.to_string());
        }
        let (parts, body) = call.open().await.into_parts();
        assert_eq!(parts.status, 200);
        assert_eq!(parts.headers["content-type"], "text/event-stream");
        let text = String::new();
        Self { body, text }
    }

    /// The next event; nothing at the end of the stream.
    async fn next(&mut self) -> Option<Seen> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = read(event);
                self.text = rest.to_owned();
                return Some(event);
            }
            let frame = timeout(Duration::from_secs(10), self.body.frame());
            let bytes = frame.await.unwrap()?.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

fn read(event: &str) -> Seen {
    let field = |name: &str| {
        let line = event.lines().find(|line| line.starts_with(name));
        line.unwrap()[name.len() + 1..].trim().to_owned()
    };
    Seen {
        name: field("event"),
        id: field("id").parse().unwrap(),
        content: serde_json::from_str(&field("data")).unwrap(),
    }
}

#[tokio::test]
async fn a_task_is_told_to_its_end() {
    let world = World::new().await;
    let id = world.submitted().await;
    let mut source = Source::open(&world, &id, None).await;
    let first = source.next().await.unwrap();
    assert_eq!(first.name, "status");
    assert_eq!(first.content["status"], "waiting");
    let claim = world.started(&id).await;
    let started = source.next().await.unwrap();
    assert_eq!(started.content["status"], "generating");
    assert!(started.id > first.id);
    let claim = world.step(claim, progress(Some(0.25))).await;
    let moved = source.next().await.unwrap();
    assert_eq!(moved.name, "progress");
    assert_eq!(moved.content["progress"], 0.25);
    assert_eq!(moved.content["task_id"], id.as_str());
    world.finished(claim).await;
    let mut last = source.next().await.unwrap();
    while last.name == "progress" {
        last = source.next().await.unwrap();
    }
    assert_eq!(last.name, "status");
    assert_eq!(last.content["status"], "success");
    let end = source.next().await.unwrap();
    assert_eq!(end.name, "end");
    assert_eq!(end.content["result_urls"].as_array().unwrap().len(), 1);
    assert_eq!(source.next().await, None);
}

#[tokio::test]
async fn a_stream_goes_on_where_it_was_left() {
    let world = World::new().await;
    let id = world.submitted().await;
    let claim = world.started(&id).await;
    let mut source = Source::open(&world, &id, None).await;
    let seen = source.next().await.unwrap().id;
    drop(source);
    // Nothing is told twice.
    let mut source = Source::open(&world, &id, Some(seen)).await;
    let claim = world.step(claim, progress(Some(0.5))).await;
    let next = source.next().await.unwrap();
    assert_eq!((next.name.as_str(), next.id), ("progress", seen + 1));
    drop(source);
    // What happened meanwhile is told at once.
    let claim = world.finished(claim).await;
    let mut source = Source::open(&world, &id, Some(next.id)).await;
    let status = source.next().await.unwrap();
    assert_eq!(
        (status.name.as_str(), status.id),
        ("status", claim.task.version)
    );
    assert_eq!(source.next().await.unwrap().name, "end");
    assert_eq!(source.next().await, None);
    // The end is told in any case.
    let mut source = Source::open(&world, &id, Some(claim.task.version)).await;
    assert_eq!(source.next().await.unwrap().name, "end");
    assert_eq!(source.next().await, None);
    // An id from elsewhere counts as none.
    let mut source = Source::open(&world, &id, Some(1_000)).await;
    assert_eq!(source.next().await.unwrap().name, "status");
}

#[tokio::test]
async fn a_draining_server_ends_its_streams() {
    let world = World::new().await;
    let id = world.submitted().await;
    let mut source = Source::open(&world, &id, None).await;
    source.next().await.unwrap();
    let draining = &world.api.is_draining;
    draining.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(source.next().await, None);
}
