//! Keeping what an upstream made: every file is copied and verified before the task is done.

use domain::task::{Outcome, Phase, StoredFile, Task};
use domain::upstream::{Output, Source};
use url::Url;

use super::Worker;
use crate::media::{Incoming, MediaError};
use crate::net::{Limits, Trust};
use crate::store::files::INLINE_FILES_MAX;

/// How long a file may take to arrive, in milliseconds.
const FILE_MS: u64 = 600_000;

impl Worker {
    /// Copies and verifies every file of the output.
    pub(super) async fn store_files(&self, task: &Task) -> Outcome {
        let Phase::Storing { output, .. } = &task.phase else {
            return Outcome::NotStored;
        };
        let mut files = Vec::new();
        for (index, source) in output.sources.iter().enumerate() {
            match self.store_file(task, index, source).await {
                Ok(file) => files.push(file),
                Err(error) => return unstored(task, &error),
            }
        }
        if let Some(text) = answer_text(output) {
            let kept = self
                .media
                .keep_text(&task.id, files.len(), text, self.clock.now_ms());
            match kept.await {
                Ok(file) => files.push(file),
                Err(error) => return unstored(task, &error),
            }
        }
        if files.is_empty() {
            return unstored(
                task,
                &MediaError::Never("the upstream made nothing".to_owned()),
            );
        }
        Outcome::Stored(files)
    }

    /// Stores the files that came inside of a reply, at once: the task's row is no place for them, and
    /// what cannot be stored now is tried again from there.
    pub(super) async fn keep_inline(&self, task: &Task, outcome: Outcome) -> Outcome {
        let Outcome::Finished(mut output) = outcome else {
            return outcome;
        };
        let sources = output.sources.iter_mut().enumerate();
        for (index, source) in sources.take(INLINE_FILES_MAX) {
            if matches!(source, Source::Inline(_))
                && let Ok(file) = self.store_file(task, index, source).await
            {
                *source = Source::Kept(file);
            }
        }
        Outcome::Finished(output)
    }

    async fn store_file(
        &self,
        task: &Task,
        index: usize,
        source: &Source,
    ) -> Result<StoredFile, MediaError> {
        // The copy has a limit of its own, beyond which it does not ask for the file again.
        let limits = Limits {
            body_bytes_max: u64::MAX,
            ..Limits::file(FILE_MS)
        };
        let later = |error: &dyn std::fmt::Display| MediaError::Later(error.to_string());
        let download = match source {
            Source::Inline(text) => {
                return self.keep(task, index, Incoming::base64(text)?).await;
            }
            Source::Kept(file) => return Ok(file.clone()),
            Source::Link(link) => {
                let url = Url::parse(link)
                    .map_err(|_| MediaError::Never("the link is malformed".to_owned()))?;
                self.net.download(&url, Trust::Outside, limits).await
            }
            Source::Fetch(request) => {
                let upstream = self.upstream(task).map_err(|fault| later(&fault))?;
                let outgoing = upstream.outgoing(request);
                let outgoing = outgoing.map_err(|error| later(&error))?;
                self.net.fetch(&outgoing, limits).await
            }
        };
        let download = download.map_err(|error| later(&error))?;
        if download.status != 200 {
            return Err(later(&format!("status {} for a file", download.status)));
        }
        self.keep(task, index, Incoming::Download(download)).await
    }

    /// Keeps a file, under the text that was asked for where its maker did not lay it over.
    async fn keep(
        &self,
        task: &Task,
        index: usize,
        mut incoming: Incoming,
    ) -> Result<StoredFile, MediaError> {
        if let Some(text) = self.watermark(task) {
            incoming = self.media.marked(incoming, text).await?;
        }
        let now_ms = self.clock.now_ms();
        self.media.keep(&task.id, index, incoming, now_ms).await
    }

    /// The text that the gateway has to lay over the results of a task.
    fn watermark<'a>(&self, task: &'a Task) -> Option<&'a str> {
        let is_done = |route| self.catalogue.honours(route, &task.order).watermark;
        if !task.order.asked().watermark || task.route().is_some_and(is_done) {
            return None;
        }
        task.order.text("watermark")
    }
}

/// A chat answer is a file as well; an empty answer still is one.
fn answer_text(output: &Output) -> Option<&str> {
    output.answer.as_ref().map(|answer| answer.text.as_str())
}

fn unstored(task: &Task, error: &MediaError) -> Outcome {
    tracing::warn!(task = %task.id, %error, "a result could not be stored");
    match error {
        MediaError::Later(_) | MediaError::Cut | MediaError::Settings(_) => Outcome::NotStored,
        MediaError::Never(_) | MediaError::TooLarge(_) => Outcome::Lost,
    }
}
