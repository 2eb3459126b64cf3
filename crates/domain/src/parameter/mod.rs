//! A parameter of a model: what kind of value it takes.
//!
//! Invariant: the kinds are a closed set, and every default is an allowed value. An accepted value is
//! canonical: however it was spelled (`5`, `5.0`), the same value is stored and priced.

mod accept;

use serde_json::{Map, Number, Value, json};

pub(crate) use accept::{integer, plain, sound_text};

/// What kind of value a parameter takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// One of some words.
    Words(Vec<String>),
    /// One of some numbers.
    Numbers(Vec<Number>),
    /// A number between two bounds, both allowed.
    Number {
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// An integer between two bounds, both allowed.
    Integer {
        /// Least.
        min: i64,
        /// Most.
        max: i64,
    },
    /// Yes or no.
    Flag,
    /// A text.
    Text {
        /// Most characters.
        chars_max: u32,
    },
    /// Links (http, https) or `data:` URLs.
    Urls {
        /// Most links.
        items_max: u32,
    },
    /// Shots of a film, in their order: `{"prompt", "duration"}` each.
    Shots(ShotsRule),
}

/// What the shots of a film must be. Together they are as long as the film.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShotsRule {
    /// Most shots.
    pub items_max: u32,
    /// Most characters of the prompt of one.
    pub chars_max: u32,
    /// Longest duration of one, in whole seconds; the shortest is 1.
    pub seconds_max: u32,
}

impl Kind {
    /// The JSON type of the values.
    #[must_use]
    pub fn json_type(&self) -> &'static str {
        match self {
            Self::Words(_) | Self::Text { .. } => "string",
            Self::Numbers(_) | Self::Number { .. } => "number",
            Self::Integer { .. } => "integer",
            Self::Flag => "boolean",
            Self::Urls { .. } | Self::Shots(_) => "array",
        }
    }

    /// Whether a value of the other kind has the same JSON type, integers being numbers.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let loose = |kind: &Self| match kind.json_type() {
            "integer" => "number",
            other => other,
        };
        loose(self) == loose(other)
    }

    /// What is allowed, for a refusal: the list, or the bounds; `None` for a text.
    #[must_use]
    pub fn allowed(&self) -> Option<Value> {
        match self {
            Self::Words(words) => Some(json!(words)),
            Self::Numbers(numbers) => Some(json!(numbers)),
            Self::Number { min, max } => Some(json!({ "min": plain(*min), "max": plain(*max) })),
            Self::Integer { min, max } => Some(json!({ "min": min, "max": max })),
            Self::Flag => Some(json!([true, false])),
            Self::Text { .. } => None,
            Self::Urls { items_max } | Self::Shots(ShotsRule { items_max, .. }) => {
                Some(json!({ "max_items": items_max }))
            }
        }
    }
}

impl Kind {
    /// Values that stand for all that is allowed: each one that can be listed, else the bounds. Links
    /// and shots are left to whoever knows how many there may be.
    #[must_use]
    pub fn samples(&self) -> Vec<Value> {
        match self {
            Self::Words(words) => words.iter().map(|word| json!(word)).collect(),
            Self::Numbers(numbers) => numbers.iter().map(|number| json!(number)).collect(),
            Self::Number { min, max } => vec![json!(plain(*min)), json!(plain(*max))],
            Self::Integer { min, max } => vec![json!(min), json!(max)],
            Self::Flag => vec![json!(false), json!(true)],
            Self::Text { .. } => vec![json!("a text")],
            Self::Urls { .. } | Self::Shots(_) => Vec::new(),
        }
    }
}

impl ShotsRule {
    /// The JSON Schema of a list of shots.
    fn schema(&self) -> Value {
        json!({
            "type": "array",
            "items": {
                "type": "object",
                "required": ["prompt", "duration"],
                "properties": {
                    "prompt": {
                        "type": "string", "minLength": 1, "maxLength": self.chars_max,
                        "pattern": "\\S", "description": "What the shot shows.",
                    },
                    "duration": {
                        "type": "integer", "minimum": 1, "maximum": self.seconds_max,
                        "description": "Its length in seconds.",
                    },
                },
            },
            "maxItems": self.items_max,
        })
    }
}

/// A parameter of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Bare name: `duration`.
    pub name: String,
    /// What it takes.
    pub kind: Kind,
    /// What is taken when the user gives nothing.
    pub default: Option<Value>,
    /// For people.
    pub description: String,
}

impl Parameter {
    /// The parameter as the catalogue shows it: name, type, what is allowed, default, description.
    #[must_use]
    pub fn view(&self) -> Value {
        let mut view = Map::new();
        view.insert("name".to_owned(), json!(self.name));
        view.insert("type".to_owned(), json!(self.kind.json_type()));
        match &self.kind {
            Kind::Words(_) | Kind::Numbers(_) => {
                view.insert("allowed".to_owned(), json!(self.kind.allowed()));
            }
            Kind::Number { .. } | Kind::Integer { .. } | Kind::Urls { .. } | Kind::Shots(_) => {
                if let Some(Value::Object(bounds)) = self.kind.allowed() {
                    view.extend(bounds);
                }
            }
            Kind::Text { chars_max } => {
                view.insert("max_length".to_owned(), json!(chars_max));
            }
            Kind::Flag => {}
        }
        view.insert("default".to_owned(), json!(self.default));
        view.insert("description".to_owned(), json!(self.description));
        Value::Object(view)
    }

    /// The parameter's JSON Schema.
    #[must_use]
    pub fn schema(&self) -> Value {
        let mut schema = match &self.kind {
            Kind::Words(words) => json!({ "type": "string", "enum": words }),
            Kind::Numbers(numbers) => json!({ "type": "number", "enum": numbers }),
            Kind::Number { min, max } => json!({
                "type": "number", "minimum": plain(*min), "maximum": plain(*max),
            }),
            Kind::Integer { min, max } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::Text { chars_max } => json!({ "type": "string", "maxLength": chars_max }),
            Kind::Urls { items_max } => json!({
                "type": "array",
                "items": { "type": "string", "pattern": "^([Hh][Tt][Tt][Pp][Ss]?://|data:)" },
                "maxItems": items_max,
            }),
            Kind::Shots(rule) => rule.schema(),
        };
        if let Some(fields) = schema.as_object_mut() {
            if let Some(default) = &self.default {
                fields.insert("default".to_owned(), default.clone());
            }
            if !self.description.is_empty() {
                fields.insert("description".to_owned(), json!(self.description));
            }
        }
        schema
    }
}
