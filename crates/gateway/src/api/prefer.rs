//! The request headers of a submit.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use domain::order::{SCENARIO_HEADER, Scenario};

use super::ApiError;

/// Longest wait, in seconds.
pub(super) const WAIT_S_MAX: u64 = 60;

/// The header that makes a submit count once.
pub(super) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// What a client wants besides what the body says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wishes {
    /// The client's key for this request.
    pub(super) idempotency_key: Option<String>,
    /// How long to wait for the task's end, in seconds.
    pub(super) wait_s: u64,
    /// What the sandbox shall play.
    pub(super) scenario: Option<Scenario>,
}

impl<S: Send + Sync> FromRequestParts<S> for Wishes {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let scenario = one(&parts.headers, SCENARIO_HEADER)?;
        Ok(Self {
            idempotency_key: idempotency_key(&parts.headers)?,
            wait_s: wait_s(&parts.headers),
            scenario: scenario.map(Scenario::parse).transpose()?,
        })
    }
}

/// A header that comes at most once.
pub(super) fn one<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h str>, ApiError> {
    let mut given = headers.get_all(name).iter();
    let Some(first) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(ApiError::invalid(name, "must be given once"));
    }
    let text = first.to_str();
    text.map(Some)
        .map_err(|_| ApiError::invalid(name, "must be ASCII"))
}

/// The client's key for this request.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(key) = one(headers, IDEMPOTENCY_KEY)? else {
        return Ok(None);
    };
    let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if (1..=KEY_BYTES_MAX).contains(&key.len()) && is_visible {
        return Ok(Some(key.to_owned()));
    }
    let message = "must be 1 to 255 visible ASCII characters";
    Err(ApiError::invalid(IDEMPOTENCY_KEY, message))
}

/// `Prefer: wait=N`; a preference that cannot be read or granted is ignored (RFC 7240).
fn wait_s(headers: &HeaderMap) -> u64 {
    let lines = headers.get_all("prefer").iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    let mut preferences = texts.flat_map(|text| text.split([',', ';']));
    let found = preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then_some(value)
    });
    let seconds = found.and_then(|value| value.trim().trim_matches('"').parse().ok());
    seconds.filter(|wait| *wait <= WAIT_S_MAX).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(text: &str) -> u64 {
        let mut headers = HeaderMap::new();
        headers.insert("prefer", text.parse().unwrap());
        wait_s(&headers)
    }

    #[test]
    fn a_preference_is_granted_or_ignored() {
        assert_eq!(waits("wait=10"), 10);
        assert_eq!(waits("respond-async, WAIT = 60"), 60);
        for ignored in [
            "wait=61", "wait=-1", "wait=x", "wait", "waits=5", "wait=1.5",
        ] {
            assert_eq!(waits(ignored), 0, "{ignored}");
        }
    }
}
