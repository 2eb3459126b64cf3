//! Hostile shapes, by the split of their bytes too.

use super::*;
use crate::edge::framing::{Framing, Violation};

const HEAD: &str = "POST /echo HTTP/1.1\r\nHost: a\r\n";

/// Shapes that must not reach the router, with what the reply is.
fn shapes() -> Vec<(String, u16)> {
    let bad = |text: &str| (text.to_owned(), 400);
    let post = |fields: &str| (format!("{HEAD}{fields}\r\n\r\n0\r\n\r\n"), 400);
    let field = |bytes: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n",
            "y".repeat(bytes)
        )
    };
    vec![
        bad("GET / HTTP/1.1\r\n\r\n"),
        bad("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        bad("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        bad("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
        bad("GET / HTTP/1.1\nHost: a\n\n"),
        bad("GET / HTTP/1.1\r\nHost: a\nx: y\r\n\r\n"),
        bad("GET / HTTP/1.1\r\nHost: a\r\n\n"),
        bad("GET / HTTP/1.1\r\nHost: a\r\nx: y\rz: q\r\n\r\n"),
        bad("GET / HTTP/1.1\r\nHost: a\r\nx: y\r\n folded\r\n\r\n"),
        bad("GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        bad("GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        bad("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n"),
        bad("GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n"),
        bad("GET / HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n"),
        bad("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        bad("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
        bad("GET /\r\nHost: a\r\n\r\n"),
        bad("GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        bad("GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        bad("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n"),
        bad("G\tT / HTTP/1.1\r\nHost: a\r\n\r\n"),
        bad("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
        bad("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        bad("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        bad("\x16\x03\x01\x02\n"),
        post("Content-Length: 5\r\nTransfer-Encoding: chunked"),
        post("Transfer-Encoding: chunked\r\nContent-Length: 5"),
        post("Content-Length: 5\r\nContent-Length: 5"),
        post("Content-Length: 5\r\nContent-Length: 6"),
        post("Content-Length: 5, 5"),
        post("Content-Length: +5"),
        post("Content-Length: -5"),
        post("Content-Length: 0x5"),
        post("Content-Length: "),
        post("Content-Length: 99999999999999999999"),
        post("Transfer-Encoding: gzip, chunked"),
        post("Transfer-Encoding: chunked, chunked"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        post("Transfer-Encoding: xchunked"),
        post("Transfer-Encoding: \"chunked\""),
        post("Transfer-Encoding: identity"),
        post("Transfer-Encoding:\x0bchunked"),
        bad("POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (field(16 << 10), 431),
        (field(400 << 10), 431),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "x: y\r\n".repeat(101)
            ),
            431,
        ),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20 << 10)),
            431,
        ),
    ]
}

#[tokio::test]
async fn doubtful_heads_are_refused_and_the_connection_closed() {
    let server = Server::patient().await;
    for (shape, code) in shapes() {
        let start: String = shape.chars().take(120).collect();
        let smuggled = format!("{shape}GET /ip HTTP/1.1\r\nHost: a\r\n\r\n");
        let reply = server.say(smuggled.as_bytes()).await;
        assert_refused(&reply, code, &start);
        assert_eq!(reply.matches("HTTP/1.1 ").count(), 1, "{start}: {reply}");
    }
}

#[tokio::test]
async fn a_sound_request_before_a_doubtful_one_is_answered() {
    let server = Server::patient().await;
    let bytes = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    let reply = server.say(bytes).await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    let (_, second) = reply.split_once("slow").unwrap();
    assert_refused(second, 400, "second");
}

#[tokio::test]
async fn sound_requests_pass_however_they_are_split() {
    let server = Server::patient().await;
    let chunked = format!(
        "{HEAD}Transfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n00A\r\n0123456789\r\n0\r\nT: x\r\n\r\n"
    );
    let texts = [
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        format!("{HEAD}Content-Length: 5\r\nExpect: 100-continue\r\n\r\nabcde"),
        format!("{HEAD}Content-Length: 0\r\n\r\n"),
        chunked,
        "GET http://a/ HTTP/1.1\r\nhOST: a\r\n\r\n".to_owned(),
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
    ];
    let last = "GET /ip HTTP/1.0\r\n\r\n";
    let all = texts.concat() + last;
    for size in [1, 2, 3, 7, 64, all.len()] {
        let mut socket = server.connect().await;
        socket.set_nodelay(true).unwrap();
        let (mut reader, mut writer) = socket.split();
        let say = async {
            for piece in all.as_bytes().chunks(size) {
                writer.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let mut reply = String::new();
        let hear = timeout(Duration::from_secs(8), reader.read_to_string(&mut reply));
        let ((), heard) = tokio::join!(say, hear);
        heard.expect("it closes").unwrap();
        assert_eq!(reply.matches(" 200 OK").count(), 7, "{size}: {reply}");
        assert!(reply.contains("abc0123456789"), "{size}: {reply}");
        assert!(reply.ends_with("127.0.0.1"), "{size}: {reply}");
    }
}

#[tokio::test]
async fn malformed_chunks_are_refused() {
    let server = Server::patient().await;
    for body in [
        "g\r\n",
        "\r\n",
        ";\r\n",
        "5\nabcde\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n",
        "0x3\r\nabc\r\n",
        " 3\r\nabc\r\n",
        "-1\r\n",
        "ffffffffffffffff1\r\n",
        "0\r\nx: y\n\r\n",
        "0\r\n\n",
    ] {
        let request = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{body}");
        let reply = server.say(request.as_bytes()).await;
        assert_refused(&reply, 400, body);
    }
}

/// The verdict on a stream does not depend on how it is cut.
#[test]
fn the_cut_does_not_change_the_verdict() {
    for (shape, _) in shapes() {
        let bytes = shape.as_bytes();
        let whole = Framing::new().scan(bytes).violation;
        assert!(whole.is_some(), "{shape:.100}");
        let mut framing = Framing::new();
        let (mut start, mut found) = (0, None);
        for end in 1..=bytes.len() {
            let scan = framing.scan(&bytes[start..end]);
            start += scan.passed;
            found = scan.violation;
            if found.is_some() {
                break;
            }
        }
        assert_eq!(found, whole, "{shape:.100}");
    }
    for number in 1..=9 {
        assert_eq!(Violation::of(number).map(|found| found as u8), Some(number));
    }
    assert_eq!(Violation::of(0), None);
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let mut framing = Framing::new();
        let scan = framing.scan(&bytes);
        proptest::prop_assert!(scan.passed <= bytes.len());
    }

    #[test]
    fn arbitrary_chunks_never_panic(bytes in "[0-9a-f;\r\n]{0,60}") {
        let head = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{bytes}");
        let _ = Framing::new().scan(head.as_bytes());
    }
}
