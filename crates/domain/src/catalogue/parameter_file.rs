//! The table `parameters` of a model file.
//!
//! `duration = { numbers = [5, 10], default = 5 }`: one key says the kind, the others are optional.

use serde_json::{Map, Number, Value};

use super::Abilities;
use super::source::{Item, Section};
use crate::order::{Modality, contract};
use crate::parameter::{Kind, Parameter, ShotsRule};
use crate::price::same;

/// The keys that say the kind.
const KINDS: [&str; 8] = [
    "words", "numbers", "number", "integer", "flag", "text", "urls", "shots",
];

/// Every key of a parameter.
const KEYS: [&str; 10] = [
    "words",
    "numbers",
    "number",
    "integer",
    "flag",
    "text",
    "urls",
    "shots",
    "default",
    "description",
];

/// Largest limit on characters and links.
const LIMIT_MAX: i64 = 1_000_000;

/// The parameters of a model file in their order, followed by those every model takes. Without a
/// modality only what does not depend on it is checked.
pub(super) fn parameters(root: &Section<'_>, modality: Option<Modality>) -> Vec<Parameter> {
    let listed = root.get("parameters");
    let items = listed
        .and_then(|item| item.open_section())
        .map(|section| section.items());
    let read = |item: &Item<'_>| parameter(item, modality);
    let mut parameters: Vec<Parameter> = items.iter().flatten().filter_map(read).collect();
    for ability in modality.into_iter().flat_map(contract::abilities) {
        if !parameters.iter().any(|known| known.name == ability.name) {
            parameters.push(ability.clone());
        }
    }
    if let Some(item) = listed {
        check_sides(&item, &parameters);
        if modality.is_some() {
            check_shots(&item, &parameters);
        }
    }
    parameters
}

/// The defaults of all parameters.
pub(super) fn defaults(parameters: &[Parameter]) -> Map<String, Value> {
    let with_default = parameters.iter().filter_map(|parameter| {
        let default = parameter.default.clone()?;
        Some((parameter.name.clone(), default))
    });
    with_default.collect()
}

fn parameter(item: &Item<'_>, modality: Option<Modality>) -> Option<Parameter> {
    if !super::is_name(item.key) {
        item.note("must be named in lower-case letters, digits and underscores");
    }
    let section = item.section(&KEYS)?;
    let given = KINDS.iter().filter_map(|name| section.get(name));
    let given: Vec<Item<'_>> = given.collect();
    let [said] = given.as_slice() else {
        item.note(format!("must have exactly one of {}", KINDS.join(", ")));
        return None;
    };
    let kind = kind(said)?;
    let shared = modality.and_then(|modality| contract::parameter(modality, item.key));
    if shared.is_some_and(|shared| !shared.kind.is_like(&kind)) {
        item.note("must be of the type that the public contract says");
        return None;
    }
    let description = section.text_or_none("description");
    let description = description.or_else(|| shared.map(|shared| shared.description.clone()));
    if description.is_none() && modality.is_some() {
        item.note("must have a `description`; the public contract does not know it");
    }
    let mut parameter = Parameter {
        name: item.key.to_owned(),
        kind,
        default: None,
        description: description.unwrap_or_default(),
    };
    if let Some(given) = section.get("default") {
        parameter.default = default(&parameter, &given);
    }
    Some(parameter)
}

/// The canonical default. One that is not allowed is kept as it is, so that nothing else complains
/// that there is none.
fn default(parameter: &Parameter, given: &Item<'_>) -> Option<Value> {
    let value = given.json()?;
    let accepted = match parameter.accept(&parameter.name, &value) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            given.note(format!("of `{}` {}", refusal.param, refusal.message));
            return Some(value);
        }
    };
    let is_ability = Abilities::NAMES.contains(&parameter.name.as_str());
    if is_ability && accepted != Value::Bool(false) {
        given.note("of what must be honoured or refused can only be false");
    }
    Some(accepted)
}

