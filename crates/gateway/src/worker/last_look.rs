//! Attempts that were given up are looked at once more: what they made all the same was paid for by the
//! operator, who is told. The client is charged nothing.

use std::time::Duration;

use domain::catalogue::Recovery;
use domain::task::{Outcome, Phase, Task};
use domain::upstream::{Call, Fault, FaultClass};
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::store::StoreError;
use crate::store::last_looks::LastLook;

/// How often it looks for what is due, in seconds.
const EVERY_S: u64 = 60;

/// Most looks at one attempt.
const LOOKS_MAX: i64 = 4;

/// Most calls of one look.
const CALLS_MAX: u32 = 4;

impl Worker {
    /// Looks once a minute until `stop`.
    pub async fn look_back(&self, stop: CancellationToken) {
        loop {
            let looked = async {
                if let Err(error) = self.look_back_once().await {
                    tracing::warn!(%error, "attempts that were given up could not be looked at");
                }
                tokio::time::sleep(Duration::from_secs(EVERY_S)).await;
            };
            // A look that is cut short is owed again an hour later.
            tokio::select! {
                () = stop.cancelled() => return,
                () = looked => {}
            }
        }
    }

    /// Looks at what is due; answers at how many attempts.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn look_back_once(&self) -> Result<usize, StoreError> {
        let looks = self.store.any_due_looks(self.clock.now_ms()).await?;
        for look in &looks {
            if let Err(error) = self.look(look).await {
                let attempt = &look.attempt;
                tracing::warn!(%attempt, %error, "a look came to nothing");
            }
        }
        Ok(looks.len())
    }

    async fn look(&self, look: &LastLook) -> Result<(), StoreError> {
        let work = self.store.any_receipt(&look.attempt).await?;
        match self.seen(&look.task, work.as_deref()).await {
            Outcome::Finished(_) => self.book(look, work).await,
            Outcome::Waiting(_) | Outcome::Missed(_) if look.looks < LOOKS_MAX => Ok(()),
            _ => self.store.any_settle_look(&look.attempt).await,
        }
    }

    /// How the work stands now.
    async fn seen(&self, task: &Task, work: Option<&str>) -> Outcome {
        let mut call = match &task.phase {
            Phase::Running { next, .. } => next.clone(),
            _ => match (
                work.and_then(|work| self.named(task, work)),
                self.rules(task).recovery,
            ) {
                (Some(call), _) => call,
                (None, Recovery::Lookup) => match self.find(task).await {
                    Outcome::Waiting(wait) => wait.then,
                    outcome => return outcome,
                },
                // There is no way to ask; a webhook may still name the work.
                (None, _) => {
                    let fault = Fault::new(FaultClass::Ambiguous, "the provider cannot be asked");
                    return Outcome::Missed(fault);
                }
            },
        };
        for _ in 1..CALLS_MAX {
            match self.read(task, &call).await {
                Outcome::Waiting(wait) if wait.ms == 0 => call = wait.then,
                outcome => return outcome,
            }
        }
        self.read(task, &call).await
    }

    /// The read of work that a webhook named.
    fn named(&self, task: &Task, work: &str) -> Option<Call> {
        let upstream = self.upstream(task).ok()?;
        let attempt = task.phase.attempt()?;
        let cx = upstream.context(&attempt.token);
        let wait = upstream.dialect.adopt(&task.order, &cx, work)?;
        Some(wait.then)
    }

    async fn book(&self, look: &LastLook, work: Option<String>) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        let booked = self.store.any_book_late(&look.attempt, work, now_ms);
        let Some(work) = booked.await? else {
            return Ok(());
        };
        let provider = look
            .task
            .route()
            .map_or("", |route| route.provider.as_str());
        let (task, attempt) = (&look.task.id, &look.attempt);
        tracing::warn!(%task, %attempt, provider, work, "work succeeded after it was given up");
        self.metrics.late_success(provider);
        Ok(())
    }
}
