//! The public HTTP API.
//!
//! Invariant: it knows the store and the rules, never the worker or the network. What it needs of
//! those is a function in [`Api`].

mod admin;
mod admission;
mod alerts;
mod allowance;
mod billing;
mod body;
mod callbacks;
mod caller;
pub mod counters;
pub mod desk;
mod document;
mod error;
pub mod files;
mod front;
mod inline;
mod keys;
mod list;
mod models;
mod prefer;
mod pricing;
mod probe;
mod query;
mod receipts;
mod refusals;
mod shape;
mod stream;
mod submit;
mod switchboard;
mod tag;
mod task;
mod topup;
mod transactions;
mod wait;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::routing::{MethodRouter, any, delete, get, post, put};
use domain::catalogue::{Catalogue, Provider};
use domain::ids::AccountId;
use domain::order::Order;
use futures_util::future::BoxFuture;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::store::Store;
use crate::traffic::Traffic;
use counters::{Counters, Endpoint};
use desk::Desk;
pub use document::openapi;
pub use error::{ApiError, ErrorBody, Kind};
use files::Shelf;
use front::FrontLayer;
pub use switchboard::Switchboard;

/// Everything the API needs.
pub struct Api {
    /// The store.
    pub store: Store,
    /// Models and providers.
    pub catalogue: Arc<Catalogue>,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// What the operator chose.
    pub settings: ApiSettings,
    /// Whether a provider can be routed to: the settings do not forbid it and its secret is there.
    pub is_usable: Arc<dyn Fn(&Provider) -> bool + Send + Sync>,
    /// Whether a provider's secret is there, or it wants none.
    pub has_secret: Arc<dyn Fn(&Provider) -> bool + Send + Sync>,
    /// How the providers fare.
    pub traffic: Traffic,
    /// Whether a callback URL may be called; if not, why, safe to show.
    pub may_call: Arc<MayCall>,
    /// Sends a test callback.
    pub send_test: Arc<dyn Fn(TestCallback) -> BoxFuture<'static, TestResult> + Send + Sync>,
    /// Where files of clients go.
    pub shelf: Shelf,
    /// Payments and mails, as far as they are set up.
    pub desk: Desk,
    /// The text of the metrics page.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What is done where no provider does it.
    pub does_itself: Arc<DoesItself>,
    /// Set when the process is about to end: whoever waits is answered early.
    pub is_draining: Arc<AtomicBool>,
    /// What the operator switched off.
    pub switchboard: Switchboard,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// Whether the gateway itself does what a parameter of an order asks for; the text that says why not
/// is safe to show.
pub type DoesItself = dyn Fn(&str, &Order) -> Result<(), String> + Send + Sync;

/// Judges a URL; the text of a refusal is safe to show.
pub type MayCall = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// What the operator chose.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// Where clients reach the gateway, without a slash at the end.
    pub public_url: String,
}

/// A wish to see a callback arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCallback {
    /// Whose secret signs it.
    pub account: AccountId,
    /// Where it goes; judged already.
    pub url: String,
}

/// What came of a test callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    /// Status of the reply, if there was one.
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// The start of the reply, or why there is none; safe to show.
    pub note: String,
}

impl Api {
    fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}

/// The whole API as a router, with results and providers' webhooks beside it: others' routes behind the
/// same front.
pub fn router(api: Arc<Api>, results: Router, hooks: Router) -> Router {
    let front = FrontLayer::new(&api.entropy, Arc::clone(&api.counters));
    let clients = money(account(catalogue(tasks(Routes::behind(&front)))));
    documents(probes(admin::routes(clients)))
        .router
        .with_state(api)
        .merge(results.route_layer(front.at(Endpoint::Results)))
        .merge(hooks.route_layer(front.at(Endpoint::Hooks)))
        .fallback_service(any(unknown).layer::<_, std::convert::Infallible>(front))
}

/// What a node answers that takes no clients: machines that ask how it does, and nobody else.
pub fn router_of_probes(api: Arc<Api>) -> Router {
    let front = FrontLayer::new(&api.entropy, Arc::clone(&api.counters));
    probes(Routes::behind(&front))
        .router
        .with_state(api)
        .fallback_service(any(unknown).layer::<_, std::convert::Infallible>(front))
}

fn tasks(routes: Routes) -> Routes {
    let one = "/api/v1/run/tasks/{task_id}";
    let below = |name: &str| format!("{one}/{name}");
    let model = "/api/v1/run/{model_id}";
    routes
        .at(model, Endpoint::Submit, post(submit::submit))
        .at(
            &format!("{model}/estimate"),
            Endpoint::Estimate,
            post(submit::estimate),
        )
        .at("/api/v1/files", Endpoint::Files, post(files::upload))
        .at("/api/v1/run/tasks", Endpoint::Tasks, get(list::list))
        .at(one, Endpoint::Task, get(task::read))
        .at(&below("events"), Endpoint::Stream, get(stream::follow))
        .at(&below("attempts"), Endpoint::Attempts, get(task::attempts))
        .at(&below("cancel"), Endpoint::Cancel, post(task::cancel))
}

