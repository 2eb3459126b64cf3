//! Part after part of a long list.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::word;
use crate::api::ApiError;
use crate::api::list::{LIMIT, LIMIT_MAX};
use crate::api::query::Query;
use crate::store::admin_accounts::Place;

/// How many things of a page.
pub(super) fn limit(query: &Query) -> Result<i64, ApiError> {
    Ok(query.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT))
}

/// What a page of `limit` things shows of those that were read, one more than that, and whether there
/// are more.
pub(super) fn cut<T>(mut things: Vec<T>, limit: i64) -> (Vec<T>, bool) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let goes_on = things.len() > limit;
    things.truncate(limit);
    (things, goes_on)
}

/// Says where the next page begins.
pub(super) fn cursor(place: &Place) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", place.created_ms, place.id))
}

/// The place a cursor stands for.
pub(super) fn place(query: &Query) -> Result<Option<Place>, ApiError> {
    let Some(cursor) = query.text("cursor")? else {
        return Ok(None);
    };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.and_then(|text| {
        let (created_ms, id) = text.split_once('.')?;
        Some(Place {
            created_ms: created_ms.parse().ok()?,
            id: word(id.to_owned(), "place").ok()?,
        })
    });
    let refusal = || ApiError::invalid("cursor", "must be the `next_cursor` of another page");
    place.map(Some).ok_or_else(refusal)
}
