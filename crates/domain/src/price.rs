//! What a run costs: a closed set of price forms.
//!
//! Invariant: `0 ≤ charge ≤ hold` for every order and usage; the breakdown adds up to the hold.
//! Integers only, rounded up to the next micro-credit; sums stop at 64 bits, beyond any balance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::credits::{Credits, scaled};
use crate::order::Order;

/// A margin that changes nothing, in basis points.
pub const MARGIN_BP_NONE: u32 = 10_000;

/// Tokens per unit of a token price.
const TOKENS_PER_UNIT: u64 = 1_000_000;

/// Milliseconds per unit of a price per second.
const MS_PER_UNIT: u64 = 1_000;

/// Input tokens allowed for one picture, sound or film in a message: more than any vendor counts for
/// a picture. What a longer film costs above the hold is absorbed by the operator.
const MEDIA_TOKENS: u64 = 4_000;

/// Input tokens allowed for the frame of a conversation and of each message in it.
const FRAME_TOKENS: u64 = 16;

/// What was consumed, as the provider reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(default)]
    pub input_tokens: u64,
    /// Tokens of the answer, reasoning included.
    #[serde(default)]
    pub output_tokens: u64,
}

/// A price and the operator's margin on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// How the price is made.
    pub form: Form,
    /// Multiplier in basis points: 10 000 charges the price itself, 12 500 a quarter more.
    pub margin_bp: u32,
}

/// The price forms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The same for every run.
    PerRun {
        /// For one run.
        credits: Credits,
    },
    /// By the parameter `duration`, and `resolution` where the rate names it.
    PerSecond {
        /// For one second.
        rate: Rate,
        /// Longest duration the model allows, in seconds; taken for an order that names none.
        seconds_max: u32,
    },
    /// By the number of pictures (parameter `n`, else 1) and their size where the rate names it.
    PerImage {
        /// For one picture.
        rate: Rate,
    },
    /// By tokens in and out.
    PerMillionTokens {
        /// For a million tokens of the prompt.
        input: Credits,
        /// For a million tokens of the answer.
        output: Credits,
        /// Most tokens the model answers with; taken for an order without `max_tokens`.
        output_tokens_max: u64,
    },
    /// By the values of some parameters.
    Table {
        /// Names of the parameters.
        by: Vec<String>,
        /// One row for every combination of their values.
        rows: Vec<Row>,
    },
}

/// One amount, or one for each size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// The same for every size.
    Flat(Credits),
    /// By `resolution` (`720p`), for pictures by tier (`1K`, `2K`, `4K`).
    BySize(BTreeMap<String, Credits>),
}

/// One row of a price table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The parameters' values, in the order of `by`.
    pub values: Vec<Value>,
    /// What a run with these values costs.
    pub credits: Credits,
}

/// One line of an estimate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What is paid for: `run`, `second at 720p`, `image at 1K`, `million input tokens`.
    pub label: String,
    /// How many; tokens are counted one by one.
    pub quantity: Number,
    /// For one unit of the label, margin included.
    pub unit_price: Credits,
    /// What the line costs, margin included.
    pub amount: Credits,
}

/// A quantity as a fraction, so that rounding happens once.
struct Item {
    label: String,
    quantity: Number,
    unit: Credits,
    parts: u64,
    parts_per_unit: u64,
}

impl Price {
    /// A price without margin.
    #[must_use]
    pub fn new(form: Form) -> Self {
        Self {
            form,
            margin_bp: MARGIN_BP_NONE,
        }
    }

    /// The same for every run.
    #[must_use]
    pub fn per_run(credits: Credits) -> Self {
        Self::new(Form::PerRun { credits })
    }

    /// The most the order can cost; what is held at submit.
    #[must_use]
    pub fn hold(&self, order: &Order) -> Credits {
        self.sum(&self.items(order, None))
    }

