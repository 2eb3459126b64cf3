//! One request and its reply.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::guarded::Shared;
use super::refusal;
use crate::client_ip::Proxies;
use crate::entropy::Entropy;

/// What every request of a connection is answered with.
pub(super) struct Exchange {
    pub(super) router: Router,
    pub(super) proxies: Arc<Proxies>,
    pub(super) peer: IpAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) entropy: Entropy,
    pub(super) shutdown: CancellationToken,
}

impl Exchange {
    /// Answers a request; its body is the reader's to bound.
    pub(super) fn answer(
        &self,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Tracked>, Infallible>> + Send + use<> {
        let answering = Answering::new(Arc::clone(&self.shared));
        let client = self.proxies.client(self.peer, request.headers());
        request.extensions_mut().insert(client);
        let reply = self.router.clone().call(request);
        let (entropy, shutdown) = (self.entropy.clone(), self.shutdown.clone());
        async move {
            let Ok(mut response) = reply.await;
            // Whatever was made of a broken body, the reason for it is known better here.
            let violation = answering.0.violation();
            if let Some(refusal) = violation.and_then(|found| refusal::response(found, &entropy)) {
                response = refusal;
            } else if shutdown.is_cancelled() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok(response.map(|body| Tracked { body, answering }))
        }
    }
}

/// Marks the connection as busy until it is dropped.
struct Answering(Arc<Shared>);

impl Answering {
    fn new(shared: Arc<Shared>) -> Self {
        shared.begin_answer();
        Self(shared)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.end_answer();
    }
}

/// A body whose end is the end of the exchange.
pub(super) struct Tracked {
    body: Body,
    #[expect(dead_code, reason = "held for what its end does")]
    answering: Answering,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
