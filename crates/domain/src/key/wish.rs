//! From a body to what a key may do: a new key, or some fields of one changed.
//!
//! Invariant: every value is checked here, whoever sends it; whether it is more than its sender has is
//! for [`Authority`](super::Authority) to say.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Grant, Scope};
use crate::catalogue::Catalogue;
use crate::credits::{Credits, MICROS_PER_CREDIT};
use crate::network;
use crate::order::Invalid;
use crate::parameter::integer;

/// Most characters of a name.
pub const NAME_CHARS_MAX: usize = 100;

/// Most entries of a whitelist.
pub const WHITELIST_MAX: usize = 10;

/// The highest limit of requests.
pub const RATE_MAX: u32 = 1_000_000_000;

/// The largest amount that anyone may name: a billion credits, which JSON carries exactly.
pub const CREDITS_MAX: Credits = Credits(1_000_000_000 * MICROS_PER_CREDIT);

/// Most models of a list.
const MODELS_MAX: usize = 1_000;

/// What a body says about a field.
#[derive(Debug, Clone, PartialEq)]
enum Given<T> {
    /// Nothing.
    Absent,
    /// Null: there shall be none.
    Null,
    /// A value.
    Is(T),
}

impl<T: Clone> Given<T> {
    /// The value; what it was where nothing is said.
    fn over(&self, before: &Option<T>) -> Option<T> {
        match self {
            Self::Absent => before.clone(),
            Self::Null => None,
            Self::Is(value) => Some(value.clone()),
        }
    }

    /// The value, if there is one.
    fn value(&self) -> Option<T> {
        self.over(&None)
    }

    /// The same for a field that always has a value.
    fn set(&self, before: &T, name: &str) -> Result<T, Invalid> {
        match self {
            Self::Absent => Ok(before.clone()),
            Self::Null => Err(Invalid::new(name, "must not be null")),
            Self::Is(value) => Ok(value.clone()),
        }
    }

    /// Null counts as nothing said, for a key that has nothing yet that could be taken away.
    fn of_new(self) -> Self {
        match self {
            Self::Null => Self::Absent,
            given => given,
        }
    }
}

/// What somebody wishes a key to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    name: Given<String>,
    scopes: Given<Vec<Scope>>,
    models: Given<Vec<String>>,
    expires_ms: Given<i64>,
    sandbox: Given<bool>,
    ip_whitelist: Given<Vec<String>>,
    rate_limit_rpm: Given<u32>,
    rate_limit_tph: Given<u32>,
    rate_limit_tpd: Given<u32>,
    daily_credit_limit: Given<Credits>,
}

impl Wish {
    /// Reads the fields of a body, all of them optional. Unknown ones are passed over.
    ///
    /// # Errors
    /// The first field whose value is not allowed.
    pub fn read(catalogue: &Catalogue, body: &Value, now_ms: i64) -> Result<Self, Invalid> {
        let rate = |name| given(body, name, rate);
        Ok(Self {
            name: given(body, "name", name)?,
            scopes: given(body, "scopes", scopes)?,
            models: given(body, "models", |name, value| models(catalogue, name, value))?,
            expires_ms: given(body, "expires_at", |name, value| {
                instant(name, value, now_ms)
            })?,
            sandbox: given(body, "sandbox", flag)?,
            ip_whitelist: given(body, "ip_whitelist", whitelist)?,
            rate_limit_rpm: rate("rate_limit_rpm")?,
            rate_limit_tph: rate("rate_limit_tph")?,
            rate_limit_tpd: rate("rate_limit_tpd")?,
            daily_credit_limit: given(body, "daily_credit_limit", |name, value| {
                amount(name, value, Credits(1)..=CREDITS_MAX)
            })?,
        })
    }

    /// What a new key may do. What is not said is as with `maker`, but for the scope `admin`, which
    /// has to be asked for by name.
    ///
    /// # Errors
    /// The name is missing.
    pub fn of_new(self, maker: &Grant) -> Result<Grant, Invalid> {
        let Given::Is(name) = self.name.clone() else {
            return Err(Invalid::new("name", NAME_RULE));
        };
        let whitelist = self.ip_whitelist.value().unwrap_or_default();
        let scopes = Scope::ACCOUNT.into_iter();
        let scopes = scopes.filter(|scope| maker.has(*scope)).collect();
        Ok(Grant {
            name,
            scopes: self.scopes.value().unwrap_or(scopes),
            models: self.models.of_new().over(&maker.models),
            expires_ms: self.expires_ms.of_new().over(&maker.expires_ms),
            sandbox: self.sandbox.value().unwrap_or(maker.sandbox),
            ip_whitelist: match whitelist.is_empty() {
                true => maker.ip_whitelist.clone(),
                false => whitelist,
            },
            rate_limit_rpm: self.rate_limit_rpm.of_new().over(&maker.rate_limit_rpm),
            rate_limit_tph: self.rate_limit_tph.of_new().over(&maker.rate_limit_tph),
            rate_limit_tpd: self.rate_limit_tpd.of_new().over(&maker.rate_limit_tpd),
            daily_credit_limit: self
                .daily_credit_limit
                .of_new()
                .over(&maker.daily_credit_limit),
        })
    }

