//! Query parameters: read by name, each at most once, refused by name.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde_json::json;

use super::ApiError;

/// Longest text of a parameter, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// The query of a request. Unknown parameters are ignored.
pub(super) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or("");
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        Ok(Self(pairs.into_owned().collect()))
    }
}

impl Query {
    /// A text; an empty one counts as not given.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, ApiError> {
        let mut given = self.0.iter().filter(|(known, _)| known == name);
        let Some((_, text)) = given.next() else {
            return Ok(None);
        };
        if given.next().is_some() {
            return Err(ApiError::invalid(name, "must be given once"));
        }
        if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            let message = "must be at most 256 bytes without control characters";
            return Err(ApiError::invalid(name, message));
        }
        Ok(Some(text.as_str()).filter(|text| !text.is_empty()))
    }

    /// An integer within bounds.
    pub(super) fn number<T>(
        &self,
        name: &'static str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ApiError>
    where
        T: FromStr + PartialOrd + Display + serde::Serialize,
    {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let (min, max) = (range.start(), range.end());
            ApiError::invalid(name, &format!("must be an integer between {min} and {max}"))
                .allowing(json!({ "min": min, "max": max }))
        })
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &'static str,
        words: &[T],
        as_str: fn(T) -> &'static str,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let found = words.iter().copied().find(|word| as_str(*word) == text);
        found.map(Some).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|word| as_str(*word)).collect();
            let message = format!("must be one of {}", words.join(", "));
            ApiError::invalid(name, &message).allowing(words)
        })
    }
}
