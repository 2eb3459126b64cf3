//! A server that plays every provider, each below a path of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::script::{Script, picture};

/// The secret of every provider; a pair, as some want one.
pub const SECRET: &str = "access-canary:secret-canary-7781";

/// What a creating call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// As recorded.
    Recorded,
    /// A page of a status that has nothing to do with the protocol.
    Page(u16),
    /// The end of the connection.
    Reset,
    /// Nothing, for a long time.
    Silence,
}

/// How far one conversation is.
#[derive(Default)]
struct Place {
    /// Index of the call that is expected next.
    next: usize,
    created: usize,
}

pub struct Server {
    pub scripts: Arc<Vec<Script>>,
    heard: Arc<Heard>,
}

struct Heard {
    scripts: Arc<Vec<Script>>,
    answer: Answer,
    places: Mutex<BTreeMap<String, Place>>,
    /// What was not as it should be.
    wrong: Mutex<Vec<String>>,
    /// Everything that was said to the server.
    said: Mutex<String>,
}

impl Server {
    /// Opens one that plays what `scripts` gives for its address.
    pub async fn open(scripts: impl Fn(&str) -> Vec<Script>, answer: Answer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let scripts = Arc::new(scripts(&address));
        let heard = Arc::new(Heard {
            scripts: Arc::clone(&scripts),
            answer,
            places: Mutex::default(),
            wrong: Mutex::default(),
            said: Mutex::default(),
        });
        let app = Router::new()
            .fallback(played)
            .with_state(Arc::clone(&heard));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { scripts, heard }
    }

    /// How many creating calls of a conversation there were.
    pub fn created(&self, name: &str) -> usize {
        let places = self.heard.places.lock().unwrap();
        places.get(name).map_or(0, |place| place.created)
    }

    pub fn assert_all_was_expected(&self, never_said: &str) {
        let wrong = self.heard.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(!self.heard.said.lock().unwrap().contains(never_said));
    }
}

struct Call<'a> {
    method: Method,
    url: String,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

async fn played(
    State(heard): State<Arc<Heard>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let name = uri.path().split('/').nth(1).unwrap_or_default().to_owned();
    let script = heard.scripts.iter().find(|script| script.name == name);
    let script = script.unwrap_or_else(|| panic!("nobody plays {uri}"));
    let origin = script.base.trim_end_matches(&format!("/{name}"));
    let call = Call {
        method,
        url: format!("{origin}{uri}"),
        headers: &headers,
        body: &body,
    };
    let said = format!(
        "{} {:?} {}\n",
        call.url,
        headers,
        String::from_utf8_lossy(&body)
    );
    heard.said.lock().unwrap().push_str(&said);
    if let Some((n, with_secret)) = script.file(&call.url) {
        return file(&heard, script, &call, n, with_secret);
    }
    let (at, is_creating) = heard.step(script);
    if is_creating && heard.answer != Answer::Recorded {
        return unlike(heard.answer).await;
    }
    let exchange = &script.exchanges[at];
    if let Err(difference) = compared(&exchange.request, &call) {
        let mut wrong = heard.wrong.lock().unwrap();
        wrong.push(format!("{} call {}: {difference}", script.name, at + 1));
    }
    reply(&exchange.reply)
}

impl Heard {
    /// The call a conversation is at, and whether it is the creating one: the last of those made
    /// before anything was answered that can be asked about. What is asked again is answered again.
    fn step(&self, script: &Script) -> (usize, bool) {
        let mut places = self.places.lock().unwrap();
        let place = places.entry(script.name.clone()).or_default();
        let at = place.next.min(script.exchanges.len() - 1);
        place.next = at + 1;
        let is_creating = at == 0;
        place.created += usize::from(is_creating);
        (at, is_creating)
    }
}

async fn unlike(answer: Answer) -> Response {
    match answer {
        Answer::Page(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, "<html>nothing to see</html>").into_response()
        }
        // The connection ends with its task.
        Answer::Reset => panic!("the provider falls over"),
        _ => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            StatusCode::OK.into_response()
        }
    }
}

fn file(heard: &Heard, script: &Script, call: &Call<'_>, n: usize, with_secret: bool) -> Response {
    let secret = SECRET.split(':').next_back().unwrap();
    let headers = format!("{:?}", call.headers);
    let is_there = headers.contains("canary") || headers.contains("authorization");
    if is_there != with_secret || headers.contains(secret) != with_secret {
        let mut wrong = heard.wrong.lock().unwrap();
        wrong.push(format!(
            "{}: a file with the wrong headers {headers}",
            script.name
        ));
    }
    ([("content-type", "image/png")], picture(&script.name, n)).into_response()
}

