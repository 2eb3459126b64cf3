//! The object store that the settings name: a folder or a bucket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::{MediaError, MediaSettings};

/// How long a bucket may be silent within one request, in seconds.
const SILENCE_S: u64 = 30;

/// How often a request to a bucket is tried again. Whoever asks for it tries again later, too.
const RETRIES: usize = 3;

pub(super) fn open(
    settings: &MediaSettings,
) -> Result<(Arc<dyn ObjectStore>, Option<PathBuf>), MediaError> {
    if let Some(folder) = settings.url.strip_prefix("file://") {
        let folder = PathBuf::from(folder);
        return Ok((open_folder(&folder)?, Some(folder)));
    }
    let Some(rest) = settings.url.strip_prefix("s3://") else {
        return Err(complaint(&"must start with file:// or s3://"));
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(complaint(&"names no bucket"));
    }
    Ok((open_bucket(bucket, prefix, &settings.options)?, None))
}

fn open_folder(folder: &std::path::Path) -> Result<Arc<dyn ObjectStore>, MediaError> {
    std::fs::create_dir_all(folder).map_err(|error| complaint(&error))?;
    let files = LocalFileSystem::new_with_prefix(folder).map_err(|error| complaint(&error))?;
    // Synced before `success` is shown; empty folders go with their last file.
    Ok(Arc::new(
        files.with_fsync(true).with_automatic_cleanup(true),
    ))
}

fn open_bucket(
    bucket: &str,
    prefix: &str,
    options: &[(String, String)],
) -> Result<Arc<dyn ObjectStore>, MediaError> {
    // The client takes whatever TLS the process has chosen, and panics when none is. An error says
    // that one is, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // A limit on the whole request, 30 seconds by default, would break off every slow reading of a
    // large file; silence is what is not waited for.
    let client = ClientOptions::new()
        .with_timeout_disabled()
        .with_read_timeout(Duration::from_secs(SILENCE_S));
    let retry = RetryConfig {
        max_retries: RETRIES,
        ..RetryConfig::default()
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_client_options(client)
        .with_retry(retry);
    for (name, value) in options {
        let key = name
            .parse()
            .map_err(|error: object_store::Error| complaint(&error))?;
        builder = builder.with_config(key, value);
    }
    let objects = builder.build().map_err(|error| complaint(&error))?;
    Ok(Arc::new(PrefixStore::new(objects, prefix)))
}

fn complaint(error: &dyn std::fmt::Display) -> MediaError {
    MediaError::Settings(error.to_string())
}
