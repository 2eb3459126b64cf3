//! The signatures of Gemini's deliveries to a URL that came with the request.
//!
//! Google documents a token in `webhook-signature` (RFC 7515, RS256), the document of its public keys, and
//! that deliveries older than five minutes are to be refused (ai.google.dev/gemini-api/docs/webhooks).
//! Receivers found `v1a,<base64>` there in place of a token: Ed25519 over `id.timestamp.body`, as Standard
//! Webhooks has it, by a key of the same document (reported to googleapis/python-genai, August 2026). We saw
//! neither; both are verified.
//!
//! Invariant: which of the two it is says the header's form, and what a token says of itself chooses no
//! algorithm. Nothing of a token is believed before its signature holds. Whom it is for and who issued it
//! is not compared, as no value is documented for either: that a delivery is meant for us says the URL.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde_json::Value;

use super::{Delivery, field_of, is_by_ed25519, keys_of, recent};
use crate::stripe::TOLERANCE_S;

/// Longest token that is read, in bytes; one with an event in it has about a thousand.
const TOKEN_BYTES_MAX: usize = 4_096;

/// Most signatures of one delivery that are looked at: each costs a pass over the body with every key.
const SIGNATURES_MAX: usize = 4;

/// The place of the work's id, in a delivery and in a token about it.
const WORK: &str = "/data/id";

/// Whether a delivery is signed with a key of the document, near `now_s` (Unix seconds). `None` is no.
pub(super) fn has_signed(document: &str, delivery: &Delivery, now_s: i64) -> Option<bool> {
    let timestamp = recent(delivery.header("webhook-timestamp")?, now_s)?;
    let given = delivery.header("webhook-signature")?;
    let keys = keys_of(document)?;
    // No token has a comma, and no list is without one.
    if given.contains(',') {
        return standard(&keys, delivery, timestamp, given);
    }
    let claims = claims(&keys, given)?;
    Some(is_current(&claims, now_s)? && is_about(&claims, delivery))
}

/// Standard Webhooks with a public key.
fn standard(keys: &[Value], delivery: &Delivery, timestamp: &str, given: &str) -> Option<bool> {
    let id = delivery.header("webhook-id")?;
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(&delivery.body);
    let each = given.split(' ').filter_map(|one| one.strip_prefix("v1a,"));
    Some(each.take(SIGNATURES_MAX).any(|given| {
        let signature = STANDARD.decode(given);
        signature.is_ok_and(|signature| is_by_ed25519(keys, &signed, &signature))
    }))
}

/// What a token says; `None` if no key of the document signed it.
fn claims(keys: &[Value], token: &str) -> Option<Value> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (head, claims) = signed.split_once('.')?;
    let head = part(head)?;
    // An extension that has to be understood (RFC 7515, 4.1.11) is not.
    if head.get("alg")? != "RS256" || head.get("crit").is_some() {
        return None;
    }
    let key = key_of(keys, head.get("kid")?.as_str()?)?;
    let key = RsaPublicKeyComponents {
        n: field_of(key, "n")?,
        e: field_of(key, "e")?,
    };
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let algorithm = &RSA_PKCS1_2048_8192_SHA256;
    key.verify(algorithm, signed.as_bytes(), &signature).ok()?;
    part(claims)
}

/// One part of a token.
fn part(text: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// The key of a name, if it is one of RSA that signs with RS256.
fn key_of<'k>(keys: &'k [Value], name: &str) -> Option<&'k Value> {
    keys.iter().find(|key| {
        key.get("kid").is_some_and(|kid| kid == name)
            && key.get("kty").is_some_and(|kind| kind == "RSA")
            && key.get("alg").is_none_or(|algorithm| algorithm == "RS256")
            && key.get("use").is_none_or(|purpose| purpose == "sig")
    })
}

