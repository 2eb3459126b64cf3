//! What this node knows of the providers: which credentials they accept, whether they answer, how
//! much they are at work on; and by that, which way a task goes and when.
//!
//! Invariant: nothing here decides what a task costs or whether it was accepted. All of it may be
//! forgotten at any moment: a node that has just started finds out anew.

mod breaker;
mod credential;
mod lane;
mod line;
mod page;
mod rate;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::catalogue::{Catalogue, Provider, SANDBOX};
use domain::ids::TaskId;
use domain::task::Task;

pub use credential::Credential;
use lane::Lane;
pub use page::TrafficPage;
pub use state::{BreakerState, CredentialState, ProviderState};

/// How old the store's count of open attempts may be, in milliseconds.
const COUNT_MS: i64 = 1_000;

/// What came of the calls for one attempt to create something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The provider answered, whatever it said about the order.
    Served,
    /// No connection came about.
    Unreachable,
    /// It was reached, but gave no answer of any use.
    Faulty,
    /// It wants less at once from this credential.
    Throttled {
        /// For how long, where it says so, in milliseconds.
        for_ms: Option<i64>,
        /// What it said.
        reason: String,
    },
    /// It does not accept this credential, or the credential has no funds.
    Rejected {
        /// What it said.
        reason: String,
    },
}

/// What is known of every provider. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Traffic(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    providers: BTreeMap<String, Lane>,
    counted_ms: i64,
}

impl Known {
    /// A task that goes to one provider waits for no other any more.
    fn leave_others(&mut self, task: &Task, provider: &str) {
        let others = task.routes.iter().map(|route| route.provider.as_str());
        for other in others.filter(|other| *other != provider) {
            if let Some(lane) = self.providers.get_mut(other) {
                lane.line.leave(&task.id);
            }
        }
    }
}

impl Traffic {
    /// Every provider of a catalogue with its credentials, by provider id; one that wants no secret
    /// needs none.
    #[must_use]
    pub fn new(catalogue: &Catalogue, credentials: &BTreeMap<String, Vec<Credential>>) -> Self {
        let lane = |provider: &Provider| Lane::new(provider, credentials.get(&provider.id));
        // The sandbox fails as it is told to; that is no reason to leave it alone.
        let providers = catalogue.providers().filter(|one| one.id != SANDBOX);
        let providers = providers.map(|provider| (provider.id.clone(), lane(provider)));
        Self(Arc::new(Mutex::new(Known {
            providers: providers.collect(),
            counted_ms: 0,
        })))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What a panic may have left is still only what was learned.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The credential of an id; the first for an attempt from before it was kept.
    #[must_use]
    pub fn credential(&self, provider: &str, id: &str) -> Option<Credential> {
        let known = self.known();
        let mut standings = known.providers.get(provider)?.standings.iter();
        let found = standings.find(|one| id.is_empty() || one.credential.id == id)?;
        Some(found.credential.clone())
    }

    /// Lets a task go over the first of its routes that is free, from one on. `draw` gives a number
    /// below another.
    ///
    /// # Errors
    /// When to ask again, Unix milliseconds.
    pub fn admit(
        &self,
        task: &Task,
        from: usize,
        draw: &dyn Fn(u32) -> u32,
        now_ms: i64,
    ) -> Result<Pass, i64> {
        let mut known = self.known();
        let mut soonest_ms = i64::MAX;
        let count = task.routes.len();
        for route in (0..count).map(|step| (from + step) % count) {
            let provider = task.routes[route].provider.as_str();
            let lane = known.providers.get_mut(provider);
            let credential = match lane.map(|lane| lane.admit(task, draw, now_ms)) {
                Some(Err(until_ms)) => {
                    soonest_ms = soonest_ms.min(until_ms);
                    continue;
                }
                Some(Ok(credential)) => credential,
                // The sandbox; or one that is gone, which whoever calls it finds out.
                None => String::new(),
            };
            known.leave_others(task, provider);
            return Ok(Pass {
                traffic: self.clone(),
                route,
                provider: provider.to_owned(),
                credential,
                model: task.order.model.clone(),
                is_arriving: true,
                is_judged: false,
            });
        }
        Err(soonest_ms)
    }

    /// Learns from a call that was made without a pass, such as one made again.
    pub fn learn(
        &self,
        provider: &str,
        credential: &str,
        model: &str,
        verdict: &Verdict,
        now_ms: i64,
    ) {
        let mut known = self.known();
        let Some(lane) = known.providers.get_mut(provider) else {
            return;
        };
        for what in lane.judge(credential, model, verdict, now_ms) {
            tracing::warn!(
                provider,
                credential,
                model,
                ?verdict,
                "a provider is left alone: {what}"
            );
        }
    }

    /// An attempt at a provider ended. Answers who may come now.
    #[must_use]
    pub fn ended(&self, provider: &str, now_ms: i64) -> Vec<TaskId> {
        let mut known = self.known();
        let Some(lane) = known.providers.get_mut(provider) else {
            return Vec::new();
        };
        lane.line.ended();
        lane.line.call(now_ms)
    }

    /// Whether the store should be asked again for the open attempts; true once, and then not for a
    /// while.
    #[must_use]
    pub fn wants_count(&self, now_ms: i64) -> bool {
        let mut known = self.known();
        let is_due = now_ms.saturating_sub(known.counted_ms) >= COUNT_MS;
        if is_due {
            known.counted_ms = now_ms;
        }
        is_due
    }

    /// Whether anybody waits for a slot.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        let known = self.known();
        known.providers.values().any(|lane| lane.line.waiting() > 0)
    }

