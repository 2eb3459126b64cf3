//! Features, models and providers switched off and on.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::switches::{Feature, Switches, Turns};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::given;
use crate::api::body::Fields;
use crate::api::caller::{Admin, Caller, Trace};
use crate::api::refusals::{BadRequest, Invalid, TooLarge, Unauthorized, Unavailable};
use crate::api::{Api, ApiError};

/// What is switched off.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Features)]
pub(in crate::api) struct FeaturesView {
    /// Every feature, and whether it is on: `chat`, `image`, `video` (running such models) and
    /// `callbacks` (asking for one, sending one again, testing one).
    #[schema(example = json!({"chat": true, "image": true, "video": false, "callbacks": true}))]
    features: BTreeMap<&'static str, bool>,
    /// The models that are off.
    #[schema(example = json!({"video_generate.kling_2_6": false}))]
    models: BTreeMap<String, bool>,
    /// The providers that are off. Tasks are not routed to them; those under way finish.
    #[schema(example = json!({"kie": false}))]
    providers: BTreeMap<String, bool>,
}

fn view(switches: &Switches) -> FeaturesView {
    let off = |name: &str| (name.to_owned(), false);
    let features = Feature::ALL.into_iter();
    FeaturesView {
        features: features
            .map(|feature| (feature.as_str(), switches.has(feature)))
            .collect(),
        models: switches.models_off().map(off).collect(),
        providers: switches.providers_off().map(off).collect(),
    }
}

/// Switches to be turned, by name: true is on. What is not named stays.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = FeatureChange)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(in crate::api) struct FeaturesBody {
    /// `chat`, `image`, `video`, `callbacks`.
    #[schema(example = json!({"video": false}))]
    features: Option<BTreeMap<String, bool>>,
    /// Models of the catalogue.
    #[schema(example = json!({"video_generate.kling_2_6": false}))]
    models: Option<BTreeMap<String, bool>>,
    /// Providers of the catalogue; `sandbox` is one.
    #[schema(example = json!({"kie": false}))]
    providers: Option<BTreeMap<String, bool>>,
}

/// Read what is switched off
#[utoipa::path(
    get, path = "/api/v1/admin/features", operation_id = "adminReadFeatures", tag = "Admin", security(("key" = ["admin"])),
    responses((status = 200, description = "What is.", body = FeaturesView), Unauthorized, Unavailable)
)]
pub(in crate::api) async fn read(
    State(api): State<Arc<Api>>,
    _: Caller<Admin>,
) -> Result<Json<FeaturesView>, ApiError> {
    Ok(Json(view(&api.store.any_switches().await?)))
}

/// Switch features, models and providers off or on
///
/// On every node within two seconds, and over restarts. A call that needs what is off is answered
/// 505; tasks that are accepted finish.
#[utoipa::path(
    put, path = "/api/v1/admin/features", operation_id = "adminSetFeatures", tag = "Admin", security(("key" = ["admin"])),
    request_body = FeaturesBody,
    responses((status = 200, description = "How it is now.", body = FeaturesView), BadRequest, Unauthorized, TooLarge, Invalid, Unavailable)
)]
pub(in crate::api) async fn set(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    trace: Trace,
    Fields(body): Fields,
) -> Result<Json<FeaturesView>, ApiError> {
    // What left the catalogue while it was off can be switched on.
    let now = api.store.any_switches().await?;
    let is_feature = |name: &str| Feature::ALL.iter().any(|known| known.as_str() == name);
    let is_model = |id: &str| api.catalogue.model(id).is_some() || !now.has_model(id);
    let is_provider = |id: &str| api.catalogue.provider(id).is_some() || !now.has_provider(id);
    let turns = Turns {
        features: turns(&body, "features", is_feature)?,
        models: turns(&body, "models", is_model)?,
        providers: turns(&body, "providers", is_provider)?,
    };
    let act = api.act(&caller.0, trace);
    let switches = api.store.any_turn_switches(turns, act).await?;
    api.switchboard.refresh(&api.store).await?;
    Ok(Json(view(&switches)))
}

/// Switches by name.
fn turns(
    body: &Value,
    group: &'static str,
    is_known: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, bool>, ApiError> {
    let Some(value) = given(body, group) else {
        return Ok(BTreeMap::new());
    };
    let message = "must be an object of names, each with true or false";
    let fields = value.as_object();
    let fields = fields.ok_or_else(|| ApiError::invalid(group, message))?;
    let mut turns = BTreeMap::new();
    for (name, value) in fields {
        let shown: String = name.chars().take(64).collect();
        let Some(is_on) = value.as_bool() else {
            let refusal = ApiError::invalid(format!("{group}.{shown}"), "must be true or false");
            return Err(refusal.allowing(json!([true, false])));
        };
        if !is_known(name) {
            let message = format!("names {shown:?}, which there is not");
            return Err(ApiError::invalid(group, &message));
        }
        turns.insert(name.clone(), is_on);
    }
    Ok(turns)
}
