//! The catalogue: which models there are, what they take and cost, and who runs them.
//!
//! Invariant: a [`Catalogue`] is consistent. Every default is an allowed value, every route names a
//! provider, every price bounds every order its model accepts. What breaks a rule does not load.

mod listing;
mod listing_file;
mod load;
mod mapping_file;
mod model;
mod model_file;
mod parameter_file;
mod price_file;
mod provider;
mod provider_file;
mod schema;
mod source;

#[cfg(test)]
mod listing_tests;
#[cfg(test)]
mod load_tests;
#[cfg(test)]
mod price_tests;
#[cfg(test)]
pub(crate) mod shipped_tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::credits::Credits;
use crate::order::{Invalid, Order};
use crate::price::{MARGIN_BP_NONE, Price};

pub use listing::{Delivery, Listing};
pub use model::{Model, PromptRule, Route};
pub use provider::{Abilities, OnLostReply, Provider, Rate, Recovery};

/// Id of the built-in provider that runs every model for which no other is usable.
pub const SANDBOX: &str = "sandbox";

/// Longest name of a provider or parameter, and of either part of a model's id.
const NAME_BYTES_MAX: usize = 64;

/// One catalogue file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path below the catalogue folder: `models/image_generate.imagen_4.toml`, `providers/kie.toml`.
    pub path: String,
    /// The file's text.
    pub text: String,
}

/// Why a catalogue does not load.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}:{line}: {message}")]
pub struct Problem {
    /// The file.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong, for the operator.
    pub message: String,
}

/// Models and providers, by id.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    models: BTreeMap<String, Arc<Model>>,
    providers: BTreeMap<String, Arc<Provider>>,
    /// What a fail-over may cost of what the client pays, in basis points; less than all of it stands
    /// for all of it.
    failover_bp: u32,
}

impl Catalogue {
    /// The model of an id, switched off or not.
    #[must_use]
    pub fn model(&self, id: &str) -> Option<&Arc<Model>> {
        self.models.get(id)
    }

    /// Every model, in the order of the ids.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The provider of an id.
    #[must_use]
    pub fn provider(&self, id: &str) -> Option<&Arc<Provider>> {
        self.providers.get(id)
    }

    /// Every provider, in the order of the ids.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }

    /// The same catalogue with an operator's margin on every price that has none of its own, in basis
    /// points (10 000 changes nothing).
    #[must_use]
    pub fn with_margin(mut self, margin_bp: u32) -> Self {
        for model in self.models.values_mut() {
            let model = Arc::make_mut(model);
            let of_routes = model.listings.iter_mut();
            let of_routes = of_routes.filter_map(|listing| listing.price.as_mut());
            for price in of_routes.chain([&mut model.price]) {
                if price.margin_bp == MARGIN_BP_NONE {
                    price.margin_bp = margin_bp;
                }
            }
        }
        self
    }

    /// Moves a provider to another base URL; answers whether there is such a one.
    pub fn move_provider(&mut self, id: &str, base_url: &str) -> bool {
        let Some(provider) = self.providers.get_mut(id) else {
            return false;
        };
        base_url.clone_into(&mut Arc::make_mut(provider).base_url);
        true
    }

    /// Moves a provider's upload of files elsewhere; answers whether there is such a provider.
    pub fn move_upload(&mut self, id: &str, upload_url: &str) -> bool {
        let Some(provider) = self.providers.get_mut(id) else {
            return false;
        };
        Arc::make_mut(provider).upload_url = Some(upload_url.to_owned());
        true
    }

