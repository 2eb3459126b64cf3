//! Talking to a running gateway.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use domain::upstream::{Auth, Body, Method, Reply, Request};
use gateway::net::{CallError, Download, Limits, Net, NetSettings, Outgoing, SendError, Trust};
use serde_json::Value;
use tokio::time::sleep;
use url::Url;

use crate::{Failure, REFUSED, USAGE};

/// Longest wait for an answer that is not waited for on purpose.
pub const CALL_MS: u64 = 30_000;

/// Longest download of one result.
const DOWNLOAD_MS: u64 = 3_600_000;

/// How often a call that may be repeated is made.
const TRIES: u32 = 4;

/// Longest pause before a call is repeated, in seconds.
const PAUSE_S_MAX: u64 = 30;

/// Which gateway, and as whom.
#[derive(Debug, Args)]
pub struct Connection {
    /// Where the gateway is
    #[arg(long, env = "ROUTERBASE_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The key, best given by the variable
    #[arg(
        long,
        env = "ROUTERBASE_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    api_key: Option<String>,
}

/// A gateway, and who asks.
pub struct Client {
    net: Net,
    base: Url,
    key: Option<String>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// It cannot be reached, or does not answer; why.
    Unreachable(String),
    /// The answer is an error.
    Refused {
        /// HTTP status.
        status: u16,
        /// What it says.
        message: String,
        /// When to ask again, in seconds.
        retry_after_s: Option<u64>,
    },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::Refused {
                status, message, ..
            } => write!(f, "{message} ({status})"),
        }
    }
}

impl From<ClientError> for anyhow::Error {
    fn from(error: ClientError) -> Self {
        Failure::new(REFUSED, error.to_string()).into()
    }
}

impl ClientError {
    /// How long to wait before the same call again, in seconds; `None` when that is no use.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Unreachable(_) => Some(1),
            Self::Refused {
                status: 409 | 429 | 500..=504,
                retry_after_s,
                ..
            } => Some(retry_after_s.unwrap_or(1).min(PAUSE_S_MAX)),
            Self::Refused { .. } => None,
        }
    }
}

impl Connection {
    /// Whether a key is given.
    pub fn has_key(&self) -> bool {
        self.api_key.as_ref().is_some_and(|key| !key.is_empty())
    }

    /// Opens no connection yet.
    pub fn client(&self) -> anyhow::Result<Client> {
        let malformed = || {
            let message = format!("{} is no http or https URL", self.url);
            Failure::new(USAGE, message)
        };
        let base = Url::parse(self.url.trim_end_matches('/')).map_err(|_| malformed())?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(malformed().into());
        }
        Ok(Client {
            net: Net::new(NetSettings::default(), None).context("TLS cannot be set up")?,
            base,
            key: self.api_key.clone().filter(|key| !key.is_empty()),
        })
    }
}

impl Client {
    /// Reads something.
    pub async fn get(&self, path: &str, timeout_ms: u64) -> Result<Value, ClientError> {
        let request = self.request(Method::Get, path);
        self.call(&request, timeout_ms).await
    }

    /// Posts something.
    pub async fn post(
        &self,
        path: &str,
        headers: &[(&str, String)],
        body: Value,
    ) -> Result<Value, ClientError> {
        let mut request = self.request(Method::Post, path);
        let headers = headers.iter();
        request.headers = headers
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        request.body = Some(Body::Json(body));
        self.call(&request, CALL_MS).await
    }

    /// Posts something that counts once however often it is posted; tries again where that may help.
    pub async fn post_once(
        &self,
        path: &str,
        headers: &[(&str, String)],
        body: &Value,
    ) -> Result<Value, ClientError> {
        let mut tried = 1;
        loop {
            let error = match self.post(path, headers, body.clone()).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            match error.retry_after_s().filter(|_| tried < TRIES) {
                Some(pause_s) => sleep(Duration::from_secs(pause_s)).await,
                None => return Err(error),
            }
            tried += 1;
        }
    }

    /// Streams a result.
    pub async fn download(&self, url: &str) -> Result<Download, ClientError> {
        let malformed = |_| ClientError::Unreachable(format!("{url} is malformed"));
        let url = Url::parse(url).map_err(malformed)?;
        let reply = self
            .net
            .download(&url, Trust::Operator, Limits::file(DOWNLOAD_MS));
        let reply = reply.await.map_err(|error| unreachable(&url, &error))?;
        if reply.status != 200 {
            return Err(ClientError::Refused {
                status: reply.status,
                message: format!("{url} is not there"),
                retry_after_s: None,
            });
        }
        Ok(reply)
    }

    fn request(&self, method: Method, path: &str) -> Request {
        let base = self.base.as_str().trim_end_matches('/');
        Request {
            method,
            url: format!("{base}{path}"),
            headers: Vec::new(),
            body: None,
            auth: Auth::Bearer,
        }
    }

    async fn call(&self, request: &Request, timeout_ms: u64) -> Result<Value, ClientError> {
        let outgoing = Outgoing::upstream(
            request,
            std::slice::from_ref(&self.base),
            self.key.as_deref().map(Into::into),
        );
        let outgoing = outgoing.map_err(|error| ClientError::Unreachable(error.to_string()))?;
        let reply = self.net.read(&outgoing, timeout_ms).await;
        let reply = reply.map_err(|error| unreachable(&self.base, &error))?;
        if (200..300).contains(&reply.status) {
            return Ok(reply.json());
        }
        Err(self.refused(&reply))
    }

    fn refused(&self, reply: &Reply) -> ClientError {
        let body = reply.json();
        let message = body["message"].as_str().unwrap_or("no reason is given");
        let message = message.trim_end_matches('.');
        let param = body["param"]
            .as_str()
            .filter(|param| !message.contains(*param));
        let param = param.map(|param| format!("{param}: ")).unwrap_or_default();
        let hint = match reply.status {
            401 if self.key.is_none() => "; set ROUTERBASE_API_KEY, see `routerbase key create`",
            _ => "",
        };
        ClientError::Refused {
            status: reply.status,
            message: format!("{param}{message}{hint}"),
            retry_after_s: reply
                .header("retry-after")
                .and_then(|text| text.parse().ok()),
        }
    }
}

fn unreachable(base: &Url, error: &CallError) -> ClientError {
    let why = match error {
        CallError::Connect(error) => error.detail().to_owned(),
        CallError::Send(SendError::NotSent(why) | SendError::Unanswered(why)) => why.clone(),
        CallError::Refused(error) => error.to_string(),
    };
    let place = base.origin().ascii_serialization();
    ClientError::Unreachable(format!("{place} does not answer: {why}"))
}
