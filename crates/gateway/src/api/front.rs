//! What stands before every endpoint: the request id, refusals in their one shape, panics caught,
//! requests counted. One light layer; nothing is logged for a call that went well.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use futures_util::FutureExt;
use tower::{Layer, Service};

use super::counters::{Counters, Endpoint};
use super::error::ApiError;
use crate::entropy::Entropy;

/// Carries the request id, both ways.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id taken from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The id of a request, as an extension of it.
#[derive(Clone)]
pub(super) struct RequestId(pub(super) HeaderValue);

/// Makes request ids: random for the process, then counted, which costs no system call.
struct Ids {
    prefix: String,
    next: AtomicU64,
}

impl Ids {
    fn mint(&self) -> HeaderValue {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let text = format!("{}{count:08x}", self.prefix);
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
            .unwrap_or_else(|_| HeaderValue::from_static("req"))
    }
}

/// Makes a [`Front`] for each endpoint.
#[derive(Clone)]
pub(super) struct FrontLayer {
    ids: Arc<Ids>,
    counters: Arc<Counters>,
    endpoint: Endpoint,
}

impl FrontLayer {
    pub(super) fn new(entropy: &Entropy, counters: Arc<Counters>) -> Self {
        let prefix = format!("req_{}", hex::encode(entropy.bytes::<8>()));
        let next = AtomicU64::new(0);
        Self {
            ids: Arc::new(Ids { prefix, next }),
            counters,
            endpoint: Endpoint::Other,
        }
    }

    pub(super) fn at(&self, endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            ..self.clone()
        }
    }
}

impl<S> Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, inner: S) -> Front<S> {
        let layer = self.clone();
        Front { inner, layer }
    }
}

/// An endpoint with its front.
#[derive(Clone)]
pub(super) struct Front<S> {
    inner: S,
    layer: FrontLayer,
}

impl<S> Service<Request> for Front<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let layer = self.layer.clone();
        let given = given_id(request.headers());
        let id = given.unwrap_or_else(|| layer.ids.mint());
        request.extensions_mut().insert(RequestId(id.clone()));
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            let answer = answer.await;
            let mut response = match answer {
                Ok(Ok(response)) => shaped(response, &id),
                Ok(Err(never)) => match never {},
                Err(_) => ApiError::internal("the endpoint panicked").render(&id),
            };
            layer.counters.request(layer.endpoint, response.status());
            response.headers_mut().insert(REQUEST_ID.clone(), id);
            Ok(response)
        })
    }
}

/// A refusal in its one shape, whoever made it. One that comes with JSON has it already.
fn shaped(mut response: Response, id: &HeaderValue) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    if let Some(refusal) = response.extensions_mut().remove::<ApiError>() {
        return refusal.render(id);
    }
    let kind = response.headers().get(CONTENT_TYPE);
    if kind.is_some_and(|kind| kind == "application/json") {
        return response;
    }
    ApiError::of_status(status).render(id)
}

/// The client's request id: 1 to 128 visible ASCII characters.
fn given_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let given = headers.get(&REQUEST_ID)?;
    let is_sound = (1..=REQUEST_ID_BYTES_MAX).contains(&given.len())
        && given.as_bytes().iter().all(u8::is_ascii_graphic);
    is_sound.then(|| given.clone())
}
