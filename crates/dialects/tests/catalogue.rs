//! What every route of the shipped catalogue says, for every value its model allows.
//!
//! One file of `snapshots/` for each model: the request of each route for the least that can be asked,
//! and what changes in it with each value of each parameter. `UPDATE=1` writes them anew, for a person to
//! read: the diff is what the provider will see differently.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use dialects::{Context, DIALECTS, dialect};
use domain::catalogue::{Abilities, Catalogue, Delivery, Listing, Model, SourceFile};
use domain::order::{Modality, Order};
use domain::parameter;
use domain::upstream::Kind;
use serde_json::{Map, Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Seconds of a shot under test: any number that a model takes is then a length that it takes.
const SHOT_SECONDS: i64 = 3;

/// Said of a field that is in the first request and not in this one.
const ABSENT: &str = "(absent)";

fn shipped() -> Catalogue {
    let root = Path::new(ROOT).join("../../catalogue");
    let mut files = Vec::new();
    for folder in ["models", "providers"] {
        for path in paths(&root.join(folder)) {
            let name = path.file_name().unwrap().to_str().unwrap();
            files.push(SourceFile {
                path: format!("{folder}/{name}"),
                text: std::fs::read_to_string(&path).unwrap(),
            });
        }
    }
    let names: Vec<&str> = DIALECTS.iter().map(|(name, _)| *name).collect();
    Catalogue::load(&files, &names).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs a test asks it to write what it expects"
)]
fn is_update() -> bool {
    std::env::var("UPDATE").is_ok()
}

/// One route under test.
struct Trial<'a> {
    catalogue: &'a Catalogue,
    model: &'a Model,
    listing: &'a Listing,
}

