//! Identifiers: typed strings of lower-case ASCII, minted from an instant and random bytes.
//!
//! Invariant: no clock, no randomness; the caller brings both.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A tenant: owns keys, tasks, credits.
    AccountId
);
id!(
    /// A task; a UUID of version 7, so that neighbours in time are neighbours in the index.
    TaskId
);
id!(
    /// An attempt at an upstream.
    AttemptId
);
id!(
    /// A key; `key_` and its public id.
    KeyId
);
id!(
    /// A line of the audit log; ids sort by time.
    AuditId
);
id!(
    /// A callback notice; the `webhook-id` of its deliveries.
    NoticeId
);
id!(
    /// A line of an account's history.
    TransactionId
);
id!(
    /// A wish to be told of a low balance.
    AlertId
);

impl TaskId {
    /// A UUIDv7 of an instant (Unix milliseconds) and ten random bytes (RFC 9562, section 5.7).
    #[must_use]
    pub fn mint(now_ms: i64, random: &[u8; 10]) -> Self {
        let ms = u64::try_from(now_ms).unwrap_or(0);
        let id = uuid::Builder::from_unix_timestamp_millis(ms, random).into_uuid();
        Self(id.hyphenated().to_string())
    }

    /// Whether a text has the form of a task id: a hyphenated lower-case UUID.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        (text.len() == 36 && is_lower && uuid::Uuid::try_parse(text).is_ok())
            .then(|| Self(text.to_owned()))
    }
}

impl AccountId {
    /// `acc_` and 20 hex digits.
    #[must_use]
    pub fn mint(random: &[u8; 10]) -> Self {
        Self(format!("acc_{}", hex::encode(random)))
    }
}

impl KeyId {
    /// `key_` and the public id.
    #[must_use]
    pub fn of(public_id: &str) -> Self {
        Self(format!("key_{public_id}"))
    }

    /// The public id, which the key itself shows as well.
    #[must_use]
    pub fn public(&self) -> &str {
        self.0.strip_prefix("key_").unwrap_or(&self.0)
    }
}

impl AttemptId {
    /// `att_` and 20 hex digits.
    #[must_use]
    pub fn mint(random: &[u8; 10]) -> Self {
        Self(format!("att_{}", hex::encode(random)))
    }
}

impl AuditId {
    /// `aud_` and a UUIDv7 without hyphens, made as [`TaskId::mint`] does.
    #[must_use]
    pub fn mint(now_ms: i64, random: &[u8; 10]) -> Self {
        Self(format!(
            "aud_{}",
            TaskId::mint(now_ms, random).0.replace('-', "")
        ))
    }
}

impl NoticeId {
    /// `msg_` and the task's id without hyphens: one notice for a task, so one id for it.
    #[must_use]
    pub fn of(task: &TaskId) -> Self {
        Self(format!("msg_{}", task.0.replace('-', "")))
    }
}

impl TransactionId {
    /// `txn_` and 32 hex digits, made from the id of the ledger's entry that begins the line.
    #[must_use]
    pub fn of_entry(id: &str) -> Self {
        let hash = hex::encode(Sha256::digest(id));
        Self(format!("txn_{}", hash.get(..32).unwrap_or(&hash)))
    }
}

impl AlertId {
    /// `alert_` and 20 hex digits.
    #[must_use]
    pub fn mint(random: &[u8; 10]) -> Self {
        Self(format!("alert_{}", hex::encode(random)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_ids_sort_by_time_and_read_back() {
        let early = TaskId::mint(1_700_000_000_000, &[255; 10]);
        let late = TaskId::mint(1_700_000_000_001, &[0; 10]);
        assert!(early < late);
        assert_eq!(TaskId::parse(early.as_str()), Some(early));
    }

    #[test]
    fn a_line_has_the_same_id_at_every_reading() {
        let id = TransactionId::of_entry("hold:f47ac10b-58cc-4372-a567-0e02b2c3d479");
        assert_eq!(id.as_str(), "txn_dce2ff35b6438fa0ed7ad260ea2c110d");
        assert_ne!(id, TransactionId::of_entry("top_up:invoice-1"));
    }

    #[test]
    fn what_is_no_uuid_is_no_task_id() {
        for text in [
            "",
            "x",
            "F47AC10B-58CC-4372-A567-0E02B2C3D479",
            "f47ac10b58cc4372a5670e02b2c3d479",
        ] {
            assert_eq!(TaskId::parse(text), None, "{text}");
        }
        assert!(TaskId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").is_some());
    }
}
