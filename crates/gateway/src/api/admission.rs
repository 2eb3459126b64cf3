//! From a submit body to an offer: what would run, over which routes, at which price.

use std::sync::Arc;

use domain::catalogue::{Abilities, Model, Route};
use domain::credits::Credits;
use domain::ids::TaskId;
use domain::order::{Order, Scenario, Submission};
use domain::price::Price;
use domain::switches::{Feature, Switches};
use domain::task::{Phase, Task};
use serde_json::Value;

use super::Api;
use super::error::{ApiError, Kind};
use super::switchboard::{check_feature, check_model, open_routes};
use crate::entropy::Entropy;
use crate::store::keys::Principal;

/// What would run, how, and for how much.
pub(super) struct Offer {
    pub(super) model: Arc<Model>,
    pub(super) submission: Submission,
    routes: Vec<Route>,
    /// The price as the catalogue has it.
    pub(super) listed: Price,
    /// The same, reduced to what this order needs of it.
    price: Price,
    pub(super) hold: Credits,
}

/// The model of an id, if this key may run it.
fn model<'a>(api: &'a Api, caller: &Principal, id: &str) -> Result<&'a Arc<Model>, ApiError> {
    let found = api.catalogue.model(id);
    let found = found.filter(|model| caller.grant.may_run(&model.id));
    found.ok_or_else(|| ApiError::not_found("model"))
}

/// Judges a submit body.
pub(super) fn offer(
    api: &Api,
    switches: &Switches,
    caller: &Principal,
    model_id: &str,
    body: &Value,
    scenario: Option<Scenario>,
) -> Result<Offer, ApiError> {
    let model = model(api, caller, model_id)?;
    check_model(switches, model)?;
    let submission = model.submission(body, scenario)?;
    if let Some(url) = &submission.callback_url {
        check_feature(switches, Feature::Callbacks)
            .map_err(|refusal| refusal.about("callback_url"))?;
        (api.may_call)(url)
            .map_err(|message| ApiError::new(Kind::Validation, message).about("callback_url"))?;
    }
    let routes = if caller.grant.sandbox || scenario.is_some() {
        vec![Route::sandbox(&model.id)]
    } else {
        let order = &submission.order;
        let routes = api
            .catalogue
            .routes(model, order, |one| (api.is_usable)(one))?;
        in_turn(routes, &api.entropy)
    };
    let routes = open_routes(switches, model, routes)?;
    let routes = honouring(api, routes, &submission.order)?;
    let (listed, routes) = if caller.grant.sandbox {
        (Price::per_run(Credits::ZERO), routes)
    } else {
        let (price, routes) = api.catalogue.priced(model, &submission.order, routes);
        (price.clone(), routes)
    };
    let price = listed.frozen(&submission.order);
    Ok(Offer {
        model: Arc::clone(model),
        hold: price.hold(&submission.order),
        submission,
        routes,
        listed,
        price,
    })
}

impl Offer {
    /// The task that the offer becomes.
    pub(super) fn task(self, caller: &Principal, id: TaskId, now_ms: i64) -> Task {
        Task {
            id,
            account: caller.account.clone(),
            key: caller.key.clone(),
            order: self.submission.order,
            price: self.price,
            hold: self.hold,
            is_metered: caller.grant.daily_credit_limit.is_some(),
            routes: self.routes,
            callback_url: self.submission.callback_url,
            metadata: self.submission.metadata,
            phase: Phase::Queued { route: 0 },
            attempts: 0,
            misses: 0,
            progress: None,
            is_cancel_asked: false,
            created_ms: now_ms,
            updated_ms: now_ms,
            started_ms: None,
            finished_ms: None,
            deadline_ms: now_ms.saturating_add(self.model.deadline_ms),
            due_ms: now_ms,
            version: 1,
        }
    }
}

/// The routes that honour all that must not be dropped.
fn honouring(api: &Api, mut routes: Vec<Route>, order: &Order) -> Result<Vec<Route>, ApiError> {
    let asked = order.asked();
    if asked == Abilities::NONE {
        return Ok(routes);
    }
    let does_itself = |name: &&str| (api.does_itself)(name, order).is_ok();
    let names = Abilities::NAMES.into_iter();
    let own = names
        .filter(does_itself)
        .fold(Abilities::NONE, Abilities::with);
    let honoured = |route: &Route| api.catalogue.honours(route, order).or(own);
    let lacks = |name: &&str| {
        let can = |route: &Route| honoured(route).has(name) == Some(true);
        asked.has(name) == Some(true) && !routes.iter().any(can)
    };
    let unable = Abilities::NAMES.into_iter().find(lacks);
    let first = Abilities::NAMES
        .into_iter()
        .find(|name| asked.has(name) == Some(true));
    routes.retain(|route| honoured(route).cover(asked));
    if !routes.is_empty() {
        return Ok(routes);
    }
    let name = unable.or(first).unwrap_or_default();
    let path = format!("{}.{name}", order.modality.group());
    let mut message = "cannot be honoured by any provider of this model at the moment".to_owned();
    match (api.does_itself)(name, order) {
        Err(why) => message.extend([", nor by the gateway: ", &why]),
        // The gateway could, but no route honours the rest as well.
        Ok(()) => message.push_str(" together with the other parameters"),
    }
    Err(ApiError::invalid(path, &message))
}

/// Routes of the same rank in an order drawn by their weights.
fn in_turn(mut routes: Vec<Route>, entropy: &Entropy) -> Vec<Route> {
    let mut start = 0;
    while start < routes.len() {
        let rank = routes[start].rank;
        let same = |route: &&Route| route.rank == rank;
        let length = routes[start..].iter().take_while(same).count();
        draw(&mut routes[start..start + length], entropy);
        start += length;
    }
    routes
}

fn draw(routes: &mut [Route], entropy: &Entropy) {
    for first in 0..routes.len().saturating_sub(1) {
        let left = &mut routes[first..];
        let sum = left
            .iter()
            .fold(0_u32, |sum, route| sum.saturating_add(route.weight));
        let mut rest = entropy.below(sum);
        let drawn = left.iter().position(|route| {
            let is_it = rest < route.weight;
            rest = rest.saturating_sub(route.weight);
            is_it
        });
        left.swap(0, drawn.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(provider: &str, rank: u32, weight: u32) -> Route {
        Route {
            provider: provider.to_owned(),
            weight,
            rank,
            ..Route::sandbox("m")
        }
    }

    #[test]
    fn weights_share_a_rank_and_never_leave_it() {
        let entropy = Entropy::seeded(7);
        let routes = vec![route("a", 0, 1), route("b", 0, 3), route("c", 1, 100)];
        let mut firsts = 0;
        for _ in 0..1_000 {
            let drawn = in_turn(routes.clone(), &entropy);
            assert_eq!(drawn.len(), 3);
            assert_eq!(drawn[2].provider, "c");
            firsts += u32::from(drawn[0].provider == "b");
        }
        assert!((700..800).contains(&firsts), "{firsts}");
    }
}
