//! From a submit body to an order: defaults, ranges, and what is ignored.
//!
//! Invariant: what a client gave is taken as it was meant, refused, or named as ignored.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::catalogue::Model;
use crate::order::{Invalid, Modality, Order, Scenario, Submission, contract, conversation, link};
use crate::parameter::{Kind, Parameter, sound_text};
use crate::price::same;

/// Most pairs of `metadata`.
const METADATA_PAIRS_MAX: usize = 16;

/// Most bytes of all names and values of `metadata`.
const METADATA_BYTES_MAX: usize = 2_048;

impl Model {
    /// What a submit body asks of this model, every default filled in.
    ///
    /// # Errors
    /// The first field that is missing or whose value is not allowed.
    pub fn submission(
        &self,
        body: &Value,
        scenario: Option<Scenario>,
    ) -> Result<Submission, Invalid> {
        let Value::Object(body) = body else {
            return Err(Invalid::new("body", "must be a JSON object"));
        };
        check_generation_type(body)?;
        let strict = flag(body, "strict")?;
        let mut ignored = Vec::new();
        let (prompt, messages) = self.words(body, &mut ignored)?;
        let params = self.params(body, &mut ignored)?;
        if let (true, Some(path)) = (strict, ignored.first()) {
            let message = format!("is of no use to {}, and `strict` is set", self.id);
            return Err(Invalid::new(path, message));
        }
        Ok(Submission {
            order: Order {
                model: self.id.clone(),
                modality: self.modality,
                prompt,
                messages,
                params,
                scenario,
            },
            ignored,
            callback_url: callback_url(body)?,
            metadata: metadata(body)?,
        })
    }

    /// The prompt, or for chat the conversation in its place.
    fn words(
        &self,
        body: &Map<String, Value>,
        ignored: &mut Vec<String>,
    ) -> Result<(String, Option<Value>), Invalid> {
        let prompt = given(body, "prompt");
        let mut messages = given(body, "messages");
        if let Some(conversation) = messages {
            conversation::check(conversation)?;
            if self.modality != Modality::Chat {
                ignored.push("messages".to_owned());
                messages = None;
            } else if prompt.is_some() {
                let message = "stands in place of `prompt`; only one of them may be given";
                return Err(Invalid::new("messages", message));
            }
        }
        let refuse = |message: String| Err(Invalid::new("prompt", message));
        match prompt {
            None if messages.is_some() || !self.prompt.is_required => {
                Ok((String::new(), messages.cloned()))
            }
            None if self.modality == Modality::Chat => {
                refuse("is required, unless `messages` is given".to_owned())
            }
            None => refuse("is required".to_owned()),
            Some(Value::String(text)) => {
                if let Err(message) = sound_text(text, self.prompt.chars_max) {
                    return refuse(message);
                }
                let is_blank = text.chars().all(char::is_whitespace);
                match (is_blank, self.prompt.is_required) {
                    (true, true) => refuse("must not be blank".to_owned()),
                    (true, false) => Ok((String::new(), None)),
                    (false, _) => Ok((text.clone(), None)),
                }
            }
            Some(_) => refuse("must be a string".to_owned()),
        }
    }

    /// The parameters of the model's own group over its defaults.
    fn params(
        &self,
        body: &Map<String, Value>,
        ignored: &mut Vec<String>,
    ) -> Result<Map<String, Value>, Invalid> {
        let mut params = Map::new();
        for modality in Modality::ALL {
            let group = modality.group();
            let fields = match given(body, group) {
                None => continue,
                Some(Value::Object(fields)) => fields,
                Some(_) => return Err(Invalid::new(group, "must be an object")),
            };
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let own = self.parameter(name).filter(|_| modality == self.modality);
                let Some(known) = own.or_else(|| contract::parameter(modality, name)) else {
                    continue;
                };
                let value = known.accept(group, value)?;
                if own.is_none() {
                    ignored.push(format!("{group}.{name}"));
                } else if !is_nothing(known, &value) {
                    params.insert(name.clone(), value);
                }
            }
        }
        check_size(self.modality.group(), &params)?;
        for (name, default) in &self.defaults {
            if !params.contains_key(name) {
                params.insert(name.clone(), default.clone());
            }
        }
        if params.contains_key("width") {
            params.remove("aspect_ratio");
        }
        let of_shots = |parameter: &&Parameter| matches!(parameter.kind, Kind::Shots(_));
        for parameter in self.parameters.iter().filter(of_shots) {
            check_shots(self.modality.group(), &parameter.name, &params)?;
        }
        Ok(params)
    }
}

