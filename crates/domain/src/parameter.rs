//! A parameter of a model: what kind of value it takes.
//!
//! Invariant: the kinds are a closed set, and every default is an allowed value.

use serde_json::{Number, Value};

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
