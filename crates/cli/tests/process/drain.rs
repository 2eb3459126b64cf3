//! SIGTERM: what is under way ends or is handed over, and the process is gone in time.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::{Folder, KEY, Server};

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

/// A request whose body never comes would be waited for.
#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = Folder::new("twice");
    let server = Server::start(&folder.0);
    let mut stalled = TcpStream::connect(server.address).unwrap();
    let head = format!(
        "POST /api/v1/run/image_generate.imagen_4 HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {KEY}\r\nContent-Length: 100\r\n\r\n{{"
    );
    stalled.write_all(head.as_bytes()).unwrap();
    server.ask_to_stop();
    while server
        .call("GET", "/readyz", &[], None)
        .is_ok_and(|(status, _)| status == 200)
    {
        std::thread::sleep(Duration::from_millis(10));
    }
    server.ask_to_stop();
    assert_eq!(server.wait().code(), Some(1));
    let server = Server::start(&folder.0);
    server.get("/readyz");
}
