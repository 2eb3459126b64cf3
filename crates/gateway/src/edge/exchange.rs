//! One request and its reply.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use tower::Service;

use super::guarded::Shared;
use super::{Edge, refusal};

/// What the requests of a connection are answered with.
pub(super) struct Exchange {
    pub(super) edge: Arc<Edge>,
    pub(super) peer: IpAddr,
    pub(super) shared: Arc<Shared>,
}

/// Answers a request; its body is the reader's to bound.
pub(super) fn answer(
    exchange: &Arc<Exchange>,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Tracked>, Infallible>> + Send + use<> {
    let answering = Answering::new(Arc::clone(exchange));
    let edge = &exchange.edge;
    let client = edge
        .settings
        .proxies
        .client(exchange.peer, request.headers());
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    let reply = edge.router.clone().call(request);
    async move {
        let Ok(mut response) = reply.await;
        let Exchange { edge, shared, .. } = &*answering.0;
        // Whatever was made of a broken body, the reason for it is known better here.
        let refusal = shared.violation();
        let refusal = refusal.and_then(|found| refusal::response(found, &edge.entropy));
        if let Some(refusal) = refusal {
            response = refusal;
        } else if edge.is_draining() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        Ok(response.map(|body| Tracked { body, answering }))
    }
}

/// Marks the connection as busy until it is dropped.
struct Answering(Arc<Exchange>);

impl Answering {
    fn new(exchange: Arc<Exchange>) -> Self {
        exchange.shared.begin_answer();
        Self(exchange)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.shared.end_answer();
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
