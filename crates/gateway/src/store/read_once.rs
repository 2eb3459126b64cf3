//! Rows that a batch reads when the first of its operations asks for them, and keeps to its end.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// A row, when it was read: nothing where there is none. Each has a lock of its own, so that reads of several
/// travel together.
pub(super) type Slot<V> = tokio::sync::Mutex<Option<Option<V>>>;

/// Rows by what names them.
pub(super) struct ReadOnce<K, V>(Mutex<HashMap<K, Arc<Slot<V>>>>);

impl<K, V> Default for ReadOnce<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, V> ReadOnce<K, V> {
    /// The place of a row.
    pub(super) fn slot(&self, key: &K) -> Arc<Slot<V>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            return Arc::clone(slot);
        }
        Arc::clone(slots.entry(key.clone()).or_default())
    }

    /// The places of all rows that were asked for.
    pub(super) fn into_slots(self) -> impl Iterator<Item = (K, Arc<Slot<V>>)> {
        let slots = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        slots.into_iter()
    }
}
