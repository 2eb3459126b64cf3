//! Files: results copied from upstreams and uploads of clients, verified, served, removed in time.
//!
//! Invariant: a file counts as stored only after its whole length was written, hashed on the way and
//! found again in the object store. Its name cannot be guessed and is the same each time the copy is
//! tried, so that the next try takes the place of one that broke off. Not more than a few parts of a
//! file are held in memory.
//!
//! A bucket keeps the parts of an upload that a crash broke off, unseen, until a lifecycle rule of its
//! own (`AbortIncompleteMultipartUpload`) removes them.

mod incoming;
mod judge;
mod mark;
mod objects;
mod range;
mod serve;
mod uploads;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use domain::ids::TaskId;
use domain::signing::derive;
use domain::task::StoredFile;
use futures_util::future::try_join_all;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use sha2::{Digest, Sha256};

pub use incoming::Incoming;
use judge::EXTENSIONS;
pub use judge::{CONTENT_TYPES, HEAD_BYTES, Judged, judge};
use mark::Marks;
pub use mark::{Films, unsettable};
pub use serve::router;
pub use uploads::{NewFile, Unkept, Uploads, is_upload};

/// Size of the parts of an upload, the least that S3 takes. A smaller file is written at once.
const PART_BYTES: usize = 5 << 20;

/// Parts of one upload under way at the same time.
const PARTS: usize = 2;

/// What an answer is called as a file.
const ANSWER: &str = "answer.txt";

/// Why a file is not stored.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// It may work later: the upstream or the object store did not do its part.
    #[error("not stored: {0}")]
    Later(String),
    /// It will not work: the content is not what may be kept.
    #[error("not to be stored: {0}")]
    Never(String),
    /// It has more bytes than this.
    #[error("not to be stored: the file is over {0} bytes")]
    TooLarge(u64),
    /// A client stopped sending it.
    #[error("not stored: the file broke off")]
    Cut,
    /// The settings do not name an object store.
    #[error("media.url: {0}")]
    Settings(String),
}

/// Where and how long files are kept.
#[derive(Debug, Clone)]
pub struct MediaSettings {
    /// `file://FOLDER` or `s3://BUCKET/PREFIX`.
    pub url: String,
    /// Options of the S3 client, such as `aws_endpoint`, beside what the URL says.
    pub options: Vec<(String, String)>,
    /// How long a result is kept, in milliseconds.
    pub retention_ms: i64,
    /// Largest result file, in bytes.
    pub bytes_max: u64,
}

/// The files' keeper. Cheap to clone.
#[derive(Clone)]
pub struct Media {
    objects: Arc<dyn ObjectStore>,
    /// Where the object store is a folder: that folder.
    folder: Option<PathBuf>,
    /// What names are derived from.
    secret: Arc<str>,
    marks: Arc<Marks>,
    settings: Arc<MediaSettings>,
}

/// A file as the object store has it.
struct Copied {
    path: String,
    bytes: u64,
    sha256: String,
}

fn unstored(error: &object_store::Error) -> MediaError {
    MediaError::Later(error.to_string())
}

impl Media {
    /// Opens the object store of the settings. `secret` is the deployment's own.
    ///
    /// # Errors
    /// The settings name none, or the folder cannot be made.
    pub fn open(settings: MediaSettings, secret: &str) -> Result<Self, MediaError> {
        let (objects, folder) = objects::open(&settings)?;
        let media = Self::over(objects, settings, secret);
        Ok(Self { folder, ..media })
    }

    /// The same over another object store, whatever the settings' URL: the seam for tests.
    #[must_use]
    pub fn over(objects: Arc<dyn ObjectStore>, settings: MediaSettings, secret: &str) -> Self {
        Self {
            objects,
            folder: None,
            secret: secret.into(),
            marks: Arc::default(),
            settings: Arc::new(settings),
        }
    }

    /// Whether the object store takes and gives back a file, which stays there: nodes that probe at
    /// the same time would remove it from under each other.
    ///
    /// # Errors
    /// It does not.
    pub async fn probe(&self) -> Result<(), MediaError> {
        let path = Path::from("probe/probe.txt");
        let content = Bytes::from_static(b"probe");
        let put = self.objects.put(&path, content.clone().into()).await;
        put.map_err(|error| unstored(&error))?;
        let found = self.objects.get(&path).await;
        let found = found.map_err(|error| unstored(&error))?.bytes().await;
        if found.map_err(|error| unstored(&error))? == content {
            return Ok(());
        }
        Err(MediaError::Later("a probe came back changed".to_owned()))
    }

