//! The table `price` of a model file, and whether it bounds every order the model accepts.

use std::collections::BTreeMap;

use serde_json::{Number, Value};

use super::source::{Item, Section};
use crate::credits::{Credits, scaled};
use crate::parameter::{Kind, Parameter};
use crate::price::{Form, MARGIN_BP_NONE, Price, Rate, Row, same, tier_of_side};

/// The keys that say the form.
const FORMS: [&str; 5] = [
    "per_run",
    "per_second",
    "per_image",
    "per_million_tokens",
    "table",
];

/// Every key of a price.
const KEYS: [&str; 8] = [
    "per_run",
    "per_second",
    "per_image",
    "per_million_tokens",
    "table",
    "margin",
    "source",
    "date",
];

/// Largest margin, in basis points.
const MARGIN_BP_MAX: u32 = 1_000_000;

/// Most combinations of a price table.
const ROWS_MAX: usize = 1_000;

/// Most values of an integer that a price table can name one by one.
const VALUES_MAX: i64 = 100;

/// A price and where it was read.
pub(super) struct Quote {
    pub(super) price: Price,
    pub(super) source: Option<String>,
    pub(super) date: Option<String>,
}

/// The price of a model file.
pub(super) fn quote(root: &Section<'_>, parameters: &[Parameter]) -> Option<Quote> {
    read(&root.demand("price")?, parameters)
}

/// The price of a route.
pub(super) fn price(item: &Item<'_>, parameters: &[Parameter]) -> Option<Price> {
    read(item, parameters).map(|quote| quote.price)
}

fn read(item: &Item<'_>, parameters: &[Parameter]) -> Option<Quote> {
    let section = item.section(&KEYS)?;
    let given = FORMS.iter().filter_map(|name| section.get(name));
    let given: Vec<Item<'_>> = given.collect();
    let [said] = given.as_slice() else {
        item.note(format!("must have exactly one of {}", FORMS.join(", ")));
        return None;
    };
    let terms = Terms { said, parameters };
    let form = match said.key {
        "per_run" => Form::PerRun {
            credits: said.credits()?,
        },
        "per_second" => terms.per_second()?,
        "per_image" => terms.per_image()?,
        "per_million_tokens" => terms.per_million_tokens()?,
        _ => terms.table()?,
    };
    let date = section.get("date");
    if date.is_some_and(|date| date.text().is_some_and(|text| !is_date(text))) {
        section.note("`date` must be a date such as 2026-11-24, in quotes");
    }
    Some(Quote {
        price: Price {
            form,
            margin_bp: margin(&section),
        },
        source: section.text_or_none("source"),
        date: date.and_then(|date| date.text()).map(str::to_owned),
    })
}

fn margin(section: &Section<'_>) -> u32 {
    let Some(item) = section.get("margin") else {
        return MARGIN_BP_NONE;
    };
    let found = item.basis_points();
    let found = found.filter(|points| (1..=MARGIN_BP_MAX).contains(points));
    if found.is_none() {
        item.note("must be a factor between 0.0001 and 100 with at most 4 decimal places");
    }
    found.unwrap_or(MARGIN_BP_NONE)
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str, length| {
        let is_plain = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| part.parse::<u32>().ok()).flatten()
    };
    let [year, month, day] = parts.as_slice() else {
        return false;
    };
    number(year, 4).is_some()
        && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
        && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
}

/// What is said of a price, and what the model takes.
struct Terms<'t, 's> {
    said: &'t Item<'s>,
    parameters: &'t [Parameter],
}

impl Terms<'_, '_> {
    fn parameter(&self, name: &str) -> Option<&Parameter> {
        let mut parameters = self.parameters.iter();
        parameters.find(|parameter| parameter.name == name)
    }

    fn per_second(&self) -> Option<Form> {
        let rate = self.rate()?;
        let seconds_max = self
            .parameter("duration")
            .and_then(|duration| seconds_max(&duration.kind));
        if seconds_max.is_none() {
            self.said
                .note("needs a parameter `duration` above 0 with a maximum");
        }
        if let Rate::BySize(sizes) = &rate {
            self.check_named_sizes(sizes);
        }
        Some(Form::PerSecond {
            rate,
            seconds_max: seconds_max?,
        })
    }

