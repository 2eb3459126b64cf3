use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use domain::upstream::Request;
use serde_json::json;
use tokio::time::{pause, resume, sleep};

use super::super::idle::{IDLE_MAX, PER_ORIGIN_MAX};
use super::super::{CallError, Limits, Net, Outgoing, SendError, Trust};
use super::{Server, net, ok, read_request, secret};

/// A server that answers requests on its connections for as long as `script` says so. What it has
/// seen is the number of each request on its connection: `1` is a new connection.
fn keeping(script: impl Fn(&mut TcpStream, u32) -> bool + Send + Sync + 'static) -> Server {
    Server::raw(move |stream, seen| {
        for number in 1.. {
            if read_request(stream).is_err() {
                return;
            }
            seen.lock().unwrap().push(number.to_string());
            if !script(stream, number) {
                return;
            }
        }
    })
}

fn willing(stream: &mut TcpStream, _: u32) -> bool {
    stream.write_all(ok("x").as_bytes()).is_ok()
}

/// Answers so many requests together.
fn in_step(requests: usize) -> Server {
    let all_are_here = Barrier::new(requests);
    keeping(move |stream, number| {
        all_are_here.wait();
        willing(stream, number)
    })
}

async fn read(net: &Net, server: &Server) -> Result<Vec<u8>, CallError> {
    let outgoing = Outgoing::get(server.url("/x"), Trust::Operator).unwrap();
    net.read(&outgoing, 5_000).await.map(|reply| reply.body)
}

#[tokio::test]
async fn reads_share_a_connection_and_creating_calls_have_their_own() {
    let (net, server) = (net(), keeping(willing));
    for _ in 0..3 {
        assert_eq!(read(&net, &server).await.unwrap(), b"x");
    }
    let request = Request::post(server.url("/create").as_str(), json!({"a": 1}));
    let outgoing = Outgoing::upstream(&request, &[server.url("/")], Some(secret("sk-x"))).unwrap();
    for _ in 0..2 {
        let connection = net.connect(outgoing.url(), outgoing.trust(), 1_000).await;
        let reply = connection.unwrap().send(&outgoing, Limits::json(1_000));
        assert_eq!(reply.await.unwrap().status, 200);
    }
    // A call that may be repeated, but not behind the caller's back: it may create something cheap.
    for _ in 0..2 {
        net.read(&outgoing, 1_000).await.unwrap();
    }
    read(&net, &server).await.unwrap();
    assert_eq!(server.seen(), ["1", "2", "3", "1", "1", "1", "1", "4"]);
}

#[tokio::test]
async fn addresses_that_outsiders_chose_are_judged_each_time() {
    let (net, server) = (net(), keeping(willing));
    let outgoing = Outgoing::get(server.url("/x"), Trust::Outside).unwrap();
    for _ in 0..2 {
        net.read(&outgoing, 1_000).await.unwrap();
    }
    assert_eq!(server.seen(), ["1", "1"]);
}

#[tokio::test]
async fn origins_and_reads_at_the_same_time_do_not_share() {
    let (net, one, other) = (net(), in_step(2), keeping(willing));
    for seen in [vec!["1", "1"], vec!["1", "1", "2", "2"]] {
        let reads = tokio::join!(read(&net, &one), read(&net, &one), read(&net, &other));
        assert!(reads.0.is_ok() && reads.1.is_ok() && reads.2.is_ok());
        assert_eq!(one.seen(), seen);
    }
    assert_eq!(other.seen(), ["1", "2"]);
}

#[tokio::test]
async fn a_connection_that_ended_while_it_waited_costs_nothing() {
    // It ends behind a reply, or before one.
    let behind = keeping(|stream, number| {
        willing(stream, number);
        false
    });
    let before = keeping(|stream, number| number == 1 && willing(stream, number));
    for (server, seen) in [(behind, "1 1 1"), (before, "1 2 1 2 1")] {
        let net = net();
        for _ in 0..3 {
            assert_eq!(read(&net, &server).await.unwrap(), b"x");
        }
        assert_eq!(server.seen().join(" "), seen);
    }
}

#[tokio::test]
async fn the_other_side_may_ask_for_the_end() {
    let server = keeping(|stream, _| {
        let reply = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx";
        stream.write_all(reply.as_bytes()).is_ok()
    });
    let net = net();
    for _ in 0..2 {
        read(&net, &server).await.unwrap();
    }
    assert_eq!(server.seen(), ["1", "1"]);
}

#[tokio::test]
async fn what_comes_unasked_is_no_reply() {
    let server = keeping(|stream, _| {
        let twice = ok("x") + &ok("forged");
        stream.write_all(twice.as_bytes()).is_ok()
    });
    let net = net();
    for _ in 0..3 {
        assert_eq!(read(&net, &server).await.unwrap(), b"x");
        sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(server.seen(), ["1", "1", "1"]);
}

#[tokio::test]
async fn a_silent_reply_is_asked_for_once() {
    let server = keeping(|stream, number| number == 2 || willing(stream, number));
    let net = net();
    read(&net, &server).await.unwrap();
    let silent = Outgoing::get(server.url("/x"), Trust::Operator).unwrap();
    let lost = net.read(&silent, 300).await;
    let is_unanswered = matches!(lost, Err(CallError::Send(SendError::Unanswered(_))));
    assert!(is_unanswered, "{lost:?}");
    // Its reply may still come: nobody else may take it for theirs.
    read(&net, &server).await.unwrap();
    assert_eq!(server.seen(), ["1", "2", "1"]);
}

#[tokio::test]
async fn no_more_wait_than_allowed() {
    let (net, server) = (net(), in_step(PER_ORIGIN_MAX + 8));
    for new in [PER_ORIGIN_MAX + 8, PER_ORIGIN_MAX + 16] {
        let reads = (0..PER_ORIGIN_MAX + 8).map(|_| read(&net, &server));
        let reads = futures_util::future::join_all(reads).await;
        assert!(reads.iter().all(Result::is_ok));
        let seen = server.seen();
        assert_eq!(seen.iter().filter(|number| *number == "1").count(), new);
    }
}

#[tokio::test]
async fn nothing_waits_for_ever() {
    let ended = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&ended);
    let server = Server::raw(move |stream, _| {
        while read_request(stream).is_ok() {
            willing(stream, 1);
        }
        noted.store(true, Ordering::Relaxed);
    });
    let net = net();
    read(&net, &server).await.unwrap();
    pause();
    sleep(IDLE_MAX * 2).await;
    resume();
    while !ended.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(10)).await;
    }
}
