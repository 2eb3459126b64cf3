//! A model: what it takes, what it costs, and by which routes it runs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalogue::{Listing, SANDBOX};
use crate::order::Modality;
use crate::parameter::Parameter;
use crate::price::Price;

/// What the prompt must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptRule {
    /// Whether a request without one is refused.
    pub is_required: bool,
    /// Most characters.
    pub chars_max: u32,
}

/// A way to run a model, as a task carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The provider's id.
    pub provider: String,
    /// The protocol that is spoken; tasks from before it was kept all ran in the sandbox.
    #[serde(default = "sandbox")]
    pub dialect: String,
    /// The model's name there.
    pub model: String,
    /// Share among the routes of the same rank, at least 1.
    pub weight: u32,
    /// Lower ranks are tried first; the position in the file unless it says otherwise.
    pub rank: u32,
}

fn sandbox() -> String {
    SANDBOX.to_owned()
}

impl Route {
    /// The route over the sandbox.
    #[must_use]
    pub fn sandbox(model: &str) -> Self {
        Self {
            provider: SANDBOX.to_owned(),
            dialect: SANDBOX.to_owned(),
            model: model.to_owned(),
            weight: 1,
            rank: 0,
        }
    }
}

/// A model of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// `<function>.<variant>`; the file's name.
    pub id: String,
    /// For people.
    pub name: String,
    /// Who made it.
    pub vendor: String,
    /// What it makes.
    pub modality: Modality,
    /// One or two sentences.
    pub description: String,
    /// What a user should know before relying on it, such as a successor that runs instead.
    pub notice: Option<String>,
    /// What the prompt must be.
    pub prompt: PromptRule,
    /// What it takes besides the prompt, in the order of the file.
    pub parameters: Vec<Parameter>,
    /// What it costs.
    pub price: Price,
    /// Where the price was read; for the operator.
    pub price_source: Option<String>,
    /// When the price was read, `YYYY-MM-DD`.
    pub price_date: Option<String>,
    /// How providers run it, by rank. Empty means that only the sandbox does.
    pub listings: Vec<Listing>,
    /// How long a task may take in all, in milliseconds.
    pub deadline_ms: i64,
    /// Switched off by the operator.
    pub disabled: bool,
    /// The defaults of all parameters: what the parameters of an order start from.
    pub defaults: Map<String, Value>,
}

impl Model {
    /// The parameter of a name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters
            .iter()
            .find(|parameter| parameter.name == name)
    }
}
