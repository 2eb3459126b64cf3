//! SIGTERM: what is under way ends or is handed over, and the process is gone in time.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::{Folder, Server};

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long a process takes is measured outside of it"
)]
fn a_terminated_server_loses_nothing() {
    let folder = Folder::new("drain");
    let server = Server::start(&folder.0);
    let body = json!({"prompt": "a lighthouse"});
    let ids: Vec<String> = (0..20)
        .map(|_| server.submit("image_generate.imagen_4", "delay=2s", &body))
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    assert!(server.terminate().success());
    assert!(started.elapsed() < Duration::from_secs(35));
    let server = Server::start(&folder.0);
    for id in &ids {
        assert_eq!(server.ended(id)["status"], "success");
    }
}
