//! The edge over raw sockets.

mod drain;
mod framing;
mod proxy;
mod timers;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Extension;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::client_ip::ClientIp;

/// Short times, far enough apart to be told from each other on a busy machine.
const TIMERS: Timers = Timers {
    first_byte_ms: 300,
    head_ms: 300,
    body_ms: 300,
    idle_ms: 900,
    write_ms: 300,
};

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(settings: EdgeSettings) -> Self {
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route(
                "/ip",
                get(|Extension(ClientIp(ip)): Extension<ClientIp>| async move { ip.to_string() }),
            )
            .route("/echo", post(|body: Bytes| async move { body }))
            .route("/early", post(|| async { "early" }))
            .route("/large", get(|| async { vec![b'x'; 64 << 20] }))
            .route(
                "/slow",
                get(|| async {
                    sleep(Duration::from_millis(1_500)).await;
                    "slow"
                }),
            );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = serve(listener, router, settings, shutdown.clone());
        let tracker = TaskTracker::new();
        let task = tracker.spawn(serving);
        Self {
            address,
            shutdown,
            task,
        }
    }

    async fn quick() -> Self {
        Self::start(EdgeSettings {
            timers: TIMERS,
            ..EdgeSettings::default()
        })
        .await
    }

    async fn patient() -> Self {
        Self::start(EdgeSettings::default()).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything that comes back for some bytes until the server closes.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut socket = self.connect().await;
        socket.write_all(bytes).await.unwrap();
        rest(&mut socket).await
    }
}

/// What comes until the server closes.
async fn rest(socket: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = socket.read_to_end(&mut all);
    let read = timeout(Duration::from_secs(8), read).await;
    read.expect("the server closes").expect("without a reset");
    String::from_utf8(all).unwrap()
}

/// What comes until a text does.
async fn until(socket: &mut TcpStream, wanted: &str) -> String {
    let mut all = String::new();
    while !all.contains(wanted) {
        let mut piece = [0; 1024];
        let read = timeout(Duration::from_secs(8), socket.read(&mut piece)).await;
        let read = read.expect("more comes").unwrap();
        assert!(read > 0, "closed after {all}");
        all.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    all
}

/// Replies have the shape of the API's errors.
fn assert_refused(reply: &str, code: u16, context: &str) {
    let start = format!("HTTP/1.1 {code} ");
    assert!(reply.starts_with(&start), "{context}: {reply}");
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("connection: close"), "{context}: {head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["code"], code, "{context}");
    assert_eq!(body["message"], body["msg"], "{context}");
    let id = body["request_id"].as_str().unwrap();
    assert!(head.contains(&format!("x-request-id: {id}")), "{context}");
}
