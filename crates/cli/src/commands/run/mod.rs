//! Running a model from the command line.

mod save;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gateway::entropy::Entropy;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

use self::save::{Target, save};
use super::models::segment;
use super::task;
use crate::client::{Client, Connection};
use crate::{Failure, REFUSED, USAGE, output};

/// Steps of the bar.
const STEPS: u64 = 1_000;

/// Run a model and save what it makes
#[derive(Debug, Args)]
#[command(
    after_help = "The paths of the saved files, or the text of a chat model, go to stdout. With --json
the task goes there, and files are saved only with -o.

Exit code 1 when the task failed, 2 for a wrong command line, 3 when the server
refuses or cannot be reached, 4 when the time is up.

Examples:
  routerbase run image_generate.imagen_4 -p \"a lighthouse at dusk\"
  routerbase run video_generate.kling_2_6 -p \"waves\" --set video_params.duration=5 -o waves.mp4
  routerbase run solve_problem.kie_reasoning -p \"What is 6 times 7?\"
  routerbase run image_generate.imagen_4 -p \"a fox\" --no-wait --json"
)]
pub struct Run {
    /// The model's id; see `routerbase models`
    model: String,
    /// What to make
    #[arg(short, long)]
    prompt: Option<String>,
    /// A field of the request, such as image_params.seed=7; JSON, or else a text
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = pair)]
    fields: Vec<(String, Value)>,
    /// Where to save: a file, a folder, or - for stdout; the current folder unless given
    #[arg(short, long, value_name = "FILE|DIR")]
    output: Option<PathBuf>,
    /// Print the task as JSON
    #[arg(long)]
    json: bool,
    /// Print the task's id and leave
    #[arg(long, conflicts_with = "output")]
    no_wait: bool,
    /// Longest wait, in seconds
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    timeout: u64,
    /// Makes a repetition of this command the same run; random unless given
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// What the sandbox shall do, such as "delay=2s, outcome=fail"
    #[arg(long, value_name = "SCENARIO")]
    sandbox: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Reads `path=value`.
fn pair(text: &str) -> Result<(String, Value), String> {
    let (path, value) = text.split_once('=').ok_or("must be PATH=VALUE")?;
    if path.is_empty() || path.split('.').any(str::is_empty) {
        return Err("the path must be names with dots between".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((path.to_owned(), value))
}

impl Run {
    pub async fn run(self) -> anyhow::Result<()> {
        let client = self.connection.client()?;
        let body = body(self.prompt.as_deref(), &self.fields)?;
        let random = || format!("cli-{}", hex::encode(Entropy::system().bytes::<16>()));
        let key = self.idempotency_key.clone().unwrap_or_else(random);
        let mut headers = vec![("idempotency-key", key)];
        if let Some(scenario) = &self.sandbox {
            headers.push(("routerbase-sandbox", scenario.clone()));
        }
        let path = format!("/api/v1/run/{}", segment(&self.model));
        let reply = client.post_once(&path, &headers, &body).await?;
        let id = reply["task_id"].as_str().unwrap_or_default();
        if id.is_empty() {
            let message = "the reply to the submit names no task; is this a RouterBase gateway?";
            return Err(Failure::new(REFUSED, message).into());
        }
        for name in reply["ignored"].as_array().into_iter().flatten() {
            output::complain(&format!("ignored by this model: {name}"));
        }
        if self.no_wait {
            if self.json {
                output::json(&reply)?;
            } else {
                output::line(id)?;
            }
            return Ok(());
        }
        let task = self.ended(&client, id).await?;
        self.hand_over(&client, &task).await
    }

    /// Waits with a bar on stderr, where somebody looks at it.
    async fn ended(&self, client: &Client, id: &str) -> anyhow::Result<Value> {
        let bar = ProgressBar::new(STEPS);
        let style = ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(120));
        if bar.is_hidden() {
            output::complain(&format!("task {id}"));
        }
        bar.set_message(format!("{id} waiting"));
        let see = |task: &Value| {
            let status = task["status"].as_str().unwrap_or_default();
            bar.set_message(format!("{id} {status}"));
            if let Some(progress) = task["progress"].as_f64() {
                bar.set_position((progress.clamp(0.0, 1.0) * STEPS as f64) as u64);
            }
        };
        let timeout = Duration::from_secs(self.timeout);
        let ended = task::ended(client, id, timeout, see).await;
        bar.finish_and_clear();
        ended
    }

    async fn hand_over(&self, client: &Client, task: &Value) -> anyhow::Result<()> {
        if self.json {
            output::json(task)?;
        }
        if let Some(failure) = task::failure(task) {
            return Err(failure);
        }
        let answer = task["output"]["text"].as_str();
        let target = match (&self.output, answer) {
            (Some(path), _) => Target::of(path),
            (None, _) if self.json => return Ok(()),
            (None, Some(answer)) => return Ok(output::line(answer)?),
            (None, None) => Target::Folder(PathBuf::from(".")),
        };
        for path in save(client, task, &self.model, &target).await? {
            if !self.json {
                output::line(&path.display().to_string())?;
            }
        }
        Ok(())
    }
}

/// The body of the submit.
fn body(prompt: Option<&str>, fields: &[(String, Value)]) -> anyhow::Result<Value> {
    let mut body = Map::new();
    if let Some(prompt) = prompt {
        body.insert("prompt".to_owned(), Value::from(prompt));
    }
    for (path, value) in fields {
        let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
        let mut place = &mut body;
        for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
            let inner = place
                .entry(parent)
                .or_insert_with(|| Value::Object(Map::new()));
            let Some(inner) = inner.as_object_mut() else {
                let message = format!("--set {path}: {parent} is set to a value already");
                return Err(Failure::new(USAGE, message).into());
            };
            place = inner;
        }
        place.insert(name.to_owned(), value.clone());
    }
    Ok(Value::Object(body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_json_or_text_at_their_path() {
        let texts = [
            "video_params.duration=5",
            "video_params.watermark=me=you",
            "strict=true",
            "a.b.c=[1]",
        ];
        let fields: Vec<_> = texts.iter().map(|text| pair(text).unwrap()).collect();
        assert_eq!(
            body(Some("waves"), &fields).unwrap(),
            json!({"prompt": "waves", "video_params": {"duration": 5, "watermark": "me=you"},
                "strict": true, "a": {"b": {"c": [1]}}})
        );
        for text in ["", "a", "=1", "a..b=1", ".a=1"] {
            assert!(pair(text).is_err(), "{text}");
        }
        let fields = [pair("a=1").unwrap(), pair("a.b=1").unwrap()];
        assert!(body(None, &fields).is_err());
    }
}
