//! API keys: `sk-t0-<public_id>-<secret>`.
//!
//! Invariant: the whole key exists only where it is minted and where a client sends it; what is kept
//! is the public id and a hash.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::credits::Credits;
use crate::ids::KeyId;
use crate::limits::Limits;

/// What every key starts with.
const PREFIX: &str = "sk-t0-";

/// A key as a client sends it. Its `Debug` shows only the public id.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    public_id: String,
    secret: String,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&masked(&self.public_id))
    }
}

impl ApiKey {
    /// A key of random bytes: 80 bits to find it by, 192 bits to know.
    #[must_use]
    pub fn mint(public: &[u8; 10], secret: &[u8; 24]) -> Self {
        Self {
            public_id: hex::encode(public),
            secret: hex::encode(secret),
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
            public_id: public_id.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// The part the key is looked up by.
    #[must_use]
    pub fn public_id(&self) -> &str {
        &self.public_id
    }

    /// The key's id in the API.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(format!("key_{}", self.public_id))
    }

    /// The whole key; to be shown once.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}-{}", self.public_id, self.secret)
    }

    /// SHA-256 of the whole key in hex; a fast hash is right for 192 random bits.
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.reveal()))
    }

    /// Whether `hash` is this key's, in constant time.
    #[must_use]
    pub fn matches(&self, hash: &str) -> bool {
        self.hash().as_bytes().ct_eq(hash.as_bytes()).into()
    }
}

/// A key with its secret hidden: `sk-t0-<public_id>-****`.
#[must_use]
pub fn masked(public_id: &str) -> String {
    format!("{PREFIX}{public_id}-****")
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Submit and cancel tasks.
    Run,
    /// Read tasks, callbacks and results.
    Read,
    /// Create, change and delete keys.
    Keys,
    /// Balance, transactions, top-ups.
    Billing,
    /// The operator's endpoints.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [
        Self::Run,
        Self::Read,
        Self::Keys,
        Self::Billing,
        Self::Admin,
    ];

    /// What a key may do unless it says otherwise: everything of its own account.
    pub const ACCOUNT: [Self; 4] = [Self::Run, Self::Read, Self::Keys, Self::Billing];

    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Read => "read",
            Self::Keys => "keys",
            Self::Billing => "billing",
            Self::Admin => "admin",
        }
    }

    /// The scope of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// What a key may do, besides who it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// For people.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// The only models it may run; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// When it stops working, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// Whether its runs go to the sandbox and cost nothing.
    #[serde(default)]
    pub sandbox: bool,
    /// The only addresses it may be used from, as given; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_whitelist: Vec<String>,
    /// Requests per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_rpm: Option<u32>,
    /// Requests per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_tph: Option<u32>,
    /// Requests per day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_tpd: Option<u32>,
    /// Most credits a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_credit_limit: Option<Credits>,
}

impl Grant {
    /// A key of an account without limits.
    #[must_use]
    pub fn account(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scopes: Scope::ACCOUNT.to_vec(),
            models: None,
            expires_ms: None,
            sandbox: false,
            ip_whitelist: Vec::new(),
            rate_limit_rpm: None,
            rate_limit_tph: None,
            rate_limit_tpd: None,
            daily_credit_limit: None,
        }
    }

    /// Whether the key may be used for `scope`.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// What the key may do in how much time.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            requests: [
                self.rate_limit_rpm,
                self.rate_limit_tph,
                self.rate_limit_tpd,
            ],
            daily_credits: self.daily_credit_limit,
        }
    }

    /// Whether the key may run a model.
    #[must_use]
    pub fn may_run(&self, model: &str) -> bool {
        let models = self.models.as_ref();
        models.is_none_or(|models| models.iter().any(|known| known == model))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minted_key_reads_back() {
        let key = ApiKey::mint(&[1; 10], &[2; 24]);
        assert_eq!(ApiKey::parse(&key.reveal()), Some(key.clone()));
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
