//! What a refused call is answered: one shape for every cause.
//!
//! Invariant: nothing internal reaches a client. The detail of a fault of ours goes to the log, once;
//! the client gets the request id to quote.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::limits::Allowance;
use domain::order::Invalid;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::allowance;
use crate::store::StoreError;

/// How long a client should stay away when too much is waiting, in seconds.
const RETRY_AFTER_S: u32 = 1;

/// How long a client should stay away during maintenance, in seconds.
const MAINTENANCE_S: u32 = 60;

/// What to do when it is not known whether something was recorded.
const UNCLEAR: &str = "The store was lost while this was being recorded: it may be recorded or not. \
    Look before you ask again; a submit with an Idempotency-Key is safe to repeat as it is.";

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The body cannot be read as what it should be.
    BadRequest,
    /// No key, or none that may do this.
    Unauthorized,
    /// The balance does not cover the price.
    InsufficientCredits,
    /// There is no such thing, or it is not the caller's.
    NotFound,
    /// The state of the thing forbids it.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// A field is missing or its value is not allowed.
    Validation,
    /// Over a limit.
    RateLimited,
    /// The operator switched submits off.
    Maintenance,
    /// Our fault.
    Internal,
    /// The generation a call waited for failed.
    GenerationFailed,
    /// Too much is waiting, or the store cannot be reached.
    Overloaded,
    /// Switched off by the operator.
    FeatureDisabled,
}

impl Kind {
    /// The HTTP status, also the field `code`.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::InsufficientCredits => 402,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Validation => 422,
            Self::RateLimited => 429,
            Self::Maintenance => 455,
            Self::Internal => 500,
            Self::GenerationFailed => 501,
            Self::Overloaded => 503,
            Self::FeatureDisabled => 505,
        }
    }

    /// The field `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::InsufficientCredits => "insufficient_credits",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::Validation => "validation_error",
            Self::RateLimited => "rate_limited",
            Self::Maintenance => "maintenance",
            Self::Internal => "internal",
            Self::GenerationFailed => "generation_failed",
            Self::Overloaded => "overloaded",
            Self::FeatureDisabled => "feature_disabled",
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::Maintenance | Self::Internal | Self::Overloaded
        )
    }
}

/// A refusal. It becomes a whole reply in [`front`](super::front), which knows the request id.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// What kind.
    pub kind: Kind,
    message: Cow<'static, str>,
    param: Option<Cow<'static, str>>,
    allowed: Option<Value>,
    /// The limit that is exceeded.
    full: Option<Box<Allowance>>,
    /// For the log.
    detail: Option<String>,
}

/// The body of a refusal.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody {
    /// The HTTP status again.
    pub code: u16,
    /// What is wrong, for a person.
    pub message: String,
    /// Repeats `message`.
    pub msg: String,
    /// What is wrong, for a program.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field or header that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// What is allowed there: a list of values, or an object of bounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Value>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// What to quote when asking the operator.
    pub request_id: String,
}

