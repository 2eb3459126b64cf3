//! What webhooks of providers leave in the store, and attempts that are looked at once more.

use domain::ids::AttemptId;
use domain::task::{AttemptState, Outcome, Phase};
use gateway::store::Store;
use gateway::store::last_looks::LOOK_AFTER_MS;
use gateway::store::webhooks::{Hooked, Told};
use gateway::store::work::{Claim, Lease};

use crate::fixture::{accepted, claim, finished, intended, step, steps, tenant, upstream_id};
use crate::support::{NOW_MS, stores};

fn attempt_of(claim: &Claim) -> AttemptId {
    claim.task.phase.attempt().unwrap().id.clone()
}

fn told(claim: &Claim, attempt: &AttemptId, work: Option<&str>) -> Told {
    Told {
        task: claim.task.id.clone(),
        attempt: attempt.clone(),
        work: work.map(str::to_owned),
    }
}

async fn claimed_ids(store: &Store) -> Vec<String> {
    let claims = store.claim("next", 10, NOW_MS).await.unwrap();
    let ids = claims.into_iter().map(|claim| claim.task.id.to_string());
    ids.collect()
}

#[tokio::test]
async fn a_nudge_makes_accepted_work_due_and_nothing_else() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut held, [intended(0)]).await;
        let attempt = attempt_of(&held);
        let work = accepted(&upstream_id());
        step(&db.store, &mut held, work, Lease::Release)
            .await
            .unwrap();
        assert!(held.task.due_ms > NOW_MS);
        assert_eq!(
            claimed_ids(&db.store).await,
            Vec::<String>::new(),
            "{}",
            db.name
        );
        let nudge = told(&held, &attempt, Some("named"));
        let hooked = db.store.any_told(nudge.clone(), NOW_MS).await;
        assert_eq!(hooked, Ok(Hooked::Nudged));
        let claims = db.store.claim("next", 10, NOW_MS).await.unwrap();
        assert_eq!(
            claims[0].task.due_ms, NOW_MS,
            "{}: a worker acts at once",
            db.name
        );
        assert_eq!(claims[0].task.phase, held.task.phase);
        assert_eq!(claims[0].task.version, held.task.version);
        // What is accepted needs no receipt.
        assert_eq!(db.store.any_receipt(&attempt).await, Ok(None));
        // Of another task, an attempt is none.
        let other = tenant.claimed(&db.store, 1).await;
        let foreign = told(&other, &attempt, None);
        assert_eq!(
            db.store.any_told(foreign, NOW_MS).await,
            Ok(Hooked::Missing)
        );
        let mut claim = claims[0].clone();
        steps(&db.store, &mut claim, [finished()]).await;
        assert_eq!(db.store.any_told(nudge, NOW_MS).await, Ok(Hooked::Over));
        let found = db.store.any_task_of_attempt(&held.task.id, &attempt).await;
        let (task, provider) = found.unwrap().unwrap();
        assert_eq!((task.id, provider.as_str()), (held.task.id, "one"));
    }
}

#[tokio::test]
async fn a_receipt_is_kept_for_work_whose_answer_is_not_known() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut held, [intended(0)]).await;
        let attempt = attempt_of(&held);
        let tell = |work| db.store.any_told(told(&held, &attempt, work), NOW_MS);
        // While somebody is still waiting for the answer, the task is left alone.
        assert_eq!(tell(Some("first")).await, Ok(Hooked::Received));
        assert_eq!(tell(Some("second")).await, Ok(Hooked::Received));
        assert_eq!(claimed_ids(&db.store).await, Vec::<String>::new());
        let receipt = db.store.any_receipt(&attempt).await;
        assert_eq!(receipt, Ok(Some("first".to_owned())), "{}", db.name);
        step(&db.store, &mut held, Outcome::Unanswered, Lease::Release)
            .await
            .unwrap();
        assert!(held.task.due_ms > NOW_MS);
        db.store
            .any_nudge_unknown(&held.task.id, NOW_MS)
            .await
            .unwrap();
        let id = held.task.id.to_string();
        assert_eq!(claimed_ids(&db.store).await, [id], "{}", db.name);
        db.store.any_forget_receipt(&attempt).await.unwrap();
        assert_eq!(db.store.any_receipt(&attempt).await, Ok(None));
    }
}

