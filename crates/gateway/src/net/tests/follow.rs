use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use bytes::Bytes;
use domain::upstream::Request;
use http::HeaderMap;

use super::super::{CallError, Limits, NetError, Outgoing, SendError, Trust};
use super::{Server, net, ok, redirect, secret};

const LIMITS: Limits = Limits {
    call_timeout_ms: 3_000,
    body_bytes_max: 1 << 20,
    bytes_per_s_min: 16 << 10,
};

#[tokio::test]
async fn a_file_is_streamed() {
    let server = Server::saying(
        "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\ncontent-length: 4\r\n\r\nabcd",
    );
    let url = server.url("/x");
    let download = net().download(&url, Trust::Outside, LIMITS).await.unwrap();
    assert_eq!(download.status, 200);
    assert_eq!(download.content_type.as_deref(), Some("image/png"));
    assert_eq!(download.content_length, Some(4));
    assert_eq!(download.body.collect().await.unwrap(), b"abcd");
    assert!(!server.seen()[0].contains("authorization"));
}

#[tokio::test]
async fn a_file_over_the_cap_or_cut_short_breaks_the_stream() {
    use futures_util::StreamExt;
    let long = Server::new(|stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
        while stream.write_all(&[0; 65_536]).is_ok() {}
    });
    let short = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
    for server in [long, short] {
        let url = server.url("/");
        let download = net().download(&url, Trust::Outside, LIMITS).await.unwrap();
        let pieces: Vec<_> = download.body.into_stream().collect().await;
        let (last, rest) = pieces.split_last().unwrap();
        assert!(matches!(last, Err(SendError::Unanswered(_))));
        assert!(rest.iter().all(Result::is_ok));
        assert!(rest.iter().flatten().map(Bytes::len).sum::<usize>() <= 1 << 20);
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_not_a_fourth() {
    for (redirects, is_followed) in [(3, true), (4, false)] {
        let server = Server::new(move |stream, request| {
            let at: u32 = request[5..6].parse().unwrap();
            let reply = if at < redirects {
                redirect(&format!("/{}", at + 1))
            } else {
                ok("x")
            };
            drop(stream.write_all(reply.as_bytes()));
        });
        let url = server.url("/0");
        let download = net().download(&url, Trust::Outside, LIMITS).await;
        assert_eq!(download.is_ok(), is_followed);
        assert_eq!(server.seen().len(), 4);
    }
}

#[tokio::test]
async fn redirects_inward_are_refused() {
    for to in [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "//192.168.0.1/",
        "http://user@example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://",
    ] {
        let server = Server::saying(redirect(to));
        // Even a redirect of an address that the operator chose is somebody else's word.
        for trust in [Trust::Outside, Trust::Operator] {
            let refused = net().download(&server.url("/"), trust, LIMITS).await;
            match refused.unwrap_err() {
                CallError::Connect(NetError::Blocked(_)) | CallError::Refused(_) => {}
                CallError::Send(SendError::Unanswered(detail)) => {
                    assert_eq!(detail, "a redirect to nowhere");
                }
                other => panic!("{to}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn the_secret_follows_inside_the_origin_only() {
    let storage = Server::saying(ok("file"));
    let away = storage.url("/file").to_string();
    let provider = Server::new(move |stream, request| {
        let to = if request.starts_with("GET /a ") {
            "/b"
        } else {
            away.as_str()
        };
        drop(stream.write_all(redirect(to).as_bytes()));
    });
    let mut request = Request::get(provider.url("/a").as_str());
    request.headers = vec![("x-project".into(), "p1".into())];
    let outgoing =
        Outgoing::upstream(&request, &[provider.url("/")], Some(secret("sk-c"))).unwrap();
    let download = net().fetch(&outgoing, LIMITS).await.unwrap();
    assert_eq!(download.body.collect().await.unwrap(), b"file");
    let seen = provider.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|request| request.contains("Bearer sk-c")));
    assert!(!storage.seen()[0].contains("sk-c") && !storage.seen()[0].contains("x-project"));
}

#[tokio::test]
async fn a_redirected_post_is_not_followed() {
    let server = Server::saying(redirect("/again"));
    let request = Request::post(server.url("/").as_str(), serde_json::json!({}));
    let outgoing = Outgoing::upstream(&request, &[server.url("/")], None).unwrap();
    let download = net().fetch(&outgoing, LIMITS).await.unwrap();
    assert_eq!((download.status, server.seen().len()), (302, 1));
}

async fn call_back(
    server: &Server,
    timeout_ms: u64,
) -> Result<super::super::CallbackReply, CallError> {
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", "n1".parse().unwrap());
    let body = Bytes::from_static(b"{\"task\":1}");
    net()
        .post_callback(&server.url("/hook"), headers, body, timeout_ms)
        .await
}

#[tokio::test]
async fn a_callback_is_delivered() {
    let server =
        Server::saying("HTTP/1.1 503 X\r\nretry-after: 7\r\ncontent-length: 6\r\n\r\nbusy\u{e9}");
    let reply = call_back(&server, 2_000).await.unwrap();
    assert_eq!(reply.status, 503);
    assert_eq!(reply.retry_after.as_deref(), Some("7"));
    assert_eq!(reply.excerpt, "busy\u{e9}");
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].contains("webhook-id: n1\r\n") && seen[0].ends_with("{\"task\":1}"));
}

#[tokio::test]
async fn a_giant_or_stalling_reply_to_a_callback_counts_by_its_status() {
    let giant = Server::new(|stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"));
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    let reply = call_back(&giant, 2_000).await.unwrap();
    assert_eq!((reply.status, reply.excerpt.len()), (200, 1_024));

    let stalling = Server::new(|stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"));
        std::thread::sleep(Duration::from_secs(5));
    });
    let started = Instant::now();
    let reply = call_back(&stalling, 400).await.unwrap();
    assert_eq!((reply.status, reply.excerpt.as_str()), (200, "abc"));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_callback_follows_no_redirect_and_goes_nowhere_inside() {
    let server = Server::saying(redirect("/elsewhere"));
    assert_eq!(call_back(&server, 2_000).await.unwrap().status, 302);
    assert_eq!(server.seen().len(), 1);

    let url = url::Url::parse("http://10.0.0.1/").unwrap();
    let refused = net()
        .post_callback(&url, HeaderMap::new(), Bytes::new(), 500)
        .await;
    assert!(matches!(
        refused,
        Err(CallError::Connect(NetError::Blocked(_)))
    ));
}
