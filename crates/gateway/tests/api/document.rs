//! The OpenAPI document: current, complete, and shown by a page of its own.

use std::path::PathBuf;

use serde_json::Value;

use crate::world::World;

fn committed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json")
}

#[test]
fn the_committed_document_is_current() {
    let text = gateway::api::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(committed(), text).unwrap();
        return;
    }
    let found = std::fs::read_to_string(committed()).unwrap_or_default();
    assert!(
        found == text,
        "docs/openapi.json is not current: run this test with UPDATE=1"
    );
}

#[test]
fn every_reference_is_there_and_every_operation_is_described() {
    let text = gateway::api::openapi().to_json().unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    let mut ids = std::collections::HashSet::new();
    for (path, calls) in document["paths"].as_object().unwrap() {
        for (verb, call) in calls.as_object().unwrap() {
            assert!(ids.insert(call["operationId"].to_string()), "{verb} {path}");
            assert!(call["summary"].is_string(), "{verb} {path}");
            assert!(call["responses"]["200"].is_object(), "{verb} {path}");
            let is_open = call["security"] == serde_json::json!([{}]);
            assert_eq!(call["responses"]["401"].is_null(), is_open, "{verb} {path}");
        }
    }
}

#[tokio::test]
async fn every_documented_endpoint_is_there() {
    let world = World::new().await;
    let document: Value = world.bare("GET", "/openapi.json").send().await.ok();
    for (path, calls) in document["paths"].as_object().unwrap() {
        for verb in calls.as_object().unwrap().keys() {
            let path = path.replace(['{', '}'], "");
            let reply = world.bare(&verb.to_uppercase(), &path).send().await;
            if reply.status == 404 {
                assert_ne!(
                    reply.json()["message"],
                    "There is no such endpoint.",
                    "{path}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_document_has_a_tag_and_a_page() {
    let world = World::new().await;
    let first = world.bare("GET", "/openapi.json").send().await;
    let tag = first.header("etag").unwrap();
    let again = world.bare("GET", "/openapi.json");
    let again = again.header("if-none-match", tag).send().await;
    assert_eq!(again.status, 304);
    let page = world.bare("GET", "/docs").send().await;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let text = std::str::from_utf8(&page.body).unwrap();
    assert!(!text.contains("http://") && !text.contains("https://"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'sha256-"), "{policy}");
}

#[tokio::test]
async fn machines_are_answered() {
    let world = World::new().await;
    assert_eq!(world.bare("GET", "/healthz").send().await.status, 200);
    assert_eq!(world.bare("GET", "/readyz").send().await.status, 200);
    let metrics = world.bare("GET", "/metrics").send().await;
    assert_eq!(metrics.body, "up 1\n");
    let draining = &world.api.is_draining;
    draining.store(true, std::sync::atomic::Ordering::Relaxed);
    let reply = world.bare("GET", "/readyz").send().await;
    reply.refusal(503, "overloaded");
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(world.bare("GET", "/healthz").send().await.status, 200);
    let counted = world.api.counters.requests();
    let probes: Vec<_> = counted.filter(|(name, _, _)| *name == "probe").collect();
    assert!(probes.contains(&("probe", "2xx", 4)), "{probes:?}");
    assert!(probes.contains(&("probe", "5xx", 1)), "{probes:?}");
}