    /// What the order costs after all; more than the hold if the provider took more than was ordered.
    #[must_use]
    pub fn cost(&self, order: &Order, usage: &Usage) -> Credits {
        self.sum(&self.items(order, Some(usage)))
    }

    /// What the client pays of it.
    #[must_use]
    pub fn charge(&self, order: &Order, usage: &Usage) -> Credits {
        self.cost(order, usage).min(self.hold(order))
    }

    /// How the hold comes about; the amounts add up to it.
    #[must_use]
    pub fn breakdown(&self, order: &Order) -> Vec<Line> {
        let items = self.items(order, None);
        let line = |item: Item| Line {
            unit_price: amount(item.unit, 1, 1, self.margin_bp),
            amount: self.amount(&item),
            label: item.label,
            quantity: item.quantity,
        };
        items.into_iter().map(line).collect()
    }

    /// The price as it is stored with a task: the same hold and charge for this order, without the
    /// sizes and rows that do not concern it.
    #[must_use]
    pub fn frozen(&self, order: &Order) -> Self {
        match self.form {
            Form::PerMillionTokens { .. } => self.clone(),
            _ => Self::per_run(self.hold(order)),
        }
    }

    fn sum(&self, items: &[Item]) -> Credits {
        let amounts = items.iter().map(|item| self.amount(item));
        amounts.fold(Credits::ZERO, |sum, next| {
            sum.plus(next).unwrap_or(Credits(i64::MAX))
        })
    }

    fn amount(&self, item: &Item) -> Credits {
        amount(item.unit, item.parts, item.parts_per_unit, self.margin_bp)
    }

    fn items(&self, order: &Order, usage: Option<&Usage>) -> Vec<Item> {
        match &self.form {
            Form::PerRun { credits } => vec![Item::whole("run", 1, *credits)],
            Form::PerSecond { rate, seconds_max } => {
                let size = order.text("resolution");
                let (ms, seconds) = duration(order, *seconds_max);
                vec![Item {
                    label: label("second", rate, size),
                    quantity: seconds,
                    unit: rate.of(size),
                    parts: ms,
                    parts_per_unit: MS_PER_UNIT,
                }]
            }
            Form::PerImage { rate } => {
                let size = image_tier(order);
                let count = order
                    .int("n")
                    .and_then(|n| u64::try_from(n).ok())
                    .unwrap_or(1)
                    .max(1);
                vec![Item::whole(
                    label("image", rate, Some(size)),
                    count,
                    rate.of(Some(size)),
                )]
            }
            Form::PerMillionTokens {
                input,
                output,
                output_tokens_max,
            } => {
                let most = || Usage {
                    input_tokens: input_tokens_max(order),
                    output_tokens: output_tokens_most(order, *output_tokens_max),
                };
                let usage = usage.copied().unwrap_or_else(most);
                vec![
                    Item::tokens("million input tokens", usage.input_tokens, *input),
                    Item::tokens("million output tokens", usage.output_tokens, *output),
                ]
            }
            Form::Table { by, rows } => {
                let matches = |row: &&Row| {
                    by.iter().zip(&row.values).all(|(name, value)| {
                        order
                            .params
                            .get(name)
                            .is_some_and(|asked| same(asked, value))
                    })
                };
                let found = rows.iter().find(matches).map(|row| row.credits);
                let dearest = || rows.iter().map(|row| row.credits).max().unwrap_or_default();
                vec![Item::whole("run", 1, found.unwrap_or_else(dearest))]
            }
        }
    }
}

impl Rate {
    /// The amount for a size; the dearest for a size that is not named.
    #[must_use]
    pub fn of(&self, size: Option<&str>) -> Credits {
        match self {
            Self::Flat(credits) => *credits,
            Self::BySize(sizes) => {
                let found = size.and_then(|size| sizes.get(size)).copied();
                found
                    .or_else(|| sizes.values().max().copied())
                    .unwrap_or_default()
            }
        }
    }
}

