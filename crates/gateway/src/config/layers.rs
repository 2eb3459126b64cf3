//! Settings by name, with where each was set last.
//!
//! Invariant: the embedded defaults say which settings there are and of which kind; only those of
//! the providers are named by others.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::{ConfigError, DEFAULTS};

/// What the name of a variable that is a setting starts with.
pub(super) const PREFIX: &str = "ROUTERBASE_";

/// Variables of the command line, which are no settings.
const CLIENT: [&str; 3] = ["ROUTERBASE_URL", "ROUTERBASE_API_KEY", "ROUTERBASE_CONFIG"];

/// What Kubernetes tells every pod beside a service that is called `routerbase`.
fn is_pod_link(key: &str) -> bool {
    let starts = ["PORT_", "SERVICE_HOST", "SERVICE_PORT"];
    key == "PORT" || starts.iter().any(|start| key.starts_with(start))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Int(i64),
    /// As it is written.
    Decimal(String),
    Flag(bool),
    List(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Decimal,
    Flag,
    List,
}

#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) value: Value,
    /// `path:line`, or the name of a variable.
    pub(super) at: String,
}

pub(super) struct Layers {
    settings: BTreeMap<String, Setting>,
    pub(super) problems: Vec<ConfigError>,
}

impl Kind {
    fn wanted(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Int => "a whole number",
            Self::Decimal => "a decimal number",
            Self::Flag => "true or false",
            Self::List => "a list of texts",
        }
    }

    fn of(value: &DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::String(_) => Some(Self::Text),
            DeValue::Integer(_) => Some(Self::Int),
            DeValue::Float(_) => Some(Self::Decimal),
            DeValue::Boolean(_) => Some(Self::Flag),
            DeValue::Array(_) => Some(Self::List),
            DeValue::Datetime(_) | DeValue::Table(_) => None,
        }
    }

    /// A value of a file, if it is of this kind.
    fn read_toml(self, value: &DeValue<'_>) -> Option<Value> {
        match (self, value) {
            (Self::Text, DeValue::String(text)) => Some(Value::Text(text.to_string())),
            (Self::Int, DeValue::Integer(int)) => i64::from_str_radix(int.as_str(), int.radix())
                .ok()
                .map(Value::Int),
            (Self::Decimal, DeValue::Integer(int)) if int.radix() == 10 => {
                Some(Value::Decimal(int.as_str().to_owned()))
            }
            (Self::Decimal, DeValue::Float(float)) => {
                Some(Value::Decimal(float.as_str().to_owned()))
            }
            (Self::Flag, DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
            (Self::List, DeValue::Array(items)) => {
                let text = |item: &DeValue<'_>| item.as_str().map(str::to_owned);
                let items = items.iter().map(|item| text(item.get_ref()));
                items.collect::<Option<Vec<String>>>().map(Value::List)
            }
            _ => None,
        }
    }

    /// A value of a variable, if it is of this kind.
    fn read_variable(self, text: &str) -> Option<Value> {
        let text = text.trim();
        match self {
            Self::Text => Some(Value::Text(text.to_owned())),
            Self::Int => text.parse().ok().map(Value::Int),
            Self::Decimal => (!text.is_empty()).then(|| Value::Decimal(text.to_owned())),
            Self::Flag => text.parse().ok().map(Value::Flag),
            Self::List => {
                let items = text.split(',').map(str::trim);
                let items = items.filter(|item| !item.is_empty()).map(str::to_owned);
                Some(Value::List(items.collect()))
            }
        }
    }
}

impl Value {
    fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Int(_) => Kind::Int,
            Self::Decimal(_) => Kind::Decimal,
            Self::Flag(_) => Kind::Flag,
            Self::List(_) => Kind::List,
        }
    }
}

impl Layers {
    /// The embedded file alone.
    pub(super) fn defaults() -> Self {
        let mut layers = Self {
            settings: BTreeMap::new(),
            problems: Vec::new(),
        };
        layers.each_in("default", DEFAULTS, |layers, key, value, at| {
            let kind = Kind::of(value);
            match kind.and_then(|kind| kind.read_toml(value)) {
                Some(value) => layers.set(key, value, at),
                None => layers.note(at, "has no value that a setting can have"),
            }
        });
        layers
    }

    /// Puts a file over what is there.
    pub(super) fn add_file(&mut self, path: &str, text: &str) {
        self.each_in(path, text, |layers, key, value, at| {
            let Some(kind) = layers.kind(&key) else {
                return layers.unknown(at, &key);
            };
            match kind.read_toml(value) {
                Some(value) => layers.set(key, value, at),
                None => layers.note(at, format!("`{key}` must be {}", kind.wanted())),
            }
        });
    }

