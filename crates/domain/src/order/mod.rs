//! What a task runs: a validated request with every default filled in.
//!
//! Invariant: an [`Order`] made by [`Model::submission`](crate::catalogue::Model::submission) holds
//! only values its model allows, and everything its price depends on.

pub(crate) mod contract;
mod conversation;
pub(crate) mod link;
mod scenario;
mod submission;
#[cfg(test)]
mod submission_properties;
#[cfg(test)]
mod submission_tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalogue::Abilities;

pub(crate) use conversation::ROLES;
pub use scenario::{DELAY_MS_MAX, PROGRESS_MAX, SCENARIO_HEADER, Scenario, ScriptedOutcome};

/// What a model makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// Moving pictures.
    Video,
    /// Pictures.
    Image,
    /// Text.
    Chat,
}

impl Modality {
    /// Every modality.
    pub const ALL: [Self; 3] = [Self::Video, Self::Image, Self::Chat];

    /// The word in `generation_type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Image => "image",
            Self::Chat => "chat",
        }
    }

    /// The modality of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|modality| modality.as_str() == word)
    }

    /// The field of the submit body that holds the parameters.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::Video => "video_params",
            Self::Image => "image_params",
            Self::Chat => "llm_params",
        }
    }
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A validated request with every default filled in; what a task runs and what is stored with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Id of the model in the catalogue.
    pub model: String,
    /// What the model makes.
    pub modality: Modality,
    /// What to make; empty when `messages` say it.
    pub prompt: String,
    /// A conversation in the form of the OpenAI chat API; chat models only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Value>,
    /// Parameters of the model's own group, by bare name (`duration`), defaults included.
    pub params: Map<String, Value>,
    /// What the sandbox shall play.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<Scenario>,
}

impl Order {
    /// A parameter that is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.params.get(name)?.as_str()
    }

    /// A parameter that is an integer.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        self.params.get(name)?.as_i64()
    }

    /// A parameter that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        self.params.get(name)?.as_f64()
    }

    /// Whether a flag is there and set.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.params
            .get(name)
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// A parameter that is a list of strings; empty when it is not there.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<&str> {
        let items = self.params.get(name).and_then(Value::as_array);
        items
            .map(|items| items.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default()
    }

    /// What the order asks for that must be honoured or refused, never dropped.
    #[must_use]
    pub fn asked(&self) -> Abilities {
        let watermark = self.text("watermark").unwrap_or("");
        Abilities {
            watermark: !watermark.trim().is_empty(),
            multi_shots: self.flag("multi_shots"),
            enable_translation: self.flag("enable_translation"),
        }
    }

    /// The prompt, or the text of the messages, one paragraph each.
    #[must_use]
    pub fn prompt_text(&self) -> String {
        let Some(Value::Array(messages)) = &self.messages else {
            return self.prompt.clone();
        };
        let mut texts = Vec::new();
        for message in messages {
            match message.get("content") {
                Some(Value::String(text)) => texts.push(text.as_str()),
                Some(Value::Array(parts)) => {
                    texts.extend(parts.iter().filter_map(|part| part.get("text")?.as_str()));
                }
                _ => {}
            }
        }
        texts.join("\n\n")
    }
}

/// A field whose value is not allowed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{param}: {message}")]
pub struct Invalid {
    /// The path of the field: `video_params.duration`.
    pub param: String,
    /// What is wrong, for a person; safe to show.
    pub message: String,
    /// What is allowed, where that can be listed.
    pub allowed: Option<Value>,
}

impl Invalid {
    /// A refusal that lists nothing.
    #[must_use]
    pub fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            param: param.into(),
            message: message.into(),
            allowed: None,
        }
    }

    /// The same refusal with what is allowed.
    #[must_use]
    pub fn allowing(mut self, allowed: impl Into<Value>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }
}

/// What a submit body asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// What to run.
    pub order: Order,
    /// Paths of known parameters the model has no use for: `image_params.steps`.
    pub ignored: Vec<String>,
    /// Where to send the finished task. Well-formed; whether it may be called is judged elsewhere.
    pub callback_url: Option<String>,
    /// The client's own notes, echoed in the task.
    pub metadata: BTreeMap<String, String>,
}
