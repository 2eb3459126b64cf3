//! Uploads, from their announcement to their end.

use domain::task::StoredFile;
use gateway::store::uploads::of_upload;

use crate::fixture::{accepted, finished, intended, steps, stored, tenant, upstream_id};
use crate::support::{NOW_MS, stores};

const DAY_MS: i64 = 86_400_000;

fn file(path: &str) -> StoredFile {
    StoredFile {
        path: path.to_owned(),
        content_type: "image/png".to_owned(),
        bytes: 7,
        sha256: "ab".repeat(32),
        width: None,
        height: None,
        duration_s: None,
        expires_ms: NOW_MS + 1_000,
    }
}

#[tokio::test]
async fn a_file_takes_the_place_of_its_announcement_once() {
    for db in stores().await {
        let (one, other) = (tenant(&db.store, 0).await, tenant(&db.store, 0).await);
        let (store, account) = (&db.store, &one.account);
        for folder in ["a", "b", "c"] {
            store
                .announce_upload(account, folder, NOW_MS)
                .await
                .unwrap();
        }
        let record = |account, folder, path| {
            let file = file(path);
            async move { store.record_upload(account, folder, &file, NOW_MS).await }
        };
        assert_eq!(record(&other.account, "a", "a/upload.png").await, Ok(false));
        assert_eq!(record(account, "a", "a/upload.png").await, Ok(true));
        assert_eq!(record(account, "a", "a2/upload.png").await, Ok(false));
        assert_eq!(record(account, "z", "z/upload.png").await, Ok(false));
        let read = store
            .any_file("a/upload.png", NOW_MS)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((read.bytes, read.content_type.as_str()), (7, "image/png"));
        store.retract_upload(&other.account, "b").await.unwrap();
        store.retract_upload(account, "c").await.unwrap();
        let ended = store.any_expired_files(NOW_MS + DAY_MS - 1, 10).await;
        assert_eq!(ended, Ok(vec!["a/upload.png".to_owned()]), "{}", db.name);
        let ended = store.any_expired_files(NOW_MS + DAY_MS, 10).await.unwrap();
        let folders: Vec<_> = ended.iter().filter_map(|path| of_upload(path)).collect();
        assert_eq!(folders, ["b"], "{}", db.name);
    }
}

#[tokio::test]
async fn only_an_upload_of_the_account_is_ended_early() {
    for db in stores().await {
        let (one, other) = (tenant(&db.store, 100).await, tenant(&db.store, 0).await);
        let (store, account) = (&db.store, &one.account);
        store.announce_upload(account, "a", NOW_MS).await.unwrap();
        let upload = file("a/upload.png");
        let recorded = store.record_upload(account, "a", &upload, NOW_MS).await;
        assert_eq!(recorded, Ok(true));
        let mut held = one.claimed(store, 1).await;
        let result = "r/result-1.png";
        let outcomes = [
            intended(0),
            accepted(&upstream_id()),
            finished(),
            stored(result),
        ];
        steps(store, &mut held, outcomes).await;
        for (account, path) in [(&other.account, "a/upload.png"), (account, result)] {
            store.expire_upload(account, path, NOW_MS).await.unwrap();
        }
        assert_eq!(store.any_expired_files(NOW_MS, 10).await, Ok(vec![]));
        let ended = store.expire_upload(account, "a/upload.png", NOW_MS).await;
        ended.unwrap();
        let ended = store.any_expired_files(NOW_MS, 10).await;
        assert_eq!(ended, Ok(vec!["a/upload.png".to_owned()]), "{}", db.name);
    }
}
