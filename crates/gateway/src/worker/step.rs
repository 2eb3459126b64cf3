//! One claimed task, moved as far as it goes now.

use std::sync::Arc;
use std::time::Duration;

use dialects::{Context, Dialect, NOTHING};
use domain::catalogue::{OnLostReply, Provider, Recovery, Route};
use domain::credits::Credits;
use domain::order::Modality;
use domain::task::{
    Action, Attempt, AttemptState, Change, Outcome, Phase, Rules, Task, advance, decide,
};
use domain::upstream::{Fault, FaultClass, Request};
use url::Url;

use super::Worker;
use crate::net::{Limits, Outgoing, Refused, Secret};
use crate::store::StoreError;
use crate::store::work::{Claim, Committed, Lease};

/// How long a task waits when a step could not be recorded, in milliseconds.
pub(super) const REFUSED_MS: i64 = 5_000;

/// Pause before the store is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// An upstream as one attempt sees it.
pub(super) struct Upstream<'a> {
    pub(super) provider: &'a Provider,
    pub(super) dialect: &'static dyn Dialect,
    /// Where its secret may go: the origin of its base URL first.
    pub(super) homes: Vec<Url>,
    secret: Option<Arc<str>>,
    now_ms: i64,
    pub(super) route: &'a Route,
    modality: Modality,
}

impl<'a> Upstream<'a> {
    pub(super) fn context(&'a self, token: &'a str) -> Context<'a> {
        Context {
            base_url: &self.provider.base_url,
            model: &self.route.model,
            token,
            webhook: None,
            fields: &NOTHING,
        }
    }

    /// A request to it, with its secret where the request says.
    pub(super) fn outgoing<'r>(&self, request: &'r Request) -> Result<Outgoing<'r>, Refused> {
        let secret = self.secret.as_deref().map(|text| Secret {
            text,
            now_ms: self.now_ms,
        });
        Outgoing::upstream(request, &self.homes, secret)
    }

    /// The limits of a reply: pictures and films may be inside of it.
    pub(super) fn limits(&self) -> Limits {
        let call_timeout_ms = u64::try_from(self.provider.call_timeout_ms).unwrap_or(0);
        match self.modality {
            Modality::Chat => Limits::json(call_timeout_ms),
            Modality::Image | Modality::Video => Limits::json_with_files(call_timeout_ms),
        }
    }
}

fn unusable(detail: &str) -> Fault {
    Fault::new(FaultClass::Unavailable, "the provider is not available").because(detail)
}

/// No credential of any provider is accepted; those who wait for that find out by trying.
fn no_provider() -> Fault {
    unusable("no credential of any route is accepted")
}

/// Stands in for a provider that the catalogue no longer has: nothing can be learned from it.
fn gone() -> Rules {
    Rules {
        recovery: Recovery::None,
        on_lost_reply: OnLostReply::FailAndRelease,
        resubmit_below: Credits::ZERO,
        quiet_ms: 60_000,
        jitter: 0,
    }
}

impl Worker {
    /// Moves a claimed task until its next step is due later; answers when that is.
    pub(super) async fn work_on(&self, mut claim: Claim) -> i64 {
        loop {
            let now_ms = self.clock.now_ms();
            let rules = self.rules(&claim.task);
            let action = match self.adopted(&claim.task).await {
                Ok(Some(outcome)) => Action::Apply(outcome),
                Ok(None) => decide(&claim.task, now_ms, &rules),
                Err(error) => {
                    tracing::warn!(task = %claim.task.id, %error, "receipts cannot be read");
                    return self
                        .put_back(&claim, now_ms.saturating_add(REFUSED_MS))
                        .await;
                }
            };
            let outcome = match action {
                Action::Sleep(until_ms) => return self.put_back(&claim, until_ms).await,
                Action::Apply(outcome) => outcome,
                Action::Start { route } => match self.admit(&claim.task, route).await {
                    Ok(pass) => match self.start(&mut claim, pass).await {
                        Some(outcome) => outcome,
                        None => return i64::MAX,
                    },
                    Err(i64::MAX) => Outcome::Unsent(no_provider()),
                    Err(until_ms) => return self.put_back(&claim, until_ms).await,
                },
                Action::Resend(attempt) => match self.resend(&mut claim, attempt).await {
                    Some(outcome) => outcome,
                    None => return i64::MAX,
                },
                Action::Find(_) => self.find(&claim.task).await,
                Action::Read(call) => self.read(&claim.task, &call).await,
                Action::Cancel(call) => self.cancel(&claim.task, &call).await,
                Action::Store => self.store_files(&claim.task).await,
            };
            let outcome = self.keep_inline(&claim.task, outcome).await;
            let Some(due_ms) = self.commit(&mut claim, outcome).await else {
                return i64::MAX;
            };
            if due_ms > self.clock.now_ms() {
                self.heed_receipt(&claim.task).await;
                return due_ms;
            }
        }
    }