impl ApiError {
    /// A refusal with a message.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            param: None,
            allowed: None,
            full: None,
            detail: None,
        }
    }

    /// The body cannot be read as what it should be.
    #[must_use]
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::BadRequest, message)
    }

    /// The same for every cause, so that nobody learns which keys there are.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(
            Kind::Unauthorized,
            "The API key is missing, not valid, or not allowed to do this.",
        )
    }

    /// There is no such thing, or it is not the caller's.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("There is no such {what}."))
    }

    /// The state of the thing forbids it.
    #[must_use]
    pub fn conflict(message: &'static str) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// A value that is not allowed.
    #[must_use]
    pub fn invalid(param: impl Into<Cow<'static, str>>, message: &str) -> Self {
        let param = param.into();
        Self {
            message: format!("{param} {message}.").into(),
            param: Some(param),
            ..Self::new(Kind::Validation, "")
        }
    }

    /// The same refusal with what is allowed.
    #[must_use]
    pub fn allowing(mut self, allowed: impl Into<Value>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    /// Switched off, or not there yet.
    #[must_use]
    pub fn disabled(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::FeatureDisabled, message)
    }

    /// The same refusal, naming the field it is about.
    #[must_use]
    pub fn about(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same refusal, saying which limit is exceeded and when it is not any more.
    #[must_use]
    pub fn with_limit(mut self, full: Allowance) -> Self {
        self.full = Some(Box::new(full));
        self
    }

    /// The same refusal with the reason for the log.
    #[must_use]
    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// A mistake of ours; the detail goes to the log.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(
                Kind::Internal,
                "Something went wrong here. Please quote the request id.",
            )
        }
    }

    /// It is not known whether it was recorded; the detail goes to the log.
    #[must_use]
    pub fn unclear(detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(Kind::Internal, UNCLEAR)
        }
    }

    /// Too much is waiting; nothing was recorded.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::new(
            Kind::Overloaded,
            "The server is busy or cannot reach its store. Nothing was recorded; try again.",
        )
    }

    /// What a reply that did not come from us amounts to.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::new(
                Kind::Unauthorized,
                "The signature is missing, wrong or too old.",
            ),
            404 | 405 => Self::not_found("endpoint"),
            413 => Self::new(Kind::TooLarge, "The body is too large."),
            code if code < 500 => Self::bad_request("The request cannot be read."),
            503 => Self::new(Kind::Overloaded, "This cannot be taken now; try again."),
            code => Self::internal(format!("a reply {code} without a cause")),
        }
    }

    /// The whole reply. Logs what is our fault.
    pub(super) fn render(self, request_id: &HeaderValue) -> Response {
        let request_id = request_id.to_str().unwrap_or("");
        if let Some(detail) = &self.detail {
            match self.kind {
                Kind::Internal => tracing::error!(request_id, detail, "a call failed"),
                _ => tracing::warn!(request_id, detail, "a call could not be answered"),
            }
        }
        let body = ErrorBody {
            code: self.kind.code(),
            message: self.message.to_string(),
            msg: self.message.into_owned(),
            kind: self.kind.as_str(),
            param: self.param.map(Cow::into_owned),
            allowed: self.allowed,
            retryable: self.kind.is_retryable(),
            request_id: request_id.to_owned(),
        };
        let text = serde_json::to_string(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        let status = StatusCode::from_u16(body.code);
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.kind {
            Kind::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Kind::Overloaded => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
            }
            Kind::Maintenance => {
                headers.insert(RETRY_AFTER, HeaderValue::from(MAINTENANCE_S));
            }
            _ => {}
        }
        if let Some(full) = self.full {
            allowance::tell_full(headers, *full);
        }
        response
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let refusal = Self::invalid(invalid.param, &invalid.message);
        Self {
            allowed: invalid.allowed,
            ..refusal
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded => Self::overloaded(),
            StoreError::Unavailable(_) => Self {
                detail: Some(error.to_string()),
                ..Self::overloaded()
            },
            StoreError::Unclear(_) => Self::unclear(error.to_string()),
            StoreError::Duplicate(_) | StoreError::Broken(_) => Self::internal(error.to_string()),
        }
    }
}

/// Carries the refusal to [`front`](super::front).
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        let status = StatusCode::from_u16(self.kind.code());
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only where nothing was recorded may a client be told so.
    #[test]
    fn a_lost_commit_is_not_said_to_be_nothing() {
        let why = || "lost".to_owned();
        let unclear = ApiError::from(StoreError::Unclear(why()));
        assert_eq!(unclear.kind, Kind::Internal);
        assert_eq!(unclear.message, UNCLEAR);
        for error in [StoreError::Overloaded, StoreError::Unavailable(why())] {
            let refused = ApiError::from(error);
            assert_eq!(refused.kind, Kind::Overloaded);
            assert!(refused.message.contains("Nothing was recorded"));
        }
    }
}
