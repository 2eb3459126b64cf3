//! Submits switched off and on.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::switches::{Maintenance, Switches};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{flag, text};
use crate::api::body::Fields;
use crate::api::caller::{Admin, Caller, Trace};
use crate::api::refusals::{BadRequest, Invalid, TooLarge, Unauthorized, Unavailable};
use crate::api::{Api, ApiError};
use crate::clock::rfc3339;

/// Most characters of a message.
const MESSAGE_CHARS_MAX: usize = 500;

/// Whether submits are switched off.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Maintenance)]
pub(in crate::api) struct MaintenanceView {
    /// Whether they are.
    enabled: bool,
    /// What clients are told instead of a sentence of the gateway's.
    message: Option<String>,
    /// Since when.
    since: Option<String>,
}

fn view(switches: Switches) -> MaintenanceView {
    let maintenance = switches.maintenance;
    MaintenanceView {
        enabled: maintenance.is_some(),
        since: maintenance.as_ref().map(|one| rfc3339(one.since_ms)),
        message: maintenance.and_then(|one| one.message),
    }
}

/// Whether submits shall be switched off.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = MaintenanceChange)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(in crate::api) struct MaintenanceBody {
    /// True: submits are answered 455, everything else works.
    enabled: bool,
    /// What clients are told, up to 500 characters.
    #[schema(example = "Back at 10:00 UTC.")]
    message: Option<String>,
}

/// Read whether submits are switched off
#[utoipa::path(
    get, path = "/api/v1/admin/maintenance", operation_id = "adminReadMaintenance", tag = "Admin", security(("key" = ["admin"])),
    responses((status = 200, description = "Whether they are.", body = MaintenanceView), Unauthorized, Unavailable)
)]
pub(in crate::api) async fn read(
    State(api): State<Arc<Api>>,
    _: Caller<Admin>,
) -> Result<Json<MaintenanceView>, ApiError> {
    Ok(Json(view(api.store.any_switches().await?)))
}

/// Switch submits off or on
///
/// On every node within two seconds, and over restarts. Tasks that are accepted finish.
#[utoipa::path(
    put, path = "/api/v1/admin/maintenance", operation_id = "adminSetMaintenance", tag = "Admin", security(("key" = ["admin"])),
    request_body = MaintenanceBody,
    responses((status = 200, description = "How it is now.", body = MaintenanceView), BadRequest, Unauthorized, TooLarge, Invalid, Unavailable)
)]
pub(in crate::api) async fn set(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    trace: Trace,
    Fields(body): Fields,
) -> Result<Json<MaintenanceView>, ApiError> {
    let enabled = flag(&body, "enabled")?;
    let enabled = enabled.ok_or_else(|| ApiError::invalid("enabled", "must be true or false"))?;
    let message = text(&body, "message", MESSAGE_CHARS_MAX)?;
    let maintenance = enabled.then(|| Maintenance {
        message,
        since_ms: api.clock.now_ms(),
    });
    let act = api.act(&caller.0, trace);
    let switches = api.store.any_set_maintenance(maintenance, act).await?;
    api.switchboard.refresh(&api.store).await?;
    Ok(Json(view(switches)))
}
