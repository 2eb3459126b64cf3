//! One keep-alive connection of the load generator: as little work per reply as possible.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than any reply of a bench.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// A connection, with the last reply.
pub struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
    filled: usize,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; REPLY_BYTES_MAX].into_boxed_slice(),
            filled: 0,
        })
    }

    /// Sends a request and reads the whole reply; answers its status.
    ///
    /// # Errors
    /// The connection ends, or the reply is not what we read.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        self.filled = 0;
        let mut expected = None;
        loop {
            let read = self.stream.read(&mut self.buffer[self.filled..]).await?;
            if read == 0 {
                bail!("the connection ended inside a reply: {}", self.reply());
            }
            self.filled += read;
            if expected.is_none() {
                expected = length(&self.buffer[..self.filled])?;
            }
            if let Some((status, length)) = expected
                && self.filled >= length
            {
                return Ok(status);
            }
        }
    }

    /// The last reply, head and body.
    pub fn reply(&self) -> String {
        String::from_utf8_lossy(&self.buffer[..self.filled]).into_owned()
    }
}

/// Status and length of a reply with its head; `None` while the head is not complete.
fn length(reply: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let Some(end) = reply.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&reply[..end])?;
    let status = head.get(9..12).context("no status")?.parse()?;
    let body = field(head, "content-length").map_or(Ok(0), str::parse)?;
    if field(head, "transfer-encoding").is_some() {
        bail!("a chunked reply; the bench reads only replies of a known length");
    }
    let has_body = !matches!(status, 204 | 304);
    Ok(Some((status, end + 4 + if has_body { body } else { 0 })))
}

/// A field of a head.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head
        .split("\r\n")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_end_where_their_length_says() {
        let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(length(reply).unwrap(), Some((200, reply.len())));
        assert_eq!(length(&reply[..30]).unwrap(), None);
        let unchanged = b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n";
        assert_eq!(length(unchanged).unwrap(), Some((304, unchanged.len())));
        assert!(length(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        let head = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\n\r\nx: y";
        assert_eq!(field(head, "etag"), Some("\"a\""));
        assert_eq!(field(head, "x"), None);
    }
}