impl Item {
    fn whole(label: impl Into<String>, count: u64, unit: Credits) -> Self {
        Self {
            label: label.into(),
            quantity: count.into(),
            unit,
            parts: count,
            parts_per_unit: 1,
        }
    }

    fn tokens(label: &str, count: u64, unit: Credits) -> Self {
        Self {
            parts_per_unit: TOKENS_PER_UNIT,
            ..Self::whole(label, count, unit)
        }
    }
}

fn label(unit: &str, rate: &Rate, size: Option<&str>) -> String {
    match (rate, size) {
        (Rate::BySize(_), Some(size)) => format!("{unit} at {size}"),
        _ => unit.to_owned(),
    }
}

/// `unit × parts ÷ parts_per_unit × margin`, rounded up once. Exact up to 2^127.
fn amount(unit: Credits, parts: u64, parts_per_unit: u64, margin_bp: u32) -> Credits {
    let unit = u128::from(unit.0.max(0).unsigned_abs());
    let product = unit
        .checked_mul(u128::from(parts))
        .and_then(|product| product.checked_mul(u128::from(margin_bp)));
    let divisor = u128::from(parts_per_unit.max(1)).saturating_mul(u128::from(MARGIN_BP_NONE));
    let micros = product.map(|product| product.div_ceil(divisor));
    let micros = micros.and_then(|micros| i64::try_from(micros).ok());
    Credits(micros.unwrap_or(i64::MAX))
}

/// The order's duration in milliseconds, rounded up, and as it was given in seconds.
fn duration(order: &Order, seconds_max: u32) -> (u64, Number) {
    let asked = order.params.get("duration").and_then(Value::as_number);
    let in_ms = |seconds: &Number| {
        let (ms, _) = scaled(&seconds.to_string(), 3).ok()?;
        u64::try_from(ms).ok()
    };
    match asked.and_then(|seconds| Some((in_ms(seconds)?, seconds.clone()))) {
        Some(duration) => duration,
        None => (
            u64::from(seconds_max).saturating_mul(MS_PER_UNIT),
            seconds_max.into(),
        ),
    }
}

/// The size of the pictures: what `resolution` says, else by the longer side.
#[must_use]
pub fn image_tier(order: &Order) -> &str {
    if let Some(named) = order.text("resolution") {
        return named;
    }
    let side = |name| order.int(name).unwrap_or(0);
    tier_of_side(side("width").max(side("height")))
}

/// The tier of a picture whose longer side has so many pixels.
#[must_use]
pub fn tier_of_side(pixels: i64) -> &'static str {
    if pixels <= 1_280 {
        "1K"
    } else if pixels <= 2_560 {
        "2K"
    } else {
        "4K"
    }
}

fn output_tokens_most(order: &Order, otherwise: u64) -> u64 {
    order
        .int("max_tokens")
        .and_then(|most| u64::try_from(most).ok())
        .unwrap_or(otherwise)
}

/// No tokenizer makes more tokens of a text than it has bytes; pictures count as a constant.
fn input_tokens_max(order: &Order) -> u64 {
    let prompt = FRAME_TOKENS.saturating_add(length(&order.prompt));
    match &order.messages {
        Some(messages) => prompt.saturating_add(tokens_of(messages)),
        None => prompt,
    }
}

fn tokens_of(value: &Value) -> u64 {
    match value {
        Value::String(text) if is_media(text) => MEDIA_TOKENS,
        Value::String(text) => length(text),
        Value::Array(items) => items.iter().fold(0, |sum: u64, item| {
            sum.saturating_add(tokens_of(item))
                .saturating_add(FRAME_TOKENS)
        }),
        Value::Object(fields) => fields
            .values()
            .fold(0, |sum: u64, field| sum.saturating_add(tokens_of(field))),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

fn is_media(text: &str) -> bool {
    ["data:", "http://", "https://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
        && !text.contains(char::is_whitespace)
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// Whether two parameter values mean the same: numbers by size (`5` and `5.0`), the rest as they are.
#[must_use]
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        _ => one == other,
    }
}
