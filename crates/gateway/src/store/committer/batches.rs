//! Which operations share a transaction.

use std::collections::HashSet;

use tokio::sync::mpsc;

use super::{QUEUE, Queued};

/// Most operations in one transaction.
const BATCH: usize = 512;

/// Forms batches; operations whose mark is taken wait for the next one.
pub(super) struct Batches {
    queue: mpsc::Receiver<Box<dyn Queued>>,
    left: Vec<Box<dyn Queued>>,
}

impl Batches {
    pub(super) fn new(queue: mpsc::Receiver<Box<dyn Queued>>) -> Self {
        Self {
            queue,
            left: Vec::new(),
        }
    }

    pub(super) fn next_blocking(&mut self) -> Option<Vec<Box<dyn Queued>>> {
        let first = if self.left.is_empty() {
            Some(self.queue.blocking_recv()?)
        } else {
            None
        };
        Some(self.fill(first))
    }

    pub(super) async fn next(&mut self) -> Option<Vec<Box<dyn Queued>>> {
        let first = if self.left.is_empty() {
            Some(self.queue.recv().await?)
        } else {
            None
        };
        Some(self.fill(first))
    }

    fn fill(&mut self, first: Option<Box<dyn Queued>>) -> Vec<Box<dyn Queued>> {
        let mut marks = HashSet::new();
        let (mut batch, mut left) = (Vec::new(), Vec::new());
        let mut place = |operation: Box<dyn Queued>, batch: &mut Vec<_>, left: &mut Vec<_>| {
            let mark = operation.mark();
            if mark.is_none_or(|mark| marks.insert(mark.to_owned())) {
                batch.push(operation);
            } else {
                left.push(operation);
            }
        };
        for operation in std::mem::take(&mut self.left).into_iter().chain(first) {
            place(operation, &mut batch, &mut left);
        }
        // Twins that wait for one another must not keep the others out of the batch.
        while batch.len() < BATCH
            && left.len() < QUEUE
            && let Ok(next) = self.queue.try_recv()
        {
            place(next, &mut batch, &mut left);
        }
        self.left = left;
        batch
    }
}
