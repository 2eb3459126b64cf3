//! The built-in upstream and the simulated wire, in simulated time.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::upstream::{Reply, Request};
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep};
use url::Url;

use super::super::{
    Dialed, Limits, LocalUpstream, Net, NetSettings, Outgoing, SendError, Trust, Wire,
};

struct Sandbox;

impl LocalUpstream for Sandbox {
    fn answer<'a>(&'a self, request: &'a Request, now_ms: i64) -> BoxFuture<'a, Option<Reply>> {
        Box::pin(async move {
            let body = request.json()?.to_string().into_bytes();
            Some(Reply {
                status: 200,
                headers: vec![("x-now".into(), now_ms.to_string())],
                body,
            })
        })
    }
}

fn sandboxed() -> Net {
    let local = (Arc::new(Sandbox) as _, Arc::new(|| 1_234_i64) as _);
    Net::new(NetSettings::default(), Some(local)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_built_in_upstream_answers_or_is_silent() {
    let net = sandboxed();
    let base = Url::parse("http://sandbox.internal/").unwrap();
    let ask = Request::post("http://sandbox.internal/run", json!({"a": 1}));
    let outgoing = Outgoing::upstream(&ask, std::slice::from_ref(&base), None).unwrap();
    let reply = net.read(&outgoing, 1_000).await.unwrap();
    assert_eq!(reply.json(), json!({"a": 1}));
    assert_eq!(reply.header("x-now"), Some("1234"));
    let streamed = net.fetch(&outgoing, Limits::file(1_000)).await.unwrap();
    assert_eq!(streamed.body.collect().await.unwrap(), b"{\"a\":1}");

    let silent = Request::get("http://sandbox.internal/run");
    let silent = Outgoing::upstream(&silent, std::slice::from_ref(&base), None).unwrap();
    let started = Instant::now();
    let connection = net.connect(&base, Trust::Operator, 10).await.unwrap();
    let lost = connection.send(&silent, Limits::json(5_000)).await;
    assert!(matches!(lost, Err(SendError::Unanswered(_))));
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn the_built_in_upstream_is_out_of_reach_from_outside() {
    let url = Url::parse("http://sandbox.internal/").unwrap();
    let refused = sandboxed().connect(&url, Trust::Outside, 1_000).await;
    assert!(refused.is_err());
    let bare = Outgoing::get(url.clone(), Trust::Operator).unwrap();
    let connection = sandboxed().connect(&url, Trust::Operator, 1_000).await;
    let sent = connection.unwrap().send(&bare, Limits::json(100)).await;
    assert!(matches!(sent, Err(SendError::NotSent(_))));
}

/// A network of one pipe.
struct Pipe(Mutex<Option<DuplexStream>>);

impl Wire for Pipe {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(vec![SocketAddr::from(([93, 184, 215, 14], port))]) })
    }

    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Dialed>> {
        let stream = self.0.lock().unwrap().take();
        Box::pin(async move {
            let stream = Box::new(stream.ok_or(io::ErrorKind::ConnectionRefused)?);
            Ok(Dialed {
                stream,
                peer: address,
            })
        })
    }
}

fn piped() -> (Net, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let wire = Arc::new(Pipe(Mutex::new(Some(ours))));
    let net = Net::over(wire, NetSettings::default(), None).unwrap();
    (net, theirs)
}

#[tokio::test(start_paused = true)]
async fn a_crawling_file_is_given_up_after_the_window() {
    let (net, mut theirs) = piped();
    let serve = async move {
        drop(theirs.read(&mut [0; 1_024]).await);
        drop(theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await);
        while theirs.write_all(&[0; 1_024]).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    let fetch = async {
        let url = Url::parse("http://files.example.com/").unwrap();
        let limits = Limits::file(3_600_000);
        let download = net.download(&url, Trust::Outside, limits).await.unwrap();
        download.body.collect().await
    };
    let started = Instant::now();
    let (fetched, ()) = tokio::join!(fetch, serve);
    assert_eq!(
        fetched,
        Err(SendError::Unanswered("the reply is too slow".into()))
    );
    assert!(started.elapsed() < Duration::from_secs(35));
}

#[tokio::test(start_paused = true)]
async fn our_own_slowness_is_not_held_against_the_peer() {
    let (net, mut theirs) = piped();
    let serve = async move {
        drop(theirs.read(&mut [0; 1_024]).await);
        drop(
            theirs
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n")
                .await,
        );
        drop(theirs.write_all(&vec![0; 1 << 20]).await);
    };
    let fetch = async {
        let url = Url::parse("http://files.example.com/").unwrap();
        let limits = Limits::file(36_000_000);
        let download = net.download(&url, Trust::Outside, limits).await.unwrap();
        let (mut body, mut bytes) = (download.body, 0);
        while let Some(piece) = body.chunk().await.unwrap() {
            bytes += piece.len();
            sleep(Duration::from_secs(20)).await;
        }
        bytes
    };
    let (bytes, ()) = tokio::join!(fetch, serve);
    assert_eq!(bytes, 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_steady_file_outlives_many_windows() {
    let (net, mut theirs) = piped();
    let serve = async move {
        drop(theirs.read(&mut [0; 1_024]).await);
        drop(theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await);
        for _ in 0..300 {
            drop(theirs.write_all(&[0; 20_000]).await);
            sleep(Duration::from_secs(1)).await;
        }
    };
    let fetch = async {
        let url = Url::parse("http://files.example.com/").unwrap();
        let limits = Limits::file(3_600_000);
        let download = net.download(&url, Trust::Outside, limits).await.unwrap();
        download.body.collect().await.unwrap().len()
    };
    let (bytes, ()) = tokio::join!(fetch, serve);
    assert_eq!(bytes, 6_000_000);
}

/// A network whose first address is a black hole.
struct Hole;

impl Wire for Hole {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let addresses = ["93.184.215.14:80", "93.184.215.15:80"];
        Box::pin(async move { Ok(addresses.map(|address| address.parse().unwrap()).to_vec()) })
    }

    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Dialed>> {
        Box::pin(async move {
            if address.ip().to_string().ends_with("14") {
                std::future::pending::<()>().await;
            }
            let stream = Box::new(tokio::io::duplex(64).0);
            Ok(Dialed {
                stream,
                peer: address,
            })
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_leaves_time_for_the_next_address() {
    let net = Net::over(Arc::new(Hole), NetSettings::default(), None).unwrap();
    let url = Url::parse("http://two.example.com/").unwrap();
    assert!(net.connect(&url, Trust::Outside, 4_000).await.is_ok());
}

/// The worker moves its work between threads.
#[test]
fn everything_here_may_move_between_threads() {
    fn moves<T: Send>(_: T) {}
    let net = sandboxed();
    let url = Url::parse("http://sandbox.internal/").unwrap();
    let outgoing = Outgoing::get(url.clone(), Trust::Operator).unwrap();
    moves(net.connect(&url, Trust::Operator, 1));
    moves(net.read(&outgoing, 1));
    moves(net.fetch(&outgoing, Limits::file(1)));
    moves(async {
        let connection = net.connect(&url, Trust::Operator, 1).await.unwrap();
        connection.send(&outgoing, Limits::json(1)).await
    });
}