#[tokio::test]
async fn a_receipt_that_names_anothers_work_is_not_kept_nor_one_that_is_old() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let theirs = upstream_id();
        let mut other = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut other, [intended(0), accepted(&theirs)]).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut held, [intended(0), Outcome::Unanswered]).await;
        let attempt = attempt_of(&held);
        let tell = |work| db.store.any_told(told(&held, &attempt, Some(work)), NOW_MS);
        assert_eq!(tell(&theirs).await, Ok(Hooked::Received));
        assert_eq!(
            db.store.any_receipt(&attempt).await,
            Ok(None),
            "{}",
            db.name
        );
        assert_eq!(tell("own").await, Ok(Hooked::Received));
        let week_ms = 7 * 86_400_000;
        assert_eq!(db.store.any_sweep_receipts(NOW_MS + week_ms).await, Ok(0));
        assert_eq!(
            db.store.any_sweep_receipts(NOW_MS + week_ms + 1).await,
            Ok(1)
        );
        assert_eq!(db.store.any_receipt(&attempt).await, Ok(None));
    }
}

#[tokio::test]
async fn work_that_was_given_up_is_looked_at_and_booked_once() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        let work = upstream_id();
        steps(&db.store, &mut held, [intended(0), accepted(&work)]).await;
        let (attempt, running) = (attempt_of(&held), held.task.phase.clone());
        let before = db.store.balance(&tenant.account).await.unwrap();
        steps(&db.store, &mut held, [Outcome::Expired]).await;
        assert!(matches!(held.task.phase, Phase::Failed { .. }));
        assert_eq!(
            db.store.any_due_looks(NOW_MS).await,
            Ok(vec![]),
            "{}",
            db.name
        );
        let later_ms = NOW_MS + LOOK_AFTER_MS;
        let due = db.store.any_due_looks(later_ms).await.unwrap();
        assert_eq!((due[0].task.phase.clone(), due[0].looks), (running, 1));
        // It is another's for an hour; a webhook makes it due at once.
        assert_eq!(db.store.any_due_looks(later_ms).await, Ok(vec![]));
        let orphan = told(&held, &attempt, Some(&work));
        let hooked = db.store.any_told(orphan, later_ms).await;
        assert_eq!(hooked, Ok(Hooked::GivenUp));
        assert_eq!(db.store.any_due_looks(later_ms).await.unwrap()[0].looks, 2);
        let booked = db.store.any_book_late(&attempt, None, later_ms).await;
        assert_eq!(booked, Ok(Some(work)), "{}", db.name);
        let again = db.store.any_book_late(&attempt, None, later_ms).await;
        assert_eq!(again, Ok(None), "{}: booked once", db.name);
        assert_eq!(db.store.any_due_looks(i64::MAX / 2).await, Ok(vec![]));
        let attempts = db
            .store
            .attempts(&tenant.account, &held.task.id)
            .await
            .unwrap();
        assert_eq!(attempts[0].state, AttemptState::Abandoned.as_str());
        let after = db.store.balance(&tenant.account).await.unwrap();
        assert_eq!(
            after.posted, before.posted,
            "{}: nobody is charged",
            db.name
        );
    }
}

#[tokio::test]
async fn only_what_was_given_up_unconfirmed_is_looked_at() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let far_ms = NOW_MS + 2 * LOOK_AFTER_MS;
        for (end, is_owed) in [
            (Outcome::Cancelled, false),
            (crate::fixture::failed(), false),
            (Outcome::Expired, true),
        ] {
            let mut held = tenant.claimed(&db.store, 1).await;
            let work = accepted(&upstream_id());
            steps(&db.store, &mut held, [intended(0), work, end.clone()]).await;
            let due = db.store.any_due_looks(far_ms).await.unwrap();
            assert_eq!(due.len(), usize::from(is_owed), "{}: {end:?}", db.name);
        }
        let mut held = tenant.claimed(&db.store, 1).await;
        steps(
            &db.store,
            &mut held,
            [intended(0), Outcome::Unanswered, Outcome::Lapsed],
        )
        .await;
        let due = db.store.any_due_looks(far_ms).await.unwrap();
        let attempt = due[0].task.phase.attempt().unwrap();
        assert_eq!(attempt.id, due[0].attempt, "{}", db.name);
        db.store.any_settle_look(&due[0].attempt).await.unwrap();
        let free = claim(&db.store, "a", &tenant.submitted(&db.store, 1).await.id).await;
        assert!(matches!(free.task.phase, Phase::Queued { .. }));
    }
}