impl Trial<'_> {
    /// The parameters of the least that can be asked of the route.
    fn least(&self) -> Map<String, Value> {
        let mut params = Map::new();
        for (name, values) in &self.listing.only {
            let default = self.model.defaults.get(name);
            if default.is_none_or(|default| !values.contains(default)) {
                params.insert(name.clone(), values[0].clone());
            }
        }
        for (name, (least, _)) in &self.listing.inputs {
            params.extend(self.items(name, *least));
        }
        params
    }

    /// So many items of a list, and what they want besides.
    fn items(&self, list: &str, count: u32) -> Map<String, Value> {
        let parameter = self.model.parameter(list).unwrap();
        if !matches!(parameter.kind, parameter::Kind::Shots(_)) {
            return Map::from_iter([(list.to_owned(), self.links(list, count))]);
        }
        let shots =
            (1..=count).map(|n| json!({ "prompt": format!("shot {n}"), "duration": SHOT_SECONDS }));
        let mut params = Map::from_iter([(list.to_owned(), shots.collect())]);
        if count > 0 {
            params.insert("multi_shots".to_owned(), json!(true));
            params.insert(
                "duration".to_owned(),
                json!(SHOT_SECONDS * i64::from(count)),
            );
        }
        params
    }

    /// Whether the least has shots, which say how long the film is.
    fn has_shots(&self) -> bool {
        self.listing.inputs.iter().any(|(name, (least, _))| {
            let kind = &self.model.parameter(name).unwrap().kind;
            *least > 0 && matches!(kind, parameter::Kind::Shots(_))
        })
    }

    /// So many files of a list, in the form in which they reach the route.
    fn links(&self, list: &str, count: u32) -> Value {
        let (kind, ending) = match list.starts_with("video") {
            true => ("video/mp4", "mp4"),
            false => ("image/png", "png"),
        };
        let link = |n| match self.listing.delivery(list) {
            Delivery::Data => format!("data:{kind};base64,RklMRSA{n}"),
            _ => format!("https://files.test/{list}/{n}.{ending}"),
        };
        (1..=count).map(link).collect()
    }

    /// What may be asked instead, each with a name: one parameter changed, or the numbers of files
    /// and shots.
    fn variants(&self) -> Vec<(String, Map<String, Value>)> {
        let mut variants = Vec::new();
        for parameter in &self.model.parameters {
            let name = parameter.name.as_str();
            let is_refused = Abilities::NAMES.contains(&name) && !self.listing.send.reads(name);
            let is_said = name == "duration" && self.has_shots();
            if is_refused || is_said || matches!(name, "width" | "height") {
                continue;
            }
            let only = self.listing.only.get(name).cloned();
            for value in only.unwrap_or_else(|| parameter.kind.samples()) {
                let said = domain::mapping::word(&value);
                let one = Map::from_iter([(name.to_owned(), value)]);
                variants.push((format!("{name}={said}"), one));
            }
        }
        variants.extend(self.sizes());
        variants.extend(self.files());
        variants
    }

    /// Both sides together: neither is taken alone.
    fn sizes(&self) -> Vec<(String, Map<String, Value>)> {
        let bounds = |name| match &self.model.parameter(name)?.kind {
            parameter::Kind::Integer { min, max } => Some((*min, *max)),
            _ => None,
        };
        let (Some(width), Some(height)) = (bounds("width"), bounds("height")) else {
            return Vec::new();
        };
        let corners = [
            (width.0, height.0),
            (width.1, height.0),
            (width.0, height.1),
            (width.1, height.1),
        ];
        let sized = |(width, height)| {
            let sides = [("width", width), ("height", height)];
            let sides = sides.map(|(name, side): (&str, i64)| (name.to_owned(), json!(side)));
            (format!("size={width}x{height}"), Map::from_iter(sides))
        };
        corners.map(sized).into()
    }

    /// Least and most of each list of files or shots, in every combination.
    fn files(&self) -> Vec<(String, Map<String, Value>)> {
        let mut all = vec![(Vec::new(), Map::new())];
        for (name, (least, most)) in &self.listing.inputs {
            let counts = BTreeSet::from([*least, (*least).max(1).min(*most), *most]);
            let with = |(said, params): &(Vec<String>, Map<String, Value>), count: u32| {
                let said = [said.as_slice(), &[format!("{name}={count}")]].concat();
                let mut params = params.clone();
                params.extend(self.items(name, count));
                (said, params)
            };
            let pairs = all
                .iter()
                .flat_map(|one| counts.iter().map(move |n| (one, *n)));
            all = pairs.map(|(one, count)| with(one, count)).collect();
        }
        let named = all.into_iter().filter(|(said, _)| !said.is_empty());
        named
            .map(|(said, params)| (said.join(" "), params))
            .collect()
    }

    /// The request for some parameters over the least.
    fn request(&self, said: &str, changed: &Map<String, Value>) -> Value {
        let mut params = self.least();
        params.extend(changed.clone());
        let mut body = json!({ "prompt": "a fox", "strict": true });
        body[self.model.modality.group()] = Value::Object(params);
        let place = format!("{}, {:?}, {said}", self.model.id, self.listing.route);
        let submission = self.model.submission(&body, None);
        let order = submission
            .unwrap_or_else(|error| panic!("{place}: {error}"))
            .order;
        self.said(&place, &order)
    }

    fn said(&self, place: &str, order: &Order) -> Value {
        let Listing { route, send, .. } = self.listing;
        if let Err(refusal) = self.listing.takes(order) {
            panic!("{place}: {refusal}");
        }
        let fields = send.fields(&order.params);
        let cx = Context {
            base_url: &self.catalogue.provider(&route.provider).unwrap().base_url,
            model: &route.model,
            token: "token-1",
            webhook: None,
            fields: &fields,
        };
        let call = dialect(&route.dialect).unwrap().start(order, &cx);
        let call = call.unwrap_or_else(|fault| panic!("{place}: {fault}"));
        let request = serde_json::to_value(&call.request).unwrap();
        let is_told = request.to_string().contains("a fox");
        let may_be_missing = call.kind == Kind::Reads || !self.model.prompt.is_required;
        assert!(is_told || may_be_missing, "{place}: no prompt");
        json!({ "kind": call.kind, "request": request })
    }

    fn snapshot(&self) -> Value {
        let base = self.request("the least", &Map::new());
        let (mut changes, mut nothing) = (Map::new(), Vec::new());
        for (said, changed) in self.variants() {
            let is_default = changed.iter().all(|(name, value)| {
                let least = self.least();
                least.get(name).or(self.model.defaults.get(name)) == Some(value)
            });
            let mut difference = BTreeMap::new();
            differ("", &base, &self.request(&said, &changed), &mut difference);
            match (difference.is_empty(), is_default) {
                (true, true) => {}
                (true, false) => nothing.push(said),
                (false, _) => {
                    changes.insert(said, json!(difference));
                }
            }
        }
        let route = &self.listing.route;
        json!({
            "provider": route.provider, "dialect": route.dialect, "model": route.model,
            "least": base, "changes": changes, "no_change": nothing,
        })
    }
}

