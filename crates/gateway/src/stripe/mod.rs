//! Stripe, called: opens a page on which somebody pays.
//!
//! Invariant: opening a page charges nobody. Nothing is retried here: whoever asked may ask again,
//! with the same key if it wants the same page. What Stripe answers is never shown to a client.

use std::fmt;

use bytes::Bytes;
use domain::ids::AccountId;
use domain::stripe::message::ACCOUNT_KEY;
use domain::upstream::Reply;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use crate::net::{CallError, Limits, Net, Outgoing};

/// Time for name, connection and handshakes, in milliseconds.
const CONNECT_MS: u64 = 5_000;

/// Time from the first byte of the request to the last of the reply, in milliseconds.
const CALL_MS: u64 = 15_000;

/// Longest id of a session that is believed, in bytes.
const ID_BYTES_MAX: usize = 255;

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What the operator chose.
#[derive(Clone)]
pub struct StripeSettings {
    /// `https://api.stripe.com`, without a slash at the end.
    pub base_url: String,
    /// `sk_…`
    pub secret_key: String,
    /// Where a customer who paid is sent.
    pub success_url: String,
    /// Where one who turned back is sent.
    pub cancel_url: String,
    /// Timeout of the call, in milliseconds.
    pub call_timeout_ms: u64,
}

impl StripeSettings {
    /// The settings with the usual patience.
    #[must_use]
    pub fn new(
        base_url: String,
        secret_key: String,
        success_url: String,
        cancel_url: String,
    ) -> Self {
        Self {
            base_url,
            secret_key,
            success_url,
            cancel_url,
            call_timeout_ms: CALL_MS,
        }
    }
}

/// Opens payment pages.
pub struct Stripe {
    net: Net,
    settings: StripeSettings,
}

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe")
            .field("base_url", &self.settings.base_url)
            .finish_non_exhaustive()
    }
}

/// A wish for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Whose credits.
    pub account: AccountId,
    /// What is to be paid, in US cents.
    pub cents: i64,
    /// The same key gives the same page for at least a day.
    pub key: String,
}

/// A page on which somebody can pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// `cs_…`
    pub id: String,
    /// Where it is.
    pub url: String,
}

/// Why there is no page; nobody was charged. The texts are for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StripeError {
    /// The key was used for another order.
    #[error("the idempotency key was used for another order")]
    Reused,
    /// The same order is being answered.
    #[error("the same order is being answered")]
    Twin,
    /// Stripe cannot be reached, does not answer, or does not want to.
    #[error("{0}")]
    Away(String),
}

impl From<CallError> for StripeError {
    fn from(error: CallError) -> Self {
        let detail = match &error {
            CallError::Connect(error) => error.detail().to_owned(),
            error => error.to_string(),
        };
        Self::Away(format!("Stripe cannot be asked: {detail}"))
    }
}

impl Stripe {
    /// A caller of Stripe.
    #[must_use]
    pub fn new(net: Net, settings: StripeSettings) -> Self {
        Self { net, settings }
    }

    /// Opens a page.
    ///
    /// # Errors
    /// [`StripeError`]; there may be a page all the same, whose address nobody knows.
    pub async fn open(&self, order: &Order) -> Result<Page, StripeError> {
        let reply = self.call(order).await?;
        match reply.status {
            200 => page(&reply).ok_or_else(|| {
                StripeError::Away("Stripe answered 200 without a session".to_owned())
            }),
            _ => Err(refusal(&reply)),
        }
    }

    async fn call(&self, order: &Order) -> Result<Reply, StripeError> {
        let malformed = |what: &str| StripeError::Away(format!("{what} is malformed"));
        let url = format!("{}/v1/checkout/sessions", self.settings.base_url);
        let url = Url::parse(&url).map_err(|_| malformed("stripe.base_url"))?;
        let key = HeaderValue::try_from(&order.key).map_err(|_| malformed("the order's key"))?;
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY.clone(), key);
        headers.insert(CONTENT_TYPE, form);
        let body = Bytes::from(self.form(order));
        let outgoing = Outgoing::operator(url, &self.settings.secret_key, headers, body);
        let outgoing = outgoing.map_err(CallError::from)?;
        let connection = self
            .net
            .connect(outgoing.url(), outgoing.trust(), CONNECT_MS)
            .await
            .map_err(CallError::from)?;
        let limits = Limits::json(self.settings.call_timeout_ms);
        let reply = connection.send(&outgoing, limits).await;
        Ok(reply.map_err(CallError::from)?)
    }

    /// Dollars whatever the customer's country: what is paid is what is credited.
    fn form(&self, order: &Order) -> String {
        let account = order.account.as_str();
        let cents = order.cents.to_string();
        let session_account = format!("metadata[{ACCOUNT_KEY}]");
        let payment_account = format!("payment_intent_data[metadata][{ACCOUNT_KEY}]");
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("mode", "payment"),
                ("success_url", &self.settings.success_url),
                ("cancel_url", &self.settings.cancel_url),
                ("client_reference_id", account),
                (&session_account, account),
                (&payment_account, account),
                ("adaptive_pricing[enabled]", "false"),
                ("line_items[0][quantity]", "1"),
                ("line_items[0][price_data][currency]", "usd"),
                ("line_items[0][price_data][unit_amount]", &cents),
                ("line_items[0][price_data][product_data][name]", "Credits"),
            ])
            .finish()
    }
}

fn page(reply: &Reply) -> Option<Page> {
    #[derive(Deserialize)]
    struct Session {
        id: String,
        url: String,
    }
    let Session { id, url } = serde_json::from_slice(&reply.body).ok()?;
    let is_id = id.starts_with("cs_")
        && id.len() <= ID_BYTES_MAX
        && id.bytes().all(|byte| byte.is_ascii_graphic());
    let is_link = Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    (is_id && is_link).then_some(Page { id, url })
}

/// Stripe's message may quote what was sent, so only its words for programs go to the log.
fn refusal(reply: &Reply) -> StripeError {
    #[derive(Deserialize, Default)]
    struct Body {
        error: Cause,
    }
    #[derive(Deserialize, Default)]
    struct Cause {
        #[serde(rename = "type")]
        kind: Option<String>,
        code: Option<String>,
        param: Option<String>,
    }
    let body: Body = serde_json::from_slice(&reply.body).unwrap_or_default();
    let Cause { kind, code, param } = body.error;
    match (reply.status, kind.as_deref()) {
        (400, Some("idempotency_error")) => return StripeError::Reused,
        (409, _) => return StripeError::Twin,
        _ => {}
    }
    StripeError::Away(format!(
        "Stripe refused with {}: type {kind:?}, code {code:?}, param {param:?}, request {:?}",
        reply.status,
        reply.header("request-id")
    ))
}
