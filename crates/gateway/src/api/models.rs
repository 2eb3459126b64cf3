//! The catalogue as clients read it. No key is wanted.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::catalogue::{Model, SANDBOX};
use domain::order::Modality;
use domain::switches::Switches;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::pricing;
use super::query::Query;
use super::refusals::{Invalid, NotFound};
use super::tag::{KnownTags, tagged};
use super::{Api, ApiError, Id};

/// A model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub(super) struct ModelView {
    /// What a submit names.
    id: String,
    /// For people.
    name: String,
    /// Who made it.
    vendor: String,
    /// `video`, `image` or `chat`.
    #[schema(value_type = String)]
    generation_type: Modality,
    /// One or two sentences.
    description: String,
    /// What to know before relying on it.
    notice: Option<String>,
    /// `available`; `sandbox` when only the sandbox runs it at the moment; or `disabled`.
    availability: &'static str,
    /// What it costs.
    #[schema(value_type = Object)]
    price: Value,
    /// What the prompt must be; only when one model is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<PromptView>,
    /// What it takes besides, in the group named by `parameter_group`; only when one model is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    parameters: Option<Vec<Value>>,
    /// `video_params`, `image_params` or `llm_params`.
    parameter_group: &'static str,
}

/// What a prompt must be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PromptRule)]
pub(super) struct PromptView {
    /// Whether a submit without one is refused.
    required: bool,
    /// Most characters.
    max_length: u32,
}

/// Some models.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelList {
    /// The models, by id.
    #[serde(rename = "data")]
    models: Vec<ModelView>,
    /// How many match in all.
    total: usize,
    /// This page, from 1.
    page: usize,
    /// Models of a page.
    per_page: usize,
}

/// List models
#[utoipa::path(
    get, path = "/api/v1/models", operation_id = "listModels", tag = "Models", security(()),
    params(
        ("modality" = Option<String>, Query, description = "Only `video`, `image` or `chat`."),
        ("provider" = Option<String>, Query, description = "Only of this vendor, or run by this provider."),
        ("search" = Option<String>, Query, description = "Only with this text in id, name, vendor or description."),
        ("page" = Option<usize>, Query, minimum = 1, description = "From 1."),
        ("per_page" = Option<usize>, Query, minimum = 1, maximum = 100, description = "20 unless given."),
    ),
    responses((status = 200, description = "The models.", body = ModelList), Invalid)
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    query: Query,
) -> Result<Json<ModelList>, ApiError> {
    let modality = query.word("modality", &Modality::ALL, Modality::as_str)?;
    let provider = query.text("provider")?;
    let search = query.text("search")?.map(str::to_lowercase);
    let page = query.number("page", 1..=1_000_000)?.unwrap_or(1);
    let per_page = query.number("per_page", 1..=100)?.unwrap_or(20);
    let matching: Vec<&Arc<Model>> = api
        .catalogue
        .models()
        .filter(|model| modality.is_none_or(|modality| model.modality == modality))
        .filter(|model| provider.is_none_or(|provider| is_of(model, provider)))
        .filter(|model| search.as_deref().is_none_or(|text| is_found(model, text)))
        .collect();
    let switches = api.shown_switches().await;
    let shown = matching.iter().skip((page - 1) * per_page).take(per_page);
    Ok(Json(ModelList {
        models: shown.map(|model| view(&api, &switches, model)).collect(),
        total: matching.len(),
        page,
        per_page,
    }))
}

fn is_of(model: &Model, provider: &str) -> bool {
    let is_route = |name: &str| name.eq_ignore_ascii_case(provider);
    is_route(&model.vendor)
        || model
            .listings
            .iter()
            .any(|listing| is_route(&listing.route.provider))
}

fn is_found(model: &Model, text: &str) -> bool {
    let texts = [&model.id, &model.name, &model.vendor, &model.description];
    texts
        .iter()
        .any(|known| known.to_lowercase().contains(text))
}

