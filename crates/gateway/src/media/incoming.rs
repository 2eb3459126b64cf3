//! A file's bytes on their way in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::MediaError;
use super::mark::Marked;
use crate::net::Download;

/// Most bytes that are read from a file of ours at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where a file's bytes come from.
pub enum Incoming {
    /// From an upstream, on the way.
    Download(Download),
    /// From a client, until a moment.
    Upload(BoxStream<'static, Result<Bytes, MediaError>>, Instant),
    /// From here.
    Bytes(Bytes),
    /// From a file that was marked here.
    Marked(Marked),
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

    /// The size that was announced; it may be wrong.
    pub(super) fn announced_bytes(&self) -> Option<u64> {
        match self {
            Self::Download(download) => download.content_length,
            Self::Upload(..) => None,
            Self::Bytes(bytes) => u64::try_from(bytes.len()).ok(),
            Self::Marked(marked) => Some(marked.bytes),
        }
    }

    /// The next bytes; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, MediaError> {
        match self {
            Self::Download(download) => {
                let chunk = download.body.chunk().await;
                chunk.map_err(|error| MediaError::Later(error.to_string()))
            }
            Self::Upload(chunks, until) => match timeout_at(*until, chunks.next()).await {
                Ok(chunk) => chunk.transpose(),
                Err(_) => Err(MediaError::Cut),
            },
            Self::Bytes(bytes) if bytes.is_empty() => Ok(None),
            Self::Bytes(bytes) => Ok(Some(std::mem::take(bytes))),
            Self::Marked(marked) => {
                let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
                let read = marked.file.read_buf(&mut chunk).await;
                let read = read.map_err(|error| MediaError::Later(error.to_string()))?;
                Ok((read > 0).then(|| chunk.freeze()))
            }
        }
    }

    /// At least so many bytes; fewer are the whole file.
    pub(super) async fn at_least(&mut self, bytes: usize) -> Result<Bytes, MediaError> {
        let mut first = BytesMut::new();
        while first.len() < bytes
            && let Some(chunk) = self.chunk().await?
        {
            first.extend_from_slice(&chunk);
        }
        Ok(first.freeze())
    }
}
