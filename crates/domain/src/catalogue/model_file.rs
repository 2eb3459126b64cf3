//! One file of `models/`.

use std::collections::BTreeSet;

use super::source::{Item, Section};
use super::{Model, PromptRule, Route, parameter_file, price_file};
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
pub(super) fn model(root: &Section<'_>, id: &str, providers: &BTreeSet<&str>) -> Option<Model> {
    let modality = root
        .demand("modality")
        .and_then(|item| item.choice(&Modality::ALL.map(|modality| (modality.as_str(), modality))));
    let name = root.text("name");
    let vendor = root.text("vendor");
    let description = root.text("description");
    let notice = root.text_or_none("notice");
    let prompt = prompt(root);
    let disabled = root.flag("disabled");
    let routes = routes(root, providers);
    let parameters = parameter_file::parameters(root, modality);
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
        routes,
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

/// The routes by rank; those of the same rank in the order of the file.
fn routes(root: &Section<'_>, providers: &BTreeSet<&str>) -> Vec<Route> {
    let items = root.get("routes").and_then(|item| item.list());
    let items = items.unwrap_or_default();
    let read = |(position, item)| route(position, item, providers);
    let mut routes: Vec<Route> = (0..).zip(&items).filter_map(read).collect();
    routes.sort_by_key(|route| route.rank);
    routes
}

fn route(position: i64, item: &Item<'_>, providers: &BTreeSet<&str>) -> Option<Route> {
    let section = item.section(&["provider", "model", "weight", "rank"])?;
    let provider = section.text("provider");
    if let Some(named) = section.get("provider")
        && !provider.is_empty()
        && !providers.contains(provider.as_str())
    {
        named.note(format!("names {provider}, which is not in the catalogue"));
    }
    let most = i64::from(u32::MAX);
    let weight = section.int("weight", 1, most, 1);
    let rank = section.int("rank", 0, most, position);
    Some(Route {
        provider,
        model: section.text("model"),
        weight: u32::try_from(weight).unwrap_or(1),
        rank: u32::try_from(rank).unwrap_or(0),
    })
}