/// Whether a token holds now: made at most [`TOLERANCE_S`] from `now_s`, begun, and not over. `None` is no.
///
/// RFC 7519 leaves all three instants out as it pleases. One that does not say when it was made could be
/// shown again for ever, as the header with the time is not signed.
fn is_current(claims: &Value, now_s: i64) -> Option<bool> {
    let made_s = claims.get("iat")?.as_i64()?;
    let instant = |name: &str, missing: i64| match claims.get(name) {
        Some(value) => value.as_i64(),
        None => Some(missing),
    };
    let (from_s, until_s) = (instant("nbf", i64::MIN)?, instant("exp", i64::MAX)?);
    let is_near = made_s.abs_diff(now_s) <= TOLERANCE_S.unsigned_abs();
    Some(is_near && from_s <= now_s.saturating_add(TOLERANCE_S) && now_s < until_s)
}

/// Whether a token is about the work that the delivery names. Google's example calls what a token says the
/// event; without that, nothing would tie the token to the body, and it could be anybody's.
fn is_about(claims: &Value, delivery: &Delivery) -> bool {
    let said = delivery.json();
    let named = said.pointer(WORK).filter(|id| !id.is_null());
    named.is_some() && named == claims.pointer(WORK)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Scheme;
    use super::*;

    /// Deliveries and keys, made for these tests.
    const VECTORS: &str = include_str!("../../fixtures/gemini_webhooks.json");

    const NOW_S: i64 = 1_790_000_000;

    struct Vectors(Value);

    impl Vectors {
        fn read() -> Self {
            let vectors: Value = serde_json::from_str(VECTORS).unwrap();
            assert_eq!(vectors["at_s"], NOW_S);
            Self(vectors)
        }

        /// The cases of a list, by what they are.
        fn list(&self, name: &str) -> impl Iterator<Item = (&String, &str)> {
            let cases = self.0[name].as_object().unwrap().iter();
            cases.map(|(what, token)| (what, token.as_str().unwrap()))
        }

        /// A delivery with such a signature.
        fn delivery(&self, signature: &str) -> Delivery {
            let headers = [
                ("webhook-id", "msg_1"),
                ("webhook-timestamp", "1790000000"),
                ("webhook-signature", signature),
            ];
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Delivery {
                headers: headers.into(),
                body: self.0["body"].as_str().unwrap().into(),
            }
        }

        fn holds(&self, delivery: &Delivery, now_s: i64) -> bool {
            let keys = self.0["keys"].to_string();
            Scheme::Gemini.has_signed(&keys, delivery, "", now_s)
        }
    }

    /// What is true of either form of signature.
    fn obeys_the_rules(vectors: &Vectors, signature: &str) {
        let good = vectors.delivery(signature);
        assert!(vectors.holds(&good, NOW_S));
        assert!(vectors.holds(&good, NOW_S + TOLERANCE_S));
        assert!(vectors.holds(&good, NOW_S - TOLERANCE_S));
        assert!(!vectors.holds(&good, NOW_S + TOLERANCE_S + 1));
        assert!(!vectors.holds(&good, NOW_S - TOLERANCE_S - 1));
        let mut twice = good.clone();
        twice.headers.extend(good.headers.clone());
        assert!(!vectors.holds(&twice, NOW_S));
        for left_out in ["webhook-timestamp", "webhook-signature"] {
            let mut bare = good.clone();
            bare.headers.retain(|(name, _)| name != left_out);
            assert!(!vectors.holds(&bare, NOW_S), "{left_out}");
        }
        let mut changed = good.clone();
        let body = String::from_utf8(changed.body).unwrap();
        changed.body = body.replace("/op1", "/op2").into_bytes();
        assert!(!vectors.holds(&changed, NOW_S));
        let no_keys = [
            "",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[]}"#,
            "whsec_b3RoZXI=",
        ];
        for keys in no_keys {
            assert!(!Scheme::Gemini.has_signed(keys, &good, "", NOW_S), "{keys}");
        }
    }

    #[test]
    fn a_token_of_googles_is_taken() {
        let vectors = Vectors::read();
        for (what, token) in vectors.list("good") {
            assert!(vectors.holds(&vectors.delivery(token), NOW_S), "{what}");
            obeys_the_rules(&vectors, token);
        }
    }

    #[test]
    fn a_token_that_is_not_googles_or_not_about_the_delivery_is_refused() {
        let vectors = Vectors::read();
        for (what, token) in vectors.list("bad") {
            assert!(!vectors.holds(&vectors.delivery(token), NOW_S), "{what}");
        }
    }

    /// Nothing and nothing are the same, but no work.
    #[test]
    fn a_token_and_a_delivery_that_name_no_work_do_not_belong_together() {
        let vectors = Vectors::read();
        for (what, token) in vectors
            .list("bad")
            .filter(|(what, _)| what.contains("work"))
        {
            for body in ["", "{}", r#"{"data":{}}"#, r#"{"data":{"id":null}}"#] {
                let body = body.into();
                let delivery = Delivery {
                    body,
                    ..vectors.delivery(token)
                };
                assert!(!vectors.holds(&delivery, NOW_S), "{what}");
            }
        }
    }

    #[test]
    fn a_token_is_bounded() {
        let vectors = Vectors::read();
        let large = vectors.0["too_large"].as_str().unwrap();
        let keys = keys_of(&vectors.0["keys"].to_string()).unwrap();
        assert!(large.len() > TOKEN_BYTES_MAX && claims(&keys, large).is_none());
        assert!(!vectors.holds(&vectors.delivery(large), NOW_S));
    }

    #[test]
    fn a_token_that_was_tampered_with_is_refused() {
        let vectors = Vectors::read();
        let token = vectors.0["good"]["as documented"].as_str().unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let forged = json!({ "iat": NOW_S, "data": { "id": "x" } }).to_string();
        let forged = URL_SAFE_NO_PAD.encode(forged);
        let garbage = [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "...".to_owned(),
            "a.b.c".to_owned(),
            "\u{fc}".to_owned(),
            format!("{token}."),
            format!(".{token}"),
            format!("{token}="),
            format!("Bearer {token}"),
            format!("{}.{}", parts[0], parts[1]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}..{}", parts[0], parts[2]),
            format!("{}.{forged}.{}", parts[0], parts[2]),
            format!("{}.{}.{}", parts[0], parts[1], &parts[2][4..]),
        ];
        for token in garbage {
            assert!(!vectors.holds(&vectors.delivery(&token), NOW_S), "{token}");
        }
    }

    /// `v1a` of Standard Webhooks, made with the private seed 00 to 1f.
    #[test]
    fn a_signature_by_ed25519_is_taken() {
        let vectors = Vectors::read();
        let v1a = vectors.0["v1a"].as_str().unwrap();
        obeys_the_rules(&vectors, v1a);
        let among = format!("v1,b2xk v1a,b2xk {v1a}");
        assert!(vectors.holds(&vectors.delivery(&among), NOW_S));
        let late = format!("{}{v1a}", "v1a,b2xk ".repeat(SIGNATURES_MAX));
        let signature = v1a.strip_prefix("v1a,").unwrap();
        let foreign = [
            late,
            format!("v1,{signature}"),
            format!("v1a,{}", &signature[4..]),
            "v1a,".to_owned(),
            ",".to_owned(),
        ];
        for given in foreign {
            assert!(!vectors.holds(&vectors.delivery(&given), NOW_S), "{given}");
        }
        let mut changed = vectors.delivery(v1a);
        changed.body.push(b' ');
        assert!(!vectors.holds(&changed, NOW_S));
        let mut changed = vectors.delivery(v1a);
        changed.headers[0].1 = "msg_2".to_owned();
        assert!(!vectors.holds(&changed, NOW_S));
    }
}