    /// The routes an order may take, in the order to try them: those of its model's listings that take
    /// it and whose provider is usable. Where no listing of the model is usable at all, the sandbox
    /// alone, which takes all that the model does; it never stands in for a provider that merely failed.
    ///
    /// # Errors
    /// The parameter for which no usable listing takes the order.
    pub fn routes(
        &self,
        model: &Model,
        order: &Order,
        is_usable: impl Fn(&Provider) -> bool,
    ) -> Result<Vec<Route>, Invalid> {
        let usable = |listing: &&Listing| {
            self.provider(&listing.route.provider)
                .is_some_and(|provider| is_usable(provider))
        };
        let listings: Vec<&Listing> = model.listings.iter().filter(usable).collect();
        if listings.is_empty() {
            return Ok(vec![Route::sandbox(&model.id)]);
        }
        let taking = taking(listings.into_iter(), order)?;
        Ok(taking
            .into_iter()
            .map(|listing| listing.route.clone())
            .collect())
    }

    /// The same catalogue with fail-overs that may cost so much of what the client pays, in basis
    /// points: what is beyond 10 000 is the operator's loss.
    #[must_use]
    pub fn with_failover(mut self, failover_bp: u32) -> Self {
        self.failover_bp = failover_bp;
        self
    }

    /// What an order costs over some routes, and those of them that may run it: the first names the
    /// price, and one that would cost the operator more than a fail-over may is left out.
    #[must_use]
    pub fn priced<'a>(
        &'a self,
        model: &'a Model,
        order: &Order,
        mut routes: Vec<Route>,
    ) -> (&'a Price, Vec<Route>) {
        let price = |route: &Route| {
            let own = self.listing(route, order);
            own.and_then(|listing| listing.price.as_ref())
                .unwrap_or(&model.price)
        };
        let paid = routes.first().map_or(&model.price, price);
        let share_bp = self.failover_bp.max(MARGIN_BP_NONE);
        let most = paid
            .hold(order)
            .share(share_bp.into(), MARGIN_BP_NONE.into());
        let most = most.unwrap_or(Credits(i64::MAX));
        // What the operator pays is the price without the margin.
        let cost = |route: &Route| Price::new(price(route).form.clone()).hold(order);
        let mut is_first = true;
        routes.retain(|route| std::mem::take(&mut is_first) || cost(route) <= most);
        (paid, routes)
    }

    /// The price of a model as long as only some providers can be used: that of its first route there.
    #[must_use]
    pub fn price<'a>(
        &'a self,
        model: &'a Model,
        is_usable: impl Fn(&Provider) -> bool,
    ) -> &'a Price {
        let usable = |listing: &&Listing| {
            self.provider(&listing.route.provider)
                .is_some_and(|provider| is_usable(provider))
        };
        let first = model.listings.iter().find(usable);
        first
            .and_then(|listing| listing.price.as_ref())
            .unwrap_or(&model.price)
    }

    /// How the provider of a route runs an order; `None` when the catalogue no longer says.
    #[must_use]
    pub fn listing(&self, route: &Route, order: &Order) -> Option<&Listing> {
        let model = self.models.get(&order.model)?;
        let is_it = |listing: &&Listing| {
            let own = &listing.route;
            (&own.provider, &own.model, &own.dialect)
                == (&route.provider, &route.model, &route.dialect)
                && listing.takes(order).is_ok()
        };
        model.listings.iter().find(is_it)
    }

    /// What a route honours by itself of what must not be dropped.
    #[must_use]
    pub fn honours(&self, route: &Route, order: &Order) -> Abilities {
        if route.provider == SANDBOX {
            return Abilities::ALL;
        }
        self.listing(route, order)
            .map_or(Abilities::NONE, Listing::honours)
    }
}

/// The listings that take an order; all, of which there may be none.
fn taking<'a>(
    listings: impl Iterator<Item = &'a Listing>,
    order: &Order,
) -> Result<Vec<&'a Listing>, Invalid> {
    let mut refusal = None;
    let mut taking = Vec::new();
    for listing in listings {
        match listing.takes(order) {
            Ok(()) => taking.push(listing),
            Err(invalid) => refusal = refusal.or(Some(invalid)),
        }
    }
    match refusal {
        Some(invalid) if taking.is_empty() => Err(invalid),
        _ => Ok(taking),
    }
}

/// Lower-case letters, digits and underscores.
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_plain)
}
