//! A folder for one file on its way, which nobody else may read.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use crate::entropy::Entropy;

/// How the folders' names begin.
const PREFIX: &str = "routerbase-mark-";

/// How old the folder of a file under way may be, in milliseconds: far beyond what a download and a
/// marking may take.
const AGE_MS: u64 = 7_200_000;

/// A folder that is removed with what is in it when it is dropped.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new one where the system keeps temporary files.
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("{PREFIX}{}", hex::encode(Entropy::system().bytes::<16>()));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// The path of a file in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a temporary folder is left");
        }
    }
}

/// Removes what programs that were killed have left.
pub(super) fn remove_left(now_ms: i64) {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|one| one.modified());
        let age = modified.map(|then| now.duration_since(then).unwrap_or_default());
        let is_old = age.is_ok_and(|age| age > Duration::from_millis(AGE_MS));
        if is_old
            && entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(PREFIX.as_bytes())
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
