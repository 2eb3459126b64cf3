//! A receiver of callbacks on loopback that plays a script and notes what it got.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A POST as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub line: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether one of the signatures is of this secret, computed from the specification alone.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let key = STANDARD.decode(&secret["whsec_".len()..]).unwrap();
        let id = self.header("webhook-id");
        let timestamp = self.header("webhook-timestamp");
        let mut text = format!("{id}.{timestamp}.").into_bytes();
        text.extend_from_slice(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(hmac_sha256(&key, &text)));
        self.header("webhook-signature")
            .split(' ')
            .any(|signature| signature == expected)
    }
}

/// RFC 2104, for keys of at most one block.
fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    assert!(key.len() <= 64);
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        for (cell, key) in block.iter_mut().zip(key) {
            *cell ^= key;
        }
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text);
    let outer = Sha256::new().chain_update(pad(0x5c));
    outer.chain_update(inner.finalize()).finalize().to_vec()
}

/// What to do with a POST.
#[derive(Debug, Clone)]
pub enum Play {
    Say(String),
    Late(Duration, String),
    /// Endless.
    Flood,
    HangUp,
}

pub struct Receiver {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    busy: Arc<Mutex<(usize, usize)>>,
    _accepting: JoinSet<()>,
}

impl Receiver {
    /// Listens on an address of loopback; `script` says what to do with the nth POST, from 0.
    pub async fn on(host: &str, script: impl Fn(usize) -> Play + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let busy: Arc<Mutex<(usize, usize)>> = Arc::default();
        let (script, shared, count) = (Arc::new(script), Arc::clone(&seen), Arc::clone(&busy));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&shared));
                let busy = Arc::clone(&count);
                serving.spawn(async move { serve(stream, &*script, &seen, &busy).await });
            }
        });
        Self {
            address,
            seen,
            busy,
            _accepting: accepting,
        }
    }

    pub async fn new(script: impl Fn(usize) -> Play + Send + Sync + 'static) -> Self {
        Self::on("127.0.0.1", script).await
    }

    pub async fn saying(status: u16) -> Self {
        Self::new(move |_| Play::Say(reply(status, "", "ok"))).await
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?a=1", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Most POSTs at a time so far.
    pub fn busiest(&self) -> usize {
        self.busy.lock().unwrap().1
    }
}

pub fn reply(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

async fn serve(
    mut stream: TcpStream,
    script: &(impl Fn(usize) -> Play + Send + Sync),
    seen: &Mutex<Vec<Seen>>,
    busy: &Mutex<(usize, usize)>,
) {
    let Some(post) = read(&mut stream).await else {
        return;
    };
    let n = {
        let mut seen = seen.lock().unwrap();
        seen.push(post);
        seen.len() - 1
    };
    {
        let mut busy = busy.lock().unwrap();
        busy.0 += 1;
        busy.1 = busy.1.max(busy.0);
    }
    match script(n) {
        Play::Say(text) => drop(stream.write_all(text.as_bytes()).await),
        Play::Late(wait, text) => {
            tokio::time::sleep(wait).await;
            drop(stream.write_all(text.as_bytes()).await);
        }
        Play::Flood => {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
            drop(stream.write_all(head.as_bytes()).await);
            while stream.write_all(&[b'x'; 8_192]).await.is_ok() {}
        }
        Play::HangUp => {}
    }
    busy.lock().unwrap().0 -= 1;
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut raw = Vec::new();
    while !raw.ends_with(b"\r\n\r\n") {
        raw.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(raw).ok()?;
    let mut lines = head.lines();
    let line = lines.next()?.to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let length = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen {
        line,
        headers,
        body,
    })
}
