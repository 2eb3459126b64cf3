//! Whether a webhook comes from the provider it names: the signatures of providers' deliveries.
//!
//! Invariant: signatures are compared in constant time, over the bytes as they came, and are good for
//! [`TOLERANCE_S`] either way.

mod gemini;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::signing::Secret;
use crate::stripe::{TOLERANCE_S, values};

/// Most signatures of one delivery, and most keys of one document, that are looked at.
const TRIES_MAX: usize = 16;

/// How a provider signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Standard Webhooks: HMAC-SHA-256 of `id.timestamp.body`. The key is `whsec_<base64>`.
    Standard,
    /// fal: Ed25519 over request, user, timestamp and the body's SHA-256. The key is fal's JWKS document.
    Fal,
    /// OpenRouter: `t=…,v1=…`, HMAC-SHA-256 in hex of `timestamp,body`. The key is a text.
    OpenRouter,
    /// KIE: HMAC-SHA-256 of `work.timestamp`; neither state nor links are signed. The key is a text.
    Kie,
    /// Gemini, where the URL came with the request: a token signed with RS256, or Standard Webhooks with
    /// Ed25519. The key is Google's JWKS document.
    Gemini,
}

/// A webhook as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivery {
    /// Headers; lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Delivery {
    /// A header that is there once.
    fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// The body as JSON; `Null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Scheme {
    /// Whether the delivery is signed with a key, at most [`TOLERANCE_S`] from `now_s` (Unix seconds).
    /// `work` is the provider's id of the work that the delivery names.
    #[must_use]
    pub fn has_signed(self, key: &str, delivery: &Delivery, work: &str, now_s: i64) -> bool {
        let signed = match self {
            Self::Standard => standard(key, delivery, now_s),
            Self::Fal => fal(key, delivery, now_s),
            Self::OpenRouter => openrouter(key, delivery, now_s),
            Self::Kie => kie(key, delivery, work, now_s),
            Self::Gemini => gemini::has_signed(key, delivery, now_s),
        };
        signed.unwrap_or(false)
    }
}

/// An instant in Unix seconds near ours, as it was written.
fn recent(text: &str, now_s: i64) -> Option<&str> {
    let signed_s: i64 = text.parse().ok()?;
    (signed_s.abs_diff(now_s) <= TOLERANCE_S.unsigned_abs()).then_some(text)
}

fn is_same(given: &str, ours: &str) -> bool {
    given.as_bytes().ct_eq(ours.as_bytes()).into()
}

fn hmac(key: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes());
    let mut mac = mac.expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn standard(key: &str, delivery: &Delivery, now_s: i64) -> Option<bool> {
    let id = delivery.header("webhook-id")?;
    let timestamp = recent(delivery.header("webhook-timestamp")?, now_s)?;
    let given = delivery.header("webhook-signature")?;
    let ours = Secret::parse(key)?.sign(id, timestamp.parse().ok()?, &delivery.body);
    let mut each = given.split(' ').take(TRIES_MAX);
    Some(each.any(|given| is_same(given, &ours)))
}

fn openrouter(key: &str, delivery: &Delivery, now_s: i64) -> Option<bool> {
    let header = delivery.header("x-openrouter-signature")?;
    let timestamp = recent(values(header, "t").next()?, now_s)?;
    let ours = hmac(key, &[timestamp.as_bytes(), b",", &delivery.body]);
    let ours = hex::encode(ours);
    let mut each = values(header, "v1").take(TRIES_MAX);
    Some(each.any(|given| is_same(given, &ours)))
}

fn kie(key: &str, delivery: &Delivery, work: &str, now_s: i64) -> Option<bool> {
    let timestamp = recent(delivery.header("x-webhook-timestamp")?, now_s)?;
    let given = delivery.header("x-webhook-signature")?;
    let ours = hmac(key, &[work.as_bytes(), b".", timestamp.as_bytes()]);
    Some(!work.is_empty() && is_same(given, &STANDARD.encode(ours)))
}

fn fal(keys: &str, delivery: &Delivery, now_s: i64) -> Option<bool> {
    let header = |name: &str| delivery.header(&format!("x-fal-webhook-{name}"));
    let timestamp = recent(header("timestamp")?, now_s)?;
    let (request, user) = (header("request-id")?, header("user-id")?);
    let body = hex::encode(Sha256::digest(&delivery.body));
    let signed = format!("{request}\n{user}\n{timestamp}\n{body}");
    let signature = hex::decode(header("signature")?).ok()?;
    Some(is_by_ed25519(
        &keys_of(keys)?,
        signed.as_bytes(),
        &signature,
    ))
}