    /// Puts a variable over what is there.
    pub(super) fn add_variable(&mut self, name: &str, text: &str) {
        let key = name.strip_prefix(PREFIX).unwrap_or(name);
        if CLIENT.contains(&name) || is_pod_link(key) {
            return;
        }
        // A provider's name may hold two underscores itself.
        let key = match key.strip_prefix("PROVIDERS__") {
            Some(rest) => match rest.rsplit_once("__") {
                Some((id, key)) => format!("providers.{id}.{key}"),
                None => format!("providers.{rest}"),
            },
            None => key.replacen("__", ".", 1),
        };
        let key = key.to_ascii_lowercase();
        let Some(kind) = self.kind(&key) else {
            return self.unknown(name.to_owned(), &key);
        };
        match kind.read_variable(text) {
            Some(value) => self.set(key, value, name.to_owned()),
            None => self.note(name.to_owned(), format!("must be {}", kind.wanted())),
        }
    }

    pub(super) fn note(&mut self, at: String, message: impl Into<String>) {
        let message = message.into();
        self.problems.push(ConfigError { at, message });
    }

    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    /// The names of the providers that have settings.
    pub(super) fn providers(&self) -> Vec<String> {
        let keys = self.settings.keys();
        let mut ids: Vec<String> = keys
            .filter_map(|key| key.strip_prefix("providers.")?.rsplit_once('.'))
            .map(|(id, _)| id.to_owned())
            .collect();
        ids.dedup();
        ids
    }

    fn set(&mut self, key: String, value: Value, at: String) {
        self.settings.insert(key, Setting { value, at });
    }

    fn kind(&self, key: &str) -> Option<Kind> {
        if let Some(rest) = key.strip_prefix("providers.") {
            let (id, key) = rest.rsplit_once('.')?;
            return match key {
                _ if id.is_empty() || id.contains('.') => None,
                "base_url" | "upload_url" => Some(Kind::Text),
                "enabled" => Some(Kind::Flag),
                _ => None,
            };
        }
        self.settings.get(key).map(|setting| setting.value.kind())
    }

    fn unknown(&mut self, at: String, key: &str) {
        let (section, _) = key.split_once('.').unwrap_or((key, ""));
        let known: Vec<&str> = match section {
            "providers" => vec!["base_url", "enabled", "upload_url"],
            _ => {
                let keys = self.settings.keys().filter_map(|key| key.split_once('.'));
                let inside = keys.filter(|(known, _)| *known == section);
                inside.map(|(_, key)| key).collect()
            }
        };
        let message = if known.is_empty() {
            format!("there is no section `{section}`")
        } else {
            let known = known.join(", ");
            format!("there is no setting `{key}`; `{section}` has {known}")
        };
        self.note(at, message);
    }

    /// Walks over the values of a file: `section.key`, the value, and where it is.
    fn each_in(
        &mut self,
        path: &str,
        text: &str,
        mut visit: impl FnMut(&mut Self, String, &DeValue<'_>, String),
    ) {
        let at = |offset: usize| {
            let before = text.bytes().take(offset);
            let line = before.filter(|byte| *byte == b'\n').count() + 1;
            format!("{path}:{line}")
        };
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let place = at(error.span().map_or(0, |span| span.start));
            self.note(place, format!("is not valid TOML: {}", error.message()));
        }
        if !errors.is_empty() {
            return;
        }
        let mut stack = vec![(String::new(), root.get_ref())];
        while let Some((prefix, table)) = stack.pop() {
            for (name, value) in table.iter() {
                let key = format!("{prefix}{}", name.get_ref());
                let is_provider = prefix == "providers.";
                match value.get_ref() {
                    DeValue::Table(inner) if prefix.is_empty() || is_provider => {
                        if inner.is_empty() && self.kind(&format!("{key}.enabled")).is_none() {
                            self.check_section(at(name.span().start), &key);
                        }
                        stack.push((format!("{key}."), inner));
                    }
                    value => visit(self, key, value, at(name.span().start)),
                }
            }
        }
    }

    /// An empty section must be a known one too.
    fn check_section(&mut self, at: String, section: &str) {
        let prefix = format!("{section}.");
        let is_known = self.settings.keys().any(|key| key.starts_with(&prefix));
        if !is_known && section != "providers" {
            self.unknown(at, section);
        }
    }
}
