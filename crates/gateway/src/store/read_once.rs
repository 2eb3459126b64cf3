//! Rows that a batch reads when the first of its operations asks for them, and keeps to its end.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use super::db::DbError;

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

/// What is in a place, read now if that was not done before.
pub(super) async fn once<V>(
    place: &mut Option<Option<V>>,
    read: impl Future<Output = Result<Option<V>, DbError>>,
) -> Result<Option<&mut V>, DbError> {
    if place.is_none() {
        *place = Some(read.await?);
    }
    Ok(place.as_mut().and_then(Option::as_mut))
}
