//! A client that does exactly what it is told.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request in the making.
pub struct Call {
    address: SocketAddr,
    request: Request<Full<Bytes>>,
}

/// A whole reply.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    pub fn new(address: SocketAddr, method: &str, path: &str) -> Self {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "gateway.test");
        Self {
            address,
            request: request.body(Full::default()).unwrap(),
        }
    }

    pub fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        let value = http::HeaderValue::from_bytes(value.as_ref()).unwrap();
        self.request.headers_mut().append(name, value);
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("authorization", format!("Bearer {key}"))
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = Full::new(body.into());
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    /// The reply with its body still to come.
    pub async fn open(self) -> http::Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connected = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = connected.unwrap();
        tokio::spawn(connection);
        sender.send_request(self.request).await.unwrap()
    }

    pub async fn send(self) -> Reply {
        let (parts, body) = self.open().await.into_parts();
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{:?}", self.body);
        self.json()
    }

    /// The body of a refusal, after checking its shape.
    #[track_caller]
    pub fn refusal(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{:?}", self.body);
        let body = self.json();
        assert_eq!(body["code"], status);
        assert_eq!(body["type"], kind, "{body}");
        assert_eq!(body["message"], body["msg"]);
        assert!(!body["message"].as_str().unwrap().is_empty());
        let is_retryable = matches!(status, 429 | 455 | 500 | 503);
        assert_eq!(body["retryable"], is_retryable, "{body}");
        let id = self.header("x-request-id").unwrap();
        assert_eq!(body["request_id"], id);
        let fields = body.as_object().unwrap().values();
        assert!(fields.into_iter().all(|field| !field.is_null()), "{body}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        body
    }

    /// The field a 422 names.
    #[track_caller]
    pub fn invalid(&self) -> String {
        let body = self.refusal(422, "validation_error");
        body["param"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends bytes as they are and reads until the server closes.
pub async fn raw(address: SocketAddr, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    String::from_utf8_lossy(&reply).into_owned()
}
