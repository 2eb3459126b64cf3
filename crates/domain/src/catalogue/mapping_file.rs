//! The table `send` of a route or a provider: each field of the request and where it comes from.
//!
//! `aspect_ratio = "aspect_ratio"` sends a parameter as it is; a table says how to send it otherwise:
//! `{ text = "duration" }`, `{ word = "resolution", table = { 720p = "std" } }`, `{ constant = false }`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::source::{Item, Section};
use crate::mapping::{Encoder, Field, Mapping, Part, ratio_of};

/// The keys that say the encoder.
const ENCODERS: [&str; 12] = [
    "same",
    "text",
    "seconds",
    "word",
    "item",
    "rest",
    "base64",
    "base64_list",
    "ratio",
    "tier",
    "size",
    "constant",
];

/// What some encoders are told besides.
const OPTIONS: [&str; 6] = ["table", "otherwise", "at", "from", "side", "step"];

/// Most items of a list that are told apart.
const INDEX_MAX: i64 = 99;

/// Largest side of a size, in pixels.
const SIDE_MAX: i64 = 16_384;

/// The mapping of a table.
pub(super) fn mapping(item: &Item<'_>) -> Mapping {
    let section = item.open_section();
    let items = section.map(|section| section.items()).unwrap_or_default();
    Mapping(items.iter().filter_map(field).collect())
}

fn field(item: &Item<'_>) -> Option<Field> {
    let encoder = match item.is_table() {
        true => encoder(item)?,
        false => Encoder::Same(item.text()?.to_owned()),
    };
    Some(Field {
        path: item.key.to_owned(),
        encoder,
    })
}

fn encoder(item: &Item<'_>) -> Option<Encoder> {
    let section = item.section(&[&ENCODERS[..], &OPTIONS].concat())?;
    let given: Vec<Item<'_>> = ENCODERS
        .iter()
        .filter_map(|name| section.get(name))
        .collect();
    let [said] = given.as_slice() else {
        item.note(format!("must have exactly one of {}", ENCODERS.join(", ")));
        return None;
    };
    let of = || said.text().map(str::to_owned);
    Some(match said.key {
        "same" => Encoder::Same(of()?),
        "text" => Encoder::Text(of()?),
        "seconds" => Encoder::Seconds(of()?),
        "word" => word(said, &section)?,
        "item" => Encoder::Item {
            of: of()?,
            at: index(&section, "at"),
        },
        "rest" => Encoder::Rest {
            of: of()?,
            from: index(&section, "from"),
        },
        "base64" => Encoder::Base64 {
            of: of()?,
            at: index(&section, "at"),
        },
        "base64_list" => Encoder::Base64List(of()?),
        "ratio" => Encoder::Ratio {
            among: ratios(said)?,
        },
        "tier" => Encoder::Tier(tiers(said)?),
        "size" => Encoder::Size {
            part: part(said)?,
            side: section.int("side", 64, SIDE_MAX, 1_024),
            step: section.int("step", 1, 256, 16),
        },
        _ => Encoder::Constant(said.json()?),
    })
}

fn index(section: &Section<'_>, key: &str) -> usize {
    usize::try_from(section.int(key, 0, INDEX_MAX, 0)).unwrap_or(0)
}

/// A closed table over the words of one or more parameters.
fn word(said: &Item<'_>, section: &Section<'_>) -> Option<Encoder> {
    let of = if said.is_list() {
        let names = said.list()?;
        let names = names.iter().map(|name| name.text().map(str::to_owned));
        names.collect::<Option<Vec<String>>>()?
    } else {
        vec![said.text()?.to_owned()]
    };
    let table = section.demand("table")?.open_section()?;
    let mut words = BTreeMap::new();
    for entry in table.items() {
        words.insert(entry.key.to_owned(), entry.json()?);
    }
    Some(Encoder::Word {
        of,
        table: words,
        otherwise: section.get("otherwise").and_then(|item| item.json()),
    })
}

/// A list of ratios, or a table of what is sent for each.
fn ratios(said: &Item<'_>) -> Option<Vec<(String, Value)>> {
    let among: Vec<(String, Value)> = if said.is_table() {
        let entries = said.open_section()?.items();
        let entries = entries
            .iter()
            .map(|entry| Some((entry.key.to_owned(), entry.json()?)));
        entries.collect::<Option<_>>()?
    } else {
        let words = said.list()?;
        let words = words.iter().map(|word| {
            let word = word.text()?;
            Some((word.to_owned(), Value::from(word)))
        });
        words.collect::<Option<_>>()?
    };
    if among.is_empty() || among.iter().any(|(word, _)| ratio_of(word).is_none()) {
        said.note("must name ratios such as 16:9");
        return None;
    }
    Some(among)
}

/// Names by the longest side they stand for, in ascending order.
fn tiers(said: &Item<'_>) -> Option<Vec<(String, i64)>> {
    let entries = said.open_section()?.items();
    let entries = entries
        .iter()
        .map(|entry| Some((entry.key.to_owned(), entry.int()?)));
    let tiers: Vec<(String, i64)> = entries.collect::<Option<_>>()?;
    let sides: Vec<i64> = tiers.iter().map(|(_, side)| *side).collect();
    if tiers.is_empty() || !sides.is_sorted() {
        said.note("must name at least one size, the smallest first");
        return None;
    }
    Some(tiers)
}

fn part(said: &Item<'_>) -> Option<Part> {
    let word = said.text()?;
    let mut characters = word.chars();
    match (word, characters.next(), characters.next()) {
        ("width", ..) => Some(Part::Width),
        ("height", ..) => Some(Part::Height),
        (_, Some(between), None) => Some(Part::Both(between)),
        _ => {
            said.note("must be width, height or the character between both");
            None
        }
    }
}
