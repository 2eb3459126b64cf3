//! What machines ask of the process: alive, ready, figures.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::error::Kind;
use super::refusals::Unavailable;
use super::{Api, ApiError};
use crate::metrics;

/// Whether the process is alive
#[utoipa::path(
    get, path = "/healthz", operation_id = "isAlive", tag = "Operating", security(()),
    responses((status = 200, description = "It is.", body = String, content_type = "text/plain", example = "ok"))
)]
pub(super) async fn alive() -> &'static str {
    "ok"
}

/// Whether requests should be sent here
#[utoipa::path(
    get, path = "/readyz", operation_id = "isReady", tag = "Operating", security(()),
    responses((status = 200, description = "They should.", body = String, content_type = "text/plain", example = "ready"), Unavailable)
)]
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Result<&'static str, ApiError> {
    if api.is_draining() {
        return Err(ApiError::new(Kind::Overloaded, "The server is stopping."));
    }
    api.store.ping().await?;
    Ok("ready")
}

/// Figures for Prometheus
#[utoipa::path(
    get, path = "/metrics", operation_id = "readMetrics", tag = "Operating", security(()),
    responses((status = 200, description = "Prometheus text.", body = String, content_type = "text/plain"))
)]
pub(super) async fn figures(State(api): State<Arc<Api>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], (api.metrics)())
}
