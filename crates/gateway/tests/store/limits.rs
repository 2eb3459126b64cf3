//! Limits of keys and accounts: never exceeded, however many callers and nodes there are.

use domain::credits::Credits;
use domain::key::{ApiKey, Grant};
use domain::limits::Exceeded;
use domain::task::{Outcome, Status, Task};
use futures_util::future::join_all;
use gateway::store::Store;
use gateway::store::admin_accounts::{AccountChanged, AccountWish};
use gateway::store::submit::Admission;
use gateway::store::tasks::CancelWish;
use gateway::store::work::{Claim, Lease};

use crate::fixture::{Tenant, act, by_hand, failed, random, step, steps, success, tenant};
use crate::support::{NOW_MS, TestStore, stores};

/// The tenant with another key of its own.
async fn with_key(store: &Store, tenant: &Tenant, grant: Grant) -> Tenant {
    let api_key = ApiKey::mint(&random(), &random());
    store
        .create_key(&tenant.account, &api_key, grant, NOW_MS)
        .await
        .unwrap();
    Tenant {
        key: api_key.id().clone(),
        api_key,
        ..tenant.clone()
    }
}

fn limited(rpm: u32) -> Grant {
    Grant {
        rate_limit_rpm: Some(rpm),
        ..Grant::account("limited")
    }
}

fn daily(credits: i64) -> Grant {
    Grant {
        daily_credit_limit: Some(Credits(credits)),
        ..Grant::account("daily")
    }
}

fn is_accepted(admission: &Admission) -> bool {
    matches!(admission, Admission::Accepted(_))
}

