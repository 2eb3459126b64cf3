//! An object store that runs out of space, or away, for a while.

use std::fmt;
use std::ops::Range;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use gateway::media::{Incoming, Media, MediaError};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::place::{BYTES_MAX, Scratch, settings, task};
use crate::png;

/// An object store with a switch for writes and one for deletions of some paths.
#[derive(Debug)]
pub(crate) struct Failing {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) is_full: Arc<AtomicBool>,
    /// Deletions of paths that contain this are refused.
    pub(crate) keeps: Option<&'static str>,
}

fn no_space() -> object_store::Error {
    object_store::Error::Generic {
        store: "failing",
        source: Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failing {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(&self, at: &Path, load: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if self.is_full.load(Ordering::Acquire) {
            return Err(no_space());
        }
        self.inner.put_opts(at, load, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(at, opts).await?;
        let is_full = Arc::clone(&self.is_full);
        Ok(Box::new(FailingUpload { inner, is_full }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let keeps = self.keeps;
        let allowed = paths.map(move |path| match path {
            Ok(path) if keeps.is_some_and(|part| path.as_ref().contains(part)) => Err(no_space()),
            path => path,
        });
        self.inner.delete_stream(allowed.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FailingUpload {
    inner: Box<dyn MultipartUpload>,
    is_full: Arc<AtomicBool>,
}

#[async_trait]
impl MultipartUpload for FailingUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        if self.is_full.load(Ordering::Acquire) {
            return Box::pin(async { Err(no_space()) });
        }
        self.inner.put_part(part)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

fn bytes(size: usize) -> Incoming {
    Incoming::Bytes(png(size).into())
}

#[tokio::test]
async fn a_full_object_store_is_waited_for() {
    let memory = Arc::new(object_store::memory::InMemory::new());
    let is_full = Arc::new(AtomicBool::new(true));
    let objects = Failing {
        inner: memory,
        is_full: Arc::clone(&is_full),
        keeps: None,
    };
    let media = Media::over(Arc::new(objects), settings(String::new()), "secret");
    for size in [100, 6 << 20, 14 << 20] {
        is_full.store(true, Ordering::Release);
        let result = media.keep(&task(1), 0, bytes(size), 0).await;
        assert!(matches!(result, Err(MediaError::Later(_))), "{result:?}");
        assert!(media.keep_text(&task(1), 1, "text", 0).await.is_err());
        assert!(media.probe().await.is_err());
        is_full.store(false, Ordering::Release);
        let file = media.keep(&task(1), 0, bytes(size), 0).await.unwrap();
        assert_eq!(file.bytes, size as u64);
        media.probe().await.unwrap();
    }
}

/// A file system of 8 MiB, where mounting is allowed.
struct Disk(Scratch);

impl Disk {
    fn mount() -> Option<Self> {
        let scratch = Scratch::new();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]);
        let done = mount.arg(scratch.path()).output();
        done.is_ok_and(|done| done.status.success())
            .then_some(Self(scratch))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[tokio::test]
async fn a_full_disk_is_waited_for_and_keeps_nothing_half() {
    let Some(disk) = Disk::mount() else {
        eprintln!("mounting is not allowed here: the test with a full disk is left out");
        return;
    };
    let folder = disk.0.path();
    let media = Media::open(settings(format!("file://{}", folder.display())), "secret").unwrap();
    let is_empty = || std::fs::read_dir(folder).unwrap().next().is_none();
    // Too large from the start, in parts.
    let result = media.keep(&task(1), 0, bytes(12 << 20), 0).await;
    assert!(matches!(result, Err(MediaError::Later(_))), "{result:?}");
    assert!(is_empty());
    // No room for a small file, then room.
    let filler = folder.join("filler");
    let _ = std::fs::write(&filler, vec![0; usize::try_from(BYTES_MAX).unwrap()]);
    let result = media.keep(&task(1), 0, bytes(1 << 20), 0).await;
    assert!(matches!(result, Err(MediaError::Later(_))), "{result:?}");
    assert!(media.probe().await.is_err());
    std::fs::remove_file(filler).unwrap();
    media.keep(&task(1), 0, bytes(1 << 20), 0).await.unwrap();
    media.probe().await.unwrap();
}
