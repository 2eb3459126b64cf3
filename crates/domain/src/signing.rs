//! Signatures on callbacks, after the Standard Webhooks specification
//! (github.com/standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// What a secret's text starts with.
const PREFIX: &str = "whsec_";

/// Bytes of a secret.
pub const SECRET_BYTES: usize = 32;

/// An account's secret for signing callbacks. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A secret of random bytes.
    #[must_use]
    pub fn mint(random: &[u8; SECRET_BYTES]) -> Self {
        Self(random.to_vec())
    }

    /// Reads `whsec_<base64>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        (!bytes.is_empty()).then_some(Self(bytes))
    }

    /// `whsec_<base64>`.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// `v1,<base64>`: HMAC-SHA-256 over `id.timestamp.body`; the timestamp is in Unix seconds.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The value of `webhook-signature`: one signature for each secret, so that a receiver that knows
/// only the old or only the new one accepts both during a rotation.
#[must_use]
pub fn signatures(secrets: &[Secret], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let each = secrets
        .iter()
        .map(|secret| secret.sign(id, timestamp_s, body));
    each.collect::<Vec<_>>().join(" ")
}

/// HMAC-SHA-256 in lower-case hex, of the parts with a separator between them; for names and tokens
/// that nobody can guess and that we can make again.
#[must_use]
pub fn derive(secret: &[u8], parts: &[&str]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    hex::encode(mac.finalize().into_bytes())
}

/// The token of an attempt: our reference at its provider, and what its webhook is known by.
#[must_use]
pub fn attempt_token(secret: &[u8], task: &str, attempt: &str) -> String {
    derive(secret, &["attempt", task, attempt])
}

/// Whether a token is that of an attempt. Takes as long for a wrong one as for the right one.
#[must_use]
pub fn is_attempt_token(secret: &[u8], task: &str, attempt: &str, token: &str) -> bool {
    let ours = attempt_token(secret, task, attempt);
    ours.as_bytes().ct_eq(token.as_bytes()).into()
}

/// How long a token of [`jwt`] is accepted, in seconds, and how far back its start is laid for a
/// clock that is behind (both as Kling's documentation has them).
const JWT_LIFE_S: i64 = 1_800;
const JWT_SLACK_S: i64 = 5;

/// A short-lived token (RFC 7519, HS256) from `access key:secret key`: the access key is its issuer.
/// `None` when the pair has no colon.
#[must_use]
pub fn jwt(pair: &str, now_s: i64) -> Option<String> {
    let (access, secret) = pair.split_once(':')?;
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let (end_s, start_s) = (now_s + JWT_LIFE_S, now_s - JWT_SLACK_S);
    let issuer = serde_json::Value::from(access);
    let claims = format!(r#"{{"iss":{issuer},"exp":{end_s},"nbf":{start_s}}}"#);
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Some(format!("{signed}.{signature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference implementations.
    #[test]
    fn the_published_example_is_reproduced() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_reads_back_and_hides() {
        let secret = Secret::mint(&[7; SECRET_BYTES]);
        assert_eq!(Secret::parse(&secret.reveal()), Some(secret.clone()));
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(Secret::parse("whsec_"), None);
        assert_eq!(Secret::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), None);
    }

    #[test]
    fn a_rotation_signs_with_both() {
        let (old, new) = (Secret::mint(&[1; 32]), Secret::mint(&[2; 32]));
        let both = signatures(&[new.clone(), old.clone()], "msg_1", 1, b"{}");
        assert_eq!(
            both,
            format!(
                "{} {}",
                new.sign("msg_1", 1, b"{}"),
                old.sign("msg_1", 1, b"{}")
            )
        );
    }

    /// The vector of docs.kling.ai's scheme.
    #[test]
    fn a_token_is_made_as_documented() {
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
                     eyJpc3MiOiJhay10ZXN0IiwiZXhwIjoxNzkwMDAxODAwLCJuYmYiOjE3ODk5OTk5OTV9.\
                     0NAdQ8PB_L5-9Xx3H1DQB_7RWezVNnXV6wN7m0qhe0s";
        let pair = "ak-test:sk-test";
        assert_eq!(jwt(pair, 1_790_000_000).as_deref(), Some(token));
        assert_eq!(jwt("no colon", 0), None);
    }

    #[test]
    fn an_attempt_is_known_by_its_own_token_alone() {
        let token = attempt_token(b"k", "t", "a");
        assert!(is_attempt_token(b"k", "t", "a", &token));
        assert!(!is_attempt_token(b"other", "t", "a", &token));
        assert!(!is_attempt_token(b"k", "t", "b", &token));
        assert!(!is_attempt_token(b"k", "t", "a", &token[1..]));
        assert!(!is_attempt_token(b"k", "t", "a", ""));
    }

    #[test]
    fn derived_names_depend_on_where_the_parts_end() {
        assert_ne!(derive(b"k", &["ab", "c"]), derive(b"k", &["a", "bc"]));
    }
}
