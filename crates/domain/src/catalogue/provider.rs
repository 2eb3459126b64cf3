//! A provider: where it is, which protocol it speaks and how far it can be trusted with a lost reply.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalogue::{Delivery, SANDBOX};
use crate::credits::Credits;
use crate::mapping::Mapping;
use crate::order::Modality;

/// The highest hold of a task that is submitted again, unless a file says otherwise: ten cents.
pub(super) const RESUBMIT_BELOW: Credits = Credits(100_000);

/// How a provider lets us learn what became of a request whose reply was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// The same request with the same key again gives the first reply.
    Idempotent,
    /// It can be asked for our own reference.
    Lookup,
    /// It cannot be learned.
    None,
}

/// What to do when it cannot be learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLostReply {
    /// Fail the task and release the hold.
    FailAndRelease,
    /// Submit again what is cheap enough to be paid twice (`resubmit_below`).
    Resubmit,
}

/// What is honoured or refused, never dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Abilities {
    /// Lays a text over the result.
    pub watermark: bool,
    /// Makes a film of several shots.
    pub multi_shots: bool,
    /// Translates the prompt to English first.
    pub enable_translation: bool,
}

impl Abilities {
    /// None of them.
    pub const NONE: Self = Self {
        watermark: false,
        multi_shots: false,
        enable_translation: false,
    };

    /// All of them.
    pub const ALL: Self = Self {
        watermark: true,
        multi_shots: true,
        enable_translation: true,
    };

    /// Names of the parameters that ask for an ability.
    pub const NAMES: [&'static str; 3] = ["watermark", "multi_shots", "enable_translation"];

    /// What either of the two can.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            watermark: self.watermark || other.watermark,
            multi_shots: self.multi_shots || other.multi_shots,
            enable_translation: self.enable_translation || other.enable_translation,
        }
    }

    /// Whether everything in `asked` is among them.
    #[must_use]
    pub fn cover(self, asked: Self) -> bool {
        self.or(asked) == self
    }

    /// Whether the ability of a parameter name is among them; `None` for another name.
    #[must_use]
    pub fn has(self, name: &str) -> Option<bool> {
        match name {
            "watermark" => Some(self.watermark),
            "multi_shots" => Some(self.multi_shots),
            "enable_translation" => Some(self.enable_translation),
            _ => None,
        }
    }

    /// The same with the ability of a parameter name; another name changes nothing.
    #[must_use]
    pub fn with(mut self, name: &str) -> Self {
        match name {
            "watermark" => self.watermark = true,
            "multi_shots" => self.multi_shots = true,
            "enable_translation" => self.enable_translation = true,
            _ => {}
        }
        self
    }
}

/// How many calls may create something in any stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub creates: usize,
    /// The stretch, in milliseconds.
    pub per_ms: i64,
}

/// Who runs models.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// Lower-case letters, digits and underscores; the file's name.
    pub id: String,
    /// For people.
    pub name: String,
    /// The protocol it speaks.
    pub dialect: String,
    /// Start of every URL, without a slash at the end.
    pub base_url: String,
    /// Other origins of its own, which may see its secret: regional hosts it answers with.
    pub origins: Vec<String>,
    /// Name of the setting that holds its secret; `None` for a provider that wants none.
    pub secret_env: Option<String>,
    /// Name of the setting that holds the secret its webhooks are signed with; without it any delivery
    /// to an attempt's own URL is taken.
    pub webhook_secret_env: Option<String>,
    /// Where the public keys are that its webhooks are signed with, as a JWKS document.
    pub webhook_keys: Option<String>,
    /// A server of the operator's own. Where it is only the operator knows, so that it is used only if
    /// a setting says its base URL; its secret, if it has one, may be missing.
    pub is_local: bool,
    /// How a lost reply is cleared up.
    pub recovery: Recovery,
    /// What happens when it cannot be.
    pub on_lost_reply: OnLostReply,
    /// The highest hold of a task that is submitted again.
    pub resubmit_below: Credits,
    /// After the send deadline, how long a request may still be in flight, in milliseconds.
    pub quiet_ms: i64,
    /// Longest time to connect, in milliseconds.
    pub connect_timeout_ms: i64,
    /// Longest time from the first byte of a call to the last byte of its reply, in milliseconds.
    pub call_timeout_ms: i64,
    /// Most tasks it works on at the same time, at least 1.
    pub concurrency: u32,
    /// How many creating calls it takes, for each credential; `None` for any number.
    pub rate: Option<Rate>,
    /// Start of the URLs of its upload of files, without a slash at the end, where it has one; an
    /// origin of its own.
    pub upload_url: Option<String>,
    /// How files reach it, where a route says nothing else.
    pub delivery: Delivery,
    /// How parameters are said, where a route says nothing else.
    pub send: BTreeMap<Modality, Mapping>,
}

impl Provider {
    /// The built-in provider. It runs inside the gateway, answers at once and never keeps a request in
    /// flight.
    #[must_use]
    pub fn sandbox() -> Self {
        Self {
            id: SANDBOX.to_owned(),
            name: "Sandbox".to_owned(),
            dialect: SANDBOX.to_owned(),
            base_url: "http://sandbox.internal".to_owned(),
            origins: Vec::new(),
            secret_env: None,
            webhook_secret_env: None,
            webhook_keys: None,
            is_local: false,
            recovery: Recovery::None,
            on_lost_reply: OnLostReply::FailAndRelease,
            resubmit_below: RESUBMIT_BELOW,
            quiet_ms: 2_000,
            connect_timeout_ms: 1_000,
            call_timeout_ms: 3_000,
            concurrency: u32::MAX,
            rate: None,
            upload_url: None,
            delivery: Delivery::Link,
            send: BTreeMap::new(),
        }
    }

    /// Whether it cannot be used without a secret.
    #[must_use]
    pub fn wants_secret(&self) -> bool {
        self.secret_env.is_some() && !self.is_local
    }
}
