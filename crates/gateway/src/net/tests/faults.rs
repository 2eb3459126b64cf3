use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use domain::upstream::{Reply, Request};
use serde_json::json;

use super::super::{Limits, Net, NetError, Outgoing, SendError, Trust};
use super::{Server, net, ok, secret};

const TIMEOUT_MS: u64 = 700;

async fn send(net: &Net, server: &Server, limits: Limits) -> Result<Reply, SendError> {
    let request = Request::post(server.url("/create").as_str(), json!({"a": 1}));
    let outgoing = Outgoing::upstream(&request, &[server.url("/")], Some(secret("sk-x"))).unwrap();
    let connection = net.connect(outgoing.url(), outgoing.trust(), 2_000).await;
    connection.unwrap().send(&outgoing, limits).await
}

/// Writes until the other side has had enough.
fn pour(stream: &mut TcpStream, piece: &[u8]) {
    while stream.write_all(piece).is_ok() {}
}

fn hold(stream: &mut TcpStream) {
    drop(stream.read(&mut [0; 16]));
}

type Script = fn(&mut TcpStream, &str);

/// Every way to lose a reply after the request arrived whole.
const LOST: &[(&str, Script)] = &[
    ("silence", |stream, _| hold(stream)),
    ("end without a reply", |stream, _| {
        drop(stream.shutdown(Shutdown::Both));
    }),
    ("half a head", |stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le"));
    }),
    ("half a head, then silence", |stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le"));
        hold(stream);
    }),
    ("no HTTP", |stream, _| {
        drop(stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"));
    }),
    ("an HTTP/2 preface", |stream, _| {
        drop(stream.write_all(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04"));
    }),
    ("a truncated body", |stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\""));
    }),
    ("a body that stops", |stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\""));
        hold(stream);
    }),
    ("truncated chunks", |stream, _| {
        drop(
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n"),
        );
    }),
    ("malformed chunks", |stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc"));
    }),
    ("two lengths", |stream, _| {
        drop(
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        );
    }),
    ("a declared giant", |stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"));
        hold(stream);
    }),
    ("an undeclared giant", |stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"));
        pour(
            stream,
            format!("ffff\r\n{}\r\n", "x".repeat(0xffff)).as_bytes(),
        );
    }),
    ("a giant up to the end", |stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
        pour(stream, &[b'x'; 65_536]);
    }),
    ("a giant head", |stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n"));
        pour(stream, format!("x: {}\r\n", "y".repeat(1_000)).as_bytes());
    }),
    ("too many headers", |stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n"));
        pour(stream, b"a: b\r\n");
    }),
    ("endless interim replies", |stream, _| {
        pour(stream, b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n");
    }),
    ("a drip", |stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"));
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }),
];

#[tokio::test]
async fn a_lost_reply_is_unanswered_and_the_request_went_out_once() {
    let net = net();
    for (name, script) in LOST {
        let server = Server::new(script);
        let lost = send(&net, &server, Limits::json(TIMEOUT_MS)).await;
        assert!(
            matches!(lost, Err(SendError::Unanswered(_))),
            "{name}: {lost:?}"
        );
        // A second request, if there were one, would have its chance to arrive.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(server.seen().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_reset_is_unanswered() {
    // Closing with unread bytes makes the system send RST.
    let server = Server::raw(|stream, seen| {
        let arrived = stream.peek(&mut [0; 16]).unwrap();
        seen.lock().unwrap().push(arrived.to_string());
    });
    let lost = send(&net(), &server, Limits::json(TIMEOUT_MS)).await;
    assert!(matches!(lost, Err(SendError::Unanswered(_))), "{lost:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_connection_closed_before_the_request_is_proof() {
    let server = Server::raw(|_, _| {});
    let request = Request::get(server.url("/").as_str());
    let outgoing = Outgoing::upstream(&request, &[server.url("/")], None).unwrap();
    let connection = net().connect(outgoing.url(), Trust::Operator, 2_000).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let sent = connection.unwrap().send(&outgoing, Limits::json(500)).await;
    assert!(matches!(sent, Err(SendError::NotSent(_))), "{sent:?}");
}

#[tokio::test]
async fn a_claim_that_nothing_was_sent_is_true() {
    let server = Server::saying(ok("x"));
    let sent = send(&net(), &server, Limits::json(0)).await;
    // Whether anything left depends on the timer; that nothing is claimed wrongly does not.
    if matches!(sent, Err(SendError::NotSent(_))) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(server.seen().is_empty());
    }
}

#[tokio::test]
async fn a_refused_connection_is_an_error_of_connecting() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = url::Url::parse(&format!("http://{address}/")).unwrap();
    let refused = net().connect(&url, Trust::Operator, 2_000).await;
    assert!(matches!(refused, Err(NetError::Unreachable(_))));
}

#[tokio::test]
async fn redirects_interim_replies_and_odd_statuses_are_replies() {
    for (reply, status) in [
        (
            "HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\ncontent-length: 0\r\n\r\n",
            302,
        ),
        (
            "HTTP/1.1 307 X\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n",
            307,
        ),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n",
            201,
        ),
        ("HTTP/1.0 200 OK\r\n\r\n{}", 200),
        (
            "HTTP/1.1 529 Overloaded\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n",
            529,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204),
    ] {
        let server = Server::saying(reply);
        let got = send(&net(), &server, Limits::json(2_000)).await.unwrap();
        assert_eq!(got.status, status);
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_passes() {
    let limits = Limits {
        body_bytes_max: 10,
        ..Limits::json(2_000)
    };
    let server = Server::saying(ok("0123456789"));
    assert!(send(&net(), &server, limits).await.is_ok());
    let server = Server::saying(ok("0123456789a"));
    assert!(send(&net(), &server, limits).await.is_err());
}

#[tokio::test]
async fn a_reply_before_the_end_of_the_request_is_a_reply() {
    let server = Server::raw(|stream, seen| {
        drop(stream.read(&mut [0; 512]));
        seen.lock().unwrap().push("partial".into());
        drop(stream.write_all(ok("early").as_bytes()));
        hold(stream);
        std::thread::sleep(Duration::from_millis(300));
    });
    let big = json!({"image": "x".repeat(8 << 20)});
    let request = Request::post(server.url("/").as_str(), big);
    let outgoing = Outgoing::upstream(&request, &[server.url("/")], None).unwrap();
    let connection = net().connect(outgoing.url(), Trust::Operator, 2_000).await;
    let reply = connection
        .unwrap()
        .send(&outgoing, Limits::json(2_000))
        .await;
    assert_eq!(reply.unwrap().body, b"early");
}

#[tokio::test]
async fn dropping_the_wait_closes_the_connection() {
    let (gone, is_gone) = std::sync::mpsc::channel();
    let server = Server::new(move |stream, _| {
        let read = stream.read(&mut [0; 16]);
        gone.send(matches!(read, Ok(0) | Err(_))).unwrap();
    });
    let net = net();
    let wait = send(&net, &server, Limits::json(60_000));
    assert!(
        tokio::time::timeout(Duration::from_millis(300), wait)
            .await
            .is_err()
    );
    let is_gone = is_gone.recv_timeout(Duration::from_secs(2));
    assert_eq!(is_gone, Ok(true));
}
