//! The history of an account.

use domain::credits::Credits;
use domain::ids::{AccountId, TransactionId};
use gateway::store::Store;
use gateway::store::accounts::{Grant, Granted};
use gateway::store::transactions::{LINES_MAX, Origin, Span, Transaction, TransactionPage};

use crate::fixture::{accepted, by_hand, failed, intended, steps, success, tenant, upstream_id};
use crate::support::{NOW_MS, stores};

const ALL: Span = Span {
    from_ms: i64::MIN,
    to_ms: i64::MAX,
    offset: 0,
    limit: 100,
};

async fn read(store: &Store, account: &AccountId, span: Span) -> TransactionPage {
    store.transactions(account, span).await.unwrap()
}

async fn grant(store: &Store, account: &AccountId, kind: Grant, micros: i64, at_ms: i64) {
    let reference = format!("{account}-{at_ms}");
    let done = store
        .grant(account, kind, Credits(micros), &reference, at_ms)
        .await;
    assert_eq!(done, Ok(Granted::Yes));
}

fn said(line: &Transaction) -> (Origin, i64, bool) {
    (line.origin, line.credits.0, line.is_pending)
}

#[tokio::test]
async fn a_task_is_one_line_from_its_hold_to_its_charge() {
    for db in stores().await {
        let tenant = tenant(&db.store, 1_000).await;
        let mut done = tenant.claimed(&db.store, 40).await;
        let mut lost = tenant.claimed(&db.store, 50).await;
        let waits = tenant.submitted(&db.store, 60).await;
        let before = read(&db.store, &tenant.account, ALL).await;
        steps(&db.store, &mut done, success()).await;
        steps(
            &db.store,
            &mut lost,
            [intended(0), accepted(&upstream_id()), failed()],
        )
        .await;
        let after = read(&db.store, &tenant.account, ALL).await;
        let line = |page: &TransactionPage, task| {
            let mut lines = page.lines.iter().filter(|line| line.task.as_ref() == task);
            let line = lines.next().unwrap().clone();
            (line, lines.count())
        };
        for (task, held, charged) in [
            (&done.task.id, 40, Some(40)),
            (&lost.task.id, 50, Some(0)),
            (&waits.id, 60, None),
        ] {
            let (first, more) = line(&before, Some(task));
            assert_eq!((said(&first), more), ((Origin::Usage, -held, true), 0));
            let (last, more) = line(&after, Some(task));
            let told = (Origin::Usage, -charged.unwrap_or(held), charged.is_none());
            assert_eq!((said(&last), more), (told, 0), "{}", db.name);
            assert_eq!(
                (last.id, last.created_ms),
                (first.id.clone(), first.created_ms)
            );
            assert_eq!(first.id, TransactionId::of_entry(&format!("hold:{task}")));
        }
        assert_eq!((before.total, after.total), (4, 4), "{}", db.name);
    }
}

#[tokio::test]
async fn what_comes_in_says_where_it_comes_from() {
    for db in stores().await {
        let account = tenant(&db.store, 7).await.account;
        by_hand(
            &db,
            &format!(
                "INSERT INTO checkouts (id, account, amount, created_ms)
                    VALUES ('{account}-{}', '{account}', 500, 0)",
                NOW_MS + 2
            ),
        )
        .await;
        grant(&db.store, &account, Grant::TopUp, 300, NOW_MS + 1).await;
        grant(&db.store, &account, Grant::TopUp, 500, NOW_MS + 2).await;
        grant(&db.store, &account, Grant::Adjust, -20, NOW_MS + 3).await;
        grant(&db.store, &account, Grant::Adjust, 9, NOW_MS + 4).await;
        let page = read(&db.store, &account, ALL).await;
        let lines: Vec<_> = page.lines.iter().map(said).collect();
        let told = [
            (Origin::Adjustment, 9, false),
            (Origin::Adjustment, -20, false),
            (Origin::Stripe, 500, false),
            (Origin::Grant, 300, false),
            (Origin::Grant, 7, false),
        ];
        assert_eq!(lines, told, "{}", db.name);
        assert!(page.lines.iter().all(|line| line.task.is_none()));
    }
}

#[tokio::test]
async fn pages_do_not_overlap_and_leave_nothing_out() {
    for db in stores().await {
        let ours = tenant(&db.store, 1_000).await;
        let other = tenant(&db.store, 1_000).await;
        other.submitted(&db.store, 1).await;
        // Several in the same millisecond, and some with a close between them.
        for _ in 0..7 {
            let mut claim = ours.claimed(&db.store, 10).await;
            steps(&db.store, &mut claim, success()).await;
        }
        let whole = read(&db.store, &ours.account, ALL).await;
        assert_eq!((whole.lines.len(), whole.total), (8, 8), "{}", db.name);
        let mut pieces = Vec::new();
        for offset in [0, 3, 6, 9] {
            let span = Span {
                offset,
                limit: 3,
                ..ALL
            };
            let page = read(&db.store, &ours.account, span).await;
            assert_eq!(page.total, 8);
            pieces.extend(page.lines);
        }
        assert_eq!(pieces, whole.lines, "{}", db.name);
        let instants = whole.lines.iter().map(|line| line.created_ms);
        assert!(instants.is_sorted_by(|newer, older| newer >= older));
    }
}

#[tokio::test]
async fn a_span_holds_its_start_and_not_its_end() {
    for db in stores().await {
        let account = tenant(&db.store, 0).await.account;
        for at_ms in [NOW_MS, NOW_MS + 1, NOW_MS + 2] {
            grant(&db.store, &account, Grant::TopUp, 1, at_ms).await;
        }
        for (from_ms, to_ms, wanted) in [
            (NOW_MS, NOW_MS + 2, 2),
            (NOW_MS + 1, i64::MAX, 2),
            (i64::MIN, NOW_MS, 0),
            (NOW_MS + 5, NOW_MS, 0),
        ] {
            let span = Span {
                from_ms,
                to_ms,
                ..ALL
            };
            let page = read(&db.store, &account, span).await;
            let found = (page.lines.len(), page.total);
            assert_eq!(
                found,
                (wanted, i64::try_from(wanted).unwrap()),
                "{}",
                db.name
            );
        }
    }
}

#[tokio::test]
async fn no_more_than_so_many_lines_are_counted() {
    for db in stores().await {
        let account = tenant(&db.store, 0).await.account;
        let many = LINES_MAX + 50;
        by_hand(
            &db,
            &format!(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many})
                INSERT INTO entries (id, account, kind, task, amount, created_ms)
                SELECT 'hold:' || i, '{account}', 'hold', CAST(i AS TEXT), 5, {NOW_MS} + i FROM n;
                INSERT INTO entries (id, account, kind, task, amount, hold, created_ms)
                SELECT 'close:' || task, account, 'close', task, 3, 5, created_ms FROM entries"
            ),
        )
        .await;
        let span = Span {
            offset: LINES_MAX - 10,
            limit: 10,
            ..ALL
        };
        let page = read(&db.store, &account, span).await;
        assert_eq!((page.total, page.lines.len()), (LINES_MAX, 10));
        let last = page.lines.last().unwrap();
        assert_eq!(last.created_ms, NOW_MS + 51, "{}", db.name);
        assert_eq!(said(last), (Origin::Usage, -3, false));
    }
}
