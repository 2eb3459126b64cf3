//! Result files: copied from upstreams, verified, served, removed in time.
//!
//! Invariant: a file counts as stored only after its whole length was written, hashed on the way and
//! found again in the object store. Its name cannot be guessed and is the same each time the copy is
//! tried, so that a crash leaves nothing behind that the next try does not overwrite.

mod judge;
mod serve;

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use domain::ids::TaskId;
use domain::signing::derive;
use domain::task::StoredFile;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use sha2::{Digest, Sha256};

pub use judge::{HEAD_BYTES, Judged, judge};
pub use serve::router;

use crate::net::{Body, SendError};

/// Parts of one upload under way at the same time.
const PARTS: usize = 4;

/// Why a file is not stored.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// It may work later: the upstream or the object store did not do its part.
    #[error("not stored: {0}")]
    Later(String),
    /// It will not work: the content is not what may be kept.
    #[error("not to be stored: {0}")]
    Never(String),
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
    /// What names are derived from.
    secret: Arc<str>,
    settings: Arc<MediaSettings>,
}

/// Where a file's bytes come from.
pub enum Incoming {
    /// From an upstream, on the way.
    Body(Body),
    /// From here.
    Bytes(Bytes),
}

impl Incoming {
    /// The bytes of a base64 text.
    ///
    /// # Errors
    /// It is none.
    pub fn base64(text: &str) -> Result<Self, MediaError> {
        let bytes = STANDARD.decode(text.trim());
        let bytes =
            bytes.map_err(|_| MediaError::Never("the inline file is malformed".to_owned()))?;
        Ok(Self::Bytes(bytes.into()))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, MediaError> {
        match self {
            Self::Body(body) => body.chunk().await.map_err(|error| later(&error)),
            Self::Bytes(bytes) if bytes.is_empty() => Ok(None),
            Self::Bytes(bytes) => Ok(Some(std::mem::take(bytes))),
        }
    }
}

fn later(error: &SendError) -> MediaError {
    MediaError::Later(error.to_string())
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
        let objects = objects(&settings)?;
        Ok(Self::over(objects, settings, secret))
    }

    /// The same over an object store that is open already, whatever the settings name.
    #[must_use]
    pub fn over(objects: Arc<dyn ObjectStore>, settings: MediaSettings, secret: &str) -> Self {
        Self {
            objects,
            secret: secret.into(),
            settings: Arc::new(settings),
        }
    }