/// Shots are what `multi_shots` asks for. Kling, wherever it is bought, wants their durations to add up
/// to the film's and reads their prompts in place of the order's, which is the only one that is ever
/// translated.
fn check_shots(group: &str, name: &str, params: &Map<String, Value>) -> Result<(), Invalid> {
    let Some(Value::Array(shots)) = params.get(name) else {
        return Ok(());
    };
    let refuse =
        |name: &str, message: String| Err(Invalid::new(format!("{group}.{name}"), message));
    let is_set = |name: &str| params.get(name) == Some(&Value::Bool(true));
    if !is_set("multi_shots") {
        return refuse(name, "wants `multi_shots` to be true".to_owned());
    }
    if is_set("enable_translation") {
        let message = format!("is not possible together with `{name}`, which is not translated");
        return refuse("enable_translation", message);
    }
    let seconds = |shot: &Value| shot.get("duration").and_then(Value::as_i64);
    let sum = shots
        .iter()
        .filter_map(seconds)
        .fold(0, i64::saturating_add);
    let duration = params.get("duration").unwrap_or(&Value::Null);
    if !same(&Value::from(sum), duration) {
        let message = format!("has shots of {sum} seconds in all, but `duration` is {duration}");
        return refuse(name, message);
    }
    Ok(())
}

/// A size needs both sides.
fn check_size(group: &str, asked: &Map<String, Value>) -> Result<(), Invalid> {
    let lone = |missing: &str, present: &str| {
        let message = format!("must be given together with `{present}`");
        Err(Invalid::new(format!("{group}.{missing}"), message))
    };
    match (asked.contains_key("width"), asked.contains_key("height")) {
        (true, false) => lone("height", "width"),
        (false, true) => lone("width", "height"),
        _ => Ok(()),
    }
}

/// A field that is there and not null.
fn given<'b>(body: &'b Map<String, Value>, name: &str) -> Option<&'b Value> {
    body.get(name).filter(|value| !value.is_null())
}

/// Whether a value means the same as leaving the field out: no links or shots, a blank watermark.
fn is_nothing(parameter: &Parameter, value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::String(text) => parameter.name == "watermark" && text.trim().is_empty(),
        _ => false,
    }
}

fn flag(body: &Map<String, Value>, name: &str) -> Result<bool, Invalid> {
    match given(body, name) {
        None => Ok(false),
        Some(Value::Bool(set)) => Ok(*set),
        Some(_) => Err(Invalid::new(name, "must be true or false").allowing(vec![true, false])),
    }
}

/// The field is a hint: an unknown word is a mistake, another modality is not.
fn check_generation_type(body: &Map<String, Value>) -> Result<(), Invalid> {
    let Some(word) = given(body, "generation_type") else {
        return Ok(());
    };
    if word.as_str().and_then(Modality::parse).is_some() {
        return Ok(());
    }
    let words = Modality::ALL.map(Modality::as_str);
    let message = format!("must be one of {}", words.join(", "));
    Err(Invalid::new("generation_type", message).allowing(words.to_vec()))
}

fn callback_url(body: &Map<String, Value>) -> Result<Option<String>, Invalid> {
    match given(body, "callback_url") {
        None => Ok(None),
        Some(Value::String(text)) if link::is_web_link(text, link::CALLBACK_CHARS_MAX) => {
            Ok(Some(text.clone()))
        }
        Some(_) => {
            let most = link::CALLBACK_CHARS_MAX;
            let message = format!(
                "must be an absolute http or https URL without user name or password, \
                 at most {most} characters"
            );
            Err(Invalid::new("callback_url", message))
        }
    }
}

fn metadata(body: &Map<String, Value>) -> Result<BTreeMap<String, String>, Invalid> {
    let refuse = |message: String| Err(Invalid::new("metadata", message));
    let pairs = match given(body, "metadata") {
        None => return Ok(BTreeMap::new()),
        Some(Value::Object(pairs)) => pairs,
        Some(_) => return refuse("must be an object of strings".to_owned()),
    };
    if pairs.len() > METADATA_PAIRS_MAX {
        return refuse(format!("must have at most {METADATA_PAIRS_MAX} pairs"));
    }
    let mut metadata = BTreeMap::new();
    let mut bytes = 0_usize;
    for (name, value) in pairs {
        let Value::String(text) = value else {
            return refuse("must be an object of strings".to_owned());
        };
        if name.contains('\0') || text.contains('\0') {
            return refuse("must not contain the NUL character (U+0000)".to_owned());
        }
        bytes = bytes.saturating_add(name.len()).saturating_add(text.len());
        metadata.insert(name.clone(), text.clone());
    }
    if bytes > METADATA_BYTES_MAX {
        return refuse(format!(
            "must have at most {METADATA_BYTES_MAX} bytes of names and values"
        ));
    }
    Ok(metadata)
}