fn metered(tenant: &Tenant, hold: i64) -> Task {
    Task {
        is_metered: true,
        ..tenant.task(hold)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_admits_so_many_on_all_nodes_together() {
    for db in stores().await {
        let owner = tenant(&db.store, 1_000).await;
        let key = with_key(&db.store, &owner, limited(20)).await;
        let nodes = [db.store.clone(), db.twin().await];
        let at = |offset_ms: i64| {
            let submits = (0..64).map(|n| {
                let (node, mut task) = (nodes[n % 2].clone(), key.task(1));
                task.created_ms = NOW_MS + offset_ms;
                async move { node.submit(&task, None).await.unwrap() }
            });
            join_all(submits)
        };
        let first = at(0).await;
        assert_eq!(
            first.iter().filter(|one| is_accepted(one)).count(),
            20,
            "{}",
            db.name
        );
        let full = first.iter().find_map(|one| match one {
            Admission::Exceeded(Exceeded::Requests(full)) => Some(*full),
            _ => None,
        });
        let full = full.expect("44 are refused");
        assert_eq!((full.limit, full.left), (20, 0));
        // Nothing more before it is said that there will be, and all of it then.
        let early = at(full.reset_ms - 1).await;
        assert_eq!(early.iter().filter(|one| is_accepted(one)).count(), 0);
        let later = at(full.reset_ms).await;
        assert_eq!(later.iter().filter(|one| is_accepted(one)).count(), 20);
        let balance = db.store.balance(&owner.account).await.unwrap();
        assert_eq!(balance.held, Credits(40));
    }
}

#[tokio::test]
async fn what_is_left_is_told_with_every_admission() {
    for db in stores().await {
        let owner = tenant(&db.store, 100).await;
        let key = with_key(&db.store, &owner, limited(2)).await;
        for left in [1, 0] {
            let admission = db.store.submit(&key.task(1), None).await.unwrap();
            let Admission::Accepted(allowances) = admission else {
                panic!("{admission:?}");
            };
            assert_eq!(allowances[0].left, left);
        }
        let other = db.store.submit(&owner.task(1), None).await;
        assert_eq!(other, Ok(Admission::Accepted(vec![])), "{}", db.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_costs_so_much_on_all_nodes_together() {
    for db in stores().await {
        let owner = tenant(&db.store, 1_000).await;
        let key = with_key(&db.store, &owner, daily(50)).await;
        let nodes = [db.store.clone(), db.twin().await];
        let submits = (0..40).map(|n| {
            let (node, task) = (nodes[n % 2].clone(), metered(&key, 4));
            async move { (node.submit(&task, None).await.unwrap(), task) }
        });
        let answers = join_all(submits).await;
        let accepted: Vec<_> = answers
            .into_iter()
            .filter(|(one, _)| is_accepted(one))
            .collect();
        assert_eq!(accepted.len(), 12, "{}", db.name);

        // What fails is given back, what succeeds is spent.
        let claims = db.store.claim("worker", 100, NOW_MS).await.unwrap();
        let mut claims = claims
            .into_iter()
            .filter(|claim| claim.task.account == owner.account);
        let mut ends = claims.next().unwrap();
        steps(&db.store, &mut ends, success()).await;
        let mut fails = claims.next().unwrap();
        let doomed = success().into_iter().take(2).chain([failed()]);
        steps(&db.store, &mut fails, doomed).await;
        let again = db.store.submit(&metered(&key, 4), None).await.unwrap();
        assert!(is_accepted(&again));
        let over = db.store.submit(&metered(&key, 4), None).await.unwrap();
        assert!(
            matches!(over, Admission::Exceeded(Exceeded::Credits { .. })),
            "{over:?}"
        );
        // Another key of the account has its own day.
        assert!(is_accepted(
            &db.store.submit(&owner.task(4), None).await.unwrap()
        ));
    }
}

#[tokio::test]
async fn a_limit_of_credits_that_came_meanwhile_is_not_overlooked() {
    for db in stores().await {
        let owner = tenant(&db.store, 1_000).await;
        let key = with_key(&db.store, &owner, daily(50)).await;
        let unaware = db.store.submit(&key.task(4), None).await;
        assert_eq!(unaware, Ok(Admission::KeyChanged), "{}", db.name);
        // What was not counted must not be given back either.
        let outdated = db.store.submit(&metered(&owner, 4), None).await;
        assert_eq!(outdated, Ok(Admission::KeyChanged), "{}", db.name);
    }
}

#[tokio::test]
async fn a_refusal_for_the_balance_leaves_the_day_as_it_was() {
    for db in stores().await {
        let owner = tenant(&db.store, 10).await;
        let key = with_key(&db.store, &owner, daily(20)).await;
        let poor = db.store.submit(&metered(&key, 15), None).await;
        assert_eq!(poor, Ok(Admission::Insufficient), "{}", db.name);
        let grant = gateway::store::accounts::Grant::TopUp;
        let credits = Credits(100);
        db.store
            .grant(
                &owner.account,
                grant,
                credits,
                &format!("more/{}", owner.account),
                NOW_MS,
            )
            .await
            .unwrap();
        assert!(is_accepted(
            &db.store.submit(&metered(&key, 20), None).await.unwrap()
        ));
    }
}

async fn limit_tasks(store: &Store, tenant: &Tenant, most: Option<u32>) {
    let wish = AccountWish {
        tasks_max: Some(most),
        ..AccountWish::default()
    };
    let changed = store.change_account(&tenant.account, wish, act()).await;
    assert!(matches!(changed, Ok(AccountChanged::Yes(_))), "{changed:?}");
}

async fn claimed(store: &Store, tenant: &Tenant) -> Vec<Claim> {
    let claims = store.claim("worker", 1_000, NOW_MS).await.unwrap();
    let own = |claim: &Claim| claim.task.account == tenant.account;
    claims.into_iter().filter(own).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_beyond_the_accounts_limit_wait_their_turn() {
    for db in stores().await {
        let owner = tenant(&db.store, 1_000).await;
        limit_tasks(&db.store, &owner, Some(3)).await;
        let nodes = [db.store.clone(), db.twin().await];
        let submits = (0..10).map(|n| {
            let (node, task) = (nodes[n % 2].clone(), owner.task(1));
            async move { node.submit(&task, None).await.unwrap() }
        });
        assert!(join_all(submits).await.iter().all(is_accepted));
        let mut ended = 0;
        loop {
            let claims = claimed(&db.store, &owner).await;
            if claims.is_empty() {
                break;
            }
            assert!(claims.len() <= 3, "{} at once on {}", claims.len(), db.name);
            // They end on two nodes at the same time.
            let ends = claims.into_iter().enumerate().map(|(n, mut claim)| {
                let node = nodes[n % 2].clone();
                async move { steps(&node, &mut claim, success()).await }
            });
            ended += join_all(ends).await.len();
        }
        assert_eq!(ended, 10, "{}", db.name);
        let check = db.store.any_ledger_check().await.unwrap();
        assert_eq!(check.problems, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_parked_task_can_be_cancelled_and_expires() {
    for db in stores().await {
        let owner = tenant(&db.store, 100).await;
        limit_tasks(&db.store, &owner, Some(1)).await;
        let running = owner.submitted(&db.store, 1).await;
        let unwanted = owner.submitted(&db.store, 1).await;
        let late = owner.submitted(&db.store, 1).await;
        let own = claimed(&db.store, &owner).await;
        assert_eq!(own.len(), 1);
        assert_eq!(own[0].task.id, running.id);

        let wish = db.store.cancel(&owner.account, &unwanted.id, NOW_MS).await;
        assert_eq!(wish, Ok(CancelWish::Recorded));
        let mut cancelled = claimed(&db.store, &owner).await;
        assert_eq!(cancelled.len(), 1, "{}", db.name);
        assert_eq!(cancelled[0].task.id, unwanted.id);
        assert!(cancelled[0].task.is_cancel_asked);
        step(
            &db.store,
            &mut cancelled[0],
            Outcome::Cancelled,
            Lease::Release,
        )
        .await
        .unwrap();

        db.store.any_let_in(NOW_MS).await.unwrap();
        assert!(claimed(&db.store, &owner).await.is_empty());
        db.store.any_let_in(late.deadline_ms).await.unwrap();
        let read = db
            .store
            .task(&owner.account, &late.id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(read.task.status(), Status::Waiting);
        let claims = db
            .store
            .claim("worker", 1_000, late.deadline_ms)
            .await
            .unwrap();
        assert!(
            claims.iter().any(|claim| claim.task.id == late.id),
            "{}",
            db.name
        );
        let check = db.store.any_ledger_check().await.unwrap();
        assert_eq!(check.problems, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_raised_limit_lets_in_what_waits() {
    for db in stores().await {
        let owner = tenant(&db.store, 100).await;
        limit_tasks(&db.store, &owner, Some(1)).await;
        for _ in 0..5 {
            owner.submitted(&db.store, 1).await;
        }
        limit_tasks(&db.store, &owner, Some(3)).await;
        assert!(db.store.any_let_in(NOW_MS).await.unwrap() >= 2);
        assert_eq!(claimed(&db.store, &owner).await.len(), 3, "{}", db.name);
        limit_tasks(&db.store, &owner, None).await;
        db.store.any_let_in(NOW_MS).await.unwrap();
        assert_eq!(claimed(&db.store, &owner).await.len(), 2);
    }
}

#[tokio::test]
async fn a_limit_that_is_taken_away_lets_in_however_many_wait() {
    for db in stores().await {
        let owner = tenant(&db.store, 1_000).await;
        limit_tasks(&db.store, &owner, Some(1)).await;
        for _ in 0..250 {
            owner.submitted(&db.store, 1).await;
        }
        limit_tasks(&db.store, &owner, None).await;
        assert_eq!(db.store.any_let_in(NOW_MS).await, Ok(249), "{}", db.name);
        assert_eq!(claimed(&db.store, &owner).await.len(), 250);
    }
}

/// A full disk makes SQLite end the transaction in the middle, and what comes behind would be committed alone.
#[tokio::test]
async fn a_transaction_that_sqlite_ends_by_itself_records_nothing() {
    let db = TestStore::sqlite().await;
    let owner = tenant(&db.store, 1_000).await;
    let key = with_key(&db.store, &owner, limited(20)).await;
    for write in [
        "INSERT ON meters",
        "UPDATE ON accounts",
        "INSERT ON entries",
    ] {
        let ending = "BEGIN SELECT RAISE(ROLLBACK, 'as if the disk were full'); END";
        by_hand(
            &db,
            &format!("CREATE TRIGGER ending BEFORE {write} {ending}"),
        )
        .await;
        let task = key.task(1);
        let done = db.store.submit(&task, None).await;
        assert!(done.is_err(), "{write}: {done:?}");
        by_hand(&db, "DROP TRIGGER ending").await;
        let found = db.store.task(&owner.account, &task.id).await.unwrap();
        assert_eq!(found, None, "{write}");
        let balance = db.store.balance(&owner.account).await.unwrap();
        assert_eq!(balance.held, Credits(0), "{write}");
    }
    let check = db.store.any_ledger_check().await.unwrap();
    assert_eq!(check.problems, Vec::<String>::new());
    assert!(is_accepted(
        &db.store.submit(&key.task(1), None).await.unwrap()
    ));
}

/// The same with more accounts in a batch than are written in one go: nothing is written behind the first
/// that fails, and what runs again alone counts once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_account_that_cannot_be_written_leaves_the_others_of_its_batch_right() {
    let db = TestStore::sqlite().await;
    let mut owners = Vec::new();
    for _ in 0..40 {
        owners.push(tenant(&db.store, 1_000).await);
    }
    let bad = &owners[17].account;
    let when = format!("WHEN NEW.id = '{bad}'");
    let ending = "BEGIN SELECT RAISE(ROLLBACK, 'as if the disk were full'); END";
    let trigger = format!("CREATE TRIGGER ending BEFORE UPDATE ON accounts {when} {ending}");
    by_hand(&db, &trigger).await;
    let submits = owners.iter().map(async |owner| {
        let done = db.store.submit(&owner.task(1), None).await;
        done.is_ok_and(|admission| is_accepted(&admission))
    });
    let accepted = join_all(submits).await;
    for (owner, is_accepted) in owners.iter().zip(accepted) {
        assert_eq!(is_accepted, owner.account != *bad);
        let balance = db.store.balance(&owner.account).await.unwrap();
        assert_eq!(balance.held, Credits(i64::from(is_accepted)));
    }
    let check = db.store.any_ledger_check().await.unwrap();
    assert_eq!(check.problems, Vec::<String>::new());
}