    /// Largest result file, in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.settings.bytes_max
    }

    /// Whether the object store takes and gives back a file.
    ///
    /// # Errors
    /// It does not.
    pub async fn probe(&self) -> Result<(), MediaError> {
        let path = Path::from("probe/probe.txt");
        let put = self.objects.put(&path, Bytes::from_static(b"probe").into());
        put.await.map_err(|error| unstored(&error))?;
        let found = self.objects.head(&path).await;
        let found = found.map_err(|error| unstored(&error))?;
        self.objects
            .delete(&path)
            .await
            .map_err(|error| unstored(&error))?;
        if found.size == 5 {
            return Ok(());
        }
        Err(MediaError::Later(
            "a probe came back with another size".to_owned(),
        ))
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
        let head = self.head(&mut incoming).await?;
        let judged = judge(&head).ok_or_else(|| {
            MediaError::Never("the file is of no type that may be kept".to_owned())
        })?;
        let name = format!("result-{}", index.saturating_add(1));
        self.write(task, index, &name, judged, head, incoming, now_ms)
            .await
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
        let head = Bytes::copy_from_slice(text.as_bytes());
        let rest = Incoming::Bytes(Bytes::new());
        self.write(task, index, "answer", judged, head, rest, now_ms)
            .await
    }

    /// Removes a file; one that is not there counts as removed.
    ///
    /// # Errors
    /// The object store did not remove it.
    pub async fn remove(&self, path: &str) -> Result<(), MediaError> {
        match self.objects.delete(&Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(unstored(&error)),
        }
    }

    /// The start of the file, enough to judge it.
    async fn head(&self, incoming: &mut Incoming) -> Result<Bytes, MediaError> {
        let mut head = BytesMut::new();
        while head.len() < HEAD_BYTES
            && let Some(chunk) = incoming.chunk().await?
        {
            head.extend_from_slice(&chunk);
        }
        if head.is_empty() {
            return Err(MediaError::Later("the file is empty".to_owned()));
        }
        Ok(head.freeze())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is another aspect of one file, and there are two callers beside it"
    )]
    async fn write(
        &self,
        task: &TaskId,
        index: usize,
        name: &str,
        judged: Judged,
        head: Bytes,
        incoming: Incoming,
        now_ms: i64,
    ) -> Result<StoredFile, MediaError> {
        let folder = derive(
            self.secret.as_bytes(),
            &["result", task.as_str(), &index.to_string()],
        );
        let folder = folder.get(..32).unwrap_or(&folder);
        let path = format!("{folder}/{name}.{}", judged.extension);
        let location = Path::from(path.as_str());
        let (bytes, sha256) = self.copy(&location, head, incoming).await?;
        let found = self.objects.head(&location).await;
        let found = found.map_err(|error| unstored(&error))?;
        if found.size != bytes {
            return Err(MediaError::Later(format!(
                "{} of {bytes} bytes are in the object store",
                found.size
            )));
        }
        Ok(StoredFile {
            path,
            content_type: judged.content_type.to_owned(),
            bytes,
            sha256,
            width: judged.size.map(|size| size.0),
            height: judged.size.map(|size| size.1),
            duration_s: judged.duration_s,
            expires_ms: now_ms.saturating_add(self.settings.retention_ms),
        })
    }

    async fn copy(
        &self,
        location: &Path,
        head: Bytes,
        mut incoming: Incoming,
    ) -> Result<(u64, String), MediaError> {
        let upload = self.objects.put_multipart(location).await;
        let mut upload = WriteMultipart::new(upload.map_err(|error| unstored(&error))?);
        let mut hash = Sha256::new();
        let mut bytes = 0_u64;
        let mut next = Some(head);
        while let Some(chunk) = next {
            bytes = bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if bytes > self.settings.bytes_max {
                let _ = upload.abort().await;
                let limit = self.settings.bytes_max;
                return Err(MediaError::Never(format!("the file is over {limit} bytes")));
            }
            hash.update(&chunk);
            let room = upload.wait_for_capacity(PARTS).await;
            room.map_err(|error| unstored(&error))?;
            upload.put(chunk);
            next = match incoming.chunk().await {
                Ok(next) => next,
                Err(error) => {
                    let _ = upload.abort().await;
                    return Err(error);
                }
            };
        }
        upload.finish().await.map_err(|error| unstored(&error))?;
        Ok((bytes, hex::encode(hash.finalize())))
    }
}

fn objects(settings: &MediaSettings) -> Result<Arc<dyn ObjectStore>, MediaError> {
    let complaint = |error: &dyn std::fmt::Display| MediaError::Settings(error.to_string());
    if let Some(folder) = settings.url.strip_prefix("file://") {
        let folder = PathBuf::from(folder);
        std::fs::create_dir_all(&folder).map_err(|error| complaint(&error))?;
        let files = LocalFileSystem::new_with_prefix(&folder).map_err(|error| complaint(&error))?;
        // Synced before `success` is shown; empty folders go with their last file.
        return Ok(Arc::new(
            files.with_fsync(true).with_automatic_cleanup(true),
        ));
    }
    let Some(rest) = settings.url.strip_prefix("s3://") else {
        return Err(complaint(&"must start with file:// or s3://"));
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket);
    for (name, value) in &settings.options {
        let key = name
            .parse()
            .map_err(|error: object_store::Error| complaint(&error))?;
        builder = builder.with_config(key, value);
    }
    let bucket = builder.build().map_err(|error| complaint(&error))?;
    Ok(Arc::new(PrefixStore::new(bucket, prefix)))
}
