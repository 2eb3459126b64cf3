//! Files that clients upload: judged, announced, copied, recorded.
//!
//! Invariant: an upload is announced in the store before its first byte is in the object store, and
//! ends in the background, whether or not its client still listens: nothing is left that no sweep finds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::ids::AccountId;
use domain::task::StoredFile;
use futures_util::stream::BoxStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout};

use super::judge::EXTENSIONS;
use super::{HEAD_BYTES, Incoming, Media, MediaError, PART_BYTES, check_size, described, judge};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::spawn;
use crate::store::{Store, StoreError};

/// Uploads at the same time. Each holds up to four parts of 5 MiB, so that all of them hold at most
/// 320 MiB.
const UPLOADS: usize = 16;

/// How long an upload waits for its turn, in milliseconds.
const TURN_MS: u64 = 10_000;

/// How long a file may take to arrive, in milliseconds.
const UPLOAD_MS: u64 = 600_000;

/// What an uploaded file is called, before its ending.
const NAME: &str = "upload";

/// A file on its way in.
pub struct NewFile {
    /// Whose it is.
    pub account: AccountId,
    /// Its bytes; an error ends it.
    pub content: BoxStream<'static, Result<Bytes, MediaError>>,
    /// The most of them.
    pub bytes_max: u64,
}

/// Why a file is not kept; nothing of it is left.
#[derive(Debug)]
pub enum Unkept {
    /// It has no bytes.
    Empty,
    /// It is of no type that is kept.
    Type,
    /// It has more bytes than this.
    TooLarge(u64),
    /// It did not come to its end, or not in time.
    Cut,
    /// Too many are under way.
    Busy,
    /// The object store did not take it.
    Away(String),
    /// The store did not record it.
    Store(StoreError),
}

impl From<MediaError> for Unkept {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Never(_) => Self::Type,
            MediaError::TooLarge(bytes_max) => Self::TooLarge(bytes_max),
            MediaError::Cut => Self::Cut,
            MediaError::Later(_) | MediaError::Settings(_) => Self::Away(error.to_string()),
        }
    }
}

impl From<StoreError> for Unkept {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The taker of uploads. Cheap to clone.
#[derive(Clone)]
pub struct Uploads {
    store: Store,
    media: Media,
    clock: Clock,
    entropy: Entropy,
    turns: Arc<Semaphore>,
}

/// Whether a path is that of an uploaded file.
#[must_use]
pub fn is_upload(path: &str) -> bool {
    let name = path.split_once('/').map(|(_, name)| name);
    name.is_some_and(|name| name.rsplit_once('.').is_some_and(|(stem, _)| stem == NAME))
}

impl Uploads {
    /// One that has taken nothing yet.
    #[must_use]
    pub fn new(store: Store, media: Media, clock: Clock, entropy: Entropy) -> Self {
        Self {
            store,
            media,
            clock,
            entropy,
            turns: Arc::new(Semaphore::new(UPLOADS)),
        }
    }

    /// Keeps a file as long as results are kept.
    ///
    /// # Errors
    /// See [`Unkept`].
    pub async fn keep(&self, file: NewFile) -> Result<StoredFile, Unkept> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = timeout(Duration::from_millis(TURN_MS), turn).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Unkept::Busy);
        };
        let (tell, told) = oneshot::channel();
        let this = self.clone();
        spawn::detached("upload", async move {
            let account = file.account.clone();
            let kept = this.keep_now(file).await;
            drop(turn);
            // Nobody has heard of a file whose client is gone.
            if let Err(Ok(unheard)) = tell.send(kept) {
                this.expire(&account, &unheard.path).await;
            }
        });
        let ended_early = || Err(Unkept::Away("an upload ended early".to_owned()));
        told.await.unwrap_or_else(|_| ended_early())
    }

    /// Ends a file now that nobody has use for.
    pub async fn expire(&self, account: &AccountId, path: &str) {
        let now_ms = self.clock.now_ms();
        if let Err(error) = self.store.expire_upload(account, path, now_ms).await {
            tracing::warn!(%error, path, "an upload stays until its time is up");
        }
    }

    async fn keep_now(&self, file: NewFile) -> Result<StoredFile, Unkept> {
        let until = Instant::now() + Duration::from_millis(UPLOAD_MS);
        let mut rest = Incoming::Upload(file.content, until);
        let first = rest.at_least(PART_BYTES).await?;
        if first.is_empty() {
            return Err(Unkept::Empty);
        }
        check_size(first.len() as u64, file.bytes_max)?;
        let head = first.get(..HEAD_BYTES).unwrap_or(&first);
        let judged = judge(head).ok_or(Unkept::Type)?;
        let folder = hex::encode(self.entropy.bytes::<16>());
        let now_ms = self.clock.now_ms();
        self.store
            .announce_upload(&file.account, &folder, now_ms)
            .await?;
        let path = format!("{folder}/{NAME}.{}", judged.extension);
        let copied = self.media.copy(path, first, rest, file.bytes_max).await;
        let copied = match copied {
            Ok(copied) => copied,
            Err(error) => {
                self.retract(&file.account, &folder).await;
                return Err(error.into());
            }
        };
        let now_ms = self.clock.now_ms();
        let stored = described(copied, judged, self.media.expires_ms(now_ms));
        // What may be recorded is not removed: it ends by itself, one way or the other.
        let recorded = self
            .store
            .record_upload(&file.account, &folder, &stored, now_ms)
            .await?;
        if !recorded {
            return Err(Unkept::Cut);
        }
        Ok(stored)
    }

    async fn retract(&self, account: &AccountId, folder: &str) {
        if let Err(error) = self.media.remove_upload(folder).await {
            tracing::warn!(%error, folder, "a broken upload stays until it is swept");
            return;
        }
        if let Err(error) = self.store.retract_upload(account, folder).await {
            tracing::warn!(%error, folder, "a broken upload is swept later");
        }
    }
}

impl Media {
    /// Removes whatever an upload to a folder has left.
    ///
    /// # Errors
    /// The object store did not remove it.
    pub async fn remove_upload(&self, folder: &str) -> Result<(), MediaError> {
        self.remove(&format!("{folder}/{NAME}.{}", EXTENSIONS[0]))
            .await
    }
}
