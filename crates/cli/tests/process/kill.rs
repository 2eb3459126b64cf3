//! kill -9 in the middle of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use crate::server::{Folder, Receiver, Server, command};

/// How many tasks are under way when the process is killed.
const TASKS: usize = 200;

/// When it is killed after the last submit, in milliseconds; each time it is started again.
const KILLS_MS: [u64; 3] = [900, 400, 1_500];

#[test]
fn after_kill_9_every_task_ends_is_charged_once_and_called_back() {
    let folder = Folder::new("kill");
    let receiver = Receiver::start();
    let mut server = Server::start(&folder.0);
    let mut ids = Vec::new();
    for n in 0..TASKS {
        // Some are queued, some running, some storing, some done when the process dies.
        let scenario = format!("delay={}ms, progress=3", 100 + (n * 37) % 3_000);
        let (model, body) = match n % 4 {
            0 => ("solve_problem.kie_reasoning", json!({"prompt": "why?"})),
            _ => (
                "image_generate.imagen_4",
                json!({"prompt": format!("fox {n}")}),
            ),
        };
        let mut body = body;
        body["callback_url"] = json!(receiver.url);
        ids.push(server.submit(model, &scenario, &body));
    }
    for pause_ms in KILLS_MS {
        std::thread::sleep(Duration::from_millis(pause_ms));
        server.kill();
        server = Server::start(&folder.0);
    }
    let mut charged = 0_f64;
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for id in &ids {
        let task = server.ended(id);
        charged += task["credits"]["charged"].as_f64().unwrap();
        if task["status"] == "fail" {
            // Only what was being sent when the process died may be unknown, and is not charged.
            assert_eq!(task["error"]["type"], "outcome_unknown", "{task}");
            assert_eq!(task["credits"]["charged"], 0, "{task}");
        }
        *states
            .entry(task["status"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert!(states["success"] > TASKS * 9 / 10, "{states:?}");
    let balance = server.get("/api/v1/billing/balance");
    assert!((1_000.0 - charged - balance["credits"].as_f64().unwrap()).abs() < 1e-6);
    assert_eq!(balance["held"], 0);
    every_callback_arrives(&ids, &receiver);
    assert!(server.terminate().success());
    let check = command(&folder.0)
        .args(["ledger", "check"])
        .output()
        .unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
}

/// At least once, always with the same id for a task.
fn every_callback_arrives(ids: &[String], receiver: &Receiver) {
    let wanted: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
    let mut got = Vec::new();
    for _ in 0..300 {
        got = receiver.got();
        let tasks: BTreeSet<&str> = got
            .iter()
            .filter_map(|(_, body)| body["task_id"].as_str())
            .collect();
        if tasks == wanted {
            let pairs: BTreeSet<(&str, &str)> = got
                .iter()
                .map(|(id, body)| (id.as_str(), body["task_id"].as_str().unwrap()))
                .collect();
            assert_eq!(pairs.len(), wanted.len(), "one webhook-id for a task");
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("{} of {} callbacks arrived", got.len(), wanted.len());
}