/// The fields in which a document differs from another, each by its JSON pointer.
fn differ(at: &str, one: &Value, other: &Value, found: &mut BTreeMap<String, Value>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let at = format!("{at}/{name}");
                match (one.get(name), other.get(name)) {
                    (Some(one), Some(other)) => differ(&at, one, other, found),
                    (_, other) => {
                        let other = other.cloned().unwrap_or_else(|| json!(ABSENT));
                        found.insert(at, other);
                    }
                }
            }
        }
        (one, other) if one == other => {}
        (_, other) => {
            found.insert(at.to_owned(), other.clone());
        }
    }
}

/// A snapshot as text: the first request of a route to be read, a line for each change.
fn page(routes: &[Value]) -> String {
    let mut page = String::from("[");
    for (n, route) in routes.iter().enumerate() {
        page.push_str(if n == 0 { "\n  {" } else { ",\n  {" });
        for name in ["provider", "dialect", "model"] {
            write!(page, "\n    \"{name}\": {},", route[name]).unwrap();
        }
        let least = serde_json::to_string_pretty(&route["least"]).unwrap();
        write!(page, "\n    \"least\": {},", least.replace('\n', "\n    ")).unwrap();
        let changes = route["changes"].as_object().unwrap();
        let lines = changes.iter();
        let lines = lines.map(|(said, change)| format!("\n      {}: {change}", json!(said)));
        write!(
            page,
            "\n    \"changes\": {{{}",
            lines.collect::<Vec<_>>().join(",")
        )
        .unwrap();
        page.push_str(if changes.is_empty() { "}," } else { "\n    }," });
        write!(page, "\n    \"no_change\": {}\n  }}", route["no_change"]).unwrap();
    }
    page.push_str(if routes.is_empty() { "]\n" } else { "\n]\n" });
    page
}

#[test]
fn every_route_says_what_is_written() {
    let catalogue = shipped();
    let folder = Path::new(ROOT).join("snapshots");
    let mut written = BTreeSet::new();
    for model in catalogue
        .models()
        .filter(|model| !model.listings.is_empty())
    {
        let trials = model.listings.iter().map(|listing| Trial {
            catalogue: &catalogue,
            model,
            listing,
        });
        let found: Vec<Value> = trials.map(|trial| trial.snapshot()).collect();
        let path = folder.join(format!("{}.json", model.id));
        if is_update() {
            std::fs::write(&path, page(&found)).unwrap();
        }
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(
            serde_json::from_str::<Vec<Value>>(&text).unwrap(),
            found,
            "{}; `UPDATE=1 cargo test -p dialects` writes it anew",
            path.display()
        );
        written.insert(path);
    }
    for path in paths(&folder) {
        if is_update() && !written.contains(&path) {
            std::fs::remove_file(&path).unwrap();
        } else {
            assert!(written.contains(&path), "{}: of no model", path.display());
        }
    }
}

/// A conversation goes as it is, over every route of every chat model.
#[test]
fn every_chat_route_takes_a_conversation() {
    let catalogue = shipped();
    let messages = json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": [{ "type": "text", "text": "a fox" }] },
    ]);
    let chats = catalogue.models();
    for model in chats.filter(|model| model.modality == Modality::Chat) {
        let body = json!({ "messages": messages });
        let order = model.submission(&body, None).unwrap().order;
        for listing in &model.listings {
            let trial = Trial {
                catalogue: &catalogue,
                model,
                listing,
            };
            trial.said(&model.id, &order);
        }
    }
}