    /// Stores file `index` of a task, judged by its content.
    ///
    /// # Errors
    /// See [`MediaError`].
    pub async fn keep(
        &self,
        task: &TaskId,
        index: usize,
        mut incoming: Incoming,
        now_ms: i64,
    ) -> Result<StoredFile, MediaError> {
        let bytes_max = self.settings.bytes_max;
        if let Some(bytes) = incoming.announced_bytes() {
            check_size(bytes, bytes_max)?;
        }
        let first = incoming.at_least(PART_BYTES).await?;
        if first.is_empty() {
            return Err(MediaError::Later("the file is empty".to_owned()));
        }
        let head = first.get(..HEAD_BYTES).unwrap_or(&first);
        let judged = judge(head).ok_or_else(|| {
            MediaError::Never("the file is of no type that may be kept".to_owned())
        })?;
        let path = self.path(task, index, &result_name(index, judged.extension));
        let copied = self.copy(path, first, incoming, bytes_max).await?;
        Ok(described(copied, judged, self.expires_ms(now_ms)))
    }

    /// The whole of a stored file; for those that are small.
    ///
    /// # Errors
    /// It has more bytes than `bytes_max`, or the object store did not give it.
    pub async fn read(&self, path: &str, bytes_max: u64) -> Result<Bytes, MediaError> {
        let found = self.objects.get(&Path::from(path)).await;
        let found = found.map_err(|error| unstored(&error))?;
        check_size(found.meta.size, bytes_max)?;
        found.bytes().await.map_err(|error| unstored(&error))
    }

    /// Stores an answer as a text file.
    ///
    /// # Errors
    /// The object store did not take it.
    pub async fn keep_text(
        &self,
        task: &TaskId,
        index: usize,
        text: &str,
        now_ms: i64,
    ) -> Result<StoredFile, MediaError> {
        let judged = Judged {
            content_type: "text/plain; charset=utf-8",
            extension: "txt",
            size: None,
            duration_s: None,
        };
        let path = self.path(task, index, ANSWER);
        let text = Bytes::copy_from_slice(text.as_bytes());
        let (rest, bytes_max) = (Incoming::Bytes(Bytes::new()), self.settings.bytes_max);
        let copied = self.copy(path, text, rest, bytes_max).await?;
        Ok(described(copied, judged, self.expires_ms(now_ms)))
    }

    /// Removes a file, with what a try that broke off may have left beside it under another ending;
    /// one that is not there counts as removed.
    ///
    /// # Errors
    /// The object store did not remove it.
    pub async fn remove(&self, path: &str) -> Result<(), MediaError> {
        let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
        let beside = EXTENSIONS.map(|extension| format!("{stem}.{extension}"));
        let others = beside.iter().filter(|other| *other != path);
        let removals = others.map(String::as_str).chain([path]);
        try_join_all(removals.map(|path| self.remove_one(path))).await?;
        self.tidy_up(path).await;
        Ok(())
    }

    /// Removes whatever tries have left of file `index` of a task that came to nothing.
    ///
    /// # Errors
    /// The object store did not remove it.
    pub async fn remove_remnant(&self, task: &TaskId, index: usize) -> Result<(), MediaError> {
        self.remove(&self.path(task, index, ANSWER)).await?;
        self.remove(&self.path(task, index, &result_name(index, EXTENSIONS[0])))
            .await
    }

    async fn remove_one(&self, path: &str) -> Result<(), MediaError> {
        match self.objects.delete(&Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(unstored(&error)),
        }
    }

    /// The path of a task's file: 128 bits that only the deployment's secret tells, then the name.
    fn path(&self, task: &TaskId, index: usize, name: &str) -> String {
        let index = index.to_string();
        let folder = derive(self.secret.as_bytes(), &["result", task.as_str(), &index]);
        let folder = folder.get(..32).unwrap_or(&folder);
        format!("{folder}/{name}")
    }

