//! Uploads: pictures, films and sounds that orders name later.
//!
//! Invariant: a file is never whole in memory, and what its sender says about it is not believed. A
//! form has one field and is read to its end before anything is recorded.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::Json;
use axum::body::BodyDataStream;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use domain::ids::AccountId;
use domain::task::StoredFile;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use multer::{Field, Multipart, parse_boundary};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::caller::{Caller, Run};
use super::error::{ApiError, Kind};
use super::refusals::{
    FileTooLarge, Maintenance, Malformed, Unauthorized, Unavailable, UnknownType,
};
use super::switchboard::check_open;
use crate::clock::rfc3339;
use crate::store::StoreError;

/// The one field of the form.
const FIELD: &str = "file";

/// What a form may have beside the file, in bytes.
const FRAME_BYTES_MAX: u64 = 64 << 10;

/// How much of a form may be read, in bytes, without any of it belonging to the file.
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// The bytes of a file stopped coming.
#[derive(Debug, Clone, Copy)]
pub struct Cut;

/// A file to be kept.
pub struct NewFile {
    /// Whose it is.
    pub account: AccountId,
    /// Its bytes.
    pub content: BoxStream<'static, Result<Bytes, Cut>>,
    /// The most of them.
    pub bytes_max: u64,
}

/// Why a file is not kept.
#[derive(Debug)]
pub enum Unkept {
    /// It has no bytes.
    Empty,
    /// It is of none of the types that are.
    Type(&'static [&'static str]),
    /// It has more bytes than this.
    TooLarge(u64),
    /// It did not come to its end.
    Cut,
    /// Not now; why, for the log.
    Away(String),
    /// The store did not record it.
    Store(StoreError),
}

/// Where files are kept.
#[derive(Clone)]
pub struct Shelf {
    /// Keeps a file.
    pub keep: Arc<dyn Fn(NewFile) -> BoxFuture<'static, Result<StoredFile, Unkept>> + Send + Sync>,
    /// Removes a file of an account by its path.
    pub drop: Arc<dyn Fn(AccountId, String) -> BoxFuture<'static, ()> + Send + Sync>,
    /// The largest that a client may upload, in bytes.
    pub upload_bytes_max: u64,
}

impl Unkept {
    /// The refusal of the file that `param` names.
    pub(super) fn refusal(self, param: &str) -> ApiError {
        let param = param.to_owned();
        match self {
            Self::Empty => ApiError::invalid(param, "must not be empty"),
            Self::Type(types) => {
                let message = "must be a picture, a film or a sound of a known type";
                ApiError::invalid(param, message).allowing(types.to_vec())
            }
            Self::TooLarge(bytes_max) => {
                let message = format!("{param} must have at most {bytes_max} bytes.");
                ApiError::new(Kind::TooLarge, message).about(param)
            }
            Self::Cut => broken_off(),
            Self::Away(detail) => ApiError::overloaded().because(detail),
            Self::Store(error) => error.into(),
        }
    }
}

/// A form with a file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form, which is read as it comes")]
pub(super) struct UploadForm {
    /// The file; the only field, and once.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// A file that is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FileView {
    /// Its id.
    #[schema(example = "file_9f86d081884c7d659a2feaa0c55ad015")]
    id: String,
    /// Where it is: public, but nobody can guess it. To be named in `image_urls` or `video_urls`.
    #[schema(
        example = "https://gateway.example/files/9f86d081884c7d659a2feaa0c55ad015/upload.png"
    )]
    url: String,
    /// When it is removed.
    expires_at: String,
    /// Judged from the content.
    #[schema(example = "image/png")]
    content_type: String,
    /// Size.
    bytes: u64,
    /// SHA-256 in hex.
    sha256: String,
}

impl Api {
    /// The address of an uploaded file.
    pub(super) fn file_url(&self, file: &StoredFile) -> String {
        format!("{}/files/{}", self.settings.public_url, file.path)
    }
}

/// Upload a file
///
/// A picture, a film or a sound for `image_urls` or `video_urls`: a form (`multipart/form-data`) whose
/// only field is `file`. Its type is judged from its content. It is kept as long as results are.
#[utoipa::path(
    post, path = "/api/v1/files", operation_id = "uploadFile", tag = "Files", security(("key" = ["run"])),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "It is stored.", body = FileView),
        Malformed, Unauthorized, FileTooLarge, UnknownType, Maintenance, Unavailable,
    )
)]
pub(super) async fn upload(
    State(api): State<Arc<Api>>,
    caller: Caller<Run>,
    request: Request,
) -> Result<Json<FileView>, ApiError> {
    check_open(&*api.switches().await?)?;
    let bytes_max = api.shelf.upload_bytes_max;
    let boundary = boundary(request.headers())?;
    check_length(request.headers(), bytes_max)?;
    let form = Form::new(request.into_body().into_data_stream(), boundary);
    let refusal = Arc::clone(&form.refusal);
    let file = NewFile {
        account: caller.0.account,
        content: form.file().await?,
        bytes_max,
    };
    let kept = (api.shelf.keep)(file).await;
    let file = kept.map_err(|unkept| {
        let said = refusal.lock().unwrap_or_else(PoisonError::into_inner);
        match (unkept, &*said) {
            (Unkept::Cut, Some(said)) => said.clone(),
            (unkept, _) => unkept.refusal(FIELD),
        }
    })?;
    let folder = file.path.split('/').next().unwrap_or_default();
    Ok(Json(FileView {
        id: format!("file_{folder}"),
        url: api.file_url(&file),
        expires_at: rfc3339(file.expires_ms),
        content_type: file.content_type,
        bytes: file.bytes,
        sha256: file.sha256,
    }))
}