    pub(super) fn rules(&self, task: &Task) -> Rules {
        let provider = task
            .route()
            .and_then(|route| self.catalogue.provider(&route.provider));
        provider.map_or_else(gone, |provider| {
            Rules::of(provider, self.entropy.below(1_000))
        })
    }

    /// The upstream of a task's attempt.
    ///
    /// # Errors
    /// The catalogue, or the credential, is gone.
    pub(super) fn upstream<'a>(&'a self, task: &'a Task) -> Result<Upstream<'a>, Fault> {
        let attempt = task.phase.attempt();
        let attempt = attempt.ok_or_else(|| unusable("no attempt"))?;
        self.upstream_of(task, attempt)
    }

    /// The upstream of an attempt that the task need not have yet.
    pub(super) fn upstream_of<'a>(
        &'a self,
        task: &'a Task,
        attempt: &Attempt,
    ) -> Result<Upstream<'a>, Fault> {
        let route = task.routes.get(attempt.route);
        let route = route.ok_or_else(|| unusable("no such route"))?;
        self.upstream_over(route, &attempt.credential, task.order.modality)
    }

    /// The upstream of a route, with one of its provider's credentials.
    pub(super) fn upstream_over<'a>(
        &'a self,
        route: &'a Route,
        credential: &str,
        modality: Modality,
    ) -> Result<Upstream<'a>, Fault> {
        let provider = self.catalogue.provider(&route.provider);
        let provider = provider.ok_or_else(|| unusable("no such provider"))?;
        let dialect = (self.dialects)(&route.dialect);
        let credential = self.traffic.credential(&provider.id, credential);
        let secret = credential.and_then(|credential| credential.secret);
        if provider.wants_secret() && secret.is_none() {
            return Err(unusable("the provider has no such credential"));
        }
        let own = std::iter::once(&provider.base_url).chain(&provider.origins);
        let own = own.chain(&provider.upload_url);
        let homes: Result<Vec<Url>, _> = own.map(|home| Url::parse(home)).collect();
        Ok(Upstream {
            provider,
            dialect: dialect.ok_or_else(|| unusable("no such dialect"))?,
            homes: homes.map_err(|_| unusable("a malformed base URL"))?,
            secret,
            now_ms: self.clock.now_ms(),
            route,
            modality,
        })
    }

    /// Applies an outcome; answers when the next step is due, `None` when the task is no longer ours.
    pub(super) async fn commit(&self, claim: &mut Claim, outcome: Outcome) -> Option<i64> {
        let now_ms = self.clock.now_ms();
        let rules = self.rules(&claim.task);
        let word = outcome.as_str();
        let change = match advance(&claim.task, outcome, now_ms, &rules) {
            Ok(change) => change,
            Err(illegal) => {
                tracing::error!(task = %claim.task.id, %illegal, "a step came to nothing");
                self.put_back(claim, now_ms.saturating_add(REFUSED_MS))
                    .await;
                return None;
            }
        };
        let due_ms = change.task.due_ms;
        let goes_on = due_ms <= now_ms && !change.task.status().is_terminal();
        let lease = if goes_on || matches!(change.task.phase, Phase::Sending { .. }) {
            Lease::Keep
        } else {
            Lease::Release
        };
        let task = change.task.clone();
        let attempt = change.attempt.as_ref().map(|attempt| attempt.state);
        match self.record(claim, change, lease).await {
            Ok(Committed::Yes) => {
                self.count(&claim.task, attempt, &task.phase);
                if let (Some(state), Some(route)) = (attempt, claim.task.route())
                    && !state.is_open()
                {
                    self.leave(&route.provider).await;
                }
                let version = claim.task.version.saturating_add(1);
                claim.task = Task { version, ..task };
                Some(due_ms)
            }
            Ok(Committed::Lost) => {
                // Another worker has the task; or a commit that seemed lost was recorded, and then
                // the row still carries our name. Giving it back changes nothing for another.
                tracing::debug!(task = %claim.task.id, word, "a claim was lost");
                self.put_back(claim, now_ms).await;
                None
            }
            Err(StoreError::Duplicate(detail)) if word == "waiting" => {
                // An id that is another task's is no answer: it is not known what was created.
                tracing::warn!(task = %claim.task.id, detail, "an upstream repeats itself");
                let fault = Fault::new(FaultClass::Ambiguous, "named another task's work");
                let no_answer = match claim.task.phase {
                    Phase::Unknown { .. } => {
                        self.forget_receipt(&claim.task).await;
                        Outcome::Missed(fault)
                    }
                    _ => Outcome::Unanswered,
                };
                Box::pin(self.commit(claim, no_answer)).await
            }
            Err(error) => {
                // What is not recorded has not happened: the next worker finds the task as it was, a
                // send under way as one without an answer.
                tracing::warn!(task = %claim.task.id, word, %error, "a step was not recorded");
                self.put_back(claim, now_ms.saturating_add(REFUSED_MS))
                    .await;
                None
            }
        }
    }

    /// Counts what a recorded change ended: an attempt of the task as it was, or the task.
    fn count(&self, task: &Task, attempt: Option<AttemptState>, phase: &Phase) {
        match attempt {
            None | Some(AttemptState::Sending | AttemptState::Accepted) => {}
            Some(state) => {
                let provider = task.route().map_or("", |route| route.provider.as_str());
                self.metrics.attempt(provider, state.as_str());
            }
        }
        match phase {
            Phase::Done { absorbed, .. } => {
                self.metrics.ended("success");
                if !absorbed.is_zero() {
                    self.metrics.absorbed(*absorbed);
                    let (id, model) = (&task.id, &task.order.model);
                    tracing::warn!(task = %id, model, %absorbed, "a task cost more than its hold");
                }
            }
            Phase::Failed { error } => self.metrics.ended(error.kind.as_str()),
            _ => {}
        }
    }

    /// A reply may have been paid for: while the lease lasts, a store that is away is waited for.
    async fn record(
        &self,
        claim: &Claim,
        change: Change,
        lease: Lease,
    ) -> Result<Committed, StoreError> {
        loop {
            let now_ms = self.clock.now_ms();
            let result = self
                .store
                .commit(claim, change.clone(), lease, now_ms)
                .await;
            match result {
                // One that was recorded all the same is refused the second time, and found later.
                Err(
                    StoreError::Unavailable(_) | StoreError::Unclear(_) | StoreError::Overloaded,
                ) if now_ms < self.leased_until_ms() => {
                    tokio::time::sleep(AGAIN).await;
                }
                result => return result,
            }
        }
    }

    /// Gives a task back. As leases are renewed all together, one that is dropped must be given back
    /// however long the store is away.
    pub(super) async fn put_back(&self, claim: &Claim, until_ms: i64) -> i64 {
        let now_ms = self.clock.now_ms();
        let until_ms = until_ms.max(now_ms.saturating_add(1));
        while let Err(error) = self.store.put_back(claim, until_ms, now_ms).await {
            tracing::warn!(task = %claim.task.id, %error, "a task could not be given back");
            tokio::time::sleep(AGAIN).await;
        }
        until_ms
    }
}
