//! What is stored, under which names, and what is left behind when it is not.

use gateway::media::{HEAD_BYTES, Incoming, Media, MediaError};
use sha2::{Digest, Sha256};

use crate::place::{BYTES_MAX, Place, RETENTION_MS, places, task};
use crate::png;
use crate::upstream::{announced, chunked, incoming};

/// The least size of a part, which is where an upload in parts begins.
const PART: usize = 5 << 20;

fn bytes(content: &[u8]) -> Incoming {
    Incoming::Bytes(content.to_vec().into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_every_size_are_stored_whole() {
    let sizes = [
        33,
        HEAD_BYTES - 1,
        HEAD_BYTES,
        HEAD_BYTES + 1,
        PART - 1,
        PART,
        PART + 1,
        2 * PART,
        2 * PART + 12_345,
        usize::try_from(BYTES_MAX).unwrap(),
    ];
    for place in places().await {
        for (index, size) in sizes.into_iter().enumerate() {
            let content = png(size);
            let from_wire = incoming(announced(size, &content)).await;
            let file = place.media.keep(&task(1), index, from_wire, 5).await;
            let file = file.unwrap_or_else(|error| panic!("{} {size}: {error}", place.name));
            assert_eq!(file.bytes, size as u64);
            assert_eq!(file.sha256, hex::encode(Sha256::digest(&content)));
            assert_eq!(file.content_type, "image/png");
            assert_eq!((file.width, file.height), (Some(64), Some(32)));
            assert_eq!(file.expires_ms, 5 + RETENTION_MS);
            assert!(place.bytes(&file.path) == content, "{} {size}", place.name);
        }
        assert_eq!(place.found().len(), sizes.len(), "{:?}", place.found());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_unknown_length_is_stored_whole() {
    for place in places().await {
        let content = png(PART + 777);
        let from_wire = incoming(chunked(&content, "0\r\n\r\n")).await;
        let file = place.media.keep(&task(1), 0, from_wire, 0).await.unwrap();
        assert!(place.bytes(&file.path) == content, "{}", place.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_or_broken_off_file_may_come_later_and_leaves_nothing() {
    let large = png(2 * PART + 100);
    let cases = [
        ("empty", announced(0, b"")),
        ("empty in chunks", chunked(b"", "0\r\n\r\n")),
        ("short by one byte", announced(1_001, &png(1_000))),
        ("nothing of it", announced(1_000, b"")),
        ("short in the third part", announced(3 * PART, &large)),
        ("no last chunk", chunked(&png(1_000), "")),
        ("no last chunk of many parts", chunked(&large, "")),
        ("nonsense between chunks", chunked(&large, "zz\r\n")),
    ];
    for place in places().await {
        for (name, reply) in &cases {
            let from_wire = incoming(reply.clone()).await;
            let result = place.media.keep(&task(1), 0, from_wire, 0).await;
            assert!(
                matches!(result, Err(MediaError::Later(_))),
                "{name}: {result:?}"
            );
            assert_eq!(place.found(), [""; 0], "{} {name}", place.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_over_the_limit_is_refused_for_good_and_leaves_nothing() {
    let over = usize::try_from(BYTES_MAX).unwrap() + 1;
    let content = png(over);
    let cases = [
        ("announced only", announced(over, &png(100))),
        ("not announced", chunked(&content, "0\r\n\r\n")),
    ];
    for place in places().await {
        for (name, reply) in &cases {
            let from_wire = incoming(reply.clone()).await;
            let result = place.media.keep(&task(1), 0, from_wire, 0).await;
            assert!(
                matches!(result, Err(MediaError::TooLarge(_))),
                "{name}: {result:?}"
            );
            assert_eq!(place.found(), [""; 0], "{} {name}", place.name);
        }
        let result = place.media.keep(&task(1), 0, bytes(&content), 0).await;
        assert!(matches!(result, Err(MediaError::TooLarge(_))), "{result:?}");
        let mut settings = place.settings.clone();
        settings.bytes_max = 1_000;
        let small = Media::open(settings, "secret").unwrap();
        let from_wire = incoming(chunked(&png(1_001), "0\r\n\r\n")).await;
        let result = small.keep(&task(1), 0, from_wire, 0).await;
        assert!(matches!(result, Err(MediaError::TooLarge(_))), "{result:?}");
        assert_eq!(place.found(), [""; 0], "{}", place.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_try_takes_the_place_of_the_first() {
    for place in places().await {
        let keep = async |content: &[u8]| place.media.keep(&task(1), 0, bytes(content), 0).await;
        let first = keep(&png(PART + 1)).await.unwrap();
        let second = keep(&png(40)).await.unwrap();
        assert_eq!(first.path, second.path);
        assert!(place.bytes(&second.path) == png(40));
        let third = keep(&png(PART + 2)).await.unwrap();
        assert!(place.bytes(&third.path) == png(PART + 2));
        assert_eq!(place.found(), [third.path], "{}", place.name);
    }
}

#[tokio::test]
async fn what_a_crash_left_in_a_folder_goes_with_the_next_try() {
    let place = Place::folder();
    let kept = place.media.keep(&task(1), 0, bytes(&png(40)), 0).await;
    let path = kept.unwrap().path;
    for number in 1..4 {
        let left = place.root().join(format!("{path}#{number}"));
        std::fs::write(left, "half").unwrap();
    }
    assert_eq!(place.found().len(), 4);
    let again = place.media.keep(&task(1), 0, bytes(&png(40)), 0).await;
    assert_eq!(place.found(), [again.unwrap().path]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_cannot_be_guessed() {
    for place in places().await {
        let other = Media::open(place.settings.clone(), "another secret").unwrap();
        let mut folders = std::collections::BTreeSet::new();
        for (media, task, index) in [
            (&place.media, task(1), 0),
            (&place.media, task(1), 1),
            (&place.media, task(1), 11),
            (&place.media, task(2), 0),
            (&other, task(1), 0),
        ] {
            let file = media.keep(&task, index, bytes(&png(40)), 0).await.unwrap();
            let (folder, name) = file.path.split_once('/').unwrap();
            assert_eq!(name, format!("result-{}.png", index + 1));
            assert_eq!(folder.len(), 32);
            assert!(folder.bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert!(!folder.contains(&task.as_str()[..8]));
            assert!(folders.insert(folder.to_owned()), "{folder}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_kept_as_text_whatever_they_look_like() {
    for place in places().await {
        for text in ["42", "", "<script>alert(1)</script>", "grüße 🦊"] {
            let file = place.media.keep_text(&task(1), 0, text, 0).await.unwrap();
            assert_eq!(file.content_type, "text/plain; charset=utf-8");
            assert!(file.path.ends_with("/answer.txt"), "{}", file.path);
            assert_eq!(place.bytes(&file.path), text.as_bytes());
            assert_eq!(file.bytes, text.len() as u64);
        }
        let long = "x".repeat(PART + 1);
        let file = place.media.keep_text(&task(1), 0, &long, 0).await.unwrap();
        assert!(place.bytes(&file.path) == long.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removing_what_is_not_there_is_no_mistake() {
    for place in places().await {
        let file = place.media.keep(&task(1), 0, bytes(&png(40)), 0).await;
        let path = file.unwrap().path;
        for _ in 0..2 {
            place.media.remove(&path).await.unwrap();
            assert_eq!(place.found(), [""; 0], "{}", place.name);
        }
        place.media.remove("never/there.png").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_says_whether_files_can_be_kept() {
    for place in places().await {
        let probes = (0..8).map(|_| place.media.probe());
        for probe in futures_util::future::join_all(probes).await {
            probe.unwrap();
        }
        std::fs::remove_dir_all(place.root()).unwrap();
        std::fs::write(place.root(), "in the way").unwrap();
        assert!(place.media.probe().await.is_err(), "{}", place.name);
    }
    let mut nowhere = Place::bucket().await.settings;
    nowhere.options[0].1 = "http://127.0.0.1:1".to_owned();
    let nowhere = Media::open(nowhere, "secret").unwrap();
    assert!(nowhere.probe().await.is_err());
    let result = nowhere.keep(&task(1), 0, bytes(&png(40)), 0).await;
    assert!(matches!(result, Err(MediaError::Later(_))), "{result:?}");
}

#[test]
fn settings_that_name_no_place_are_refused() {
    for (url, options) in [
        ("", vec![]),
        ("/var/media", vec![]),
        ("http://bucket", vec![]),
        ("s3://", vec![]),
        ("s3://bucket", vec![("aws_flavour", "mint")]),
        ("file:///dev/null/media", vec![]),
    ] {
        let mut settings = crate::place::settings(url.to_owned());
        let owned = options.into_iter();
        settings.options = owned
            .map(|(k, v): (&str, &str)| (k.into(), v.into()))
            .collect();
        let result = Media::open(settings, "secret").map(drop);
        assert!(matches!(result, Err(MediaError::Settings(_))), "{url}");
    }
}

#[test]
fn inline_files_are_base64() {
    assert!(matches!(Incoming::base64(" QUJD\n"), Ok(Incoming::Bytes(bytes)) if bytes == "ABC"));
    for text in ["QUJ", "data:image/png;base64,QUJD", "****"] {
        assert!(matches!(Incoming::base64(text), Err(MediaError::Never(_))));
    }
}
