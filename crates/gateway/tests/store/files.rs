//! Result files and the deployment's secret.

use domain::price::Usage;
use domain::task::Outcome;
use domain::upstream::{Answer, Fault, FaultClass, Output, Source};
use futures_util::future::join_all;
use gateway::store::files::{INLINE_FILES_MAX, of_remnant};

use crate::fixture::{accepted, failed, finished, intended, steps, stored, tenant, upstream_id};
use crate::support::{NOW_MS, stores};

#[tokio::test]
async fn a_file_ends_when_it_expires() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        for n in 0..3 {
            let mut held = tenant.claimed(&db.store, 1).await;
            let path = format!("secret/{n}.png");
            let outcomes = [
                intended(0),
                accepted(&upstream_id()),
                finished(),
                stored(&path),
            ];
            steps(&db.store, &mut held, outcomes).await;
        }
        let end = NOW_MS + 1_000;
        let file = |path: &'static str, now_ms| db.store.any_file(path, now_ms);
        assert!(
            file("secret/0.png", end - 1).await.unwrap().is_some(),
            "{}",
            db.name
        );
        assert_eq!(file("secret/0.png", end).await, Ok(None));
        assert_eq!(file("other\u{0}", NOW_MS).await, Ok(None));
        assert_eq!(db.store.any_expired_files(end - 1, 10).await, Ok(vec![]));
        assert_eq!(db.store.any_expired_files(end, 2).await.unwrap().len(), 2);
        // What has not expired is not forgotten.
        let forget = |now_ms| db.store.any_forget_file("secret/0.png".to_owned(), now_ms);
        forget(end - 1).await.unwrap();
        assert_eq!(db.store.any_expired_files(end, 10).await.unwrap().len(), 3);
        forget(end).await.unwrap();
        let left = db.store.any_expired_files(end, 10).await.unwrap();
        assert_eq!(left.len(), 2, "{}", db.name);
        assert!(!left.contains(&"secret/0.png".to_owned()));
    }
}

#[tokio::test]
async fn nodes_that_start_together_agree_on_the_secret() {
    for db in stores().await {
        let twin = db.twin().await;
        let nodes = [&db.store, &twin];
        let asked = (0..10).map(|n| nodes[n % 2].any_secret(format!("secret {n}")));
        let answers: Vec<_> = join_all(asked)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{}",
            db.name
        );
        let later = twin.any_secret("another".to_owned()).await;
        assert_eq!(later.as_ref(), Ok(&answers[0]));
    }
}

/// What was kept before the rest was lost is found again, but not served.
#[tokio::test]
async fn a_task_that_fails_while_storing_leaves_remnants() {
    const DAY_MS: i64 = 86_400_000;
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let output = Output {
            sources: vec![Source::Link("https://example.com/a".to_owned()); 2],
            answer: Some(Answer {
                text: "because".to_owned(),
                finish_reason: "stop".to_owned(),
                usage: Usage::default(),
            }),
        };
        let storing = || {
            [
                intended(0),
                accepted(&upstream_id()),
                Outcome::Finished(output.clone()),
            ]
        };
        let mut lost = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut lost, storing()).await;
        steps(&db.store, &mut lost, [Outcome::NotStored, Outcome::Lost]).await;
        let mut good = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut good, storing()).await;
        steps(&db.store, &mut good, [stored("folder/result-1.png")]).await;
        let mut bad = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut bad, [intended(0), failed()]).await;
        let early = db.store.any_expired_files(NOW_MS + DAY_MS - 1, 10).await;
        assert_eq!(early.unwrap(), ["folder/result-1.png"], "{}", db.name);
        let mut found = db
            .store
            .any_expired_files(NOW_MS + DAY_MS, 10)
            .await
            .unwrap();
        found.sort();
        let remnants = found.iter().filter_map(|path| of_remnant(path));
        let wanted = (0..3).map(|index| (lost.task.id.clone(), index));
        assert!(remnants.eq(wanted), "{}: {found:?}", db.name);
        assert_eq!(found.len(), 4);
    }
}

/// Files inside of a reply are stored before it is recorded, so that an attempt that was given up may
/// have left more of them than the next one made.
#[tokio::test]
async fn an_attempt_that_was_given_up_may_have_left_files() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut again = tenant.claimed(&db.store, 1).await;
        let busy = Fault::new(FaultClass::Unavailable, "it is busy");
        let refused = Outcome::Refused(busy);
        steps(&db.store, &mut again, [intended(0), refused, intended(0)]).await;
        let upstream = accepted(&upstream_id());
        let ended = [upstream, finished(), stored("folder/result-1.png")];
        steps(&db.store, &mut again, ended).await;
        let found = db.store.any_expired_files(i64::MAX, 10).await.unwrap();
        let remnants = found.iter().filter_map(|path| of_remnant(path));
        let mut remnants: Vec<_> = remnants.collect();
        remnants.sort();
        let wanted = (1..INLINE_FILES_MAX).map(|index| (again.task.id.clone(), index));
        assert_eq!(remnants, wanted.collect::<Vec<_>>(), "{}", db.name);
        assert_eq!(found.len(), INLINE_FILES_MAX);
    }
}