    fn expires_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.settings.retention_ms)
    }

    async fn copy(
        &self,
        path: String,
        first: Bytes,
        rest: Incoming,
        bytes_max: u64,
    ) -> Result<Copied, MediaError> {
        self.tidy_up(&path).await;
        let copied = self.copy_unverified(&path, first, rest, bytes_max).await;
        if copied.is_err() {
            self.tidy_up(&path).await;
        }
        let (bytes, sha256) = copied?;
        let found = self.objects.head(&Path::from(path.as_str())).await;
        let found = found.map_err(|error| unstored(&error))?.size;
        if found != bytes {
            return Err(MediaError::Later(format!(
                "{found} of {bytes} bytes are in the object store"
            )));
        }
        Ok(Copied {
            path,
            bytes,
            sha256,
        })
    }

    async fn copy_unverified(
        &self,
        path: &str,
        first: Bytes,
        rest: Incoming,
        bytes_max: u64,
    ) -> Result<(u64, String), MediaError> {
        let location = Path::from(path);
        if first.len() < PART_BYTES {
            check_size(first.len() as u64, bytes_max)?;
            let sha256 = hex::encode(Sha256::digest(&first));
            let bytes = first.len() as u64;
            let put = self.objects.put(&location, first.into()).await;
            put.map_err(|error| unstored(&error))?;
            return Ok((bytes, sha256));
        }
        let upload = self.objects.put_multipart(&location).await;
        let upload = upload.map_err(|error| unstored(&error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        match pour(&mut upload, first, rest, bytes_max).await {
            Ok(sum) => {
                upload.finish().await.map_err(|error| unstored(&error))?;
                Ok(sum)
            }
            Err(error) => {
                // Otherwise a bucket keeps the parts, and bills for them, unseen; one that arrives
                // after the end of the upload as well.
                while upload.wait_for_capacity(0).await.is_err() {}
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, path, "parts of a broken upload may be left");
                }
                Err(error)
            }
        }
    }

    /// Removes what a broken copy left in a folder: the object store writes to the file's name, `#`
    /// and a number first, and a crash leaves that, which nobody would ever find again.
    async fn tidy_up(&self, path: &str) {
        let Some((root, (folder, _))) = self.folder.as_ref().zip(path.split_once('/')) else {
            return;
        };
        let folder = root.join(folder);
        let Ok(mut entries) = tokio::fs::read_dir(&folder).await else {
            return;
        };
        while let Ok(Some(entry)) = entries.next_entry().await {
            if entry.file_name().as_encoded_bytes().contains(&b'#') {
                let _ = tokio::fs::remove_file(entry.path()).await;
            }
        }
        // Refused, as it should be, when there is a file in it.
        let _ = tokio::fs::remove_dir(&folder).await;
    }
}

async fn pour(
    upload: &mut WriteMultipart,
    first: Bytes,
    mut rest: Incoming,
    bytes_max: u64,
) -> Result<(u64, String), MediaError> {
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    let mut next = Some(first);
    while let Some(chunk) = next {
        bytes = bytes.saturating_add(chunk.len() as u64);
        check_size(bytes, bytes_max)?;
        hash.update(&chunk);
        let room = upload.wait_for_capacity(PARTS).await;
        room.map_err(|error| unstored(&error))?;
        upload.put(chunk);
        next = rest.chunk().await?;
    }
    let written = upload.wait_for_capacity(0).await;
    written.map_err(|error| unstored(&error))?;
    Ok((bytes, hex::encode(hash.finalize())))
}

fn check_size(bytes: u64, bytes_max: u64) -> Result<(), MediaError> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(MediaError::TooLarge(bytes_max))
}

fn result_name(index: usize, extension: &str) -> String {
    format!("result-{}.{extension}", index.saturating_add(1))
}

fn described(copied: Copied, judged: Judged, expires_ms: i64) -> StoredFile {
    StoredFile {
        path: copied.path,
        content_type: judged.content_type.to_owned(),
        bytes: copied.bytes,
        sha256: copied.sha256,
        width: judged.size.map(|size| size.0),
        height: judged.size.map(|size| size.1),
        duration_s: judged.duration_s,
        expires_ms,
    }
}
