//! An object store in memory that has bad days.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::dice::Dice;

/// The store and its mood.
#[derive(Clone)]
pub(crate) struct Objects {
    pub(crate) memory: Arc<InMemory>,
    dice: Dice,
    /// Chance in a hundred that something goes wrong.
    faults: Arc<AtomicU32>,
    is_away: Arc<AtomicBool>,
}

impl Objects {
    pub(crate) fn new(dice: Dice, faults: u32) -> Self {
        Self {
            memory: Arc::default(),
            dice,
            faults: Arc::new(AtomicU32::new(faults)),
            is_away: Arc::default(),
        }
    }

    pub(crate) fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Nothing goes wrong from now on.
    pub(crate) fn calm_down(&self) {
        self.set_away(false);
        self.faults.store(0, Ordering::Relaxed);
    }

    fn ill(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
            || self.dice.chance(self.faults.load(Ordering::Relaxed))
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects of a simulation")
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn failed<T>() -> Result<T> {
    Err(object_store::Error::Generic {
        store: "simulated",
        source: "a bad day".into(),
    })
}

// Written out as `async_trait` would, which is not worth a dependency here.
impl ObjectStore for Objects {
    fn put_opts<'s, 'p, 'f>(
        &'s self,
        location: &'p Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> BoxFuture<'f, Result<PutResult>>
    where
        's: 'f,
        'p: 'f,
        Self: 'f,
    {
        self.memory.put_opts(location, payload, opts)
    }

    fn put_multipart_opts<'s, 'p, 'f>(
        &'s self,
        location: &'p Path,
        opts: PutMultipartOptions,
    ) -> BoxFuture<'f, Result<Box<dyn MultipartUpload>>>
    where
        's: 'f,
        'p: 'f,
        Self: 'f,
    {
        async move {
            if self.ill() {
                return failed();
            }
            let inner = self.memory.put_multipart_opts(location, opts).await?;
            let upload = Upload {
                inner,
                objects: self.clone(),
            };
            Ok(Box::new(upload) as Box<dyn MultipartUpload>)
        }
        .boxed()
    }

    fn get_opts<'s, 'p, 'f>(
        &'s self,
        location: &'p Path,
        options: GetOptions,
    ) -> BoxFuture<'f, Result<GetResult>>
    where
        's: 'f,
        'p: 'f,
        Self: 'f,
    {
        async move {
            if self.ill() {
                return failed();
            }
            self.memory.get_opts(location, options).await
        }
        .boxed()
    }

    fn get_ranges<'s, 'p, 'r, 'f>(
        &'s self,
        location: &'p Path,
        ranges: &'r [Range<u64>],
    ) -> BoxFuture<'f, Result<Vec<Bytes>>>
    where
        's: 'f,
        'p: 'f,
        'r: 'f,
        Self: 'f,
    {
        self.memory.get_ranges(location, ranges)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.memory.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.memory.list(prefix)
    }

    fn list_with_delimiter<'s, 'p, 'f>(
        &'s self,
        prefix: Option<&'p Path>,
    ) -> BoxFuture<'f, Result<ListResult>>
    where
        's: 'f,
        'p: 'f,
        Self: 'f,
    {
        self.memory.list_with_delimiter(prefix)
    }

    fn copy_opts<'s, 'p, 't, 'f>(
        &'s self,
        from: &'p Path,
        to: &'t Path,
        options: CopyOptions,
    ) -> BoxFuture<'f, Result<()>>
    where
        's: 'f,
        'p: 'f,
        't: 'f,
        Self: 'f,
    {
        self.memory.copy_opts(from, to, options)
    }
}

/// An upload that may fail, or lose a part and say nothing.
#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    objects: Objects,
}

impl MultipartUpload for Upload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        if !self.objects.ill() {
            return self.inner.put_part(part);
        }
        match self.objects.dice.chance(50) {
            true => async { failed() }.boxed(),
            false => async { Ok(()) }.boxed(),
        }
    }

    fn complete<'s, 'f>(&'s mut self) -> BoxFuture<'f, Result<PutResult>>
    where
        's: 'f,
        Self: 'f,
    {
        async move {
            if self.objects.ill() {
                return failed();
            }
            self.inner.complete().await
        }
        .boxed()
    }

    fn abort<'s, 'f>(&'s mut self) -> BoxFuture<'f, Result<()>>
    where
        's: 'f,
        Self: 'f,
    {
        self.inner.abort()
    }
}
