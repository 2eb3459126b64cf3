//! Under which names a worker holds its leases.
//!
//! Invariant: leases are renewed by name, so a name whose claims are not all known is never used
//! again: what was claimed under it unnoticed runs out and is found by others.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The names in use, and how many tasks are held under each.
pub(super) struct Owners {
    node: String,
    state: Mutex<State>,
}

struct State {
    /// Counts the names.
    current: u64,
    held: BTreeMap<String, usize>,
}

impl Owners {
    /// Names of a node that has none yet.
    pub(super) fn new(node: String) -> Self {
        let (current, held) = (1, BTreeMap::new());
        Self {
            node,
            state: Mutex::new(State { current, held }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name to claim under.
    pub(super) fn current(&self) -> String {
        format!("{}-{}", self.node, self.state().current)
    }

    /// Claims under another name from now on.
    pub(super) fn renew(&self) {
        let mut state = self.state();
        state.current = state.current.saturating_add(1);
    }

    /// So many tasks more are held under a name.
    pub(super) fn began(&self, owner: &str, count: usize) {
        let mut state = self.state();
        let held = state.held.entry(owner.to_owned()).or_default();
        *held = held.saturating_add(count);
    }

    /// So many less.
    pub(super) fn finished(&self, owner: &str, count: usize) {
        let mut state = self.state();
        if let Some(held) = state.held.get_mut(owner) {
            *held = held.saturating_sub(count);
            if *held == 0 {
                state.held.remove(owner);
            }
        }
    }

    /// The names under which tasks are held.
    pub(super) fn all(&self) -> Vec<String> {
        self.state().held.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_renewed_while_tasks_are_held_under_it() {
        let owners = Owners::new("node".to_owned());
        let first = owners.current();
        owners.began(&first, 2);
        owners.renew();
        let second = owners.current();
        assert_ne!(first, second);
        owners.began(&second, 1);
        owners.finished(&first, 1);
        assert_eq!(owners.all(), [first.clone(), second.clone()]);
        owners.finished(&first, 1);
        assert_eq!(owners.all(), [second]);
    }
}
