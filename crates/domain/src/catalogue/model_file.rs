//! One file of `models/`.

use std::collections::BTreeMap;

use super::source::Section;
use super::{Model, PromptRule, Provider, listing_file, parameter_file, price_file};
use crate::order::Modality;

/// The keys of a model file.
pub(super) const KEYS: [&str; 12] = [
    "id",
    "name",
    "vendor",
    "modality",
    "description",
    "notice",
    "prompt",
    "deadline_s",
    "disabled",
    "parameters",
    "price",
    "routes",
];

/// Most characters of a prompt where the file says nothing.
const PROMPT_CHARS_MAX: i64 = 5_000;

/// Largest limit on the prompt.
const PROMPT_LIMIT_MAX: i64 = 1_000_000;

/// Longest deadline, in seconds: a day.
const DEADLINE_S_MAX: i64 = 86_400;

/// The model a file describes; `None` only where the page has a problem.
pub(super) fn model(
    root: &Section<'_>,
    id: &str,
    providers: &BTreeMap<&str, Provider>,
    dialects: &[&str],
) -> Option<Model> {
    let modality = root
        .demand("modality")
        .and_then(|item| item.choice(&Modality::ALL.map(|modality| (modality.as_str(), modality))));
    let name = root.text("name");
    let vendor = root.text("vendor");
    let description = root.text("description");
    let notice = root.text_or_none("notice");
    let prompt = prompt(root);
    let disabled = root.flag("disabled");
    let parameters = parameter_file::parameters(root, modality);
    let terms = listing_file::Terms {
        providers,
        dialects,
        modality,
        parameters: &parameters,
    };
    let listings = listing_file::listings(root, &terms);
    let quote = price_file::quote(root, &parameters);
    let otherwise_s = modality.map_or(DEADLINE_S_MAX, deadline_s);
    let deadline_s = root.int("deadline_s", 1, DEADLINE_S_MAX, otherwise_s);
    let (modality, quote) = (modality?, quote?);
    Some(Model {
        id: id.to_owned(),
        name,
        vendor,
        modality,
        description,
        notice,
        prompt,
        defaults: parameter_file::defaults(&parameters),
        parameters,
        price: quote.price,
        price_source: quote.source,
        price_date: quote.date,
        listings,
        deadline_ms: deadline_s.saturating_mul(1_000),
        disabled,
    })
}

/// How long a task may take where the file says nothing, in seconds.
fn deadline_s(modality: Modality) -> i64 {
    match modality {
        Modality::Video => 3_600,
        Modality::Image | Modality::Chat => 900,
    }
}

fn prompt(root: &Section<'_>) -> PromptRule {
    let keys = ["required", "chars_max"];
    let section = root.get("prompt").and_then(|item| item.section(&keys));
    let chars_max = section.map_or(PROMPT_CHARS_MAX, |section| {
        section.int("chars_max", 1, PROMPT_LIMIT_MAX, PROMPT_CHARS_MAX)
    });
    let required = section
        .and_then(|section| section.get("required"))
        .and_then(|item| item.flag());
    PromptRule {
        is_required: required.unwrap_or(true),
        chars_max: u32::try_from(chars_max).unwrap_or(0),
    }
}
