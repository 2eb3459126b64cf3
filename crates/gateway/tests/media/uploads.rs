//! Files that clients upload: kept whole, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use gateway::entropy::Entropy;
use gateway::media::{Media, MediaError, NewFile, Unkept, Uploads, is_upload};
use gateway::worker::Sweeper;
use object_store::memory::InMemory;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::full::Failing;
use crate::place::{RETENTION_MS, places, settings};
use crate::png;
use crate::shelf::{NOW_MS, Shelf};

const DAY_MS: i64 = 86_400_000;

fn uploads(shelf: &Shelf, media: &Media) -> Uploads {
    let (store, clock) = (shelf.store.clone(), shelf.clock.clone());
    Uploads::new(store, media.clone(), clock, Entropy::system())
}

/// A file that comes in pieces.
fn file(shelf: &Shelf, content: &[u8]) -> NewFile {
    let pieces: Vec<_> = content.chunks(70_000).map(<[u8]>::to_vec).collect();
    let pieces = pieces.into_iter().map(|piece| Ok(Bytes::from(piece)));
    NewFile {
        account: shelf.account.clone(),
        content: stream::iter(pieces).boxed(),
        bytes_max: 7 << 20,
    }
}

async fn sweep(shelf: &Shelf, media: &Media, at_ms: i64) -> u64 {
    shelf.hand.store(NOW_MS + at_ms, Ordering::Release);
    let sweeper = Sweeper {
        store: shelf.store.clone(),
        media: media.clone(),
        clock: shelf.clock.clone(),
    };
    sweeper.sweep(&CancellationToken::new()).await.unwrap()
}

async fn rows(shelf: &Shelf) -> Vec<String> {
    let rows = shelf.store.any_expired_files(i64::MAX, 100).await;
    rows.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_kept_until_its_time_is_up() {
    for place in places().await {
        let shelf = Shelf::new().await;
        let uploads = uploads(&shelf, &place.media);
        for bytes in [40, (5 << 20) - 1, 5 << 20, 7 << 20] {
            let content = png(bytes);
            let stored = uploads.keep(file(&shelf, &content)).await.unwrap();
            assert!(is_upload(&stored.path), "{}", stored.path);
            assert_eq!(stored.bytes, bytes as u64);
            assert_eq!(stored.sha256, hex::encode(Sha256::digest(&content)));
            assert_eq!(stored.expires_ms, NOW_MS + RETENTION_MS);
            assert!(place.bytes(&stored.path) == content, "{}", place.name);
            let read = place.media.read(&stored.path, 7 << 20).await.unwrap();
            assert!(read == content, "{}", place.name);
            let over = place.media.read(&stored.path, stored.bytes - 1).await;
            assert!(matches!(over, Err(MediaError::TooLarge(_))));
        }
        assert_eq!(rows(&shelf).await.len(), 4);
        assert_eq!(sweep(&shelf, &place.media, RETENTION_MS - 1).await, 0);
        assert_eq!(sweep(&shelf, &place.media, RETENTION_MS).await, 4);
        assert_eq!(place.found(), Vec::<String>::new(), "{}", place.name);
        assert_eq!(rows(&shelf).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_kept_leaves_nothing() {
    for place in places().await {
        let shelf = Shelf::new().await;
        let uploads = uploads(&shelf, &place.media);
        let empty = uploads.keep(file(&shelf, b"")).await;
        assert!(matches!(empty, Err(Unkept::Empty)));
        let page = uploads.keep(file(&shelf, b"<html>")).await;
        assert!(matches!(page, Err(Unkept::Type)));
        let large = uploads.keep(file(&shelf, &png((7 << 20) + 1))).await;
        assert!(matches!(large, Err(Unkept::TooLarge(_))));
        for bytes in [40, 6 << 20] {
            let start = stream::iter([Ok(png(bytes).into()), Err(MediaError::Cut)]);
            let cut = NewFile {
                content: start.boxed(),
                ..file(&shelf, b"")
            };
            assert!(matches!(uploads.keep(cut).await, Err(Unkept::Cut)));
        }
        assert_eq!(place.found(), Vec::<String>::new(), "{}", place.name);
        assert_eq!(rows(&shelf).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_store_that_is_full_is_told_from_a_bad_file() {
    let shelf = Shelf::new().await;
    let is_full = Arc::new(AtomicBool::new(true));
    let objects = Failing {
        inner: Arc::new(InMemory::new()),
        is_full: Arc::clone(&is_full),
        keeps: None,
    };
    let media = Media::over(Arc::new(objects), settings(String::new()), "secret");
    let uploads = uploads(&shelf, &media);
    for bytes in [40, 6 << 20] {
        let full = uploads.keep(file(&shelf, &png(bytes))).await;
        assert!(matches!(full, Err(Unkept::Away(_))));
    }
    assert_eq!(rows(&shelf).await, Vec::<String>::new());
    is_full.store(false, Ordering::Release);
    uploads.keep(file(&shelf, &png(40))).await.unwrap();
}

/// The process dies when the file is there and its row is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_goes_a_day_later() {
    for place in places().await {
        let shelf = Shelf::new().await;
        let folder = "0123456789abcdef0123456789abcdef";
        let announced = shelf.store.announce_upload(&shelf.account, folder, NOW_MS);
        announced.await.unwrap();
        let path = place.root().join(folder);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("upload.mp4"), png(40)).unwrap();
        assert_eq!(place.found().len(), 1);
        let served = format!("{folder}/upload.mp4");
        let found = shelf.store.any_file(&served, NOW_MS);
        assert_eq!(found.await, Ok(None), "it is not served");
        assert_eq!(sweep(&shelf, &place.media, DAY_MS - 1).await, 0);
        assert_eq!(sweep(&shelf, &place.media, DAY_MS).await, 1);
        assert_eq!(place.found(), Vec::<String>::new(), "{}", place.name);
        assert_eq!(rows(&shelf).await, Vec::<String>::new());
    }
}

/// A client that is gone when its file is complete never heard of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_nobody_heard_of_goes_at_once() {
    let [place, _] = places().await;
    let shelf = Shelf::new().await;
    let uploads = uploads(&shelf, &place.media);
    let gate = Arc::new(Notify::new());
    let passed = Arc::clone(&gate);
    let late = stream::once(async move {
        passed.notified().await;
        Ok(png(40).into())
    });
    let late = NewFile {
        content: late.boxed(),
        ..file(&shelf, b"")
    };
    let kept = uploads.keep(late);
    let gone = tokio::time::timeout(std::time::Duration::from_millis(20), kept).await;
    assert!(gone.is_err());
    gate.notify_one();
    let mut ended = Vec::new();
    for _ in 0..400 {
        ended = shelf.store.any_expired_files(NOW_MS, 10).await.unwrap();
        if !ended.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(ended.iter().all(|path| is_upload(path)) && ended.len() == 1);
    assert_eq!(sweep(&shelf, &place.media, 0).await, 1);
    assert_eq!(place.found(), Vec::<String>::new());
}