    fn per_image(&self) -> Option<Form> {
        let rate = self.rate()?;
        if let Some(count) = self.parameter("n") {
            let is_bounded = matches!(count.kind, Kind::Integer { min: 1.., .. });
            let is_listed =
                matches!(&count.kind, Kind::Numbers(numbers) if numbers.iter().all(is_count));
            if !is_bounded && !is_listed {
                self.said.note("needs a parameter `n` of integers above 0");
            }
        }
        if let Rate::BySize(sizes) = &rate {
            let has_sides = self.parameter("width").is_some();
            match (self.parameter("resolution").is_some(), has_sides) {
                (true, false) => self.check_named_sizes(sizes),
                (false, _) => self.check_tiers(sizes),
                (true, true) => self
                    .said
                    .note("cannot be by size for a model with both `resolution` and `width`"),
            }
        }
        Some(Form::PerImage { rate })
    }

    /// Every size the parameter `resolution` allows has its price, and no other.
    fn check_named_sizes(&self, sizes: &BTreeMap<String, Credits>) {
        let Some(resolution) = self.parameter("resolution") else {
            self.said
                .note("is by size, but there is no parameter `resolution`");
            return;
        };
        let Kind::Words(words) = &resolution.kind else {
            self.said.note("needs a parameter `resolution` of words");
            return;
        };
        if resolution.default.is_none() {
            self.said
                .note("is by size, so `resolution` needs a default");
        }
        self.check_sizes(sizes, words);
    }

    /// Every tier that width and height can reach has its price, and no other.
    fn check_tiers(&self, sizes: &BTreeMap<String, Credits>) {
        let mut longest = 0;
        for name in ["width", "height"] {
            let kind = self.parameter(name).map(|side| &side.kind);
            match kind {
                None => {}
                Some(Kind::Integer { max, .. }) => longest = longest.max(*max),
                Some(_) => self.said.note(format!("needs `{name}` to be an integer")),
            }
        }
        let most = tier_of_side(longest);
        let tiers = ["1K", "2K", "4K"];
        let reached = tiers.iter().position(|tier| *tier == most).unwrap_or(0);
        let reached: Vec<String> = tiers
            .iter()
            .take(reached.saturating_add(1))
            .map(ToString::to_string)
            .collect();
        self.check_sizes(sizes, &reached);
    }

    fn check_sizes(&self, sizes: &BTreeMap<String, Credits>, wanted: &[String]) {
        for size in wanted.iter().filter(|size| !sizes.contains_key(*size)) {
            self.said.note(format!("has no price for the size {size}"));
        }
        for size in sizes.keys().filter(|size| !wanted.contains(size)) {
            self.said
                .note(format!("has a price for {size}, which no order can have"));
        }
    }

    fn rate(&self) -> Option<Rate> {
        if !self.said.is_table() {
            return self.said.credits().map(Rate::Flat);
        }
        let mut sizes = BTreeMap::new();
        for item in self.said.open_section()?.items() {
            sizes.insert(item.key.to_owned(), item.credits()?);
        }
        if sizes.is_empty() {
            self.said.note("must not be empty");
            return None;
        }
        Some(Rate::BySize(sizes))
    }

    fn per_million_tokens(&self) -> Option<Form> {
        let section = self.said.section(&["input", "output"])?;
        let (input, output) = (section.demand("input"), section.demand("output"));
        let most = match self.parameter("max_tokens").map(|most| &most.kind) {
            Some(Kind::Integer { min: 1.., max }) => u64::try_from(*max).ok(),
            _ => None,
        };
        if most.is_none() {
            self.said
                .note("needs a parameter `max_tokens` of integers above 0 with a maximum");
        }
        Some(Form::PerMillionTokens {
            input: input?.credits()?,
            output: output?.credits()?,
            output_tokens_max: most?,
        })
    }

