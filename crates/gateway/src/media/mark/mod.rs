//! A text laid over a result before it is stored, where whoever made the result could not do it.
//!
//! Invariant: what is not marked yet is only in a folder that nobody else may read, and in no object
//! store. Nothing is marked in place, and the same file and text give the same bytes.

mod film;
mod folder;
mod picture;
mod stamp;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

pub use film::Films;
use folder::Folder;
use stamp::Stamp;

use super::judge::{HEAD_BYTES, judge};
use super::{Incoming, Media, MediaError, check_size};
use crate::typeset;

/// Pictures that are in memory at the same time; see [`picture::PIXELS_MAX`] for what each may take.
const PICTURES: usize = 2;

/// Longest text that is laid over, in characters; as long as an order may ask for.
const CHARS_MAX: usize = 200;

/// Most files that are being marked or wait for it. Those beyond are tried again later: each keeps a
/// step of the worker, which has others to make.
const LINE: usize = 64;

/// What is marked, and how much at once.
#[derive(Debug)]
pub(super) struct Marks {
    line: Semaphore,
    pictures: Semaphore,
    films: Option<Films>,
}

impl Media {
    /// The same, with a way to lay texts over films.
    #[must_use]
    pub fn marking(mut self, films: Option<Films>) -> Self {
        self.marks = Arc::new(Marks::new(films));
        self
    }

    /// Whether texts can be laid over films.
    #[must_use]
    pub fn marks_films(&self) -> bool {
        self.marks.has_films()
    }

    /// The same file with a text laid over it. Nothing of it is in the object store before that.
    ///
    /// # Errors
    /// See [`MediaError`]; `Never` for a type that no text can be laid over.
    pub async fn marked(&self, incoming: Incoming, text: &str) -> Result<Incoming, MediaError> {
        if let Some(bytes) = incoming.announced_bytes() {
            check_size(bytes, self.settings.bytes_max)?;
        }
        let marked = self.marks.mark(incoming, text, self.settings.bytes_max);
        marked.await.map(Incoming::Marked)
    }
}

/// A file with its text on it, which goes with its last reader.
pub struct Marked {
    pub(super) file: tokio::fs::File,
    pub(super) bytes: u64,
    /// Removes the file.
    _folder: Folder,
}

/// A file on its way to being marked.
struct Draft {
    folder: Folder,
    /// Where it is as it came.
    from: PathBuf,
    /// Where it is to be once it is marked.
    to: PathBuf,
    /// The ending for its type.
    extension: &'static str,
}

/// The first letter of a text that cannot be laid over anything, if there is one.
#[must_use]
pub fn unsettable(text: &str) -> Option<char> {
    typeset::missing(&typeset::clean(text, CHARS_MAX))
}

fn later(error: &dyn std::fmt::Display) -> MediaError {
    MediaError::Later(format!("not marked: {error}"))
}

impl Default for Marks {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Marks {
    pub(super) fn new(films: Option<Films>) -> Self {
        Self {
            line: Semaphore::new(LINE),
            pictures: Semaphore::new(PICTURES),
            films,
        }
    }

    pub(super) fn has_films(&self) -> bool {
        self.films.is_some()
    }

    /// Lays a text over a file of at most so many bytes, which may have as many afterwards.
    pub(super) async fn mark(
        &self,
        incoming: Incoming,
        text: &str,
        bytes_max: u64,
    ) -> Result<Marked, MediaError> {
        let place = self.line.try_acquire();
        let _place = place.map_err(|_| later(&"too many files are marked at once"))?;
        let text = typeset::clean(text, CHARS_MAX);
        let draft = draft(incoming, bytes_max).await?;
        match draft.extension {
            "png" | "jpg" | "webp" => {
                let _slot = self.pictures.acquire().await;
                let (from, to) = (draft.from.clone(), draft.to.clone());
                let extension = draft.extension;
                let drawn = move || picture::mark(&from, &to, extension, &text);
                let drawn = tokio::task::spawn_blocking(drawn).await;
                drawn.map_err(|error| later(&error))??;
            }
            "mp4" | "mov" | "webm" => {
                let films = self.films.as_ref();
                let films = films.ok_or_else(|| later(&"ffmpeg is not installed here"))?;
                films.mark(&draft, &text, bytes_max).await?;
            }
            other => {
                let message = format!("no text can be laid over a file of type {other}");
                return Err(MediaError::Never(message));
            }
        }
        let file = tokio::fs::File::open(&draft.to).await;
        let file = file.map_err(|error| later(&error))?;
        let bytes = file.metadata().await.map_err(|error| later(&error))?.len();
        Ok(Marked {
            file,
            bytes,
            _folder: draft.folder,
        })
    }
}

/// Writes a file as it comes into a folder of its own.
async fn draft(mut incoming: Incoming, bytes_max: u64) -> Result<Draft, MediaError> {
    let first = incoming.at_least(HEAD_BYTES).await?;
    if first.is_empty() {
        return Err(MediaError::Later("the file is empty".to_owned()));
    }
    let judged = judge(first.get(..HEAD_BYTES).unwrap_or(&first));
    let judged = judged
        .ok_or_else(|| MediaError::Never("the file is of no type that may be kept".to_owned()))?;
    let folder = Folder::new().map_err(|error| later(&error))?;
    let (from, to) = (folder.path("unmarked"), folder.path("marked"));
    let written = async {
        let mut file = tokio::fs::File::create_new(&from).await?;
        let mut bytes = 0_u64;
        let mut next = Some(first);
        while let Some(chunk) = next {
            bytes = bytes.saturating_add(chunk.len() as u64);
            if bytes > bytes_max {
                return Ok(false);
            }
            file.write_all(&chunk).await?;
            next = incoming.chunk().await.map_err(std::io::Error::other)?;
        }
        file.flush().await?;
        Ok::<_, std::io::Error>(true)
    };
    if !written.await.map_err(|error| later(&error))? {
        let message = format!("the file is over {bytes_max} bytes");
        return Err(MediaError::Never(message));
    }
    Ok(Draft {
        folder,
        from,
        to,
        extension: judged.extension,
    })
}
