//! The OpenAPI document, and the page that shows it.

use std::sync::LazyLock;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi as _};

use super::tag::{KnownTags, tagged};
use super::{
    ApiError, ErrorBody, admin, alerts, billing, callbacks, files, keys, list, models, probe,
    receipts, refusals, shape, stream, submit, task, topup, transactions,
};

/// The page. It brings its own script and style, and asks only for `/openapi.json`.
const PAGE: &str = include_str!("docs.html");

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "RouterBase",
        description = "One API for video, image and chat models. Submit a task, then poll it, follow \
            it, or have it sent to a callback.\n\nEvery success is a 200. Every refusal has the \
            shape `Error`, and every reply carries `X-Request-Id`. Unknown fields of a request are \
            ignored; known ones are checked. Instants are RFC 3339 in UTC; a credit is a US dollar.",
    ),
    paths(
        submit::submit, submit::estimate, files::upload,
        list::list, task::read, stream::follow, task::attempts, task::cancel,
        models::list, models::read, models::schema, models::prices,
        callbacks::list, callbacks::read, callbacks::replay, callbacks::secret, callbacks::rotate,
        callbacks::test,
        keys::list, keys::create, keys::update, keys::delete,
        billing::balance, transactions::list, topup::open, receipts::receive,
        alerts::list, alerts::create, alerts::delete,
        admin::accounts::list, admin::accounts::create, admin::accounts::read, admin::accounts::update,
        admin::keys::list, admin::keys::create, admin::keys::update, admin::keys::delete,
        admin::credits::grant, admin::providers::list,
        admin::maintenance::read, admin::maintenance::set,
        admin::features::read, admin::features::set, admin::audit::list,
        probe::alive, probe::ready, probe::figures,
    ),
    components(schemas(ErrorBody, shape::SubmitBody)),
    modifiers(&Shared),
    security(("key" = [])),
    tags(
        (name = "Run", description = "Submitting work."),
        (name = "Tasks", description = "What became of it."),
        (name = "Files", description = "What orders start from: pictures, films and sounds of your own."),
        (name = "Models", description = "What can be run, and what it costs. No key is wanted."),
        (name = "Callbacks", description = "Finished tasks, sent to you and signed."),
        (name = "Keys", description = "Who may do what."),
        (name = "Billing", description = "Credits."),
        (name = "Admin", description = "For the operator: keys with the scope `admin`. Every change is in the audit log."),
        (name = "Operating", description = "For the operator's machines."),
    ),
)]
struct Document;

/// Adds what all operations share: the one way to authenticate, the refusals.
struct Shared;

impl Modify for Shared {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("sk-t0-<public_id>-<secret>")
            .description(Some("An API key of the account."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
        for (name, refusal) in refusals::all() {
            components.responses.insert(name.to_owned(), refusal.into());
        }
        for item in document.paths.paths.values_mut() {
            let operations = [
                &mut item.get,
                &mut item.post,
                &mut item.put,
                &mut item.delete,
            ];
            for operation in operations.into_iter().flatten() {
                let internal = refusals::Internal::responses();
                operation.responses.responses.extend(internal);
            }
        }
    }
}

/// The OpenAPI document of the public API.
#[must_use]
pub fn openapi() -> OpenApi {
    Document::openapi()
}

/// The document and its tag.
static OPENAPI: LazyLock<(OpenApi, String)> = LazyLock::new(|| {
    let document = openapi();
    let text = document.to_json().unwrap_or_default();
    let hash = hex::encode(Sha256::digest(text));
    let tag = format!("\"{}\"", hash.get(..16).unwrap_or(&hash));
    (document, tag)
});

pub(super) async fn json(known: KnownTags) -> Result<Response, ApiError> {
    let (document, tag) = &*OPENAPI;
    tagged(&known, tag, || document)
}

/// Lets the page run its own script and nothing else.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |tag: &str| {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let inside = PAGE
            .split_once(&open)
            .and_then(|(_, rest)| rest.split_once(&close));
        STANDARD.encode(Sha256::digest(inside.map_or("", |(inside, _)| inside)))
    };
    format!(
        "default-src 'none'; connect-src 'self'; script-src 'sha256-{}'; style-src 'sha256-{}'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
});

pub(super) async fn page() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
    ];
    (headers, PAGE)
}
