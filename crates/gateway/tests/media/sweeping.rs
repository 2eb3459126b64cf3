//! Results past their time are removed, and what resists stops nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::price::Usage;
use domain::task::StoredFile;
use domain::upstream::{Answer, Output, Source};
use gateway::media::{Incoming, Media};
use gateway::worker::Sweeper;
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;

use crate::full::Failing;
use crate::place::{RETENTION_MS, places, settings, task};
use crate::png;
use crate::shelf::{NOW_MS, Shelf};

const DAY_MS: i64 = 86_400_000;

fn sweeper(shelf: &Shelf, media: &Media) -> Sweeper {
    Sweeper {
        store: shelf.store.clone(),
        media: media.clone(),
        clock: shelf.clock.clone(),
    }
}

async fn keep(media: &Media, index: usize, now_ms: i64) -> StoredFile {
    let png = Incoming::Bytes(png(40).into());
    media.keep(&task(1), index, png, now_ms).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_past_their_time_are_removed_and_no_others() {
    for place in places().await {
        let shelf = Shelf::new().await;
        let mut files = Vec::new();
        for index in 0..4 {
            files.push(keep(&place.media, index, NOW_MS).await);
        }
        let fresh = keep(&place.media, 4, NOW_MS + 1).await;
        files.push(fresh.clone());
        shelf.put(files.clone()).await;
        // One is gone already.
        place.media.remove(&files[1].path).await.unwrap();
        let sweeper = sweeper(&shelf, &place.media);
        let stop = CancellationToken::new();
        shelf
            .hand
            .store(NOW_MS + RETENTION_MS - 1, Ordering::Release);
        assert_eq!(sweeper.sweep(&stop).await.unwrap(), 0);
        assert_eq!(place.found().len(), 4);
        shelf.hand.store(NOW_MS + RETENTION_MS, Ordering::Release);
        assert_eq!(sweeper.sweep(&stop).await.unwrap(), 4, "{}", place.name);
        assert_eq!(
            place.found(),
            std::slice::from_ref(&fresh.path),
            "{}",
            place.name
        );
        // The row of the fresh one is still there, those of the others are not.
        let row = shelf.store.any_file(&fresh.path, NOW_MS).await.unwrap();
        assert!(row.is_some());
        for file in &files[..4] {
            let row = shelf.store.any_file(&file.path, NOW_MS).await.unwrap();
            assert_eq!(row, None);
        }
        assert_eq!(sweeper.sweep(&stop).await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_resist_stay_and_the_others_go() {
    let shelf = Shelf::new().await;
    let objects = Failing {
        inner: Arc::new(InMemory::new()),
        is_full: Arc::new(AtomicBool::new(false)),
        keeps: Some("stuck"),
    };
    let media = Media::over(Arc::new(objects), settings(String::new()), "secret");
    let template = keep(&media, 0, NOW_MS).await;
    // More than a batch of the oldest ones resist.
    let named = |name: &str, number: i64| StoredFile {
        path: format!("{number:032x}/{name}.png"),
        expires_ms: NOW_MS + number,
        ..template.clone()
    };
    let stuck = (0..250).map(|number| named("stuck", number));
    let loose = (250..700).map(|number| named("loose", number));
    let files: Vec<_> = stuck.chain(loose).collect();
    shelf.put(files).await;
    shelf
        .hand
        .store(NOW_MS + RETENTION_MS - 1, Ordering::Release);
    let sweeper = sweeper(&shelf, &media);
    let stop = CancellationToken::new();
    assert_eq!(sweeper.sweep(&stop).await.unwrap(), 450);
    let left = shelf
        .store
        .any_expired_files(i64::MAX, 1_000)
        .await
        .unwrap();
    assert_eq!(left.len(), 250);
    assert!(left.iter().all(|path| path.contains("stuck")));
    assert_eq!(sweeper.sweep(&stop).await.unwrap(), 0);
}

/// Two files and an answer were to be stored; one came as another type at the second try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_task_had_stored_goes_a_day_later() {
    for place in places().await {
        let shelf = Shelf::new().await;
        let output = Output {
            sources: vec![Source::Inline(String::new()); 2],
            answer: Some(Answer {
                text: "because".to_owned(),
                finish_reason: "stop".to_owned(),
                usage: Usage::default(),
            }),
        };
        let lost = shelf.lose(output).await;
        let files = [png(40), b"GIF89a and more".to_vec()];
        for (index, file) in [(0, 0), (1, 0), (1, 1)] {
            let file = Incoming::Bytes(files[file].clone().into());
            place.media.keep(&lost, index, file, NOW_MS).await.unwrap();
        }
        let answer = place.media.keep_text(&lost, 2, "because", NOW_MS).await;
        answer.unwrap();
        let fresh = keep(&place.media, 7, NOW_MS + DAY_MS).await;
        shelf.put(vec![fresh.clone()]).await;
        assert_eq!(place.found().len(), 5);
        let sweeper = sweeper(&shelf, &place.media);
        let stop = CancellationToken::new();
        for (at_ms, swept, left) in [(DAY_MS - 1, 0, 5), (DAY_MS, 3, 1)] {
            shelf.hand.store(NOW_MS + at_ms, Ordering::Release);
            assert_eq!(sweeper.sweep(&stop).await.unwrap(), swept, "{}", place.name);
            assert_eq!(place.found().len(), left, "{}", place.name);
        }
        assert_eq!(place.found(), [fresh.path]);
    }
}
