//! The secrets of one provider, and how each fares.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use domain::catalogue::Rate;
use sha2::{Digest, Sha256};

use super::breaker::Breaker;
use super::rate::Places;

/// Hex digits of a secret's hash that name it.
const ID_DIGITS: usize = 8;

/// Largest weight.
const WEIGHT_MAX: u32 = 1_000;

/// How long one that was throttled is left alone the first time, in milliseconds, where the provider
/// says nothing; doubled each time, up to the longest.
const COOL_MS: i64 = 2_000;
const COOL_MS_MAX: i64 = 60_000;

/// How long others wait while one tries, in milliseconds.
const TRY_MS: i64 = 1_000;

/// How long one that was not accepted is left alone the first time, in milliseconds; doubled each
/// time, up to the longest.
const PARK_MS: i64 = 60_000;
const PARK_MS_MAX: i64 = 3_600_000;

/// A secret as the operator gave it, and its share of the work.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// What it is called where it is shown; empty for a provider that wants none.
    pub id: String,
    /// `None` for a provider that wants none.
    pub secret: Option<Arc<str>>,
    /// Share among the credentials of the provider, at least 1.
    pub weight: u32,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// The credential of a provider that wants none.
    #[must_use]
    pub fn none() -> Self {
        Self {
            id: String::new(),
            secret: None,
            weight: 1,
        }
    }

    /// The secrets of a setting: one, or several with commas between them, each with an optional
    /// `*WEIGHT` (1 to 1000). The same secret twice counts once.
    #[must_use]
    pub fn pool(setting: &str) -> Vec<Self> {
        let mut pool: Vec<Self> = Vec::new();
        for part in setting.split(',').map(str::trim) {
            let weighed = part.rsplit_once('*').and_then(|(secret, weight)| {
                let weight: u32 = weight.parse().ok()?;
                (1..=WEIGHT_MAX)
                    .contains(&weight)
                    .then_some((secret, weight))
            });
            let (secret, weight) = weighed.unwrap_or((part, 1));
            let mut id = hex::encode(Sha256::digest(secret));
            id.truncate(ID_DIGITS);
            if !secret.is_empty() && !pool.iter().any(|known| known.id == id) {
                pool.push(Self {
                    id,
                    secret: Some(secret.into()),
                    weight,
                });
            }
        }
        pool
    }
}

/// Why and until when one is left alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Rest {
    /// Unix milliseconds; 0 when it is not.
    pub(super) until_ms: i64,
    /// How often in a row.
    times: u32,
    /// Whether somebody tries if it is over: all at once would only begin the next.
    is_tried: bool,
    /// What the provider said.
    pub(super) reason: String,
}

impl Rest {
    /// Begins one; what comes in while it lasts was sent before and makes it no longer.
    fn begin(&mut self, now_ms: i64, least_ms: i64, most_ms: i64, reason: &str) {
        self.is_tried = false;
        if now_ms < self.until_ms {
            return;
        }
        let longer = least_ms.saturating_mul(1 << self.times.min(20));
        self.until_ms = now_ms.saturating_add(longer.min(most_ms));
        self.times = self.times.saturating_add(1);
        reason.clone_into(&mut self.reason);
    }
}

/// A credential and how it fares.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) credential: Credential,
    /// Throttled.
    pub(super) cooling: Rest,
    /// Not accepted.
    pub(super) parked: Rest,
    pub(super) places: Option<Places>,
    /// By model: what one of them suffers from need not hurt the others.
    pub(super) breakers: BTreeMap<String, Breaker>,
}

impl Standing {
    pub(super) fn new(credential: Credential, rate: Option<Rate>) -> Self {
        Self {
            credential,
            cooling: Rest::default(),
            parked: Rest::default(),
            places: rate.map(Places::new),
            breakers: BTreeMap::new(),
        }
    }

    /// Whether it may be used for a model, its rate aside.
    ///
    /// # Errors
    /// When to ask again, Unix milliseconds; never for one that is not accepted: it is tried again
    /// after a while, but nobody waits for that.
    pub(super) fn admits(&self, model: &str, now_ms: i64) -> Result<(), i64> {
        if now_ms < self.parked.until_ms {
            return Err(i64::MAX);
        }
        if now_ms < self.cooling.until_ms {
            return Err(self.cooling.until_ms);
        }
        if self.cooling.is_tried {
            return Err(now_ms.saturating_add(TRY_MS));
        }
        let breaker = self.breakers.get(model);
        breaker.map_or(Ok(()), |breaker| breaker.admits(now_ms))
    }

