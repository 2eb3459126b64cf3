//! What fails costs nothing, and its hold is back before anybody can read that it failed.

use serde_json::json;

use crate::server::{Folder, Server, command};

const MODEL: &str = "image_generate.imagen_4";

/// Every way the sandbox can fail, and what the task says then.
const FAILURES: [(&str, &str); 5] = [
    ("outcome=fail", "provider_error"),
    ("outcome=moderated", "moderated"),
    ("outcome=garbage", "outcome_unknown"),
    ("outcome=timeout", "outcome_unknown"),
    ("outcome=rate_limited", "provider_unavailable"),
];

fn fails(server: &Server, (scenario, kind): (&str, &str)) {
    let id = server.submit(MODEL, scenario, &json!({"prompt": "fox"}));
    let path = format!("/api/v1/run/tasks/{id}");
    let task = loop {
        let task = server.get(&path);
        if task["status"] != "waiting" && task["status"] != "generating" {
            break task;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    let balance = server.get("/api/v1/billing/balance");
    assert_eq!(task["status"], "fail", "{scenario}: {task}");
    assert_eq!(task["error"]["type"], kind, "{scenario}");
    assert_eq!(
        task["credits"],
        json!({"held": 0, "charged": 0}),
        "{scenario}"
    );
    assert_eq!(balance["held"], 0, "{scenario}");
    assert_eq!(balance["credits"], 1_000, "{scenario}");
}

/// Each on a server of its own, so that the balance is that task's alone.
#[test]
fn a_failed_task_is_free_before_it_says_that_it_failed() {
    std::thread::scope(|scope| {
        for (n, failure) in FAILURES.into_iter().enumerate() {
            scope.spawn(move || {
                let folder = Folder::new(&format!("failures-{n}"));
                let server = Server::start(&folder.0);
                fails(&server, failure);
                assert!(server.terminate().success());
                let check = command(&folder.0)
                    .args(["ledger", "check"])
                    .output()
                    .unwrap();
                assert!(check.status.success(), "{failure:?}");
            });
        }
    });
}
