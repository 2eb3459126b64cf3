//! How an order's parameters are said in the words of one provider.
//!
//! Invariant: the encoders are a closed list, and none invents anything: a parameter that is not there
//! leaves its field out, unless the file names a constant for it.

mod size;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

pub use size::{Part, nearest_ratio, ratio_of};

use crate::parameter::plain;

/// Fields of a request and where their values come from, in the order of the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mapping(pub Vec<Field>);

/// One field of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name; with dots, the names of the objects around it: `video.duration`.
    pub path: String,
    /// Where its value comes from.
    pub encoder: Encoder,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Encoder {
    /// The parameter as it is.
    Same(String),
    /// The parameter as text: `5` is `"5"`.
    Text(String),
    /// A number of seconds as text: `5` is `"5s"`.
    Seconds(String),
    /// What a closed table says for the values of one or more parameters, joined by a space.
    Word {
        /// The parameters.
        of: Vec<String>,
        /// Value by the words of the parameters.
        table: BTreeMap<String, Value>,
        /// What is sent when a parameter is not there.
        otherwise: Option<Value>,
    },
    /// One item of a list.
    Item {
        /// The list.
        of: String,
        /// Index from 0.
        at: usize,
    },
    /// The items of a list from one on.
    Rest {
        /// The list.
        of: String,
        /// Index of the first, from 0.
        from: usize,
    },
    /// The bytes of one item of a list of files, in base64 without a prefix.
    Base64 {
        /// The list.
        of: String,
        /// Index from 0.
        at: usize,
    },
    /// The bytes of every item of a list of files, in base64 without a prefix.
    Base64List(String),
    /// One of some ratios: the one asked for, or the one nearest to the asked width and height.
    Ratio {
        /// The ratios there are, each with what is sent for it.
        among: Vec<(String, Value)>,
    },
    /// A name for a size, by the longer side asked for; without a size the first.
    Tier(Vec<(String, i64)>),
    /// Pixels: the asked width and height, or an area in the asked ratio.
    Size {
        /// Which part of the size.
        part: Part,
        /// Side of a square of the area, in pixels.
        side: i64,
        /// What computed sides are a multiple of.
        step: i64,
    },
    /// Always the same.
    Constant(Value),
}

impl Encoder {
    /// The parameters it reads.
    #[must_use]
    pub fn sources(&self) -> Vec<&str> {
        match self {
            Self::Same(of) | Self::Text(of) | Self::Seconds(of) | Self::Base64List(of) => vec![of],
            Self::Item { of, .. } | Self::Rest { of, .. } | Self::Base64 { of, .. } => vec![of],
            Self::Word { of, .. } => of.iter().map(String::as_str).collect(),
            Self::Ratio { .. } | Self::Size { .. } => vec!["aspect_ratio", "width", "height"],
            Self::Tier(_) => vec!["width", "height"],
            Self::Constant(_) => Vec::new(),
        }
    }

    /// Whether it sends the bytes of a file rather than a link to it.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        matches!(self, Self::Base64 { .. } | Self::Base64List(_))
    }

    /// The value for some parameters; `None` leaves the field out.
    #[must_use]
    pub fn value(&self, params: &Map<String, Value>) -> Option<Value> {
        let given = |name: &str| params.get(name).filter(|value| !value.is_null());
        match self {
            Self::Same(of) => given(of).filter(|value| !is_empty(value)).cloned(),
            Self::Text(of) => given(of).map(|value| Value::from(word(value))),
            Self::Seconds(of) => given(of).map(|value| Value::from(format!("{}s", word(value)))),
            Self::Word {
                of,
                table,
                otherwise,
            } => {
                let words: Option<Vec<String>> =
                    of.iter().map(|name| given(name).map(word)).collect();
                let found = words.and_then(|words| table.get(&words.join(" ")));
                found.or(otherwise.as_ref()).cloned()
            }
            Self::Item { of, at } => items(given(of)).get(*at).cloned(),
            Self::Rest { of, from } => {
                let rest: Vec<Value> = items(given(of)).iter().skip(*from).cloned().collect();
                (!rest.is_empty()).then_some(Value::Array(rest))
            }
            Self::Base64 { of, at } => items(given(of)).get(*at).map(bytes),
            Self::Base64List(of) => {
                let all: Vec<Value> = items(given(of)).iter().map(bytes).collect();
                (!all.is_empty()).then_some(Value::Array(all))
            }
            Self::Ratio { among } => size::ratio(params, among),
            Self::Tier(tiers) => size::tier(params, tiers),
            Self::Size { part, side, step } => size::pixels(params, *part, *side, *step),
            Self::Constant(value) => Some(value.clone()),
        }
    }
}

impl Mapping {
    /// The request's fields for some parameters.
    #[must_use]
    pub fn fields(&self, params: &Map<String, Value>) -> Map<String, Value> {
        let mut fields = Map::new();
        for field in &self.0 {
            if let Some(value) = field.encoder.value(params) {
                put(&mut fields, &field.path, value);
            }
        }
        fields
    }

    /// Whether the parameter of a name is read.
    #[must_use]
    pub fn reads(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|field| field.encoder.sources().contains(&name))
    }

    /// The same with the fields of another over it; its fields stand in place of those of the same
    /// name.
    #[must_use]
    pub fn overlaid(&self, other: &Self) -> Self {
        let is_kept = |field: &&Field| !other.0.iter().any(|own| own.path == field.path);
        let kept = self.0.iter().filter(is_kept).cloned();
        Self(kept.chain(other.0.iter().cloned()).collect())
    }
}

/// Puts a value where a dotted path says.
fn put(fields: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            fields.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = fields
                .entry(first)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// A plain value as a word: `5` and `5.0` are both `5`.
#[must_use]
pub fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => shortest(number).to_string(),
        other => other.to_string(),
    }
}

fn shortest(number: &Number) -> Number {
    number
        .as_f64()
        .filter(|_| number.is_f64())
        .map_or_else(|| number.clone(), plain)
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// An empty list or text says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// A `data:` URL without its prefix.
fn bytes(value: &Value) -> Value {
    let text = value.as_str().unwrap_or_default();
    let base64 = text
        .split_once(";base64,")
        .map_or(text, |(_, base64)| base64);
    Value::from(base64)
}