/// A reply of a fixture; a body that is a text is sent as it is.
fn reply(value: &Value) -> Response {
    let status = u16::try_from(value["status"].as_u64().unwrap()).unwrap();
    let body = match &value["body"] {
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    let headers = value["headers"].as_object().into_iter().flatten();
    for (name, value) in headers {
        let name: axum::http::HeaderName = name.parse().unwrap();
        let value = value.as_str().unwrap().parse().unwrap();
        response.headers_mut().insert(name, value);
    }
    response
}

/// Whether a call is the one that was recorded.
fn compared(expected: &Value, call: &Call<'_>) -> Result<(), String> {
    let differs = |what: &str, found: &str| {
        let expected = expected.to_string();
        Err(format!("{what} {found} is not that of {expected}"))
    };
    if expected["method"] != call.method.as_str() {
        return differs("method", call.method.as_str());
    }
    if expected["url"] != call.url.as_str() {
        return differs("url", &call.url);
    }
    let header = |name: &str| {
        let value = call.headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_default()
    };
    for pair in expected["headers"].as_array().into_iter().flatten() {
        let (name, value) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        if header(name) != value {
            return differs(name, header(name));
        }
    }
    if !is_authorized(&expected["auth"], header) {
        return differs("authorization", &format!("{:?}", call.headers));
    }
    match (&expected["body"]["json"], &expected["body"]["form"]) {
        (Value::Null, Value::Null) if call.body.is_empty() => Ok(()),
        (Value::Null, Value::Array(parts)) => formed(parts, header("content-type"), call.body),
        (body, _) => {
            let found: Value = serde_json::from_slice(call.body).unwrap_or_default();
            match is_alike(body, &found) {
                true => Ok(()),
                false => differs("body", &found.to_string()),
            }
        }
    }
}

fn is_authorized<'h>(auth: &Value, header: impl Fn(&str) -> &'h str) -> bool {
    let bearer = header("authorization");
    match auth {
        Value::String(word) => match word.as_str() {
            "none" => bearer.is_empty(),
            "bearer" => bearer == format!("Bearer {SECRET}"),
            "basic" => bearer == format!("Basic {}", STANDARD.encode(SECRET)),
            "jwt" => bearer.starts_with("Bearer eyJ") && !bearer.contains("canary"),
            _ => false,
        },
        auth => match (auth["header"].as_str(), auth["scheme"].as_str()) {
            (Some(name), _) => header(name) == SECRET,
            (_, Some(scheme)) => bearer == format!("{scheme} {SECRET}"),
            _ => false,
        },
    }
}

/// Our own reference in the fixtures, and what ComfyUI's dialect makes of it: an id and a seed.
const OURS: [&str; 3] = [
    "\"token-1\"",
    "\"e572f608-d45b-4a34-b652-79d9f58f5b3e\"",
    "3562793524",
];

/// The same JSON, but for our own reference, which is another for each attempt.
fn is_alike(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(_) | Value::Number(_), _)
            if OURS.contains(&expected.to_string().as_str()) =>
        {
            found.is_string() == expected.is_string()
        }
        (Value::Object(expected), Value::Object(found)) => {
            expected.len() == found.len()
                && expected.iter().all(|(name, value)| {
                    let found = found.get(name).unwrap_or(&Value::Null);
                    is_alike(value, found)
                })
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && expected
                    .iter()
                    .zip(found)
                    .all(|(one, other)| is_alike(one, other))
        }
        // 1 and 1.0 are the same on the wire.
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (one, other) => one == other,
    }
}

/// Whether a form has the parts, in their order.
fn formed(parts: &[Value], content_type: &str, body: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(body);
    let boundary = content_type.split("boundary=").nth(1);
    let boundary = boundary.ok_or_else(|| format!("no form: {content_type}"))?;
    let found = text.matches(boundary.trim_matches('"')).count();
    if found != parts.len() + 1 {
        return Err(format!("{found} boundaries for {} parts", parts.len()));
    }
    for part in parts {
        let name = part["name"].as_str().unwrap();
        let value = part["content"]["text"].as_str().unwrap_or_default();
        if !text.contains(&format!("name=\"{name}\"")) || !text.contains(value) {
            return Err(format!("{} is missing in {text}", json!(part)));
        }
    }
    Ok(())
}
