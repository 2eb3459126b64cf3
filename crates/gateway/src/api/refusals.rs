//! The refusals an endpoint documents: one type for each, so that every endpoint lists its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::IntoResponses;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};

use super::error::Kind;

macro_rules! refusals {
    ($($name:ident: $kind:ident, $text:literal, $message:literal $(, $more:tt)?;)*) => {
        $(
            pub(super) enum $name {}

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    let name = Ref::from_response_name(stringify!($name));
                    BTreeMap::from([(Kind::$kind.code().to_string(), RefOr::Ref(name))])
                }
            }
        )*

        /// Every refusal by its name in the document.
        pub(super) fn all() -> Vec<(&'static str, Response)> {
            vec![$((
                stringify!($name),
                described(Kind::$kind, $text, $message, &[$(json!($more))?]),
            )),*]
        }
    };
}

refusals! {
    BadRequest: BadRequest, "The body is no JSON object, or its content type is none of JSON.",
        "The body must be a JSON object.";
    Unauthorized: Unauthorized,
        "The key is missing, malformed, unknown, revoked, expired, out of its scopes, or used from \
         an address outside its whitelist. All causes look the same.",
        "The API key is missing, not valid, or not allowed to do this.";
    InsufficientCredits: InsufficientCredits, "The balance does not cover the price.",
        "This costs up to 0.55 credits, more than can be spent now.";
    NotFound: NotFound, "There is no such thing, or it belongs to another account.",
        "There is no such task.";
    Ended: Conflict, "The task has ended already.", "The task has ended already.";
    TooOld: Conflict, "The callback is too old to be sent again.",
        "The callback is older than 30 days and cannot be sent again.";
    Full: Conflict, "The account has as many keys as it may have.",
        "The account has 1000 keys already; delete one first.";
    NameTaken: Conflict, "Another account has the name.", "Another account has this name.";
    Unchangeable: Conflict, "Another account has the name, or the caller's own is to be suspended.",
        "Another account has this name.";
    NotFree: Conflict, "The account has not so much that is free.",
        "The account has not so much that is free.";
    TooLarge: TooLarge, "The body is over 1 MiB.", "The body must have at most 1048576 bytes.";
    Malformed: BadRequest, "The body is no form, or it is malformed or broken off.",
        "The form ended before its last boundary.";
    FileTooLarge: TooLarge, "The file is over the size that the operator allows, 100 MiB unless set otherwise.",
        "file must have at most 104857600 bytes.", { "param": "file" };
    BodyTooLarge: TooLarge,
        "The body is over 1 MiB without its `data:` URLs or over 64 MiB with them, or one of them holds \
         more than 10 MiB.",
        "The body must have at most 1048576 bytes without its data: URLs.";
    UnknownType: Validation, "The form has no file, something else, or a file of a type that is not taken.",
        "file must be a picture, a film or a sound of a known type.",
        { "param": "file", "allowed": ["image/png", "video/mp4"] };
    Invalid: Validation, "A field is missing or its value is not allowed.",
        "video_params.duration must be one of the numbers 5, 10.",
        { "param": "video_params.duration", "allowed": [5, 10] };
    RateLimited: RateLimited,
        "The key is over one of its limits; see Retry-After, RateLimit and RateLimit-Policy.",
        "This key may make 20 requests in a minute; try again in 12 s.";
    Maintenance: Maintenance, "The operator switched submits off; reads still work.",
        "Submits are switched off for maintenance; reads still work.";
    Internal: Internal,
        "Our fault; the operator finds the cause by the request id. Where the message says that it is \
         not known whether something was recorded, look before asking again; a submit with an \
         Idempotency-Key is safe to repeat.",
        "Something went wrong here. Please quote the request id.";
    Unavailable: Overloaded,
        "Too much is waiting, or the store cannot be reached. Nothing was recorded; see Retry-After.",
        "The server is busy or cannot reach its store. Nothing was recorded; try again.";
    PaymentsAway: Overloaded,
        "Stripe or the store cannot be reached. Nothing was charged; see Retry-After.",
        "The payment page could not be opened. Nothing was charged; try again.";
    Twin: Conflict, "The same request with the same key is being answered.",
        "The same request is being answered; try again.";
    AlertsFull: Conflict, "The account has as many alerts as it may have.",
        "There are 10 alerts already; delete one first.";
    Forged: BadRequest, "The signature is not Stripe's, or the body is none of its messages.",
        "The signature is missing, wrong or too old.";
    FeatureDisabled: FeatureDisabled, "The model or feature is switched off.",
        "The model video_generate.kling_2_6 is switched off.";
}

fn described(kind: Kind, text: &str, message: &str, more: &[Value]) -> Response {
    let mut example = json!({
        "code": kind.code(), "type": kind.as_str(), "message": message, "msg": message,
        "retryable": kind.is_retryable(), "request_id": "req_5f0c2b9a4e7d81c300000001",
    });
    for more in more.iter().filter_map(Value::as_object) {
        for (name, value) in more {
            example[name] = value.clone();
        }
    }
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Error")))
        .example(Some(example))
        .build();
    ResponseBuilder::new()
        .description(text)
        .content("application/json", content)
        .build()
}
