//! A server that behaves as Stripe documents for `POST /v1/checkout/sessions`, or as badly as wanted.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use domain::stripe::EndpointSecret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const SECRET_KEY: &str = "sk_test_hush51";
pub const WEBHOOK_SECRET: &str = "whsec_hush_test";

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Any other refusal with this status.
    Refusing(u16),
    /// 200 with something else.
    Babbling(&'static str),
    /// Closes before it answers.
    Resetting,
    /// Breaks off in the reply.
    Truncating,
    Silent,
}

/// A request it got.
#[derive(Debug, Clone)]
pub struct Asked {
    pub head: String,
    pub form: BTreeMap<String, String>,
}

#[derive(Default)]
struct Memory {
    asked: Vec<Asked>,
    /// The first form and its reply, by idempotency key.
    replies: HashMap<String, (BTreeMap<String, String>, String)>,
}

#[derive(Clone)]
pub struct Stripe {
    pub address: SocketAddr,
    memory: Arc<Mutex<Memory>>,
    mood: Arc<Mutex<Mood>>,
}

impl Stripe {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stripe = Self {
            address: listener.local_addr().unwrap(),
            memory: Arc::default(),
            mood: Arc::new(Mutex::new(Mood::Well)),
        };
        let shared = stripe.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stripe = shared.clone();
                tokio::spawn(async move { stripe.answer(stream).await });
            }
        });
        stripe
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.memory.lock().unwrap().asked.clone()
    }

    async fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let asked = read(&mut stream).await?;
        let mood = *self.mood.lock().unwrap();
        let (status, body) = match mood {
            Mood::Well => self.reply(&asked),
            Mood::Refusing(status) => (status, error("api_error", "Try again later")),
            Mood::Babbling(body) => (200, body.to_owned()),
            Mood::Resetting => {
                stream.set_zero_linger().ok()?;
                return None;
            }
            Mood::Truncating => {
                let part = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"id\": \"cs_";
                stream.write_all(part).await.ok()?;
                return None;
            }
            Mood::Silent => {
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                return None;
            }
        };
        let reply = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nrequest-id: req_1\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(reply.as_bytes()).await.ok()
    }

    fn reply(&self, asked: &Asked) -> (u16, String) {
        let mut memory = self.memory.lock().unwrap();
        memory.asked.push(asked.clone());
        let header = |name: &str| {
            let lines = asked.head.lines().filter_map(|line| line.split_once(": "));
            let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| value.to_owned())
        };
        if header("authorization") != Some(format!("Bearer {SECRET_KEY}")) {
            let message = "Invalid API Key provided: sk_test_*****h51";
            return (401, error("invalid_request_error", message));
        }
        if !asked
            .head
            .starts_with("POST /v1/checkout/sessions HTTP/1.1")
        {
            return (
                404,
                error("invalid_request_error", "Unrecognized request URL"),
            );
        }
        let key = header("idempotency-key").unwrap();
        if let Some((form, reply)) = memory.replies.get(&key) {
            if *form == asked.form {
                return (200, reply.clone());
            }
            let message = "Keys for idempotent requests can only be used with the same parameters";
            return (400, error("idempotency_error", message));
        }
        for name in [
            "mode",
            "success_url",
            "line_items[0][price_data][unit_amount]",
        ] {
            if !asked.form.contains_key(name) {
                return (400, error("invalid_request_error", "Missing parameter"));
            }
        }
        let id = format!("cs_test_{}_{}", self.address.port(), memory.replies.len());
        let url = format!("https://checkout.stripe.com/c/pay/{id}");
        let session = json!({"id": id, "object": "checkout.session", "url": url}).to_string();
        let kept = (asked.form.clone(), session.clone());
        memory.replies.insert(key, kept);
        (200, session)
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut raw = Vec::new();
    while !raw.ends_with(b"\r\n\r\n") {
        raw.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(raw).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length?.parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    let form = url::form_urlencoded::parse(&body).into_owned().collect();
    Some(Asked { head, form })
}

fn error(kind: &str, message: &str) -> String {
    json!({"error": {"type": kind, "message": message}}).to_string()
}

/// A message about an object, as it is signed and sent.
pub fn message(kind: &str, object: Value) -> String {
    json!({"id": "evt_1", "object": "event", "type": kind, "data": {"object": object}}).to_string()
}

pub fn paid(session: &str, cents: i64) -> Value {
    json!({"id": session, "object": "checkout.session", "amount_total": cents, "currency": "usd",
        "payment_status": "paid", "payment_intent": format!("pi_{session}"),
        "metadata": {"routerbase_account": "acc_someone"}, "client_reference_id": "acc_someone"})
}

/// The header for a body that is signed at an instant.
pub fn signed(body: &str, at_s: i64) -> String {
    let secret = EndpointSecret::new(WEBHOOK_SECRET.to_owned());
    let signature = secret.sign(&at_s.to_string(), body.as_bytes());
    format!("t={at_s},v1={signature}")
}
