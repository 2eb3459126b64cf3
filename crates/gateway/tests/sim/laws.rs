//! What must hold at every step, and what must hold in the end.

use std::sync::Arc;

use domain::credits::Credits;
use domain::task::{Phase, Status, Task};
use futures_util::StreamExt;
use gateway::store::Store;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::trace::Trace;
use crate::upstream::{Upstream, ms};

/// What the laws are checked against.
#[derive(Clone)]
pub(crate) struct Laws {
    pub(crate) store: Store,
    pub(crate) memory: Arc<InMemory>,
    pub(crate) upstream: Upstream,
    pub(crate) trace: Trace,
}

impl Laws {
    /// Follows a task to its end; every version that is read is held to the one before.
    pub(crate) async fn follow(&self, first: Task) -> Task {
        let watch = self.store.watch(&first.id);
        let mut known = first;
        loop {
            let mut changed = std::pin::pin!(watch.changed());
            changed.as_mut().enable();
            let task = self.read(&known).await;
            if task.version > known.version || task.phase != known.phase {
                self.step(&known, &task).await;
            }
            known = task;
            if known.status().is_terminal() {
                return known;
            }
            // A hint is lost with a node that dies between the commit and the hint.
            let _ = timeout(ms(1_000), changed).await;
        }
    }

    pub(crate) async fn read(&self, task: &Task) -> Task {
        let read = self.store.task(&task.account, &task.id).await.unwrap();
        read.unwrap().task
    }

    async fn step(&self, before: &Task, after: &Task) {
        let name = &after.order.prompt;
        let due_ms = after.due_ms.saturating_sub(after.updated_ms);
        let more = match &after.phase {
            Phase::Failed { error } => error.kind.as_str().to_owned(),
            Phase::Done { charge, .. } => format!("for {}", charge.0),
            _ => format!("due in {due_ms} ms"),
        };
        self.trace.say(&format!(
            "{name} v{}: {} after {} attempts, {} misses, {more}",
            after.version,
            after.phase.as_str(),
            after.attempts,
            after.misses,
        ));
        if after.status() < before.status() {
            let (was, is) = (before.status().as_str(), after.status().as_str());
            self.trace
                .wrong(&format!("{name} goes back from {was} to {is}"));
        }
        if after.version < before.version {
            self.trace.wrong(&format!("{name} loses a version"));
        }
        if (&after.order, after.hold, after.created_ms)
            != (&before.order, before.hold, before.created_ms)
        {
            self.trace.wrong(&format!("{name} is another task now"));
        }
        self.attempts(after).await;
        if after.status() == Status::Success {
            self.success(after).await;
        }
    }

    /// One open attempt at most, none after the end.
    async fn attempts(&self, task: &Task) {
        let name = &task.order.prompt;
        // The row of the task may have moved on since; then the next step is checked.
        let attempts = self.store.attempts(&task.account, &task.id).await.unwrap();
        if self.read(task).await.version != task.version {
            return;
        }
        let open = ["sending", "accepted", "unknown"];
        let open = attempts
            .iter()
            .filter(|attempt| open.contains(&attempt.state.as_str()))
            .count();
        let has_one = matches!(
            task.phase,
            Phase::Sending { .. } | Phase::Unknown { .. } | Phase::Running { .. }
        );
        if open != usize::from(has_one) {
            let phase = task.phase.as_str();
            self.trace
                .wrong(&format!("{name} has {open} open attempts and is {phase}"));
        }
        if attempts.len() != task.attempts as usize {
            self.trace
                .wrong(&format!("{name} counts its attempts wrong"));
        }
        for id in attempts
            .iter()
            .filter_map(|attempt| attempt.upstream_id.as_ref())
        {
            if self.upstream.run(id).is_none() {
                self.trace.wrong(&format!("{name} made up the run {id}"));
            }
        }
    }

    /// Every file is there, whole and as it is said to be; the upstream did succeed.
    async fn success(&self, task: &Task) {
        let name = &task.order.prompt;
        let Phase::Done { files, charge, .. } = &task.phase else {
            return;
        };
        if files.is_empty() || *charge > task.hold || *charge < Credits::ZERO {
            self.trace
                .wrong(&format!("{name} has no files, or a wrong charge"));
        }
        for file in files {
            let object = self.memory.get(&Path::from(file.path.as_str())).await;
            let bytes = match object {
                Ok(object) => object.bytes().await.unwrap(),
                Err(_) => {
                    self.trace.wrong(&format!("{name} misses a file"));
                    continue;
                }
            };
            if bytes.len() as u64 != file.bytes
                || hex::encode(Sha256::digest(&bytes)) != file.sha256
            {
                self.trace.wrong(&format!("a file of {name} is damaged"));
            }
        }
        let attempts = self.store.attempts(&task.account, &task.id).await.unwrap();
        let id = attempts
            .iter()
            .find(|attempt| attempt.state == "done")
            .and_then(|attempt| attempt.upstream_id.clone());
        let run = id.and_then(|id| self.upstream.run(&id));
        if !run.is_some_and(|run| run.is_done() && self.upstream.may_be_of(&run, name)) {
            self.trace
                .wrong(&format!("{name} succeeds, but no run of it does"));
        }
    }

    /// Balances are the sums of their entries; holds and closes are as the tasks say.
    pub(crate) async fn ledger(&self) {
        for problem in self.store.any_ledger_check().await.unwrap().problems {
            self.trace.wrong(&format!("ledger: {problem}"));
        }
    }

    /// What was swept leaves nothing that nobody would ever find again.
    pub(crate) async fn bucket(&self) {
        let left: Vec<_> = self.memory.list(None).collect().await;
        for object in left {
            let path = object.unwrap().location;
            self.trace.wrong(&format!("{path} is left for ever"));
        }
    }

    /// What must hold of a task long after its end.
    pub(crate) async fn end(&self, ended: &Task) {
        let name = &ended.order.prompt;
        let read = self.store.task(&ended.account, &ended.id).await.unwrap();
        let read = read.unwrap();
        let now = Task {
            is_cancel_asked: ended.is_cancel_asked,
            ..read.task.clone()
        };
        if now != *ended {
            self.trace.wrong(&format!("{name} changed after its end"));
        }
        self.attempts(&now).await;
        if read.notice.is_some() != ended.callback_url.is_some() {
            self.trace
                .wrong(&format!("{name} has a notice or none, against the wish"));
        }
        if ended.charge().is_none() {
            self.trace.wrong(&format!("{name} ended without a charge"));
        }
    }
}
