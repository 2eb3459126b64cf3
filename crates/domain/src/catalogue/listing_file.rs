//! The `[[routes]]` of a model file, and whether together they leave nothing unsaid.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::source::{Item, Section};
use super::{Abilities, Delivery, Listing, Provider, Route, mapping_file, price_file};
use crate::mapping::{Encoder, Mapping, word};
use crate::order::Modality;
use crate::parameter::{Kind, Parameter, ShotsRule};
use crate::price::same;

/// The keys of a route.
const KEYS: [&str; 11] = [
    "provider", "dialect", "model", "weight", "rank", "only", "inputs", "ignores", "send", "files",
    "price",
];

/// What the routes are read with.
pub(super) struct Terms<'a> {
    pub(super) providers: &'a BTreeMap<&'a str, Provider>,
    pub(super) dialects: &'a [&'a str],
    pub(super) modality: Option<Modality>,
    pub(super) parameters: &'a [Parameter],
}

/// The listings by rank; those of the same rank in the order of the file.
pub(super) fn listings(root: &Section<'_>, terms: &Terms<'_>) -> Vec<Listing> {
    let items = root.get("routes").and_then(|item| item.list());
    let items = items.unwrap_or_default();
    let mut listings: Vec<Listing> = Vec::new();
    for (position, item) in (0..).zip(&items) {
        let Some(listing) = terms.listing(position, item) else {
            continue;
        };
        let is_twin = |before: &Listing| terms.may_take_the_same(before, &listing);
        if !item.page.has_problems() && listings.iter().any(is_twin) {
            item.note("takes orders that a route before it takes to the same model there");
        }
        listings.push(listing);
    }
    listings.sort_by_key(|listing| listing.route.rank);
    listings
}

