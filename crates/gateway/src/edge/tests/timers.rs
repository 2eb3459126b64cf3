//! Clients that leave something undone.

use super::*;

/// Waits for the close and says when it came, in milliseconds.
async fn closed(socket: &mut TcpStream) -> (String, u128) {
    let start = tokio::time::Instant::now();
    let reply = rest(socket).await;
    (reply, start.elapsed().as_millis())
}

#[tokio::test]
async fn silence_is_closed_without_a_word() {
    let server = Server::quick().await;
    let mut socket = server.connect().await;
    let (reply, ms) = closed(&mut socket).await;
    assert_eq!(reply, "");
    assert!((250..800).contains(&ms), "{ms}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_later() {
    let server = Server::quick().await;
    let mut socket = server.connect().await;
    for _ in 0..2 {
        socket
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        until(&mut socket, "hello").await;
    }
    let (reply, ms) = closed(&mut socket).await;
    assert_eq!(reply, "");
    assert!((800..2_000).contains(&ms), "{ms}");
}

#[tokio::test]
async fn a_dripping_head_gets_one_allowance() {
    let server = Server::quick().await;
    for before in ["", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut socket = server.connect().await;
        socket.write_all(before.as_bytes()).await.unwrap();
        if !before.is_empty() {
            until(&mut socket, "hello").await;
        }
        let start = tokio::time::Instant::now();
        let (mut reader, mut writer) = socket.split();
        let drip = async {
            for byte in b"GET / HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
                if writer.write_all(&[*byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let mut reply = String::new();
        tokio::select! {
            () = drip => panic!("it was allowed to drip"),
            read = reader.read_to_string(&mut reply) => drop(read.unwrap()),
        }
        assert_refused(&reply, 408, before);
        let ms = start.elapsed().as_millis();
        assert!((250..900).contains(&ms), "{ms}");
    }
}

#[tokio::test]
async fn a_body_that_stops_is_refused_and_one_that_drips_is_not() {
    let server = Server::quick().await;
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    for framing in [
        "Content-Length: 10\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ] {
        let mut socket = server.connect().await;
        socket
            .write_all(format!("{head}{framing}").as_bytes())
            .await
            .unwrap();
        let (reply, ms) = closed(&mut socket).await;
        assert_refused(&reply, 408, framing);
        assert!((250..900).contains(&ms), "{ms}");
    }
    let mut socket = server.connect().await;
    socket
        .write_all(format!("{head}Content-Length: 6\r\n\r\n").as_bytes())
        .await
        .unwrap();
    for _ in 0..6 {
        sleep(Duration::from_millis(100)).await;
        socket.write_all(b"x").await.unwrap();
    }
    assert!(rest(&mut socket).await.ends_with("xxxxxx"));
}

#[tokio::test]
async fn no_timer_runs_while_a_request_is_answered() {
    let server = Server::quick().await;
    let mut socket = server.connect().await;
    socket
        .write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    until(&mut socket, "slow").await;
    socket
        .write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    until(&mut socket, "slow").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let server = Server::quick().await;
    let mut socket = server.connect().await;
    socket
        .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(1_200)).await;
    let mut all = Vec::new();
    let _ = socket.read_to_end(&mut all).await;
    assert!(all.len() < 64 << 20, "{}", all.len());
}

#[tokio::test]
async fn an_early_reply_is_heard_by_a_client_that_still_sends() {
    let server = Server::patient().await;
    let mut socket = server.connect().await;
    let head = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n";
    socket.write_all(head).await.unwrap();
    for _ in 0..90 {
        if socket.write_all(&[b'x'; 10_000]).await.is_err() {
            break;
        }
    }
    let mut reply = Vec::new();
    let _ = timeout(Duration::from_secs(5), socket.read_to_end(&mut reply)).await;
    let reply = String::from_utf8(reply).unwrap();
    assert!(reply.contains("early"), "{reply}");
}
