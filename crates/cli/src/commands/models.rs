//! Which models there are.

use clap::Args;
use serde_json::{Value, json};

use crate::client::{CALL_MS, Connection};
use crate::output;

/// Models of one page.
const PAGE: usize = 100;

/// List the models of a running gateway, or describe one
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  routerbase models
  routerbase models --modality video
  routerbase models image_generate.imagen_4 --json")]
pub struct Models {
    /// A model's id
    id: Option<String>,
    /// Only video, image or chat
    #[arg(long, value_parser = ["video", "image", "chat"], conflicts_with = "id")]
    modality: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Models {
    pub async fn run(self) -> anyhow::Result<()> {
        let client = self.connection.client()?;
        if let Some(id) = &self.id {
            let path = format!("/api/v1/models/{}", segment(id));
            let model = client.get(&path, CALL_MS).await?;
            if self.json {
                output::json(&model)?;
            } else {
                describe(&model)?;
            }
            return Ok(());
        }
        let mut models = Vec::new();
        for page in 1.. {
            let modality = self.modality.iter();
            let filter: String = modality.map(|word| format!("&modality={word}")).collect();
            let path = format!("/api/v1/models?per_page={PAGE}&page={page}{filter}");
            let reply = client.get(&path, CALL_MS).await?;
            let more = reply["data"].as_array().cloned().unwrap_or_default();
            let is_last = more.len() < PAGE;
            models.extend(more);
            if is_last {
                break;
            }
        }
        if self.json {
            output::json(&json!({ "data": models }))?;
            return Ok(());
        }
        let head = ["ID", "TYPE", "PRICE", "AVAILABILITY", "NAME"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(models.iter().map(|model| {
            let text = |key: &str| word(&model[key]);
            vec![
                text("id"),
                text("generation_type"),
                price(&model["price"]),
                text("availability"),
                text("name"),
            ]
        }));
        output::table(&rows)?;
        Ok(())
    }
}

/// Everything there is, a line each.
fn describe(model: &Value) -> std::io::Result<()> {
    for (key, value) in model.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Array(items) => {
                output::line(&format!("{key}:"))?;
                for item in items {
                    output::line(&format!("  {}", pairs(item)))?;
                }
            }
            other => output::line(&format!("{key}: {}", pairs(other)))?,
        }
    }
    Ok(())
}

/// `name: seed, type: integer`
fn pairs(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs = map.iter().filter(|(_, value)| !value.is_null());
            let pairs: Vec<String> = pairs
                .map(|(key, value)| format!("{key}: {}", pairs_in(value)))
                .collect();
            pairs.join(", ")
        }
        other => word(other),
    }
}

fn pairs_in(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(" | "),
        other => word(other),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// `0.05 per_run`, or only the kind where there is no single number.
fn price(price: &Value) -> String {
    let kind = word(&price["type"]);
    match &price["credits"] {
        Value::Number(credits) => format!("{credits} {kind}"),
        _ => kind,
    }
}

/// An id as a part of a path: what is not plain is escaped.
pub fn segment(id: &str) -> String {
    let mut path = String::new();
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}