impl Terms<'_> {
    fn listing(&self, position: i64, item: &Item<'_>) -> Option<Listing> {
        let section = item.section(&KEYS)?;
        let name = section.text("provider");
        let provider = self.providers.get(name.as_str());
        if let (Some(named), None, false) = (section.get("provider"), provider, name.is_empty()) {
            named.note(format!("names {name}, which is not in the catalogue"));
        }
        let most = i64::from(u32::MAX);
        let weight = section.int("weight", 1, most, 1);
        let rank = section.int("rank", 0, most, position);
        let route = Route {
            dialect: self.dialect(&section, provider),
            provider: name,
            model: section.text("model"),
            weight: u32::try_from(weight).unwrap_or(1),
            rank: u32::try_from(rank).unwrap_or(0),
        };
        let shared = provider.and_then(|provider| provider.send.get(&self.modality?));
        let shared = shared.cloned().unwrap_or_default();
        let own = section.get("send").map(|item| mapping_file::mapping(&item));
        let mut listing = Listing {
            route,
            only: only(&section, self),
            inputs: BTreeMap::new(),
            ignores: ignores(&section, self),
            send: shared.overlaid(own.as_ref().unwrap_or(&Mapping::default())),
            delivery: section
                .get("files")
                .and_then(|item| item.choice(&Delivery::ALL))
                .or(provider.map(|provider| provider.delivery))
                .unwrap_or(Delivery::Link),
            price: section
                .get("price")
                .and_then(|item| price_file::price(&item, self.parameters)),
        };
        listing.inputs = self.inputs(&section, &listing);
        // A parameter that could not be read is no parameter that was forgotten.
        if !item.page.has_problems() {
            for problem in self.unsaid(&listing, &own.unwrap_or_default()) {
                item.note(problem);
            }
        }
        Some(listing)
    }

    fn dialect(&self, section: &Section<'_>, provider: Option<&Provider>) -> String {
        let own = section.get("dialect");
        let Some(own) = own else {
            return provider.map_or_else(String::new, |provider| provider.dialect.clone());
        };
        let name = own.text().unwrap_or_default();
        if !name.is_empty() && !self.dialects.contains(&name) {
            let known = self.dialects.join(", ");
            own.note(format!(
                "names the unknown dialect {name}; known are {known}"
            ));
        }
        name.to_owned()
    }

    /// Whether an order could go to one model of one provider by both: it would be sent there twice, and
    /// in the words of the first both times.
    fn may_take_the_same(&self, one: &Listing, other: &Listing) -> bool {
        let (here, there) = (&one.route, &other.route);
        let are_apart = one.inputs.iter().any(|(name, (least, most))| {
            let range = other.inputs.get(name);
            range.is_some_and(|(from, to)| from > most || to < least)
        });
        let differ = one.only.iter().any(|(name, values)| {
            // What may be missing is taken by both.
            let parameter = self.parameter(name);
            let is_given = parameter.is_some_and(|known| known.default.is_some());
            let others = other.only.get(name).filter(|_| is_given);
            let is_known = |value: &Value| {
                let mut others = others.into_iter().flatten();
                others.any(|known| same(known, value))
            };
            others.is_some() && !values.iter().any(is_known)
        });
        (&here.provider, &here.model, &here.dialect)
            == (&there.provider, &there.model, &there.dialect)
            && !are_apart
            && !differ
    }

    fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|known| known.name == name)
    }

    /// How many items of each list of files or shots: what the file says, else any number of those that
    /// are sent and none of the others.
    fn inputs(&self, section: &Section<'_>, listing: &Listing) -> BTreeMap<String, (u32, u32)> {
        let mut inputs = BTreeMap::new();
        for parameter in self.parameters {
            if let Kind::Urls { items_max } | Kind::Shots(ShotsRule { items_max, .. }) =
                parameter.kind
            {
                let most = if listing.send.reads(&parameter.name) {
                    items_max
                } else {
                    0
                };
                inputs.insert(parameter.name.clone(), (0, most));
            }
        }
        let given = section.get("inputs").and_then(|item| item.open_section());
        for item in given.map(|given| given.items()).unwrap_or_default() {
            if !inputs.contains_key(item.key) {
                item.note("is no list of links or shots of this model");
            }
            let counts = item.list().unwrap_or_default();
            let counts: Vec<Option<u32>> = counts
                .iter()
                .map(|count| u32::try_from(count.int()?).ok())
                .collect();
            match counts.as_slice() {
                [Some(least), Some(most)] if least <= most => {
                    if *most > 0 && !listing.send.reads(item.key) {
                        item.note("takes what the route does not send");
                    }
                    inputs.insert(item.key.to_owned(), (*least, *most));
                }
                _ => item.note("must be a list of the least and the most"),
            }
        }
        inputs
    }

    /// What the listing leaves unsaid: a parameter without a place, a value without a word.
    fn unsaid(&self, listing: &Listing, own: &Mapping) -> Vec<String> {
        let mut problems = Vec::new();
        for parameter in self.parameters {
            let name = parameter.name.as_str();
            let is_elsewhere = Abilities::NAMES.contains(&name)
                || matches!(parameter.kind, Kind::Urls { .. } | Kind::Shots(_))
                || listing.ignores.iter().any(|ignored| ignored == name);
            if !listing.send.reads(name) && !is_elsewhere {
                problems.push(format!("neither sends nor ignores the parameter {name}"));
            }
        }
        // What a provider's file says for all of its models need not be in each of them.
        let sent = own.0.iter().flat_map(|field| field.encoder.sources());
        let unknown: BTreeSet<&str> = sent
            .filter(|name| self.parameter(name).is_none() && !is_size(name))
            .collect();
        for name in unknown {
            problems.push(format!("sends {name}, which is no parameter of this model"));
        }
        let fields = listing.send.0.iter().map(|field| &field.encoder);
        for encoder in fields {
            problems.extend(self.wordless(encoder, listing));
        }
        problems
    }

    /// The allowed values for which a table has no word.
    fn wordless(&self, encoder: &Encoder, listing: &Listing) -> Vec<String> {
        let (of, words): (&[String], Vec<&str>) = match encoder {
            Encoder::Word {
                of,
                table,
                otherwise: None,
            } => (of, table.keys().map(String::as_str).collect()),
            Encoder::Ratio { among } => {
                return self
                    .values("aspect_ratio", listing)
                    .into_iter()
                    .filter(|value| !among.iter().any(|(word, _)| word == value))
                    .map(|value| format!("has no word for the aspect_ratio {value}"))
                    .collect();
            }
            _ => return Vec::new(),
        };
        let mut combined = vec![String::new()];
        for name in of {
            let values = self.values(name, listing);
            if values.is_empty() {
                return Vec::new();
            }
            combined = combined
                .iter()
                .flat_map(|before| {
                    values
                        .iter()
                        .map(move |value| format!("{before} {value}").trim_start().to_owned())
                })
                .collect();
        }
        let is_missing = |value: &String| !words.contains(&value.as_str());
        let missing = combined.into_iter().filter(is_missing);
        missing
            .map(|value| format!("has no word for the {} {value}", of.join(" ")))
            .collect()
    }

    /// The values of a parameter that the listing takes, where they can be listed.
    fn values(&self, name: &str, listing: &Listing) -> Vec<String> {
        if let Some(only) = listing.only.get(name) {
            return only.iter().map(word).collect();
        }
        match self.parameter(name).map(|parameter| &parameter.kind) {
            Some(Kind::Words(words)) => words.clone(),
            Some(Kind::Numbers(numbers)) => numbers
                .iter()
                .map(|number| word(&Value::Number(number.clone())))
                .collect(),
            Some(Kind::Flag) => vec!["true".to_owned(), "false".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// Sizes are read where a model has them.
fn is_size(name: &str) -> bool {
    matches!(name, "aspect_ratio" | "width" | "height")
}

fn only(section: &Section<'_>, terms: &Terms<'_>) -> BTreeMap<String, Vec<Value>> {
    let given = section.get("only").and_then(|item| item.open_section());
    let mut only = BTreeMap::new();
    for item in given.map(|given| given.items()).unwrap_or_default() {
        let Some(parameter) = terms.parameter(item.key) else {
            item.note("is no parameter of this model");
            continue;
        };
        let values = item.list().unwrap_or_default();
        let values: Vec<Value> = values.iter().filter_map(Item::json).collect();
        for value in &values {
            let accepted = parameter.accept(item.key, value);
            if !accepted.is_ok_and(|accepted| same(&accepted, value)) {
                item.note(format!("names {value}, which the model does not allow"));
            }
        }
        if values.is_empty() {
            item.note("must not be empty");
        }
        only.insert(item.key.to_owned(), values);
    }
    only
}

fn ignores(section: &Section<'_>, terms: &Terms<'_>) -> Vec<String> {
    let items = section.get("ignores").and_then(|item| item.list());
    let mut ignores = Vec::new();
    for item in items.unwrap_or_default() {
        let Some(name) = item.text() else { continue };
        if terms.parameter(name).is_none() {
            item.note(format!("names {name}, which is no parameter of this model"));
        }
        if Abilities::NAMES.contains(&name) {
            item.note(format!(
                "names {name}, which is honoured or refused, never ignored"
            ));
        }
        ignores.push(name.to_owned());
    }
    ignores
}