    fn table(&self) -> Option<Form> {
        let section = self.said.section(&["by", "rows"])?;
        let (by, rows) = (section.demand("by"), section.demand("rows"));
        let (by, rows) = (by?.list()?, rows?);
        let mut columns = Vec::new();
        for item in &by {
            let name = item.text()?;
            let Some(parameter) = self.parameter(name) else {
                item.note(format!("names the unknown parameter {name}"));
                return None;
            };
            let Some(values) = values(&parameter.kind) else {
                item.note(format!("names {name}, whose values cannot be listed"));
                return None;
            };
            columns.push((name.to_owned(), values));
        }
        let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            section.note("`by` must name at least one parameter");
            return None;
        }
        let items = rows.list()?;
        let rows: Vec<Row> = items
            .iter()
            .filter_map(|item| row(item, &columns))
            .collect();
        if rows.len() == items.len() {
            self.check_rows(&columns, &rows);
        }
        Some(Form::Table { by: names, rows })
    }

    /// One row for every combination.
    fn check_rows(&self, columns: &[(String, Vec<Value>)], rows: &[Row]) {
        let mut combinations: Vec<Vec<Value>> = vec![Vec::new()];
        for (_, values) in columns {
            if combinations.len().saturating_mul(values.len()) > ROWS_MAX {
                self.said
                    .note(format!("has more than {ROWS_MAX} combinations"));
                return;
            }
            combinations = combinations
                .iter()
                .flat_map(|start| {
                    values
                        .iter()
                        .map(move |value| [start.as_slice(), std::slice::from_ref(value)].concat())
                })
                .collect();
        }
        for wanted in combinations {
            let is_it = |row: &&Row| {
                row.values
                    .iter()
                    .zip(&wanted)
                    .all(|(one, other)| same(one, other))
            };
            let text: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            match rows.iter().filter(is_it).count() {
                0 => self
                    .said
                    .note(format!("has no row for {}", text.join(", "))),
                1 => {}
                _ => self
                    .said
                    .note(format!("has two rows for {}", text.join(", "))),
            }
        }
    }
}

/// `[5, "720p", 0.35]`: the parameters' values, then the price.
fn row(item: &Item<'_>, columns: &[(String, Vec<Value>)]) -> Option<Row> {
    let cells = item.list()?;
    let Some((price, cells)) = cells
        .split_last()
        .filter(|(_, cells)| cells.len() == columns.len())
    else {
        item.note(format!(
            "must have rows of {} values and a price",
            columns.len()
        ));
        return None;
    };
    let mut row = Row {
        values: Vec::new(),
        credits: price.credits()?,
    };
    for (cell, (name, values)) in cells.iter().zip(columns) {
        let given = cell.json()?;
        let Some(value) = values.iter().find(|value| same(value, &given)) else {
            cell.note(format!(
                "has a row for {given}, which {name} does not allow"
            ));
            return None;
        };
        row.values.push(value.clone());
    }
    Some(row)
}

fn is_count(number: &Number) -> bool {
    number.as_u64().is_some_and(|count| count > 0)
}

/// The longest duration in whole seconds; `None` where one may be zero or is not bounded.
fn seconds_max(duration: &Kind) -> Option<u32> {
    let (least, most) = match duration {
        Kind::Numbers(numbers) => {
            let sizes = || numbers.iter().filter_map(Number::as_f64);
            (sizes().reduce(f64::min)?, sizes().reduce(f64::max)?)
        }
        Kind::Number { min, max } => (*min, *max),
        Kind::Integer { min, max } => return u32::try_from(*max).ok().filter(|_| *min > 0),
        _ => return None,
    };
    let seconds = scaled(&most.to_string(), 0).ok();
    let seconds = seconds.and_then(|(seconds, _)| u32::try_from(seconds).ok());
    seconds.filter(|_| least > 0.0)
}

/// Every value of a kind that can be listed.
fn values(kind: &Kind) -> Option<Vec<Value>> {
    match kind {
        Kind::Words(words) => Some(
            words
                .iter()
                .map(|word| Value::from(word.as_str()))
                .collect(),
        ),
        Kind::Numbers(numbers) => Some(numbers.iter().cloned().map(Value::Number).collect()),
        Kind::Integer { min, max } if max.checked_sub(*min)? < VALUES_MAX => {
            Some((*min..=*max).map(Value::from).collect())
        }
        Kind::Flag => Some(vec![Value::Bool(false), Value::Bool(true)]),
        _ => None,
    }
}
