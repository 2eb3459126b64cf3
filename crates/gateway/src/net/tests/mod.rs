//! The client against real sockets, and the guard against hostile URLs.

mod faults;
mod follow;
mod guard;
mod outgoing;
mod read;
mod seams;
mod tls;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use url::Url;

use super::{Dialed, Internet, Net, NetSettings, Secret, Wire};

/// A server on loopback that notes every request, whole, before its script takes over.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(script: impl Fn(&mut TcpStream, &str) + Send + Sync + 'static) -> Self {
        Self::raw(move |stream, seen| {
            let Ok(request) = read_request(stream) else {
                return;
            };
            seen.lock().unwrap().push(request.clone());
            script(stream, &request);
        })
    }

    /// One that always says the same.
    fn saying(reply: impl Into<String>) -> Self {
        let reply = reply.into();
        Self::new(move |stream, _| drop(stream.write_all(reply.as_bytes())))
    }

    /// One whose script gets the connection before anything was read.
    fn raw(script: impl Fn(&mut TcpStream, &Mutex<Vec<String>>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, shared) = (Arc::new(script), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, seen) = (stream.unwrap(), Arc::clone(&shared));
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(&mut stream, &seen));
            }
        });
        Self { address, seen }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn read_request(stream: &mut impl Read) -> io::Result<String> {
    let mut raw = Vec::new();
    let mut byte = [0];
    while !raw.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        raw.push(byte[0]);
    }
    let head = String::from_utf8(raw).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |value| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(head + &String::from_utf8(body).unwrap())
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
}

/// A client that may call loopback, as a developer's may.
/// A provider's secret, now.
fn secret(text: &str) -> Secret<'_> {
    Secret {
        text,
        now_ms: 1_790_000_000_000,
    }
}

fn net() -> Net {
    let allow = vec!["127.0.0.0/8".parse().unwrap()];
    let settings = NetSettings {
        allow,
        ..NetSettings::default()
    };
    Net::new(settings, None).unwrap()
}

/// A network with its own names. It dials `leads_to` whatever it is asked for, and says that it got
/// where it was asked to go.
#[derive(Default)]
struct Names {
    answers: Vec<SocketAddr>,
    leads_to: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    dialed: Mutex<Vec<SocketAddr>>,
    resolved: Mutex<Vec<String>>,
}

impl Wire for Names {
    fn resolve<'a>(
        &'a self,
        name: &'a str,
        _port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.resolved.lock().unwrap().push(name.to_owned());
        Box::pin(async { Ok(self.answers.clone()) })
    }

    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Dialed>> {
        self.dialed.lock().unwrap().push(address);
        Box::pin(async move {
            let to = self.leads_to.ok_or(io::ErrorKind::ConnectionRefused)?;
            let dialed = Internet.dial(to).await?;
            Ok(Dialed {
                peer: self.peer.unwrap_or(address),
                ..dialed
            })
        })
    }
}
