//! Commits: compare-and-set, whole, and the end of a hold exactly once.

use domain::credits::Credits;
use domain::task::{Outcome, Status, advance};
use domain::upstream::{Fault, FaultClass};
use gateway::store::StoreError;
use gateway::store::work::{Claim, Committed, Lease};

use crate::fixture::{
    accepted, claim, failed, finished, intended, rules, step, steps, stored, success, tenant,
    upstream_id,
};
use crate::support::{NOW_MS, TestStore, stores};

async fn is_clean(db: &TestStore) {
    let check = db.store.any_ledger_check().await.unwrap();
    assert_eq!(check.problems, [""; 0], "{}", db.name);
}

#[tokio::test]
async fn only_the_holder_of_the_version_it_read_commits() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let claim = tenant.claimed(&db.store, 1).await;
        let wrong: [fn(&mut Claim); 3] = [
            |claim: &mut Claim| claim.epoch += 1,
            |claim: &mut Claim| claim.owner = "another".to_owned(),
            |claim: &mut Claim| claim.task.version += 1,
        ];
        for spoil in wrong {
            let mut spoiled = claim.clone();
            spoil(&mut spoiled);
            let done = step(&db.store, &mut spoiled, intended(0), Lease::Keep).await;
            assert_eq!(done, Ok(Committed::Lost), "{}", db.name);
        }
        let attempts = || db.store.attempts(&tenant.account, &claim.task.id);
        assert_eq!(attempts().await, Ok(vec![]), "lost is lost whole");
        let mut right = claim.clone();
        let done = step(&db.store, &mut right, intended(0), Lease::Keep).await;
        assert_eq!(done, Ok(Committed::Yes));
        // The same change again is of a version that is gone.
        let mut again = claim.clone();
        let done = step(&db.store, &mut again, intended(0), Lease::Keep).await;
        assert_eq!(done, Ok(Committed::Lost));
        assert_eq!(attempts().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_success_charges_once_and_leaves_files_and_one_notice() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 40).await;
        let before_end = held.clone();
        steps(
            &db.store,
            &mut held,
            [intended(0), accepted("up-1"), finished()],
        )
        .await;
        let waiting = db.store.task(&tenant.account, &held.task.id).await.unwrap();
        let waiting = waiting.unwrap();
        assert_eq!(
            (waiting.task.status(), waiting.notice),
            (Status::Generating, None)
        );
        let end = stored("secret/1.png");
        let change = advance(&held.task, end, NOW_MS, &rules()).unwrap();
        let commit = || {
            db.store
                .commit(&held, change.clone(), Lease::Release, NOW_MS)
        };
        let twins = futures_util::future::join_all((0..5).map(|_| commit())).await;
        let ends = twins
            .iter()
            .filter(|done| **done == Ok(Committed::Yes))
            .count();
        assert_eq!(ends, 1, "{}: {twins:?}", db.name);
        let mut stale = before_end;
        stale.epoch = held.epoch;
        let done = step(&db.store, &mut stale, Outcome::Cancelled, Lease::Keep).await;
        assert_eq!(done, Ok(Committed::Lost));

        let balance = db.store.balance(&tenant.account).await.unwrap();
        assert_eq!((balance.posted, balance.held), (Credits(60), Credits(0)));
        let read = db
            .store
            .task(&tenant.account, &held.task.id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(read.task.status(), Status::Success);
        assert_eq!(read.task.charge(), Some(Credits(40)));
        assert_eq!(read.notice.unwrap().state, "pending");
        let notices = db.store.notices(&tenant.account, None, 10).await.unwrap();
        assert_eq!(notices.len(), 1);
        assert_eq!(
            (notices[0].host.as_str(), notices[0].attempts),
            ("example.com", 0)
        );
        let file = db
            .store
            .any_file("secret/1.png", NOW_MS)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((file.content_type.as_str(), file.bytes), ("image/png", 12));
        assert_eq!(db.store.claim("worker", 10, i64::MAX / 2).await, Ok(vec![]));
        is_clean(&db).await;
    }
}

#[tokio::test]
async fn a_failure_charges_nothing() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 40).await;
        let outcomes = [intended(0), accepted(&upstream_id()), failed()];
        steps(&db.store, &mut held, outcomes).await;
        let balance = db.store.balance(&tenant.account).await.unwrap();
        assert_eq!((balance.posted, balance.held), (Credits(100), Credits(0)));
        let attempts = db
            .store
            .attempts(&tenant.account, &held.task.id)
            .await
            .unwrap();
        assert_eq!(attempts[0].state, "failed", "{}", db.name);
        is_clean(&db).await;
    }
}

