//! What a new key shall be allowed to do.
//!
//! Invariant: a key makes no key that may do more than itself, and no limit is accepted that is not
//! enforced.

use domain::catalogue::Catalogue;
use domain::key::{Grant, Scope};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ApiError;
use super::caller::network;
use crate::clock::parse_rfc3339;

/// Most characters of a name.
const NAME_CHARS_MAX: usize = 100;

/// Most entries of a whitelist.
const WHITELIST_MAX: usize = 10;

/// Limits that are not enforced yet.
const LIMITS: [&str; 4] = [
    "rate_limit_rpm",
    "rate_limit_tph",
    "rate_limit_tpd",
    "daily_credit_limit",
];

/// A new key.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewKey)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(super) struct KeyBody {
    /// For people, 1 to 100 characters.
    #[schema(example = "production")]
    name: String,
    /// Requests per minute. Not supported yet.
    rate_limit_rpm: Option<u32>,
    /// Requests per hour. Not supported yet.
    rate_limit_tph: Option<u32>,
    /// Requests per day. Not supported yet.
    rate_limit_tpd: Option<u32>,
    /// Most credits a day. Not supported yet.
    daily_credit_limit: Option<f64>,
    /// The only addresses it may be used from: at most 10 IPv4 or IPv6 addresses or CIDRs.
    ip_whitelist: Option<Vec<String>>,
    /// When it stops working; RFC 3339.
    expires_at: Option<String>,
    /// The only models it may run.
    models: Option<Vec<String>>,
    /// `run`, `read`, `keys`, `billing`; all of those its maker has unless given.
    scopes: Option<Vec<String>>,
    /// Whether its runs go to the sandbox and cost nothing.
    sandbox: Option<bool>,
}

/// What the new key may do.
pub(super) fn grant(
    catalogue: &Catalogue,
    maker: &Grant,
    body: &Value,
    now_ms: i64,
) -> Result<Grant, ApiError> {
    check_limits(body)?;
    Ok(Grant {
        scopes: scopes(maker, body)?,
        models: models(catalogue, maker, body)?,
        expires_ms: expires_ms(maker, body, now_ms)?,
        sandbox: sandbox(maker, body)?,
        ip_whitelist: whitelist(maker, body)?,
        ..Grant::account(name(body)?)
    })
}

/// A field that is there and not null.
fn given<'b>(body: &'b Value, name: &str) -> Option<&'b Value> {
    body.get(name).filter(|value| !value.is_null())
}

fn check_limits(body: &Value) -> Result<(), ApiError> {
    for name in LIMITS {
        let Some(value) = given(body, name) else {
            continue;
        };
        if value.as_f64().is_none_or(|limit| limit <= 0.0) {
            return Err(ApiError::invalid(name, "must be a number above 0"));
        }
        let message = format!("{name} is not supported yet; leave it out.");
        return Err(ApiError::disabled(message).about(name));
    }
    Ok(())
}

fn name(body: &Value) -> Result<String, ApiError> {
    let name = given(body, "name").and_then(Value::as_str).map(str::trim);
    let is_sound = |name: &&str| {
        (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control)
    };
    let message = "must be 1 to 100 characters without control characters";
    name.filter(is_sound)
        .map(str::to_owned)
        .ok_or_else(|| ApiError::invalid("name", message))
}

/// A list of texts, `most` at most.
fn texts(body: &Value, name: &'static str, most: usize) -> Result<Option<Vec<String>>, ApiError> {
    let Some(value) = given(body, name) else {
        return Ok(None);
    };
    let items = value.as_array().filter(|items| items.len() <= most);
    let texts = items.and_then(|items| {
        let text = |item: &Value| item.as_str().map(str::to_owned);
        items.iter().map(text).collect::<Option<Vec<String>>>()
    });
    let message = format!("must be an array of at most {most} strings");
    texts
        .map(Some)
        .ok_or_else(|| ApiError::invalid(name, &message))
}

fn scopes(maker: &Grant, body: &Value) -> Result<Vec<Scope>, ApiError> {
    let Some(words) = texts(body, "scopes", Scope::ALL.len())? else {
        let account = Scope::ACCOUNT.into_iter();
        return Ok(account.filter(|scope| maker.has(*scope)).collect());
    };
    let own: Vec<&str> = maker.scopes.iter().map(|scope| scope.as_str()).collect();
    let scope = |word: &String| Scope::parse(word).filter(|scope| maker.has(*scope));
    let scopes: Option<Vec<Scope>> = words.iter().map(scope).collect();
    let mut scopes = scopes.filter(|scopes| !scopes.is_empty()).ok_or_else(|| {
        let message = format!("must be some of {}", own.join(", "));
        ApiError::invalid("scopes", &message).allowing(own)
    })?;
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

fn models(
    catalogue: &Catalogue,
    maker: &Grant,
    body: &Value,
) -> Result<Option<Vec<String>>, ApiError> {
    let Some(ids) = texts(body, "models", 1_000)? else {
        return Ok(maker.models.clone());
    };
    let is_unknown = |id: &&String| catalogue.model(id).is_none() || !maker.may_run(id);
    if let Some(id) = ids.iter().find(is_unknown) {
        let id: String = id.chars().take(64).collect();
        let message = format!("names {id:?}, which is no model this key may run");
        return Err(ApiError::invalid("models", &message));
    }
    if ids.is_empty() {
        return Err(ApiError::invalid("models", "must name at least one model"));
    }
    Ok(Some(ids))
}

fn expires_ms(maker: &Grant, body: &Value, now_ms: i64) -> Result<Option<i64>, ApiError> {
    let Some(value) = given(body, "expires_at") else {
        return Ok(maker.expires_ms);
    };
    let instant = value.as_str().and_then(parse_rfc3339);
    let last_ms = maker.expires_ms.unwrap_or(i64::MAX);
    let instant = instant.filter(|instant| *instant > now_ms && *instant <= last_ms);
    let message = "must be an RFC 3339 instant in the future, not after this key's own end";
    instant
        .map(Some)
        .ok_or_else(|| ApiError::invalid("expires_at", message))
}

fn sandbox(maker: &Grant, body: &Value) -> Result<bool, ApiError> {
    match given(body, "sandbox") {
        None => Ok(maker.sandbox),
        Some(Value::Bool(false)) if maker.sandbox => {
            let message = "must be true: this key's own runs go to the sandbox";
            Err(ApiError::invalid("sandbox", message).allowing(vec![true]))
        }
        Some(Value::Bool(sandbox)) => Ok(*sandbox),
        Some(_) => {
            let refusal = ApiError::invalid("sandbox", "must be true or false");
            Err(refusal.allowing(vec![true, false]))
        }
    }
}

fn whitelist(maker: &Grant, body: &Value) -> Result<Vec<String>, ApiError> {
    let entries = texts(body, "ip_whitelist", WHITELIST_MAX)?.unwrap_or_default();
    if entries.is_empty() {
        return Ok(maker.ip_whitelist.clone());
    }
    let own: Vec<IpNet> = maker
        .ip_whitelist
        .iter()
        .filter_map(|e| network(e))
        .collect();
    for entry in &entries {
        let shown: String = entry.chars().take(64).collect();
        let Some(network) = network(entry) else {
            let message = format!("names {shown:?}, which is no IP address and no CIDR");
            return Err(ApiError::invalid("ip_whitelist", &message));
        };
        if !own.is_empty() && !own.iter().any(|own| own.contains(&network)) {
            let message = format!("names {shown:?}, from which this key itself may not be used");
            return Err(ApiError::invalid("ip_whitelist", &message));
        }
    }
    Ok(entries)
}
