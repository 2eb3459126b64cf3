//! Request bodies: JSON, read strictly. Those of runs may be larger, for the files they bring along.
//!
//! Invariant: what is read means one thing. Two values for one name, nesting beyond a limit, and
//! everything JSON does not know are refused, never repaired.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{ApiError, Kind};

/// Largest body, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// Largest body of a run, in bytes, with all its `data:` URLs.
const RUN_BYTES_MAX: usize = 64 << 20;

/// How many bytes bodies over [`BODY_BYTES_MAX`] may have together, in MiB. As each is there twice for a
/// moment, as it came and as it was read, they take at most twice as much memory.
const LARGE_MIB: u32 = 128;

/// The room for large bodies: one for the whole program, as there is one memory.
static LARGE: Semaphore = Semaphore::const_new(LARGE_MIB as usize);

/// How long a large body waits for room, in milliseconds.
const ROOM_MS: u64 = 10_000;

/// How long a large body may take to arrive, in milliseconds.
const LARGE_MS: u64 = 120_000;

/// Deepest nesting of a body.
const DEPTH_MAX: u8 = 64;

/// Most values in a body: a megabyte of tiny ones would take a hundred in memory.
const VALUES_MAX: u32 = 50_000;

/// A body that is a JSON object.
pub(super) struct Fields(pub(super) Value);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        check_type(request.headers())?;
        let bytes = read(request).await?;
        Ok(Self(object(&bytes)?))
    }
}

/// The body of a run: a JSON object, large if it brings files along.
pub(super) struct RunFields {
    pub(super) value: Value,
    /// Whether it is over what a body without files may have.
    pub(super) is_large: bool,
    /// Its room; given back with it.
    _room: Option<SemaphorePermit<'static>>,
}

impl<S: Send + Sync> FromRequest<S> for RunFields {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        check_type(request.headers())?;
        let length = announced(request.headers());
        let mut body = Limited::new(request.into_body(), RUN_BYTES_MAX);
        let mut bytes = Vec::new();
        let mut room = None;
        check_length(length, RUN_BYTES_MAX)?;
        let until = Instant::now() + Duration::from_millis(LARGE_MS);
        while let Some(frame) = next(&mut body, room.as_ref().map(|_| until)).await? {
            bytes.extend_from_slice(&frame);
            if bytes.len() > BODY_BYTES_MAX && room.is_none() {
                let most = length.unwrap_or(RUN_BYTES_MAX as u64);
                room = Some(room_for(most).await?);
                // Growing by doubling would take more than there is room for.
                let more = usize::try_from(most).unwrap_or(RUN_BYTES_MAX);
                bytes.reserve_exact(more.saturating_sub(bytes.len()));
            }
        }
        Ok(Self {
            value: object(&bytes)?,
            is_large: room.is_some(),
            _room: room,
        })
    }
}

/// Room for a large body, as soon as there is some.
async fn room_for(bytes: u64) -> Result<SemaphorePermit<'static>, ApiError> {
    let mib = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(LARGE_MIB);
    let room = LARGE.acquire_many(mib.min(LARGE_MIB));
    match timeout(Duration::from_millis(ROOM_MS), room).await {
        Ok(Ok(room)) => Ok(room),
        _ => Err(ApiError::overloaded().because("no room for large bodies")),
    }
}

/// The next bytes of a body; a large one has to come in time.
async fn next(
    body: &mut Limited<axum::body::Body>,
    until: Option<Instant>,
) -> Result<Option<Bytes>, ApiError> {
    let frame = match until {
        None => body.frame().await,
        Some(until) => timeout_at(until, body.frame())
            .await
            .map_err(|_| ApiError::bad_request("The body came too slowly."))?,
    };
    match frame {
        None => Ok(None),
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(error)) => Err(unread(&*error, RUN_BYTES_MAX)),
    }
}

/// A body as it came, whatever is in it.
pub(super) struct Raw(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        read(request).await.map(Self)
    }
}

/// A content type, if given, must be one of JSON.
fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(given) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = given.to_str().unwrap_or("").split(';').next().unwrap_or("");
    let essence = essence.trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let essence = essence.to_ascii_lowercase();
    if essence.starts_with("application/") && essence.ends_with("+json") {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "The body must be JSON: Content-Type must be application/json.",
    ))
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    check_length(announced(request.headers()), BODY_BYTES_MAX)?;
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX);
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(unread(&*error, BODY_BYTES_MAX)),
    }
}

/// The length that a head names.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn check_length(length: Option<u64>, bytes_max: usize) -> Result<(), ApiError> {
    match length {
        Some(length) if length > bytes_max as u64 => Err(too_large(bytes_max)),
        _ => Ok(()),
    }
}

fn too_large(bytes_max: usize) -> ApiError {
    let message = format!("The body must have at most {bytes_max} bytes.");
    ApiError::new(Kind::TooLarge, message)
}

fn unread(error: &(dyn std::error::Error + Send + Sync + 'static), bytes_max: usize) -> ApiError {
    match error.is::<LengthLimitError>() {
        true => too_large(bytes_max),
        false => ApiError::bad_request("The body ended before its length."),
    }
}

fn object(bytes: &[u8]) -> Result<Value, ApiError> {
    let value = parse(bytes).map_err(|error| {
        let what = if error.is_data() {
            "The body"
        } else {
            "The body is not JSON:"
        };
        ApiError::bad_request(format!("{what} {error}."))
    })?;
    if value.is_object() {
        return Ok(value);
    }
    Err(ApiError::bad_request("The body must be a JSON object."))
}

/// Reads JSON in which every name comes once.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let left = Cell::new(VALUES_MAX);
    let strict = Strict {
        depth: 0,
        left: &left,
    };
    let value = strict.deserialize(&mut text)?;
    text.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: u8,
    left: &'a Cell<u32>,
}

impl Strict<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format!("is nested deeper than {DEPTH_MAX}")));
        }
        Ok(Self {
            depth: self.depth + 1,
            left: self.left,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, text: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        let left =
            left.ok_or_else(|| de::Error::custom(format!("holds more than {VALUES_MAX} values")))?;
        self.left.set(left);
        text.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        let number = number.ok_or_else(|| E::custom("holds a number that is out of range"));
        number.map(Value::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(deeper)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if map.contains_key(&name) {
                let shown: String = name.chars().take(64).collect();
                return Err(de::Error::custom(format!("names {shown:?} twice")));
            }
            let value = fields.next_value_seed(deeper)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_is_what_serde_json_reads() {
        let text =
            r#"{"a":[1,-2,0.5,1e3,18446744073709551615],"b":{"c":null,"d":true},"e":"\u00e9\n"}"#;
        let plain: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text.as_bytes()).unwrap(), plain);
        assert_eq!(parse(b"{}").unwrap(), json!({}));
    }

    #[test]
    fn a_name_comes_once_at_every_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"\u0061":2}]}"#] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.is_data(), "{error}");
            assert!(error.to_string().contains("\"a\" twice"), "{error}");
        }
    }

    #[test]
    fn a_crowd_of_tiny_values_is_refused() {
        let crowd = format!("[{}1]", "1,".repeat(60_000));
        let error = parse(crowd.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("50000 values"), "{error}");
    }

    #[test]
    fn nesting_ends_at_its_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(64).as_bytes()).is_ok());
        assert!(parse(nested(65).as_bytes()).is_err());
        assert!(parse("[".repeat(1_000_000).as_bytes()).is_err());
    }
}