#[tokio::test]
async fn attempts_go_through_their_states() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        let id = held.task.id.clone();
        let states = || async {
            let attempts = db.store.attempts(&tenant.account, &id).await.unwrap();
            let state = |attempt: gateway::store::tasks::AttemptRead| {
                (attempt.provider, attempt.state, attempt.upstream_id)
            };
            attempts.into_iter().map(state).collect::<Vec<_>>()
        };
        let line = |provider: &str, state: &str, upstream: Option<&str>| {
            (
                provider.to_owned(),
                state.to_owned(),
                upstream.map(str::to_owned),
            )
        };
        steps(&db.store, &mut held, [intended(0)]).await;
        assert_eq!(
            states().await,
            [line("one", "sending", None)],
            "{}",
            db.name
        );
        let refusal = Fault::new(FaultClass::Unavailable, "with a \u{0} in it");
        steps(&db.store, &mut held, [Outcome::Refused(refusal)]).await;
        assert_eq!(states().await, [line("one", "refused", None)]);
        steps(&db.store, &mut held, [intended(1), Outcome::Unanswered]).await;
        assert_eq!(states().await[1], line("two", "unknown", None));
        steps(&db.store, &mut held, [accepted("up-2")]).await;
        assert_eq!(states().await[1], line("two", "accepted", Some("up-2")));
        steps(&db.store, &mut held, [finished(), stored("a/b")]).await;
        // What became known stays known.
        assert_eq!(states().await[1], line("two", "done", Some("up-2")));
    }
}

#[tokio::test]
async fn a_second_open_attempt_is_refused_whole() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        let queued = held.task.clone();
        steps(&db.store, &mut held, [intended(0)]).await;
        // A mistake of the rules: as if the task were still queued.
        let mut mistaken = held.clone();
        mistaken.task = queued;
        mistaken.task.version = held.task.version;
        let done = step(&db.store, &mut mistaken, intended(1), Lease::Keep).await;
        assert!(
            matches!(done, Err(StoreError::Duplicate(_))),
            "{}: {done:?}",
            db.name
        );
        let read = db
            .store
            .task(&tenant.account, &held.task.id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(read.task.version, held.task.version, "nothing is recorded");
    }
}

/// What an upstream sends is not to be trusted to be text that a database takes.
#[tokio::test]
async fn an_upstream_id_may_hold_anything() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        for id in [
            "with a \u{0} in it",
            "",
            "'; DROP TABLE tasks; --",
            "\u{1F600}",
        ] {
            let mut held = tenant.claimed(&db.store, 1).await;
            steps(&db.store, &mut held, [intended(0), accepted(id)]).await;
            let attempts = db
                .store
                .attempts(&tenant.account, &held.task.id)
                .await
                .unwrap();
            assert_eq!(attempts[0].state, "accepted", "{}: {id:?}", db.name);
        }
    }
}

#[tokio::test]
async fn a_lease_is_kept_or_given_back_with_a_commit() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut held, [intended(0)]).await;
        assert_eq!(db.store.claim("other", 10, NOW_MS).await, Ok(vec![]));
        let done = step(&db.store, &mut held, Outcome::Unanswered, Lease::Release).await;
        assert_eq!(done, Ok(Committed::Yes));
        let due_ms = held.task.due_ms;
        assert_eq!(db.store.claim("other", 10, due_ms - 1).await, Ok(vec![]));
        let next = db.store.claim("other", 10, due_ms).await.unwrap();
        assert_eq!(next.len(), 1, "{}", db.name);
        assert_eq!(next[0].task, held.task);
    }
}

#[tokio::test]
async fn whoever_watches_a_task_hears_of_its_changes() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        let watch = db.store.watch(&held.task.id);
        let mut changed = std::pin::pin!(watch.changed());
        assert!(!changed.as_mut().enable());
        steps(&db.store, &mut held, success()).await;
        changed.await;
        // The end of a task with a callback, and every submit, are hinted at.
        db.store.notice_hinted().await;
        let task = tenant.submitted(&db.store, 1).await;
        db.store.work_hinted().await;
        claim(&db.store, "worker", &task.id).await;
    }
}
