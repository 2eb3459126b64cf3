//! What is said to an upstream and what it answers, as plain data.
//!
//! Invariant: no secret. [`Auth`] says where one goes; the engine puts it there, and only on requests
//! to the provider's own host.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::price::Usage;
use crate::task::StoredFile;

/// A verb of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Reads.
    Get,
    /// Creates, or asks with a body.
    Post,
    /// Replaces.
    Put,
    /// Removes.
    Delete,
}

impl Method {
    /// The verb as it is on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// Where the provider's secret goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Nowhere.
    None,
    /// `Authorization: Bearer <secret>`.
    Bearer,
    /// `Authorization: <scheme> <secret>`.
    Scheme(Cow<'static, str>),
    /// A header of its own.
    Header(Cow<'static, str>),
    /// `Authorization: Basic`; the secret is `user:password`.
    Basic,
    /// `Authorization: Bearer` with a short-lived token (JWT, HS256) signed for the one request; the
    /// secret is `access key:secret key`, the access key its issuer.
    Jwt,
}

/// What a request carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// JSON.
    Json(Value),
    /// A form of parts (`multipart/form-data`).
    Form(Vec<Part>),
}

/// One part of a form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Name of the field.
    pub name: String,
    /// What it holds.
    pub content: Content,
}

/// What a part of a form holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A text.
    Text(String),
    /// A file, given as a `data:` URL; its type and bytes are sent.
    File {
        /// Name of the file.
        name: String,
        /// The `data:` URL.
        data: String,
    },
}

impl Part {
    /// A text.
    #[must_use]
    pub fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            content: Content::Text(text.into()),
        }
    }

    /// A file of a `data:` URL.
    #[must_use]
    pub fn file(name: impl Into<String>, file: impl Into<String>, data: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            content: Content::File {
                name: file.into(),
                data: data.into(),
            },
        }
    }
}

/// A request to a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The verb.
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// Headers besides those that follow from body and auth; lower-case names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// What it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// Where the secret goes.
    pub auth: Auth,
}

impl Request {
    /// A GET with the provider's secret as bearer token.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: Method::Get,
            url: url.into(),
            headers: Vec::new(),
            body: None,
            auth: Auth::Bearer,
        }
    }

    /// A POST of JSON with the provider's secret as bearer token.
    #[must_use]
    pub fn post(url: impl Into<String>, body: Value) -> Self {
        Self {
            method: Method::Post,
            body: Some(Body::Json(body)),
            ..Self::get(url)
        }
    }

    /// A POST of a form with the provider's secret as bearer token.
    #[must_use]
    pub fn form(url: impl Into<String>, parts: Vec<Part>) -> Self {
        Self {
            method: Method::Post,
            body: Some(Body::Form(parts)),
            ..Self::get(url)
        }
    }

    /// The same with the secret elsewhere.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// The same with a header more; the name in lower case.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The JSON it carries, if any.
    #[must_use]
    pub fn json(&self) -> Option<&Value> {
        match &self.body {
            Some(Body::Json(value)) => Some(value),
            _ => None,
        }
    }
}

/// A provider's whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers; lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body, within the engine's limit.
    pub body: Vec<u8>,
}

impl Reply {
    /// A header's first value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Where a dialect is in its conversation: small JSON that it alone understands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub Value);

/// Whether a call may make the provider start paid work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It may; intent is recorded before it, and it is never repeated on a guess.
    Creates,
    /// It only reads or uploads; may be repeated freely.
    Reads,
}

/// A request, what it is for, and where the conversation stands with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// What to send.
    pub request: Request,
    /// What the dialect wants to know again when the reply is there.
    #[serde(default)]
    pub at: Cursor,
    /// Whether it may be repeated.
    pub kind: Kind,
}

impl Call {
    /// The call that begins a conversation, and may make the provider start paid work.
    #[must_use]
    pub fn creates(request: Request) -> Self {
        Self {
            request,
            at: Cursor::default(),
            kind: Kind::Creates,
        }
    }
}

/// What follows a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Another call at once.
    Call(Call),
    /// Another call after a while.
    Wait(Wait),
    /// The work is finished.
    Done(Output),
}

/// A pause in the conversation; the upstream is at work.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    /// How long, in milliseconds.
    pub ms: u64,
    /// The call after it.
    pub then: Call,
    /// The upstream's id of the work, where the reply names it.
    pub upstream_id: Option<String>,
    /// How far the work is, 0 to 1, where the upstream tells.
    pub progress: Option<f64>,
}

/// Where the bytes of a result are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Behind a link that wants no secret.
    Link(String),
    /// In the reply of a request to the provider.
    Fetch(Request),
    /// Here, in base64.
    Inline(String),
    /// Stored already.
    Kept(StoredFile),
}

/// An answer in text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Why it ends: `stop`, `length`, …
    pub finish_reason: String,
    /// What it consumed.
    pub usage: Usage,
}

/// What an upstream made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Output {
    /// The files, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// The answer, for chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// What a provider's complaint, or a failed call, means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultClass {
    /// The request is wrong and stays wrong; nothing was created.
    InvalidInput,
    /// The content rules forbid it.
    Moderated,
    /// Too much at once; nothing was created.
    Throttled,
    /// Our credential is not accepted or has no funds; nothing was created.
    Credential,
    /// The provider says that it cannot now, and that nothing was created.
    Unavailable,
    /// The provider does not know what we ask about.
    NotFound,
    /// The accepted work failed.
    Failed,
    /// No definite meaning: a lost reply, a server error, a reply that makes no sense.
    Ambiguous,
}

/// Something went wrong at an upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class:?}: {detail}")]
pub struct Fault {
    /// What it means.
    pub class: FaultClass,
    /// For the end user; safe to show.
    pub public: String,
    /// For the operator's log.
    pub detail: String,
    /// How long to leave the provider alone, in milliseconds, where it says so.
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    /// A fault whose public text is also its detail.
    #[must_use]
    pub fn new(class: FaultClass, public: impl Into<String>) -> Self {
        let public = public.into();
        Self {
            class,
            detail: public.clone(),
            public,
            retry_after_ms: None,
        }
    }

    /// The same with a detail for the operator.
    #[must_use]
    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}
