//! Requests, rendered before anything is measured.

use std::net::SocketAddr;

/// Leads to the handler that does not read the body.
pub const CONSTANT: &str = "/constant";

/// The submit as axum matches it.
pub const RUN: &str = "/api/v1/run/{model_id}";

/// The status read as axum matches it.
pub const TASK: &str = "/api/v1/run/tasks/{task_id}";

/// The key every server is started with.
pub const KEY: &str = "sk-t0-bench-0123456789abcdef0123456789abcdef";

const MODEL: &str = "image_generate.imagen_4";

/// About as much as a real client sends.
const BODY: &str = r#"{"prompt":"A lighthouse on a basalt cliff at dusk, long exposure, the sea like milk, warm light in the lantern room, gulls","generation_type":"image","image_params":{"aspect_ratio":"16:9","negative_prompt":"text, people","seed":42},"metadata":{"shop":"north","order":"118-4432"}}"#;

/// Every limit that a key can have, none of which is ever reached.
const LIMITED: &str = r#"{"name":"limited","rate_limit_rpm":900000000,"rate_limit_tph":900000000,"rate_limit_tpd":900000000,"daily_credit_limit":100000000,"ip_whitelist":["203.0.113.0/24","2001:db8::/32","127.0.0.1"]}"#;

/// A submit with a key; `prefix` comes before the path.
pub fn submit(host: SocketAddr, prefix: &str, key: &str) -> Vec<u8> {
    let path = RUN.replace("{model_id}", MODEL);
    post(host, &format!("{prefix}{path}"), key, BODY)
}

/// A submit to a model with the same parameters.
pub fn submit_to(host: SocketAddr, model: &str) -> Vec<u8> {
    post(host, &RUN.replace("{model_id}", model), KEY, BODY)
}

/// Makes a key with every limit there is.
pub fn limited_key(host: SocketAddr) -> Vec<u8> {
    post(host, "/api/v1/api-keys", KEY, LIMITED)
}

fn post(host: SocketAddr, path: &str, key: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A status read, conditional if there is an `etag`.
pub fn status(host: SocketAddr, task: &str, etag: Option<&str>) -> Vec<u8> {
    let path = TASK.replace("{task_id}", task);
    let condition = etag.map_or_else(String::new, |etag| format!("If-None-Match: {etag}\r\n"));
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n{condition}\r\n")
        .into_bytes()
}
