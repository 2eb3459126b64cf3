//! Hints that something changed, for whoever waits in this process.
//!
//! Invariant: hints only shorten a wait. Whoever waits looks again after a while all the same, as
//! another node gives no hint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::ids::TaskId;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Independent maps, so that many waiting clients do not meet at one lock.
const SHARDS: usize = 32;

/// Who waits for what.
pub(super) struct Hints {
    pub(super) work: Notify,
    pub(super) notices: Notify,
    tasks: [Mutex<HashMap<TaskId, Watchers>>; SHARDS],
}

struct Watchers {
    changed: Arc<Notify>,
    count: usize,
}

impl Hints {
    pub(super) fn new() -> Self {
        Self {
            work: Notify::new(),
            notices: Notify::new(),
            tasks: std::array::from_fn(|_| Mutex::default()),
        }
    }

    fn shard(&self, id: &TaskId) -> std::sync::MutexGuard<'_, HashMap<TaskId, Watchers>> {
        // The end of a UUIDv7 is random.
        let last = id.as_str().bytes().last().map_or(0, usize::from);
        let shard = &self.tasks[last % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changed(&self, id: &TaskId) {
        if let Some(watchers) = self.shard(id).get(id) {
            watchers.changed.notify_waiters();
        }
    }

    pub(super) fn watch(self: &Arc<Self>, id: &TaskId) -> Watch {
        let mut shard = self.shard(id);
        let watchers = shard.entry(id.clone()).or_insert_with(|| Watchers {
            changed: Arc::new(Notify::new()),
            count: 0,
        });
        watchers.count = watchers.count.saturating_add(1);
        Watch {
            hints: Arc::clone(self),
            id: id.clone(),
            changed: Arc::clone(&watchers.changed),
        }
    }
}

/// A wish to hear of a task's changes in this process.
pub struct Watch {
    hints: Arc<Hints>,
    id: TaskId,
    changed: Arc<Notify>,
}

impl Watch {
    /// Ends with the next change after it was enabled or first polled. To miss none: pin it, enable
    /// it, read the task, then await it.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut shard = self.hints.shard(&self.id);
        if let Some(watchers) = shard.get_mut(&self.id) {
            watchers.count = watchers.count.saturating_sub(1);
            if watchers.count == 0 {
                shard.remove(&self.id);
            }
        }
    }
}
