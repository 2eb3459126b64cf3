//! API keys: `sk-t0-<public_id>-<secret>`.
//!
//! Invariant: the whole key exists only where it is minted and where a client sends it; what is kept
//! is the public id and a hash.

mod authority;
mod grant;
#[cfg(test)]
mod laws;
mod wish;

pub use authority::{Authority, Denied};
pub use grant::{Grant, Scope};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
pub use wish::{CREDITS_MAX, NAME_CHARS_MAX, RATE_MAX, WHITELIST_MAX, Wish, amount, name};

use crate::ids::KeyId;

/// What every key starts with.
const PREFIX: &str = "sk-t0-";

/// A key as a client sends it. Its `Debug` shows only the public id.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    id: KeyId,
    text: String,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&masked(self.public_id()))
    }
}

impl ApiKey {
    /// A key of random bytes: 80 bits to find it by, 192 bits to know.
    #[must_use]
    pub fn mint(public: &[u8; 10], secret: &[u8; 24]) -> Self {
        let public_id = hex::encode(public);
        Self {
            text: format!("{PREFIX}{public_id}-{}", hex::encode(secret)),
            id: KeyId::of(&public_id),
        }
    }

    /// Reads a key: 1 to 64 ASCII letters, digits or underscores, then 8 to 256 of those or hyphens.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (public_id, secret) = text.strip_prefix(PREFIX)?.split_once('-')?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_public = (1..=64).contains(&public_id.len()) && public_id.bytes().all(is_word);
        let is_secret = (8..=256).contains(&secret.len())
            && secret.bytes().all(|byte| is_word(byte) || byte == b'-');
        (is_public && is_secret).then(|| Self {
            id: KeyId::of(public_id),
            text: text.to_owned(),
        })
    }

    /// The part the key is looked up by.
    #[must_use]
    pub fn public_id(&self) -> &str {
        self.id.public()
    }

    /// The key's id in the API.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The whole key; to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the whole key in hex; a fast hash is right for 192 random bits.
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(&self.text))
    }

    /// Whether `hash` is this key's, in constant time.
    #[must_use]
    pub fn matches(&self, hash: &str) -> bool {
        let mut own = [0; 64];
        let is_written = hex::encode_to_slice(Sha256::digest(&self.text), &mut own).is_ok();
        is_written && bool::from(own.ct_eq(hash.as_bytes()))
    }
}

/// A key with its secret hidden: `sk-t0-<public_id>-****`.
#[must_use]
pub fn masked(public_id: &str) -> String {
    format!("{PREFIX}{public_id}-****")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minted_key_reads_back() {
        let key = ApiKey::mint(&[1; 10], &[2; 24]);
        assert_eq!(ApiKey::parse(key.reveal()), Some(key.clone()));
        assert!(key.matches(&key.hash()));
        assert!(!key.matches(&ApiKey::mint(&[1; 10], &[3; 24]).hash()));
        assert_eq!(format!("{key:?}"), "sk-t0-01010101010101010101-****");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "sk-t0-",
            "sk-t0-a-short",
            "sk-t0--0123456789",
            "sk-t1-a-0123456789",
            "sk-t0-a b-0123456789",
        ] {
            assert_eq!(ApiKey::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = ApiKey::parse(&text);
        }
    }
}
