//! Nodes that do not do everything.

use serde_json::json;

use crate::server::{Folder, Server};

#[test]
fn a_worker_answers_machines_that_ask_how_it_does_and_nobody_else() {
    let folder = Folder::new("roles");
    let server = Server::start_with(&folder.0, &["--role", "worker"]);
    for path in ["/healthz", "/readyz", "/metrics"] {
        server.get(path);
    }
    let status = |method: &str, path: &str| {
        let body = (method == "POST").then(|| json!({"prompt": "a lighthouse"}));
        server.call(method, path, &[], body.as_ref()).unwrap().0
    };
    let run = "/api/v1/run/image_generate.imagen_4";
    assert_eq!(status("POST", run), 404);
    for path in [
        "/api/v1/run/tasks",
        "/api/v1/models",
        "/api/v1/billing/balance",
        "/results/folder/result-1.png",
        "/openapi.json",
        "/docs",
    ] {
        assert_eq!(status("GET", path), 404, "{path}");
    }
    assert!(server.terminate().success());
    let server = Server::start_with(&folder.0, &["--role", "api"]);
    server.get("/api/v1/run/tasks");
}
