//! One provider: which credential a task may use, and whether it may go now.

use domain::catalogue::Provider;
use domain::ids::TaskId;
use domain::task::Task;

use super::Verdict;
use super::breaker::Breaker;
use super::credential::{Credential, Standing};
use super::line::Line;

/// How long a task waits at most before it asks again for a slot; it is called sooner when one is
/// free. Milliseconds.
pub(super) const ASK_AGAIN_MS: i64 = 60_000;

/// One provider.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) line: Line,
    /// Whether connections to it come about.
    pub(super) reach: Breaker,
    pub(super) standings: Vec<Standing>,
}

impl Lane {
    /// A provider nothing is known of, with its credentials; one that wants no secret needs none.
    pub(super) fn new(provider: &Provider, credentials: Option<&Vec<Credential>>) -> Self {
        let own = match credentials.cloned().unwrap_or_default() {
            none if none.is_empty() && !provider.wants_secret() => vec![Credential::none()],
            some => some,
        };
        let standings = own.into_iter();
        Self {
            line: Line::new(provider.concurrency),
            reach: Breaker::default(),
            standings: standings
                .map(|one| Standing::new(one, provider.rate))
                .collect(),
        }
    }

    /// Lets a task in, with the id of the credential it is to use.
    ///
    /// # Errors
    /// When to ask again, Unix milliseconds.
    pub(super) fn admit(
        &mut self,
        task: &Task,
        draw: &dyn Fn(u32) -> u32,
        now_ms: i64,
    ) -> Result<String, i64> {
        self.reach.admits(now_ms)?;
        let (id, model) = (&task.id, task.order.model.as_str());
        let usable = |standing: &Standing| standing.admits(model, now_ms);
        if let Some(soonest_ms) = soonest(self.standings.iter().map(usable)) {
            return Err(soonest_ms);
        }
        if !self.line.admits(id) {
            self.line.queue(id);
            return Err(now_ms.saturating_add(ASK_AGAIN_MS));
        }
        let chosen = self.choose(id, model, draw, now_ms);
        let standing = self.standings.get_mut(chosen).ok_or(i64::MAX)?;
        if let Some(places) = &mut standing.places {
            places.take(id, now_ms)?;
        }
        standing.begin(model);
        self.reach.begin();
        self.line.enter(id);
        Ok(standing.credential.id.clone())
    }

    /// The credential that keeps a place for the task; else one that has a place now, by weight; else
    /// the one that has a place soonest.
    fn choose(&self, id: &TaskId, model: &str, draw: &dyn Fn(u32) -> u32, now_ms: i64) -> usize {
        let usable: Vec<(usize, &Standing, i64)> = (0..)
            .zip(&self.standings)
            .filter(|(_, one)| one.admits(model, now_ms).is_ok())
            .map(|(index, one)| {
                let places = one.places.as_ref();
                (
                    index,
                    one,
                    places.map_or(now_ms, |places| places.next_ms(now_ms)),
                )
            })
            .collect();
        let keeps = |one: &&Standing| one.places.as_ref().is_some_and(|places| places.keeps(id));
        if let Some((index, ..)) = usable.iter().find(|(_, one, _)| keeps(one)) {
            return *index;
        }
        let free = usable.iter().filter(|(_, _, next_ms)| *next_ms <= now_ms);
        let sum = free.clone().map(|(_, one, _)| one.credential.weight).sum();
        let mut rest = if sum > 0 { draw(sum) } else { 0 };
        for (index, one, _) in free {
            if rest < one.credential.weight {
                return *index;
            }
            rest -= one.credential.weight;
        }
        let soonest = usable.iter().min_by_key(|(_, _, next_ms)| *next_ms);
        soonest.map_or(0, |(index, ..)| *index)
    }

    /// Learns what came of a call. Answers what an operator should be told.
    pub(super) fn judge(
        &mut self,
        credential: &str,
        model: &str,
        verdict: &Verdict,
        now_ms: i64,
    ) -> Vec<&'static str> {
        let mut told = Vec::new();
        match verdict {
            Verdict::Unreachable if self.reach.failed(now_ms) => told.push("it cannot be reached"),
            Verdict::Unreachable => {}
            _ => self.reach.succeeded(now_ms),
        }
        let mut standings = self.standings.iter_mut();
        let Some(standing) = standings.find(|one| one.credential.id == credential) else {
            return told;
        };
        // What the verdict says of it follows; it is in use no longer.
        standing.forget(model);
        match verdict {
            Verdict::Unreachable => {}
            Verdict::Served => standing.served(model, now_ms),
            Verdict::Faulty => {
                let breaker = standing.breakers.entry(model.to_owned()).or_default();
                if breaker.failed(now_ms) {
                    told.push("its answers for a model make no sense");
                }
            }
            Verdict::Throttled { for_ms, reason } => standing.throttled(now_ms, *for_ms, reason),
            Verdict::Rejected { reason } => {
                standing.park(now_ms, reason);
                told.push("a credential is not accepted");
            }
        }
        told
    }
}

/// When the first of some becomes usable, if none is now.
fn soonest(each: impl Iterator<Item = Result<(), i64>>) -> Option<i64> {
    let mut soonest_ms = i64::MAX;
    for one in each {
        match one {
            Ok(()) => return None,
            Err(until_ms) => soonest_ms = soonest_ms.min(until_ms),
        }
    }
    Some(soonest_ms)
}