fn boundary(headers: &HeaderMap) -> Result<String, ApiError> {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let boundary = given.and_then(|given| parse_boundary(given).ok());
    boundary.ok_or_else(|| {
        ApiError::bad_request(
            "The body must be a form: Content-Type must be multipart/form-data with a boundary.",
        )
    })
}

/// A form that says itself that it is too large need not be read.
fn check_length(headers: &HeaderMap, bytes_max: u64) -> Result<(), ApiError> {
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > bytes_max.saturating_add(FRAME_BYTES_MAX) => {
            Err(Unkept::TooLarge(bytes_max).refusal(FIELD))
        }
        _ => Ok(()),
    }
}

fn broken_off() -> ApiError {
    ApiError::bad_request("The body ended before its length, or came too slowly.")
}

fn misused() -> ApiError {
    ApiError::invalid(FIELD, "must be the only field of the form, and come once")
}

fn unreadable(error: &multer::Error) -> ApiError {
    match error {
        multer::Error::StreamReadFailed(_) => broken_off(),
        multer::Error::IncompleteStream
        | multer::Error::IncompleteHeaders
        | multer::Error::IncompleteFieldData { .. } => {
            ApiError::bad_request("The form ended before its last boundary.")
        }
        _ => ApiError::bad_request("The form is malformed."),
    }
}

/// A form as it is read.
struct Form {
    parts: Multipart<'static>,
    /// Bytes that were read since the last of them were passed on.
    ahead: Arc<AtomicUsize>,
    /// What was wrong with it.
    refusal: Arc<Mutex<Option<ApiError>>>,
}

impl Form {
    fn new(body: BodyDataStream, boundary: String) -> Self {
        let ahead = Arc::new(AtomicUsize::new(0));
        let body = Paced {
            body,
            ahead: Arc::clone(&ahead),
            rests: false,
        };
        Self {
            parts: Multipart::new(body, boundary),
            ahead,
            refusal: Arc::default(),
        }
    }

    /// The bytes of the file; they end well only if the form does.
    async fn file(mut self) -> Result<BoxStream<'static, Result<Bytes, Cut>>, ApiError> {
        let field = self.parts.next_field().await;
        let field = match field.map_err(|error| unreadable(&error))? {
            None => return Err(ApiError::invalid(FIELD, "is required")),
            Some(field) if field.name() != Some(FIELD) => return Err(misused()),
            Some(field) => field,
        };
        let step = |(mut form, mut field): (Self, Field<'static>)| async {
            let next = match field.chunk().await {
                Ok(Some(bytes)) => {
                    form.ahead.store(0, Ordering::Relaxed);
                    return Ok(Some((bytes, (form, field))));
                }
                Ok(None) => {
                    drop(field);
                    form.parts.next_field().await
                }
                Err(error) => Err(error),
            };
            let refusal = match next {
                Ok(None) => return Ok(None),
                Ok(Some(_)) => misused(),
                Err(error) => unreadable(&error),
            };
            let mut said = form.refusal.lock().unwrap_or_else(PoisonError::into_inner);
            *said = Some(refusal);
            Err(Cut)
        };
        Ok(stream::try_unfold((self, field), step).boxed())
    }
}

/// A body that gives one piece at a time. The reader of forms takes whatever is there, and looks for
/// the end of a head however long that is; here it gets no further than it passes on.
struct Paced {
    body: BodyDataStream,
    ahead: Arc<AtomicUsize>,
    rests: bool,
}

impl Stream for Paced {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rests) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = std::task::ready!(Pin::new(&mut self.body).poll_next(cx));
        Poll::Ready(next.map(|piece| {
            let piece = piece.map_err(std::io::Error::other)?;
            self.rests = true;
            let ahead = self.ahead.fetch_add(piece.len(), Ordering::Relaxed);
            if ahead > AHEAD_BYTES_MAX {
                return Err(std::io::Error::other("a form without a file"));
            }
            Ok(piece)
        }))
    }
}
