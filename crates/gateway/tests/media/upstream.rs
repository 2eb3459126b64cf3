//! An upstream that says what a test tells it to, byte for byte.

use std::io::{Read, Write};
use std::net::TcpListener;

use gateway::media::Incoming;
use gateway::net::{Limits, Net, NetSettings, Trust};
use url::Url;

/// A file from the wire: these raw bytes are the reply, then the connection ends.
pub(crate) async fn incoming(reply: Vec<u8>) -> Incoming {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4_096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(&reply);
    });
    let net = Net::new(NetSettings::default(), None).unwrap();
    let limits = Limits {
        body_bytes_max: u64::MAX,
        ..Limits::file(20_000)
    };
    let url = Url::parse(&url).unwrap();
    let download = net.download(&url, Trust::Operator, limits).await;
    Incoming::Download(download.unwrap())
}

/// A reply that announces `length` bytes and brings `body`.
pub(crate) fn announced(length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A reply in chunks of 100,000 bytes; `end` is what follows them, `0\r\n\r\n` when all is well.
pub(crate) fn chunked(body: &[u8], end: &str) -> Vec<u8> {
    let mut reply = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(100_000) {
        reply.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        reply.extend_from_slice(chunk);
        reply.extend_from_slice(b"\r\n");
    }
    reply.extend_from_slice(end.as_bytes());
    reply
}
