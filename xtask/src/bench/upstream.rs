//! A provider to be at work on very much at once: KIE's market, with work that ends when it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::bare::until_input_ends;

/// A picture of one pixel.
const PNG: [u8; 67] = [
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0,
    1, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 0x0a, 0x49, 0x44, 0x41, 0x54,
    0x78, 0x9c, 0x63, 0x60, 0, 0, 0, 2, 0, 1, 0x48, 0xaf, 0xa4, 0x71, 0, 0, 0, 0, 0x49, 0x45, 0x4e,
    0x44, 0xae, 0x42, 0x60, 0x82,
];

#[derive(Default)]
struct Work {
    address: String,
    created: AtomicU64,
    polls: AtomicU64,
    is_done: AtomicBool,
}

/// Serves until standard input ends.
///
/// # Errors
/// The port is taken.
pub fn serve(port: u16) -> anyhow::Result<()> {
    until_input_ends(port, |address| {
        let work = Arc::new(Work {
            address: format!("http://{address}"),
            ..Work::default()
        });
        Router::new()
            .route("/api/v1/jobs/createTask", post(create))
            .route("/api/v1/jobs/recordInfo", get(record))
            .route("/file.png", get(file))
            .route("/counts", get(counts))
            .route("/finish", post(finish))
            .with_state(work)
    })
}

fn envelope(inner: &Value) -> Json<Value> {
    Json(json!({ "code": 200, "msg": "success", "data": inner }))
}

async fn create(State(work): State<Arc<Work>>) -> Json<Value> {
    let number = work.created.fetch_add(1, Ordering::Relaxed);
    envelope(&json!({ "taskId": format!("bench{number:012}") }))
}

async fn record(State(work): State<Arc<Work>>, uri: Uri) -> Json<Value> {
    work.polls.fetch_add(1, Ordering::Relaxed);
    let id = uri.query().and_then(|query| query.strip_prefix("taskId="));
    if !work.is_done.load(Ordering::Relaxed) {
        return envelope(&json!({ "taskId": id, "state": "generating" }));
    }
    let result = json!({ "resultUrls": [format!("{}/file.png", work.address)] });
    envelope(&json!({ "taskId": id, "state": "success", "resultJson": result.to_string() }))
}

async fn file() -> Response {
    ([(header::CONTENT_TYPE, "image/png")], PNG.to_vec()).into_response()
}

async fn counts(State(work): State<Arc<Work>>) -> Json<Value> {
    Json(json!({
        "created": work.created.load(Ordering::Relaxed),
        "polls": work.polls.load(Ordering::Relaxed),
    }))
}

async fn finish(State(work): State<Arc<Work>>) {
    work.is_done.store(true, Ordering::Relaxed);
}
