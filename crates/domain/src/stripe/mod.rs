//! Stripe as it speaks to a webhook: whether it is Stripe, and in `message` what it says.
//!
//! The form is that of docs.stripe.com/webhooks ("Verify webhook signatures manually").

pub mod message;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The header with the signatures.
pub const SIGNATURE_HEADER: &str = "stripe-signature";

/// How far the instant of a signature may be from ours, either way, in seconds.
pub const TOLERANCE_S: i64 = 300;

/// The secret of a webhook endpoint, `whsec_…`. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointSecret(String);

impl std::fmt::Debug for EndpointSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EndpointSecret(…)")
    }
}

impl EndpointSecret {
    /// The secret as Stripe shows it.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The HMAC-SHA-256 of `timestamp.body`, in hex. The key is the text itself, `whsec_` included.
    #[must_use]
    pub fn sign(&self, timestamp: &str, body: &[u8]) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes());
        let mut mac = mac.expect("HMAC takes a key of any length");
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        hex::encode(mac.finalize().into_bytes())
    }

    /// Whether a header `t=…,v1=…[,v1=…]` holds our signature of the body, made within
    /// [`TOLERANCE_S`] of `now_s` (Unix seconds). Schemes other than `v1` are passed over.
    #[must_use]
    pub fn has_signed(&self, header: &str, body: &[u8], now_s: i64) -> bool {
        let mut timestamps = values(header, "t");
        let (Some(timestamp), None) = (timestamps.next(), timestamps.next()) else {
            return false;
        };
        let is_recent = timestamp
            .parse::<i64>()
            .is_ok_and(|signed_s| signed_s.abs_diff(now_s) <= TOLERANCE_S.unsigned_abs());
        if !is_recent {
            return false;
        }
        let ours = self.sign(timestamp, body);
        let is_ours = |given: &str| bool::from(given.as_bytes().ct_eq(ours.as_bytes()));
        values(header, "v1").any(is_ours)
    }
}

/// The values of a name in `name=value,name=value`.
pub(crate) fn values<'h>(header: &'h str, name: &'static str) -> impl Iterator<Item = &'h str> {
    let pairs = header.split(',').filter_map(|pair| pair.split_once('='));
    let named = pairs.filter(move |(known, _)| known.trim() == name);
    named.map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret() -> EndpointSecret {
        EndpointSecret::new("whsec_test_secret".to_owned())
    }

    /// Made with `openssl dgst -sha256 -hmac whsec_test_secret`.
    #[test]
    fn another_implementation_signs_alike() {
        let signature = secret().sign("1492774577", br#"{"id":"evt_1"}"#);
        assert_eq!(
            signature,
            "799c4ba7bb339f3c8601adfd112f0e477c930a268be1243d341abb8286501c2f"
        );
    }

    #[test]
    fn one_of_several_signatures_is_enough() {
        let (secret, body) = (secret(), b"{}");
        let ours = secret.sign("1000", body);
        let other = EndpointSecret::new("whsec_old".to_owned()).sign("1000", body);
        for header in [
            format!("t=1000,v1={ours}"),
            format!("t=1000, v1={ours}"),
            format!("v0=x,v1={other},t=1000,v1={ours}"),
            format!("t=1000,v1={ours},v1={other},v9"),
        ] {
            assert!(secret.has_signed(&header, body, 1_000), "{header}");
        }
        for header in [
            String::new(),
            "t=1000".to_owned(),
            format!("v1={ours}"),
            format!("t=1000,v1={other}"),
            format!("t=1000,v0={ours}"),
            format!("t=1000,t=1000,v1={ours}"),
            format!("t=1001,v1={ours}"),
            format!("t=1000,v1={}", ours.to_uppercase()),
            format!("t=1000,v1={}", &ours[..62]),
            format!("t=x,v1={}", secret.sign("x", body)),
        ] {
            assert!(!secret.has_signed(&header, body, 1_000), "{header}");
        }
        let header = format!("t=1000,v1={ours}");
        assert!(!secret.has_signed(&header, b"{ }", 1_000));
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_either_way() {
        let (secret, body) = (secret(), b"{}");
        let header = format!("t=1000,v1={}", secret.sign("1000", body));
        for (now_s, is_good) in [
            (700, true),
            (1_300, true),
            (699, false),
            (1_301, false),
            (i64::MIN, false),
        ] {
            assert_eq!(secret.has_signed(&header, body, now_s), is_good, "{now_s}");
        }
        assert_eq!(format!("{secret:?}"), "EndpointSecret(…)");
    }

    proptest! {
        #[test]
        fn arbitrary_headers_are_no_signature(header in ".*", body in any::<Vec<u8>>(), now_s in any::<i64>()) {
            prop_assert!(!secret().has_signed(&header, &body, now_s));
        }
    }
}