fn availability(api: &Api, switches: &Switches, model: &Model) -> &'static str {
    let named = model.listings.iter().map(|listing| &listing.route.provider);
    let known = named.filter_map(|id| api.catalogue.provider(id));
    let usable: Vec<&str> = known
        .filter(|provider| (api.is_usable)(provider))
        .map(|provider| provider.id.as_str())
        .collect();
    let (runs_on, word) = match usable.is_empty() {
        true => (vec![SANDBOX], "sandbox"),
        false => (usable, "available"),
    };
    let is_open = runs_on.iter().any(|id| switches.has_provider(id));
    if is_open && switches.may_run(model) {
        word
    } else {
        "disabled"
    }
}

fn view(api: &Api, switches: &Switches, model: &Model) -> ModelView {
    ModelView {
        id: model.id.clone(),
        name: model.name.clone(),
        vendor: model.vendor.clone(),
        generation_type: model.modality,
        description: model.description.clone(),
        notice: model.notice.clone(),
        availability: availability(api, switches, model),
        price: pricing::view(api.catalogue.price(model, |one| (api.is_usable)(one))),
        prompt: None,
        parameters: None,
        parameter_group: model.modality.group(),
    }
}

fn known<'a>(api: &'a Api, id: &str) -> Result<&'a Arc<Model>, ApiError> {
    let found = api.catalogue.model(id);
    found.ok_or_else(|| ApiError::not_found("model"))
}

/// Read a model with its parameters
#[utoipa::path(
    get, path = "/api/v1/models/{model_id}", operation_id = "readModel", tag = "Models", security(()),
    params(("model_id" = String, Path, example = "video_generate.kling_2_6")),
    responses((status = 200, description = "The model.", body = ModelView), NotFound)
)]
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    Id(id): Id,
) -> Result<Json<ModelView>, ApiError> {
    let model = known(&api, &id)?;
    let switches = api.shown_switches().await;
    let parameters = model.parameters.iter();
    Ok(Json(ModelView {
        prompt: Some(PromptView {
            required: model.prompt.is_required,
            max_length: model.prompt.chars_max,
        }),
        parameters: Some(parameters.map(|parameter| parameter.view()).collect()),
        ..view(&api, &switches, model)
    }))
}

/// Read the JSON Schema of a model's submit body
#[utoipa::path(
    get, path = "/api/v1/models/{model_id}/schema", operation_id = "readModelSchema", tag = "Models", security(()),
    params(
        ("model_id" = String, Path, example = "video_generate.kling_2_6"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier reply."),
    ),
    responses(
        (status = 200, description = "The schema, draft 2020-12.", body = Object),
        (status = 304, description = "Nothing changed since the named `ETag`."),
        NotFound,
    )
)]
pub(super) async fn schema(
    State(api): State<Arc<Api>>,
    Id(id): Id,
    known_tags: KnownTags,
) -> Result<Response, ApiError> {
    let schema = known(&api, &id)?.schema();
    let hash = hex::encode(Sha256::digest(schema.to_string()));
    let tag = format!("\"{}\"", hash.get(..16).unwrap_or(&hash));
    tagged(&known_tags, &tag, || schema)
}

/// What all models cost.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PriceList {
    /// The prices, by model.
    #[serde(rename = "data")]
    prices: Vec<ModelPrice>,
    /// `USD`.
    currency: &'static str,
}

/// What a model costs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelPrice {
    /// The model.
    model_id: String,
    /// For people.
    name: String,
    /// `video`, `image` or `chat`.
    #[schema(value_type = String)]
    generation_type: Modality,
    /// Its price.
    #[schema(value_type = Object)]
    price: Value,
}

/// List prices
#[utoipa::path(
    get, path = "/api/v1/pricing", operation_id = "listPrices", tag = "Models", security(()),
    responses((status = 200, description = "The prices of the models that can be run.", body = PriceList))
)]
pub(super) async fn prices(State(api): State<Arc<Api>>) -> Json<PriceList> {
    let switches = api.shown_switches().await;
    let models = api.catalogue.models();
    let models = models.filter(|model| switches.may_run(model));
    let price = |model: &Arc<Model>| ModelPrice {
        model_id: model.id.clone(),
        name: model.name.clone(),
        generation_type: model.modality,
        price: pricing::view(api.catalogue.price(model, |one| (api.is_usable)(one))),
    };
    Json(PriceList {
        prices: models.map(price).collect(),
        currency: "USD",
    })
}
