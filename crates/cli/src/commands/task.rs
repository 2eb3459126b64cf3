//! Looking at a task.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::models::segment;
use crate::client::{CALL_MS, Client, ClientError, Connection};
use crate::{FAILED, Failure, TIMEOUT, output};

/// Longest single wait the server is asked for, in seconds.
const WAIT_S: u64 = 20;

/// How long a server may be away before waiting for it is given up.
const AWAY: Duration = Duration::from_secs(60);

/// Show a task
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 when the task failed, 3 when the server refuses or cannot be reached,
4 when the time is up.

Examples:
  routerbase task 0199f3c2-…
  routerbase task 0199f3c2-… --wait --json
  routerbase task 0199f3c2-… --cancel"
)]
pub struct Task {
    /// The task's id
    id: String,
    /// Wait until it ends
    #[arg(long)]
    wait: bool,
    /// Longest wait, in seconds
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    timeout: u64,
    /// Ask for its end
    #[arg(long)]
    cancel: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Task {
    pub async fn run(self) -> anyhow::Result<()> {
        let client = self.connection.client()?;
        let path = path(&self.id);
        if self.cancel {
            client
                .post(&format!("{path}/cancel"), &[], json!({}))
                .await?;
        }
        let task = if self.wait {
            ended(&client, &self.id, Duration::from_secs(self.timeout), |_| {}).await?
        } else {
            client.get(&path, CALL_MS).await?
        };
        if self.json {
            output::json(&task)?;
        } else {
            show(&task)?;
        }
        failure(&task).map_or(Ok(()), Err)
    }
}

/// Where a task is.
fn path(id: &str) -> String {
    format!("/api/v1/run/tasks/{}", segment(id))
}

/// A task once it ended. A server that is away for a moment is waited for.
pub async fn ended(
    client: &Client,
    id: &str,
    timeout: Duration,
    mut see: impl FnMut(&Value),
) -> anyhow::Result<Value> {
    let deadline = Instant::now() + timeout;
    let mut answered = Instant::now();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait_s = left.as_secs().min(WAIT_S);
        let query = format!("{}?wait={wait_s}", path(id));
        match client.get(&query, CALL_MS + wait_s * 1_000).await {
            Ok(task) => {
                answered = Instant::now();
                see(&task);
                if is_ended(&task) {
                    return Ok(task);
                }
            }
            Err(error) => pause(error, answered).await?,
        }
        if Instant::now() >= deadline {
            let message = format!("the time is up; {id} goes on: routerbase task {id} --wait");
            return Err(Failure::new(TIMEOUT, message).into());
        }
        // A server that does not wait as asked must not be called without a pause.
        sleep(Duration::from_millis(100)).await;
    }
}

async fn pause(error: ClientError, answered: Instant) -> anyhow::Result<()> {
    match error.retry_after_s() {
        Some(pause_s) if answered.elapsed() < AWAY => {
            sleep(Duration::from_secs(pause_s)).await;
            Ok(())
        }
        _ => Err(error.into()),
    }
}

fn is_ended(task: &Value) -> bool {
    matches!(task["status"].as_str(), Some("success" | "fail"))
}

/// The failure of a failed task.
pub fn failure(task: &Value) -> Option<anyhow::Error> {
    if task["status"] != "fail" {
        return None;
    }
    let why = task["error_message"].as_str().unwrap_or("it failed");
    let kind = task["error"]["type"].as_str().unwrap_or("unknown");
    Some(Failure::new(FAILED, format!("{why} ({kind})")).into())
}

fn show(task: &Value) -> std::io::Result<()> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for key in [
        "task_id",
        "model_id",
        "status",
        "progress",
        "created_at",
        "finished_at",
    ] {
        if !task[key].is_null() {
            output::line(&format!("{key}: {}", text(&task[key])))?;
        }
    }
    let credits = &task["credits"];
    let charged = &credits["charged"];
    match charged {
        Value::Null => output::line(&format!("held: {}", text(&credits["held"])))?,
        charged => output::line(&format!("charged: {}", text(charged)))?,
    }
    for url in task["result_urls"].as_array().into_iter().flatten() {
        output::line(&text(url))?;
    }
    if let Some(answer) = task["output"]["text"].as_str() {
        output::line(answer)?;
    }
    Ok(())
}
