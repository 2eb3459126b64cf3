//! Webhooks of providers: `POST /hooks/{provider}/{task}/{attempt}/{token}`.
//!
//! Invariant: a delivery makes a task be looked at, and names work whose acceptance was lost. What work
//! costs and how it stands is only ever read at the provider. The URL is the attempt's own and
//! authenticates itself; a signature is demanded in addition where the operator has set that up.

mod keys;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use dialects::{Hook, dialect};
use domain::catalogue::{Catalogue, Provider};
use domain::ids::{AttemptId, TaskId};
use domain::signing::is_attempt_token;
use domain::task::Task;
use domain::webhook::Delivery;
use serde_json::Value;

pub use keys::Keys;
use keys::Verdict;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::webhooks::{Hooked, Told};
use crate::store::{Store, StoreError};

/// Largest delivery, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What webhooks are received with.
pub struct Hooks {
    /// The tasks.
    pub store: Store,
    /// The providers.
    pub catalogue: Arc<Catalogue>,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// The deployment's secret, which tokens of attempts are derived from.
    pub secret: String,
    /// What signatures are verified with.
    pub keys: Keys,
}

/// The one route.
pub fn router(hooks: Hooks) -> Router {
    Router::new()
        .route("/hooks/{provider}/{task}/{attempt}/{token}", post(receive))
        .with_state(Arc::new(hooks))
}

/// Where a delivery was sent to.
#[derive(Debug, Clone)]
struct Address {
    provider: String,
    task: TaskId,
    attempt: AttemptId,
}

/// What a delivery is answered.
#[derive(Debug, PartialEq)]
enum Heard {
    /// It was taken.
    Taken,
    /// It asks whether anybody is there, and this is to be sent back.
    Echo(Value),
    /// No such attempt.
    Unknown,
    /// It is not the provider's.
    Unsigned,
    /// It cannot be judged or recorded now; the provider comes again.
    Away,
}

impl IntoResponse for Heard {
    fn into_response(self) -> Response {
        match self {
            Self::Taken => StatusCode::OK.into_response(),
            Self::Echo(value) => axum::Json(value).into_response(),
            Self::Unknown => StatusCode::NOT_FOUND.into_response(),
            Self::Unsigned => StatusCode::UNAUTHORIZED.into_response(),
            Self::Away => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
}

async fn receive(
    State(hooks): State<Arc<Hooks>>,
    Path((provider, task, attempt, token)): Path<(String, String, String, String)>,
    request: Request,
) -> Response {
    let secret = hooks.secret.as_bytes();
    // Before anything is read: nobody but the provider knows the token.
    if !is_attempt_token(secret, &task, &attempt, &token) {
        hooks.metrics.webhook(&provider, "unknown");
        return Heard::Unknown.into_response();
    }
    let (parts, body) = request.into_parts();
    let Some(delivery) = read(&parts.headers, body).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let address = Address {
        provider,
        task: TaskId(task),
        attempt: AttemptId(attempt),
    };
    let heard = hooks.hear(&address, &delivery).await;
    let heard = heard.unwrap_or_else(|error| {
        tracing::warn!(task = %address.task, %error, "a webhook was not recorded");
        Heard::Away
    });
    heard.into_response()
}

async fn read(headers: &HeaderMap, body: Body) -> Option<Delivery> {
    let texts = headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    Some(Delivery {
        headers: texts.collect(),
        body: to_bytes(body, BODY_BYTES_MAX).await.ok()?.to_vec(),
    })
}

/// The protocol that an attempt at a provider speaks.
fn protocol<'a>(task: &'a Task, attempt: &AttemptId, provider: &str) -> Option<&'a str> {
    let open = task.phase.attempt().filter(|open| open.id == *attempt);
    let route = match open {
        Some(open) => task.routes.get(open.route),
        None => task.routes.iter().find(|route| route.provider == provider),
    };
    route.map(|route| route.dialect.as_str())
}

impl Hooks {
    /// Takes in a delivery whose token is right.
    async fn hear(&self, address: &Address, delivery: &Delivery) -> Result<Heard, StoreError> {
        let Address { task, attempt, .. } = address;
        let known = self.store.any_task_of_attempt(task, attempt).await?;
        let Some(provider) = self.catalogue.provider(&address.provider) else {
            return Ok(self.refused(address, "unknown", Heard::Unknown));
        };
        let name = match &known {
            None => Some(provider.dialect.as_str()),
            // Nobody chooses by whose signature he is judged.
            Some((_, of)) if *of != provider.id => None,
            Some((task, of)) => protocol(task, attempt, of),
        };
        let Some(hook) = name.and_then(dialect).and_then(|dialect| dialect.hook()) else {
            // Of a task that is lost, the protocol may be another than its provider's first.
            if known.is_none() {
                self.tell(address, Hooked::Missing, None);
                return Ok(Heard::Taken);
            }
            return Ok(self.refused(address, "unknown", Heard::Unknown));
        };
        let said = delivery.json();
        let work = hook.work(&said);
        match self.judge(provider, hook, delivery, work.as_deref()).await {
            Verdict::Taken => {}
            Verdict::Unsigned => return Ok(self.refused(address, "unsigned", Heard::Unsigned)),
            Verdict::Away => return Ok(Heard::Away),
        }
        if let Some(echo) = hook.echo(&said) {
            return Ok(Heard::Echo(echo));
        }
        let told = Told {
            task: task.clone(),
            attempt: attempt.clone(),
            work: work.clone(),
        };
        let hooked = self.store.any_told(told, self.clock.now_ms()).await?;
        self.tell(address, hooked, work.as_deref());
        Ok(Heard::Taken)
    }

    async fn judge(
        &self,
        provider: &Provider,
        hook: &Hook,
        delivery: &Delivery,
        work: Option<&str>,
    ) -> Verdict {
        let Some(scheme) = hook.scheme else {
            return Verdict::Taken;
        };
        let work = work.unwrap_or_default();
        self.keys.judge(provider, scheme, delivery, work).await
    }

    fn refused(&self, address: &Address, word: &str, heard: Heard) -> Heard {
        let Address { provider, task, .. } = address;
        tracing::info!(%task, provider, word, "a webhook was refused");
        self.metrics.webhook(provider, word);
        heard
    }

    /// Counts a delivery, and warns of work that nobody waits for: it may have been paid for.
    fn tell(&self, address: &Address, hooked: Hooked, work: Option<&str>) {
        let Address {
            provider,
            task,
            attempt,
        } = address;
        let word = match hooked {
            Hooked::Nudged => "nudge",
            Hooked::Received => "receipt",
            Hooked::Over => "over",
            Hooked::GivenUp | Hooked::Missing => {
                let work = work.unwrap_or("unnamed");
                tracing::warn!(%task, %attempt, provider, work, "a webhook is about work that no task waits for");
                self.metrics.orphan_work(provider);
                "orphan"
            }
        };
        self.metrics.webhook(provider, word);
    }
}