fn catalogue(routes: Routes) -> Routes {
    let one = "/api/v1/models/{model_id}";
    routes
        .at("/api/v1/models", Endpoint::Models, get(models::list))
        .at(one, Endpoint::Models, get(models::read))
        .at(
            &format!("{one}/schema"),
            Endpoint::Models,
            get(models::schema),
        )
        .at("/api/v1/pricing", Endpoint::Models, get(models::prices))
}

fn account(routes: Routes) -> Routes {
    let callbacks = "/api/v1/callbacks";
    let below = |name: &str| format!("{callbacks}/{name}");
    let keys = "/api/v1/api-keys";
    routes
        .at(callbacks, Endpoint::Callbacks, get(callbacks::list))
        .at(&below("{id}"), Endpoint::Callbacks, get(callbacks::read))
        .at(
            &below("{id}/replay"),
            Endpoint::Callbacks,
            post(callbacks::replay),
        )
        .at(
            &below("secret"),
            Endpoint::Callbacks,
            get(callbacks::secret),
        )
        .at(
            &below("secret/rotate"),
            Endpoint::Callbacks,
            post(callbacks::rotate),
        )
        .at(&below("test"), Endpoint::Callbacks, post(callbacks::test))
        .at(keys, Endpoint::Keys, get(keys::list).post(keys::create))
        .at(
            &format!("{keys}/{{id}}"),
            Endpoint::Keys,
            put(keys::update).delete(keys::delete),
        )
}

fn money(routes: Routes) -> Routes {
    let below = |name: &str| format!("/api/v1/billing/{name}");
    routes
        .at(&below("balance"), Endpoint::Billing, get(billing::balance))
        .at(
            &below("transactions"),
            Endpoint::Billing,
            get(transactions::list),
        )
        .at(
            &below("alerts"),
            Endpoint::Billing,
            get(alerts::list).post(alerts::create),
        )
        .at(
            &below("alerts/{id}"),
            Endpoint::Billing,
            delete(alerts::delete),
        )
        .at(&below("topup"), Endpoint::Billing, post(topup::open))
        .at(
            &below("stripe/webhook"),
            Endpoint::Receipts,
            post(receipts::receive),
        )
        .at("/billing/paid", Endpoint::Billing, get(topup::paid))
        .at(
            "/billing/cancelled",
            Endpoint::Billing,
            get(topup::cancelled),
        )
}

fn probes(routes: Routes) -> Routes {
    routes
        .at("/healthz", Endpoint::Probe, get(probe::alive))
        .at("/readyz", Endpoint::Probe, get(probe::ready))
        .at("/metrics", Endpoint::Probe, get(probe::figures))
}

fn documents(routes: Routes) -> Routes {
    routes
        .at("/openapi.json", Endpoint::Docs, get(document::json))
        .at("/docs", Endpoint::Docs, get(document::page))
}

/// A router whose every endpoint has its front.
struct Routes {
    router: Router<Arc<Api>>,
    front: FrontLayer,
}

impl Routes {
    fn behind(front: &FrontLayer) -> Self {
        Self {
            router: Router::new(),
            front: front.clone(),
        }
    }

    fn at(mut self, path: &str, endpoint: Endpoint, methods: MethodRouter<Arc<Api>>) -> Self {
        let methods = methods.layer(self.front.at(endpoint));
        self.router = self.router.route(path, methods);
        self
    }
}

async fn unknown() -> ApiError {
    ApiError::not_found("endpoint")
}

/// The one variable of a path. What cannot be read names nothing.
struct Id(String);

impl Id {
    /// The id, where it is a word: whatever the database, it may go into a statement.
    fn word(self, what: &str) -> Result<String, ApiError> {
        word(self.0, what)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id))
            .map_err(|_| ApiError::not_found("thing"))
    }
}

/// Longest id that is a word, in bytes.
const WORD_BYTES_MAX: usize = 80;

/// ASCII letters, digits and underscores; anything else is the id of nothing.
fn word(id: String, what: &str) -> Result<String, ApiError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if id.len() <= WORD_BYTES_MAX && id.bytes().all(is_plain) {
        return Ok(id);
    }
    Err(ApiError::not_found(what))
}

/// A JSON reply from a text that is JSON already.
fn json_text(text: String) -> axum::response::Response {
    use axum::http::{HeaderValue, header::CONTENT_TYPE};
    let mut response = axum::response::Response::new(axum::body::Body::from(text));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