    /// What a key may do once the wish is fulfilled; null takes a limit away.
    ///
    /// # Errors
    /// A field is null that always has a value.
    pub fn of_changed(&self, before: &Grant) -> Result<Grant, Invalid> {
        let daily = &self.daily_credit_limit;
        Ok(Grant {
            name: self.name.set(&before.name, "name")?,
            scopes: self.scopes.set(&before.scopes, "scopes")?,
            models: self.models.over(&before.models),
            expires_ms: self.expires_ms.over(&before.expires_ms),
            sandbox: self.sandbox.set(&before.sandbox, "sandbox")?,
            ip_whitelist: match &self.ip_whitelist {
                Given::Absent => before.ip_whitelist.clone(),
                given => given.value().unwrap_or_default(),
            },
            rate_limit_rpm: self.rate_limit_rpm.over(&before.rate_limit_rpm),
            rate_limit_tph: self.rate_limit_tph.over(&before.rate_limit_tph),
            rate_limit_tpd: self.rate_limit_tpd.over(&before.rate_limit_tpd),
            daily_credit_limit: daily.over(&before.daily_credit_limit),
        })
    }
}

const NAME_RULE: &str = "must be 1 to 100 characters without control characters";

fn given<T>(
    body: &Value,
    name: &'static str,
    read: impl FnOnce(&'static str, &Value) -> Result<T, Invalid>,
) -> Result<Given<T>, Invalid> {
    match body.get(name) {
        None => Ok(Given::Absent),
        Some(Value::Null) => Ok(Given::Null),
        Some(value) => read(name, value).map(Given::Is),
    }
}

/// A name for people, of a key or of an account: 1 to 100 characters, none of them a control
/// character, without spaces around.
///
/// # Errors
/// Anything else; the refusal names `param`.
pub fn name(param: &str, value: &Value) -> Result<String, Invalid> {
    let name = value.as_str().map(str::trim);
    let is_sound = |name: &&str| {
        (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control)
    };
    let name = name.filter(is_sound).map(str::to_owned);
    name.ok_or_else(|| Invalid::new(param, NAME_RULE))
}

/// A list of texts, `most` at most.
fn texts(name: &str, value: &Value, most: usize) -> Result<Vec<String>, Invalid> {
    let items = value.as_array().filter(|items| items.len() <= most);
    let texts = items.and_then(|items| {
        let text = |item: &Value| item.as_str().map(str::to_owned);
        items.iter().map(text).collect::<Option<Vec<String>>>()
    });
    let message = format!("must be an array of at most {most} strings");
    texts.ok_or_else(|| Invalid::new(name, message))
}

fn scopes(name: &str, value: &Value) -> Result<Vec<Scope>, Invalid> {
    let known = Scope::ALL.map(Scope::as_str);
    let refusal = || {
        let message = format!("must be some of {}", known.join(", "));
        Invalid::new(name, message).allowing(known.to_vec())
    };
    let words = texts(name, value, known.len()).map_err(|_| refusal())?;
    let scopes: Option<Vec<Scope>> = words.iter().map(|word| Scope::parse(word)).collect();
    let scopes = scopes.filter(|scopes| !scopes.is_empty());
    let mut scopes = scopes.ok_or_else(refusal)?;
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

fn models(catalogue: &Catalogue, name: &str, value: &Value) -> Result<Vec<String>, Invalid> {
    let mut ids = texts(name, value, MODELS_MAX)?;
    if let Some(id) = ids.iter().find(|id| catalogue.model(id).is_none()) {
        let message = format!("names {:?}, which is no model", start(id));
        return Err(Invalid::new(name, message));
    }
    if ids.is_empty() {
        return Err(Invalid::new(name, "must name at least one model"));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn instant(name: &str, value: &Value, now_ms: i64) -> Result<i64, Invalid> {
    let instant = value
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let instant_ms = instant.map(jiff::Timestamp::as_millisecond);
    let message = "must be an RFC 3339 instant in the future";
    instant_ms
        .filter(|instant_ms| *instant_ms > now_ms)
        .ok_or_else(|| Invalid::new(name, message))
}

fn flag(name: &str, value: &Value) -> Result<bool, Invalid> {
    let refusal = || Invalid::new(name, "must be true or false").allowing(vec![true, false]);
    value.as_bool().ok_or_else(refusal)
}

fn whitelist(name: &str, value: &Value) -> Result<Vec<String>, Invalid> {
    let entries = texts(name, value, WHITELIST_MAX)?;
    match entries.iter().find(|entry| network::parse(entry).is_none()) {
        Some(entry) => {
            let shown = start(entry);
            let message = format!("names {shown:?}, which is no IP address and no CIDR");
            Err(Invalid::new(name, message))
        }
        None => Ok(entries),
    }
}

fn rate(name: &str, value: &Value) -> Result<u32, Invalid> {
    let rate = integer(value).and_then(|rate| u32::try_from(rate).ok());
    rate.filter(|rate| (1..=RATE_MAX).contains(rate))
        .ok_or_else(|| {
            let message = format!("must be an integer between 1 and {RATE_MAX}");
            Invalid::new(name, message).allowing(json!({ "min": 1, "max": RATE_MAX }))
        })
}

/// A number of credits within bounds, with at most six decimals.
///
/// # Errors
/// Anything else; the refusal names `param`.
pub fn amount(
    param: &str,
    value: &Value,
    range: RangeInclusive<Credits>,
) -> Result<Credits, Invalid> {
    let amount = Some(value).filter(|value| value.is_number());
    let amount = amount.and_then(|value| Credits::deserialize(value).ok());
    amount
        .filter(|amount| range.contains(amount))
        .ok_or_else(|| {
            let (min, max) = (range.start(), range.end());
            let message = format!(
                "must be a number of credits between {min} and {max} with at most 6 decimals"
            );
            Invalid::new(param, message).allowing(json!({ "min": min, "max": max }))
        })
}

/// Enough of a client's text to recognise it by.
fn start(text: &str) -> String {
    text.chars().take(64).collect()
}