/// The keys of a JWKS document (RFC 7517), as many as are looked at.
fn keys_of(document: &str) -> Option<Vec<Value>> {
    let mut document: Value = serde_json::from_str(document).ok()?;
    let Value::Array(mut keys) = document.get_mut("keys")?.take() else {
        return None;
    };
    keys.truncate(TRIES_MAX);
    Some(keys)
}

/// Bytes in a field of a key.
fn field_of(key: &Value, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(key.get(name)?.as_str()?).ok()
}

/// Whether one of the Ed25519 keys made the signature. A point of another curve is none.
fn is_by_ed25519(keys: &[Value], signed: &[u8], signature: &[u8]) -> bool {
    let is_ours = |key: &&Value| key.get("crv").is_none_or(|curve| curve == "Ed25519");
    let mut points = keys.iter().filter(is_ours);
    points.any(|key| {
        field_of(key, "x").is_some_and(|point| {
            let key = UnparsedPublicKey::new(&ED25519, point);
            key.verify(signed, signature).is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_790_000_000;

    fn delivery(headers: &[(&str, &str)], body: &str) -> Delivery {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Delivery {
            headers: headers.collect(),
            body: body.as_bytes().to_vec(),
        }
    }

    /// A good signature holds; not with another key, body, work or instant, nor with a header twice.
    fn holds(scheme: Scheme, key: &str, given: &Delivery, work: &str, now_s: i64) {
        let has_signed =
            |key: &str, given: &Delivery, now_s| scheme.has_signed(key, given, work, now_s);
        assert!(has_signed(key, given, now_s));
        assert!(has_signed(key, given, now_s + TOLERANCE_S));
        assert!(!has_signed(key, given, now_s + TOLERANCE_S + 1));
        assert!(!has_signed(key, given, now_s - TOLERANCE_S - 1));
        assert!(!has_signed("whsec_b3RoZXI=", given, now_s));
        assert!(!has_signed(key, &Delivery::default(), now_s));
        let mut twice = given.clone();
        twice.headers.extend(given.headers.clone());
        assert!(!has_signed(key, &twice, now_s));
        let mut changed = given.clone();
        changed.body.push(b' ');
        assert_eq!(has_signed(key, &changed, now_s), scheme == Scheme::Kie);
    }

    /// Kling's published sample.
    #[test]
    fn standard_webhooks_are_verified() {
        let body = r#"{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}"#;
        let headers = [
            ("webhook-id", "9876543210"),
            ("webhook-timestamp", "1781080794"),
            (
                "webhook-signature",
                "v1,b2xk v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
            ),
        ];
        let key = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=";
        let given = delivery(&headers, body);
        holds(Scheme::Standard, key, &given, "", 1_781_080_794);
    }

    /// Made with the private seed 00 to 1f.
    #[test]
    fn fals_deliveries_are_verified() {
        let headers = [
            ("x-fal-webhook-request-id", "req_1"),
            ("x-fal-webhook-user-id", "user_1"),
            ("x-fal-webhook-timestamp", "1790000000"),
            (
                "x-fal-webhook-signature",
                "e46f9b6f55142088a7fd44b3643e61a4d14518dbadb5529c9e94d625133658cd\
                 011d868dfde2b3ba3ed98db990ca052318f70ae912c244e8ff0f165c95de610d",
            ),
        ];
        let keys = r#"{"keys":[{"kty":"OKP","x":"AAAA"},
            {"kty":"OKP","crv":"Ed25519","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}]}"#;
        let body = r#"{"request_id":"req_1","status":"OK","payload":{}}"#;
        holds(Scheme::Fal, keys, &delivery(&headers, body), "", NOW_S);
    }

    #[test]
    fn openrouters_deliveries_are_verified() {
        let body =
            r#"{"type":"video.generation.completed","data":{"id":"job_1","status":"completed"}}"#;
        let signature =
            "t=1790000000,v1=f8a037052bede7e12dc26d83c11916c8e1dd8e5c86042eac75c92ab4ddf2b0ab";
        let given = delivery(&[("x-openrouter-signature", signature)], body);
        holds(Scheme::OpenRouter, "gateway-test-secret", &given, "", NOW_S);
    }

    /// Made with `openssl dgst -sha256 -hmac key -binary | base64`.
    #[test]
    fn kies_deliveries_are_verified() {
        let headers = [
            ("x-webhook-timestamp", "1790000000"),
            (
                "x-webhook-signature",
                "pwIrxk0RIFJm5RPtf3BHOi6eM5TKwHNpHjmB9Q2JwhY=",
            ),
        ];
        let given = delivery(&headers, "{}");
        holds(Scheme::Kie, "kie-key", &given, "task_1", NOW_S);
        assert!(!Scheme::Kie.has_signed("kie-key", &given, "task_2", NOW_S));
        assert!(!Scheme::Kie.has_signed("kie-key", &given, "", NOW_S));
    }
}
