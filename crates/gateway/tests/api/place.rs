//! Where files are kept in a test.

use std::path::Path;

use gateway::api::files::Shelf;
use gateway::app::files;
use gateway::clock::Clock;
use gateway::entropy::Entropy;
use gateway::media::{Media, MediaSettings, Uploads, router};
use gateway::store::Store;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::world::World;

/// The largest upload here, in bytes.
pub const UPLOAD_BYTES_MAX: u64 = 12 << 20;

/// How long files are kept here, in milliseconds.
pub const RETENTION_MS: i64 = 3_600_000;

fn media(folder: &Path) -> Media {
    let settings = MediaSettings {
        url: format!("file://{}/media", folder.display()),
        options: Vec::new(),
        retention_ms: RETENTION_MS,
        bytes_max: 1 << 30,
    };
    Media::open(settings, "secret").unwrap()
}

pub fn shelf(store: &Store, folder: &Path) -> Shelf {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let uploads = Uploads::new(store.clone(), media(folder), clock, entropy);
    files::shelf(uploads, UPLOAD_BYTES_MAX)
}

/// Everything that lies where files are kept.
pub fn found(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![world.folder.join("media")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.display().to_string()),
            }
        }
    }
    found
}

/// A file as anybody gets it: status, content type, bytes.
pub async fn get(world: &World, url: &str) -> (u16, String, Vec<u8>) {
    let path = url.strip_prefix("https://gateway.test").unwrap();
    let router = router(world.store.clone(), media(&world.folder), Clock::system());
    let request = http::Request::get(path).body(axum::body::Body::empty());
    let reply = router.oneshot(request.unwrap()).await.unwrap();
    let kind = reply.headers().get("content-type").unwrap();
    let kind = kind.to_str().unwrap().to_owned();
    let status = reply.status().as_u16();
    let bytes = reply.into_body().collect().await.unwrap().to_bytes();
    (status, kind, bytes.to_vec())
}

/// A PNG of so many bytes: its start is real, the rest is noise.
pub fn png(bytes: usize) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x40\0\0\0\x20\x08\x06\0\0\0".to_vec();
    let mut state = 7_u32;
    while file.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        file.extend_from_slice(&state.to_be_bytes());
    }
    file.truncate(bytes);
    file
}
