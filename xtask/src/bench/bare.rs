//! The ceiling: handlers with nothing behind them.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::request;
use crate::shell::say;

/// The answer to a submit, as long as a real one.
const SUBMITTED: &str = r#"{"code":200,"message":"Task submitted successfully","task_id":"f47ac10b-58cc-4372-a567-0e02b2c3d479","status":"waiting"}"#;

/// The answer to a status read, as long as a real one.
const TASK: &str = r#"{"task_id":"f47ac10b-58cc-4372-a567-0e02b2c3d479","status":"waiting","result_urls":[],"error_message":null,"created_at":"2026-01-01T00:00:00.000Z","model_id":"image_generate.imagen_4","generation_type":"image","updated_at":"2026-01-01T00:00:00.000Z","started_at":null,"finished_at":null,"metadata":{"shop":"north","order":"118-4432"},"progress":null,"output":null,"results":[],"error":null,"credits":{"held":0.04,"charged":null},"callback":null}"#;

/// What the parsing handler reads.
#[derive(serde::Deserialize)]
struct Order {
    prompt: String,
    image_params: Picture,
}

#[derive(serde::Deserialize)]
struct Picture {
    aspect_ratio: String,
}

/// Serves the bare handlers.
///
/// # Errors
/// The port is taken.
pub fn serve(port: u16) -> anyhow::Result<()> {
    let constant = request::CONSTANT;
    until_input_ends(port, |_| {
        Router::new()
            .route(&format!("{constant}{}", request::RUN), post(submitted))
            .route(request::RUN, post(parsed))
            .route(request::TASK, get(task))
    })
}

/// Serves what is made for an address until standard input ends, so that no server outlives its bench.
///
/// # Errors
/// The port is taken.
pub fn until_input_ends(port: u16, app: impl FnOnce(SocketAddr) -> Router) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let (end, ended) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        // However it ends, nobody is there any more.
        drop(std::io::stdin().read_to_end(&mut rest));
        drop(end);
    });
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        say(format_args!("listening on http://{address}"));
        tokio::select! {
            done = axum::serve(listener, app(address)) => done?,
            _ = ended => {}
        }
        Ok(())
    })
}

async fn submitted() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], SUBMITTED)
}

async fn task() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], TASK)
}

/// Reads and validates the body, then answers the constant.
async fn parsed(headers: HeaderMap, body: Bytes) -> Result<impl IntoResponse, StatusCode> {
    let order: Order = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let is_known = headers.contains_key(header::AUTHORIZATION);
    let is_valid = !order.prompt.is_empty() && order.image_params.aspect_ratio.contains(':');
    match is_known && is_valid {
        true => Ok(submitted().await),
        false => Err(StatusCode::UNPROCESSABLE_ENTITY),
    }
}