    /// It is used.
    pub(super) fn begin(&mut self, model: &str) {
        self.cooling.is_tried = self.cooling.times > 0;
        if let Some(breaker) = self.breakers.get_mut(model) {
            breaker.begin();
        }
    }

    /// The use came to nothing that says anything.
    pub(super) fn forget(&mut self, model: &str) {
        self.cooling.is_tried = false;
        if let Some(breaker) = self.breakers.get_mut(model) {
            breaker.forget();
        }
    }

    pub(super) fn served(&mut self, model: &str, now_ms: i64) {
        self.cooling = Rest::default();
        self.parked = Rest::default();
        if let Some(breaker) = self.breakers.get_mut(model) {
            breaker.succeeded(now_ms);
        }
    }

    /// Leaves it alone for as long as the provider asks, or for a while.
    pub(super) fn throttled(&mut self, now_ms: i64, asked_ms: Option<i64>, reason: &str) {
        self.cooling.begin(now_ms, COOL_MS, COOL_MS_MAX, reason);
        let asked_until_ms = now_ms.saturating_add(asked_ms.unwrap_or(0));
        self.cooling.until_ms = self.cooling.until_ms.max(asked_until_ms);
    }

    pub(super) fn park(&mut self, now_ms: i64, reason: &str) {
        self.parked.begin(now_ms, PARK_MS, PARK_MS_MAX, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_holds_one_secret_or_several_with_weights() {
        let read = |setting: &str| -> Vec<(String, u32)> {
            let pool = Credential::pool(setting).into_iter();
            pool.map(|one| (one.secret.unwrap().to_string(), one.weight))
                .collect()
        };
        let pair = |secret: &str, weight| (secret.to_owned(), weight);
        assert_eq!(read("sk-1"), [pair("sk-1", 1)]);
        assert_eq!(read(" sk-1*3 , sk-2,"), [pair("sk-1", 3), pair("sk-2", 1)]);
        assert_eq!(read("access:secret*2"), [pair("access:secret", 2)]);
        assert_eq!(read("odd*key, x*0"), [pair("odd*key", 1), pair("x*0", 1)]);
        assert_eq!(read("sk-1,sk-1*9"), [pair("sk-1", 1)]);
        assert_eq!(read(" , "), []);
    }

    #[test]
    fn a_credential_is_named_without_being_shown() {
        let one = Credential::pool("sk-canary").remove(0);
        assert_eq!(one.id.len(), ID_DIGITS);
        assert!(!format!("{one:?}").contains("canary"));
    }

    #[test]
    fn rests_grow_and_end_with_a_success() {
        let mut standing = Standing::new(Credential::none(), None);
        standing.throttled(0, None, "slow down");
        standing.throttled(1, None, "this one was under way");
        assert_eq!(standing.admits("m", 1), Err(COOL_MS));
        assert_eq!(standing.admits("m", COOL_MS), Ok(()));
        standing.begin("m");
        assert_eq!(standing.admits("m", COOL_MS), Err(COOL_MS + TRY_MS));
        standing.throttled(COOL_MS, None, "slow down");
        assert_eq!(standing.admits("m", COOL_MS), Err(COOL_MS * 3));
        standing.throttled(COOL_MS * 3, Some(90_000), "slow down");
        assert_eq!(standing.admits("m", 9_000), Err(COOL_MS * 3 + 90_000));
        standing.park(9_000, "no such key");
        standing.served("m", 9_000);
        assert_eq!(standing.admits("m", 9_000), Ok(()));
        let mut now_ms = 0;
        for _ in 0..40 {
            standing.park(now_ms, "no such key");
            assert_eq!(standing.admits("m", now_ms), Err(i64::MAX));
            now_ms = standing.parked.until_ms;
        }
        assert_eq!(standing.admits("m", now_ms), Ok(()));
        standing.park(now_ms, "no such key");
        assert_eq!(standing.parked.until_ms, now_ms + PARK_MS_MAX);
    }
}
