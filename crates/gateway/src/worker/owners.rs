//! Under which names a worker holds its leases.
//!
//! Invariant: leases are renewed by name, and every claim has a name of its own. A claim whose answer
//! was lost, though it was recorded, is therefore renewed by nobody: it runs out and is found.

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

    /// A name for the next claim; the same until tasks are held under it, or it is given up.
    pub(super) fn current(&self) -> String {
        format!("{}-{}", self.node, self.state().current)
    }

    /// Gives the current name up.
    pub(super) fn next(&self) {
        let mut state = self.state();
        state.current = state.current.saturating_add(1);
    }

    /// So many tasks are held under a name.
    pub(super) fn began(&self, owner: &str, count: usize) {
        let mut state = self.state();
        state.held.insert(owner.to_owned(), count);
    }

    /// One less.
    pub(super) fn finished(&self, owner: &str) {
        let mut state = self.state();
        if let Some(held) = state.held.get_mut(owner) {
            *held = held.saturating_sub(1);
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
        owners.next();
        let second = owners.current();
        assert_ne!(first, second);
        owners.began(&second, 1);
        owners.finished(&first);
        assert_eq!(owners.all(), [first.clone(), second.clone()]);
        owners.finished(&first);
        assert_eq!(owners.all(), [second]);
    }
}
