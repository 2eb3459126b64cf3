//! Providers, and why one is or is not routed to.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::catalogue::Provider;
use domain::switches::Switches;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::caller::{Admin, Caller};
use crate::api::refusals::{Unauthorized, Unavailable};
use crate::api::{Api, ApiError};
use crate::traffic::ProviderState;

/// A provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Provider)]
pub(in crate::api) struct ProviderView {
    /// Its id.
    #[schema(example = "kie")]
    id: String,
    /// For people.
    name: String,
    /// The protocol it speaks.
    dialect: String,
    /// The variable its secret comes from; null if it wants none.
    secret_variable: Option<String>,
    /// Whether its secret is there, or it wants none.
    has_secret: bool,
    /// How many models have a route to it.
    models: usize,
    /// Whether it is switched on; see `features`.
    enabled: bool,
    /// Whether tasks are routed to it: it is switched on, the settings of this node do not forbid it,
    /// and its secret is there.
    usable: bool,
    /// How it fares, as the node that answers sees it; null for the sandbox.
    state: Option<ProviderState>,
}

/// Some providers.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProviderList {
    /// The providers, by id.
    #[serde(rename = "data")]
    providers: Vec<ProviderView>,
    /// Always null: there is one page.
    #[schema(value_type = Option<String>)]
    next_cursor: (),
}

fn view(
    api: &Api,
    switches: &Switches,
    states: &mut BTreeMap<String, ProviderState>,
    provider: &Provider,
) -> ProviderView {
    let models = api.catalogue.models();
    let routed = models.filter(|model| {
        let mut listings = model.listings.iter();
        listings.any(|listing| listing.route.provider == provider.id)
    });
    let enabled = switches.has_provider(&provider.id);
    ProviderView {
        id: provider.id.clone(),
        name: provider.name.clone(),
        dialect: provider.dialect.clone(),
        secret_variable: provider.secret_env.clone(),
        has_secret: (api.has_secret)(provider),
        models: routed.count(),
        enabled,
        usable: enabled && (api.is_usable)(provider),
        state: states.remove(&provider.id),
    }
}

/// List providers
#[utoipa::path(
    get, path = "/api/v1/admin/providers", operation_id = "adminListProviders", tag = "Admin", security(("key" = ["admin"])),
    responses((status = 200, description = "The providers.", body = ProviderList), Unauthorized, Unavailable)
)]
pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    _: Caller<Admin>,
) -> Result<Json<ProviderList>, ApiError> {
    let switches = api.switches().await?;
    let states = api.traffic.states(api.clock.now_ms());
    let mut states: BTreeMap<_, _> = states.into_iter().collect();
    let providers = api.catalogue.providers();
    let providers = providers.map(|one| view(&api, &switches, &mut states, one));
    Ok(Json(ProviderList {
        providers: providers.collect(),
        next_cursor: (),
    }))
}
