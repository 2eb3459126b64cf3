//! The network between the gateway and the providers: names, connections, bytes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use gateway::net::{Dialed, Wire};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{sleep, timeout};

use super::reply::{Asked, Said};
use super::{Upstream, ms};

/// How long a provider keeps a connection on which nothing was said.
const SILENCE_MS: u64 = 300_000;

/// How long at most it keeps one for the next request.
const KEEP_MS: u64 = 60_000;

/// How long a provider waits for the rest of a request. Like every server it gives up on one that stalls;
/// a request that could arrive piece by piece for ever would outlive any quiet time.
const REQUEST_MS: u64 = 10_000;

impl Wire for Upstream {
    fn resolve<'a>(
        &'a self,
        name: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let digits: String = name.chars().filter(char::is_ascii_digit).collect();
            let provider: u8 = digits.parse().map_err(io::Error::other)?;
            // Providers may live in a private network; files come from a public one.
            let first = if name.starts_with("cdn") { 93 } else { 10 };
            let address = IpAddr::V4(Ipv4Addr::new(first, 1, 1, provider));
            Ok(vec![SocketAddr::new(address, port)])
        })
    }

    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Dialed>> {
        Box::pin(async move {
            let IpAddr::V4(v4) = address.ip() else {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            };
            let provider = usize::from(v4.octets()[3]);
            let plan = self.plans.get(provider).ok_or(io::ErrorKind::NotFound)?;
            sleep(ms(self.dice.between(0, 30))).await;
            if self.mishap(plan.unreachable) {
                self.count("no connection");
                if self.dice.chance(50) {
                    std::future::pending::<()>().await;
                }
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            self.dialer.store(self.moving.number(), Ordering::Relaxed);
            self.connection.notify_waiters();
            let (near, far) = tokio::io::duplex(plan.buffer_bytes);
            let upstream = self.clone();
            gateway::spawn::detached("provider", async move {
                let _ = upstream.serve(provider, far).await;
            });
            Ok(Dialed {
                stream: Box::new(near),
                peer: address,
            })
        })
    }
}

impl Upstream {
    /// Requests on one connection, for as long as nothing breaks and the provider likes to keep it.
    async fn serve(&self, provider: usize, mut stream: DuplexStream) -> io::Result<()> {
        let mut silence_ms = SILENCE_MS;
        loop {
            let breaks = self.mishap(self.plans[provider].stumbles / 4);
            let longest = match breaks {
                true => self.dice.below(400) as usize,
                false => usize::MAX,
            };
            let mut raw = Vec::new();
            let first = more(&mut stream, &mut raw, longest);
            let Ok(first) = timeout(ms(silence_ms), first).await else {
                return Ok(());
            };
            first?;
            let rest = request(&mut stream, raw, longest);
            let Ok(asked) = timeout(ms(REQUEST_MS), rest).await else {
                return Ok(());
            };
            let said = self.answer(provider, asked?).await;
            let is_whole = said.breaks_at.is_none() && !said.hangs;
            self.say(&mut stream, said).await?;
            if !is_whole || self.dice.chance(30) {
                return Ok(());
            }
            self.count("connection kept");
            silence_ms = self.dice.between(0, KEEP_MS);
        }
    }

    async fn say(&self, stream: &mut DuplexStream, said: Said) -> io::Result<()> {
        let end = said.breaks_at.unwrap_or(said.bytes.len());
        for piece in said.bytes[..end].chunks(700) {
            stream.write_all(piece).await?;
            tokio::task::yield_now().await;
        }
        if said.hangs {
            sleep(ms(300_000)).await;
        }
        Ok(())
    }
}

/// Reads the rest of a request, but no more than so many bytes of it.
async fn request(stream: &mut DuplexStream, mut raw: Vec<u8>, longest: usize) -> io::Result<Asked> {
    let (head_bytes, body_bytes) = loop {
        if let Some(at) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&raw[..at]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.and_then(|length| length.parse::<usize>().ok());
            break (at + 4, length.unwrap_or(0));
        }
        more(stream, &mut raw, longest).await?;
    };
    while raw.len() < head_bytes + body_bytes {
        more(stream, &mut raw, longest).await?;
    }
    let head = String::from_utf8_lossy(&raw[..head_bytes]).into_owned();
    let mut words = head.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    Ok(Asked {
        method: word(),
        path: word(),
        body: serde_json::from_slice(&raw[head_bytes..]).unwrap_or(Value::Null),
    })
}

async fn more(stream: &mut DuplexStream, raw: &mut Vec<u8>, longest: usize) -> io::Result<()> {
    let mut piece = [0; 512];
    let read = stream.read(&mut piece).await?;
    raw.extend_from_slice(&piece[..read]);
    if read == 0 || raw.len() > longest {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(())
}
