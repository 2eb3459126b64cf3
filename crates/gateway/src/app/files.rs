//! Files of clients: from the API to where they are kept.

use std::sync::Arc;

use axum::Router;
use futures_util::TryStreamExt;

use super::Parts;
use crate::api::files::{Cut, NewFile, Shelf, Unkept};
use crate::media::{self, CONTENT_TYPES, MediaError, Uploads};

/// The API's way to some uploads.
#[must_use]
pub fn shelf(uploads: Uploads, upload_bytes_max: u64) -> Shelf {
    let dropping = uploads.clone();
    Shelf {
        keep: Arc::new(move |file: NewFile| {
            let uploads = uploads.clone();
            let file = media::NewFile {
                account: file.account,
                content: Box::pin(file.content.map_err(|Cut| MediaError::Cut)),
                bytes_max: file.bytes_max,
            };
            Box::pin(async move { uploads.keep(file).await.map_err(refused) })
        }),
        drop: Arc::new(move |account, path| {
            let uploads = dropping.clone();
            Box::pin(async move { uploads.expire(&account, &path).await })
        }),
        upload_bytes_max,
    }
}

impl Parts {
    /// Where anybody gets files, results and uploads.
    pub(super) fn results(&self) -> Router {
        let (store, media) = (self.store.clone(), self.media.clone());
        media::router(store, media, self.clock.clone())
    }

    pub(super) fn shelf(&self) -> Shelf {
        let (store, media) = (self.store.clone(), self.media.clone());
        let uploads = Uploads::new(store, media, self.clock.clone(), self.entropy.clone());
        shelf(uploads, self.config.media.upload_bytes_max)
    }
}

fn refused(unkept: media::Unkept) -> Unkept {
    match unkept {
        media::Unkept::Empty => Unkept::Empty,
        media::Unkept::Type => Unkept::Type(&CONTENT_TYPES),
        media::Unkept::TooLarge(bytes_max) => Unkept::TooLarge(bytes_max),
        media::Unkept::Cut => Unkept::Cut,
        media::Unkept::Busy => Unkept::Away("too many uploads are under way".to_owned()),
        media::Unkept::Away(detail) => Unkept::Away(detail),
        media::Unkept::Store(error) => Unkept::Store(error),
    }
}
