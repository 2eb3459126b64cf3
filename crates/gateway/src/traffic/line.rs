//! How many tasks one provider works on, and who waits for it.

use std::collections::{BTreeMap, HashMap};

use domain::ids::TaskId;

/// How long a task that was called may take to come, in milliseconds.
const CALLED_MS: i64 = 30_000;

/// The line before a provider with so many slots. Tasks are let in about in the order in which they
/// came; nothing breaks when one that is called never comes.
#[derive(Debug)]
pub(super) struct Line {
    slots: u32,
    /// Open attempts as the store had them.
    known: u64,
    /// Attempts opened and ended here since.
    opened: u64,
    ended: u64,
    /// Let in, but no attempt is open yet.
    arriving: u64,
    waiting: BTreeMap<i64, TaskId>,
    numbers: HashMap<TaskId, i64>,
    /// Those that were told to come, with when that was.
    called: HashMap<TaskId, i64>,
}

impl Line {
    pub(super) fn new(slots: u32) -> Self {
        Self {
            slots,
            known: 0,
            opened: 0,
            ended: 0,
            arriving: 0,
            waiting: BTreeMap::new(),
            numbers: HashMap::new(),
            called: HashMap::new(),
        }
    }

    pub(super) fn slots(&self) -> u32 {
        self.slots
    }

    /// Tasks the provider works on, as far as this node knows.
    pub(super) fn open(&self) -> u64 {
        let counted = self.known.saturating_add(self.opened);
        counted
            .saturating_sub(self.ended)
            .saturating_add(self.arriving)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.called.len()
    }

    fn has_room_beside(&self, tasks: usize) -> bool {
        let free = u64::from(self.slots).saturating_sub(self.open());
        free > u64::try_from(tasks).unwrap_or(u64::MAX)
    }

    /// Whether a task may go in now: there is a slot that nobody waits for longer.
    pub(super) fn admits(&self, task: &TaskId) -> bool {
        match self.called.contains_key(task) {
            true => self.has_room_beside(0),
            false => self.has_room_beside(self.waiting()),
        }
    }

    /// Lets a task in.
    pub(super) fn enter(&mut self, task: &TaskId) {
        self.leave(task);
        self.arriving = self.arriving.saturating_add(1);
    }

    /// What was let in has an attempt, or has none and goes again.
    pub(super) fn arrived(&mut self, has_attempt: bool) {
        self.arriving = self.arriving.saturating_sub(1);
        self.opened = self.opened.saturating_add(u64::from(has_attempt));
    }

    /// An attempt ended.
    pub(super) fn ended(&mut self) {
        self.ended = self.ended.saturating_add(1);
    }

    /// Forgets a task that waits.
    pub(super) fn leave(&mut self, task: &TaskId) {
        self.called.remove(task);
        if let Some(number) = self.numbers.remove(task) {
            self.waiting.remove(&number);
        }
    }

    /// Puts a task at the end of the line; one that was called in vain at its front.
    pub(super) fn queue(&mut self, task: &TaskId) {
        if self.numbers.contains_key(task) {
            return;
        }
        let ends = (self.waiting.keys().next(), self.waiting.keys().next_back());
        let number = match (self.called.remove(task).is_some(), ends) {
            (true, (Some(first), _)) => first.saturating_sub(1),
            (false, (_, Some(last))) => last.saturating_add(1),
            _ => 0,
        };
        self.numbers.insert(task.clone(), number);
        self.waiting.insert(number, task.clone());
    }

    /// What the store counts takes the place of what was counted here.
    pub(super) fn counted(&mut self, open: u64, now_ms: i64) {
        (self.known, self.opened, self.ended) = (open, 0, 0);
        self.called
            .retain(|_, called_ms| called_ms.saturating_add(CALLED_MS) > now_ms);
    }

    /// Who may come now: as many as there is room for.
    pub(super) fn call(&mut self, now_ms: i64) -> Vec<TaskId> {
        let mut calls = Vec::new();
        while self.has_room_beside(self.called.len()) {
            let Some((_, task)) = self.waiting.pop_first() else {
                break;
            };
            self.numbers.remove(&task);
            self.called.insert(task.clone(), now_ms);
            calls.push(task);
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(n: u32) -> TaskId {
        TaskId(format!("t{n}"))
    }

    #[test]
    fn no_more_than_its_slots_are_let_in_and_the_others_come_in_turn() {
        let mut line = Line::new(2);
        for n in 0..2 {
            assert!(line.admits(&task(n)));
            line.enter(&task(n));
            line.arrived(true);
        }
        for n in 2..5 {
            assert!(!line.admits(&task(n)));
            line.queue(&task(n));
        }
        assert_eq!(line.call(0), []);
        line.ended();
        assert!(!line.admits(&task(9)), "others wait for it");
        assert_eq!(line.call(0), [task(2)]);
        assert_eq!(line.call(0), [], "the slot is spoken for");
        assert!(line.admits(&task(2)) && !line.admits(&task(3)));
        // Somebody else was quicker: it is the next again.
        line.counted(2, 0);
        line.queue(&task(2));
        line.counted(1, 0);
        assert_eq!(line.call(0), [task(2)]);
        line.enter(&task(2));
        assert_eq!((line.open(), line.waiting()), (2, 2));
        line.arrived(false);
        assert_eq!(line.call(0), [task(3)]);
    }

    #[test]
    fn one_that_does_not_come_does_not_hold_a_slot_for_ever() {
        let mut line = Line::new(1);
        line.counted(1, 0);
        line.queue(&task(1));
        line.queue(&task(2));
        line.ended();
        assert_eq!(line.call(0), [task(1)]);
        line.counted(0, CALLED_MS - 1);
        assert_eq!(line.call(0), []);
        line.counted(0, CALLED_MS);
        assert_eq!(line.call(0), [task(2)]);
    }
}
