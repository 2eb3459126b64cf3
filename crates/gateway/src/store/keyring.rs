//! Keys as they were last read, so that the calls there are most of need no look at them alone.
//!
//! Invariant: what is remembered is a guess and grants nothing. Whoever acts on it hands it to an
//! operation that compares it with the row as it is, in the transaction that writes or the statement
//! that reads. So a key that is changed or deleted is so at once, on every node.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use domain::ids::KeyId;
use domain::key::ApiKey;

use super::keys::{self, Principal};
use super::{Store, StoreError};

/// Most keys remembered; beyond them it begins anew.
const KEYS_MAX: usize = 10_000;

/// Who makes a call, as their key was when it was last read.
#[derive(Debug, Clone)]
pub struct Presumed {
    /// Who that is.
    pub principal: Arc<Principal>,
    /// What was read then.
    pub(super) seen: Arc<Seen>,
    /// Whether it was read for this very call.
    pub is_fresh: bool,
}

/// What there is of a key in its row that a guess can be wrong about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Of the whole key: the same public part may come back with another secret.
    pub(super) hash: String,
    /// The grant as it is written.
    pub(super) grant: String,
}

/// The keys that are remembered.
#[derive(Default)]
pub(super) struct Keyring(RwLock<HashMap<KeyId, Presumed>>);

impl Keyring {
    fn recall(&self, key: &ApiKey) -> Option<Presumed> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let known = keys.get(key.id())?;
        key.matches(&known.seen.hash).then(|| known.clone())
    }

    fn remember(&self, presumed: &Presumed) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        let known = Presumed {
            is_fresh: false,
            ..presumed.clone()
        };
        keys.insert(presumed.principal.key.clone(), known);
    }

    /// Forgets a key that is not what it was.
    pub(super) fn forget(&self, key: &KeyId) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        keys.remove(key);
    }
}

impl Store {
    /// Who a key stands for, from memory where it is known; nobody when it is unknown, wrong, deleted
    /// or expired, or its account suspended.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn presume(&self, key: &ApiKey, now_ms: i64) -> Result<Option<Presumed>, StoreError> {
        match self.keyring.recall(key) {
            Some(presumed) => Ok(Some(presumed)),
            None => self.confirm(key, now_ms).await,
        }
    }

    /// Who a key stands for now, read for this call and remembered.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn confirm(&self, key: &ApiKey, now_ms: i64) -> Result<Option<Presumed>, StoreError> {
        let Some(found) = keys::read(self.reader().await?.session(), key, now_ms).await? else {
            return Ok(None);
        };
        let presumed = Presumed {
            principal: Arc::new(found.principal),
            seen: Arc::new(found.seen),
            is_fresh: true,
        };
        self.keyring.remember(&presumed);
        Ok(Some(presumed))
    }
}