    /// Takes in how many attempts are open, by provider. Answers who may come now.
    #[must_use]
    pub fn counted(&self, open: &BTreeMap<String, u64>, now_ms: i64) -> Vec<TaskId> {
        let mut known = self.known();
        let mut calls = Vec::new();
        for (id, lane) in &mut known.providers {
            lane.line
                .counted(open.get(id).copied().unwrap_or(0), now_ms);
            for places in lane
                .standings
                .iter_mut()
                .filter_map(|one| one.places.as_mut())
            {
                places.tidy(now_ms);
            }
            calls.extend(lane.line.call(now_ms));
        }
        calls
    }
}

/// The way of one task to a provider, from being let in until its creating call is judged.
#[derive(Debug)]
pub struct Pass {
    traffic: Traffic,
    /// Index of the route.
    pub route: usize,
    /// The credential to use.
    pub credential: String,
    provider: String,
    model: String,
    is_arriving: bool,
    is_judged: bool,
}

impl Pass {
    /// The attempt is recorded: from now on the store counts it.
    pub fn opened(&mut self) {
        self.arrived(true);
    }

    /// What came of it.
    pub fn judged(mut self, verdict: &Verdict, now_ms: i64) {
        self.is_judged = true;
        self.traffic.learn(
            &self.provider,
            &self.credential,
            &self.model,
            verdict,
            now_ms,
        );
    }

    fn arrived(&mut self, has_attempt: bool) {
        if !std::mem::take(&mut self.is_arriving) {
            return;
        }
        if let Some(lane) = self.traffic.known().providers.get_mut(&self.provider) {
            lane.line.arrived(has_attempt);
        }
    }
}

impl Drop for Pass {
    /// A pass that nothing came of takes no slot and is no try.
    fn drop(&mut self) {
        self.arrived(false);
        if self.is_judged {
            return;
        }
        let mut known = self.traffic.known();
        let Some(lane) = known.providers.get_mut(&self.provider) else {
            return;
        };
        lane.reach.forget();
        let mut standings = lane.standings.iter_mut();
        if let Some(standing) = standings.find(|one| one.credential.id == self.credential) {
            standing.forget(&self.model);
        }
    }
}
