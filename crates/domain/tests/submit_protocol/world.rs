//! Workers, network, provider: everything around the rules, as a value.

pub(crate) const ATTEMPTS: usize = 2;
pub(crate) const WORKERS: usize = 2;

/// All there is, small enough to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// Number of the task's state.
    pub(crate) task: u16,
    pub(crate) closes: u8,
    pub(crate) kills: u8,
    /// A state of the task that a rescuer read a while ago.
    pub(crate) snapshot: Option<u16>,
    pub(crate) rows: [Row; ATTEMPTS],
    pub(crate) workers: [Worker; WORKERS],
    /// Set of messages, by [`bit`].
    pub(crate) net: u16,
    pub(crate) runs: [Option<Run>; 3],
}

/// The row of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Row {
    Absent,
    Open,
    Over,
}

/// A worker. It holds the lease as long as nobody else commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Worker {
    Idle,
    /// Intent is committed, the first byte is not written.
    Writes {
        attempt: usize,
        is_lessee: bool,
    },
    /// Waits for the reply.
    Waits {
        attempt: usize,
        is_lessee: bool,
    },
}

/// Paid work at the provider; ordered so that the same runs make the same world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Run {
    pub(crate) attempt: usize,
    pub(crate) state: RunState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RunState {
    Runs,
    Finished,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    Request,
    Created,
    Rejection,
}

impl World {
    /// The task is queued, and nobody has begun.
    pub(crate) fn start() -> Self {
        Self {
            task: 0,
            closes: 0,
            kills: 1,
            snapshot: None,
            rows: [Row::Absent; ATTEMPTS],
            workers: [Worker::Idle; WORKERS],
            net: 0,
            runs: [None; 3],
        }
    }

    pub(crate) fn with_worker(mut self, index: usize, worker: Worker) -> Self {
        self.workers[index] = worker;
        self
    }

    /// Replies nobody waits for are dropped, and what makes no difference is put in order.
    pub(crate) fn tidied(mut self) -> Self {
        for (index, worker) in self.workers.into_iter().enumerate() {
            for number in 0..ATTEMPTS {
                let is_awaited =
                    matches!(worker, Worker::Waits { attempt, .. } if attempt == number);
                if !is_awaited {
                    self.net &= !(bit(Message::Created, index, number)
                        | bit(Message::Rejection, index, number));
                }
            }
        }
        if self.net == 0 {
            self.workers.sort_unstable();
        }
        // Free places last.
        self.runs.sort_unstable_by_key(|run| (run.is_none(), *run));
        self
    }
}

/// The place of a message in the set of those in flight.
pub(crate) fn bit(message: Message, worker: usize, attempt: usize) -> u16 {
    let kind = match message {
        Message::Request => 0,
        Message::Created => 4,
        Message::Rejection => 8,
    };
    1 << (kind + worker * ATTEMPTS + attempt)
}