fn kind(said: &Item<'_>) -> Option<Kind> {
    match said.key {
        "words" => words(said).map(Kind::Words),
        "numbers" => numbers(said).map(Kind::Numbers),
        "number" => {
            let (min, max) = bounds(said, |item| item.number()?.as_f64())?;
            Some(Kind::Number { min, max })
        }
        "integer" => {
            let (min, max) = bounds(said, Item::int)?;
            Some(Kind::Integer { min, max })
        }
        "text" => limit(said).map(|chars_max| Kind::Text { chars_max }),
        "urls" => limit(said).map(|items_max| Kind::Urls { items_max }),
        "shots" => shots(said).map(Kind::Shots),
        _ => {
            if !said.flag()? {
                said.note("can only be true: it says that the parameter is a yes or no");
            }
            Some(Kind::Flag)
        }
    }
}

fn words(said: &Item<'_>) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    for item in said.list()? {
        let word = item.text()?.to_owned();
        if words.contains(&word) {
            item.note(format!("lists {word} twice"));
        }
        words.push(word);
    }
    if words.is_empty() {
        said.note("must not be empty");
        return None;
    }
    Some(words)
}

fn numbers(said: &Item<'_>) -> Option<Vec<Number>> {
    let mut numbers: Vec<Number> = Vec::new();
    for item in said.list()? {
        let number = item.number()?;
        let value = Value::Number(number.clone());
        let is_known = |known: &Number| same(&Value::Number(known.clone()), &value);
        if numbers.iter().any(is_known) {
            item.note(format!("lists {number} twice"));
        }
        numbers.push(number);
    }
    if numbers.is_empty() {
        said.note("must not be empty");
        return None;
    }
    Some(numbers)
}

fn bounds<'s, T: PartialOrd + Copy>(
    said: &Item<'s>,
    read: impl Fn(&Item<'s>) -> Option<T>,
) -> Option<(T, T)> {
    let items = said.list()?;
    let [least, most] = items.as_slice() else {
        said.note("must be a list of the least and the most");
        return None;
    };
    let (min, max) = (read(least)?, read(most)?);
    if min > max {
        said.note("must have the least first");
        return None;
    }
    Some((min, max))
}

fn limit(said: &Item<'_>) -> Option<u32> {
    let limit = said.int()?;
    if !(1..=LIMIT_MAX).contains(&limit) {
        said.note(format!("must be between 1 and {LIMIT_MAX}"));
    }
    u32::try_from(limit).ok()
}

fn shots(said: &Item<'_>) -> Option<ShotsRule> {
    let section = said.section(&["items_max", "chars_max", "seconds_max"])?;
    Some(ShotsRule {
        items_max: limit(&section.demand("items_max")?)?,
        chars_max: limit(&section.demand("chars_max")?)?,
        seconds_max: limit(&section.demand("seconds_max")?)?,
    })
}

/// Shots say what `multi_shots` asks for, and share the duration among them.
fn check_shots(listed: &Item<'_>, parameters: &[Parameter]) {
    let mut shots = parameters
        .iter()
        .filter(|parameter| matches!(parameter.kind, Kind::Shots(_)))
        .peekable();
    if shots.peek().is_none() {
        return;
    }
    if shots.any(|parameter| parameter.default.is_some()) {
        listed.note("must not give shots a default");
    }
    let has_default = |name: &str| {
        let mut named = parameters.iter().filter(|parameter| parameter.name == name);
        named.any(|parameter| parameter.default.is_some())
    };
    if !has_default("multi_shots") || !has_default("duration") {
        listed.note("must be those of a film, with a default for `duration`, to have shots");
    }
}

/// A size is two sides that take the place of the ratio only when the user gives them.
fn check_sides(listed: &Item<'_>, parameters: &[Parameter]) {
    let side = |name| parameters.iter().find(|parameter| parameter.name == name);
    let sides = [side("width"), side("height")];
    if sides.iter().flatten().count() == 1 {
        listed.note("must have `width` and `height` or neither");
    }
    if sides
        .into_iter()
        .flatten()
        .any(|side| side.default.is_some())
    {
        listed.note("must not give `width` or `height` a default");
    }
}
