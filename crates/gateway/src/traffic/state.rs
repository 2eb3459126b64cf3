//! How the providers fare, for operators.

use serde::Serialize;
use utoipa::ToSchema;

use super::Traffic;

/// How a provider fares, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct ProviderState {
    /// Tasks it works on, those of other nodes included.
    #[schema(example = 12)]
    pub open: u64,
    /// Most tasks it is given at the same time.
    #[schema(example = 100)]
    pub concurrency: u32,
    /// Tasks that wait for it on this node, for a slot or because of its rate.
    #[schema(example = 0)]
    pub waiting: usize,
    /// Until when no connection to it is tried, Unix milliseconds; null when they come about.
    pub unreachable_until_ms: Option<i64>,
    /// Its credentials.
    pub credentials: Vec<CredentialState>,
    /// Models that are not sent to it for a while.
    pub breakers: Vec<BreakerState>,
}

/// How a credential fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CredentialState {
    /// The first digits of the secret's SHA-256; empty for a provider that wants no secret.
    #[schema(example = "5e884898")]
    pub id: String,
    /// Its share.
    #[schema(example = 1)]
    pub weight: u32,
    /// `ready`; `cooling` while the provider wants less from it; `parked` because it was not accepted
    /// or has no funds.
    #[schema(example = "ready")]
    pub state: &'static str,
    /// Until when it is left alone, Unix milliseconds.
    pub until_ms: Option<i64>,
    /// What the provider said.
    pub reason: Option<String>,
}

/// A model that is not sent to a provider for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BreakerState {
    /// The model.
    #[schema(example = "video_generate.kling_2_6")]
    pub model: String,
    /// The credential it was tried with.
    pub credential: String,
    /// When one is tried again, Unix milliseconds.
    pub until_ms: i64,
}

impl Traffic {
    /// How every provider fares, by id.
    #[must_use]
    pub fn states(&self, now_ms: i64) -> Vec<(String, ProviderState)> {
        let known = self.known();
        let state = |lane: &super::lane::Lane| {
            let standings = lane.standings.iter();
            let credentials = standings.clone().map(|one| {
                let rests = [("parked", &one.parked), ("cooling", &one.cooling)];
                let rest = rests.into_iter().find(|(_, rest)| rest.until_ms > now_ms);
                CredentialState {
                    id: one.credential.id.clone(),
                    weight: one.credential.weight,
                    state: rest.map_or("ready", |(word, _)| word),
                    until_ms: rest.map(|(_, rest)| rest.until_ms),
                    reason: rest.map(|(_, rest)| rest.reason.clone()),
                }
            });
            let breakers = standings.clone().flat_map(|one| {
                one.breakers.iter().filter_map(|(model, breaker)| {
                    Some(BreakerState {
                        model: model.clone(),
                        credential: one.credential.id.clone(),
                        until_ms: breaker.open_until_ms()?,
                    })
                })
            });
            let places = standings.clone().filter_map(|one| one.places.as_ref());
            let in_line: usize = places.map(super::rate::Places::waiting).sum();
            ProviderState {
                open: lane.line.open(),
                concurrency: lane.line.slots(),
                waiting: lane.line.waiting() + in_line,
                unreachable_until_ms: lane.reach.open_until_ms(),
                credentials: credentials.collect(),
                breakers: breakers.collect(),
            }
        };
        let lanes = known.providers.iter();
        lanes.map(|(id, lane)| (id.clone(), state(lane))).collect()
    }
}
