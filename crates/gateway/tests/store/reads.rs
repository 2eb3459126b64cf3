//! Reading tasks: only the account's own, newest first, page by page.

use domain::task::Status;
use gateway::clock::Clock;
use gateway::store::tasks::{TaskFilter, TaskPage};

use crate::fixture::{steps, success, tenant};
use crate::support::stores;

#[tokio::test]
async fn an_account_sees_its_own_tasks_only() {
    for db in stores().await {
        let (owner, other) = (tenant(&db.store, 100).await, tenant(&db.store, 100).await);
        let mut held = owner.claimed(&db.store, 1).await;
        steps(&db.store, &mut held, success()).await;
        let id = &held.task.id;
        assert!(db.store.task(&owner.account, id).await.unwrap().is_some());
        assert_eq!(
            db.store.task(&other.account, id).await,
            Ok(None),
            "{}",
            db.name
        );
        assert_eq!(
            db.store.attempts(&owner.account, id).await.unwrap().len(),
            1
        );
        assert_eq!(db.store.attempts(&other.account, id).await, Ok(vec![]));
        let filter = TaskFilter {
            limit: 10,
            ..TaskFilter::default()
        };
        assert_eq!(
            db.store.tasks(&other.account, &filter).await,
            Ok(TaskPage::default())
        );
        // A page says of a task what the task itself does, its callback included.
        let page = db.store.tasks(&owner.account, &filter).await.unwrap();
        let read = db.store.task(&owner.account, id).await.unwrap().unwrap();
        assert!(read.notice.is_some());
        assert_eq!(page.tasks, [read], "{}", db.name);
        assert_eq!(db.store.notices(&other.account, None, 10).await, Ok(vec![]));
        let named = Some(id.as_str());
        assert_eq!(
            db.store.notices(&other.account, named, 10).await,
            Ok(vec![])
        );
        assert_eq!(
            db.store
                .notices(&owner.account, named, 10)
                .await
                .unwrap()
                .len(),
            1
        );
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_overlap() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut made = Vec::new();
        for _ in 0..7 {
            made.push(tenant.submitted(&db.store, 1).await.id);
        }
        made.reverse();
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let filter = TaskFilter {
                before,
                limit: 3,
                ..TaskFilter::default()
            };
            let page = db.store.tasks(&tenant.account, &filter).await.unwrap();
            assert!(page.tasks.len() <= 3);
            seen.extend(page.tasks.into_iter().map(|read| read.task.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen, made, "{}", db.name);
    }
}

#[tokio::test]
async fn a_page_of_large_tasks_is_short_and_goes_on() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        for _ in 0..7 {
            let mut task = tenant.task(1);
            task.order.prompt = "x".repeat(1 << 20);
            db.store.submit(&task, None).await.unwrap();
        }
        let filter = TaskFilter {
            limit: 100,
            ..TaskFilter::default()
        };
        let page = db.store.tasks(&tenant.account, &filter).await.unwrap();
        assert_eq!(page.tasks.len(), 4, "{}", db.name);
        let rest = TaskFilter {
            before: page.next,
            ..filter
        };
        let page = db.store.tasks(&tenant.account, &rest).await.unwrap();
        assert_eq!((page.tasks.len(), page.next), (3, None));
    }
}

#[tokio::test]
async fn lists_are_filtered_by_status_and_model() {
    for db in stores().await {
        let tenant = tenant(&db.store, 100).await;
        let mut held = tenant.claimed(&db.store, 1).await;
        steps(&db.store, &mut held, success()).await;
        let mut other = tenant.task(1);
        other.order.model = "other-model".to_owned();
        db.store.submit(&other, None).await.unwrap();
        let list = |status, model: Option<&str>| {
            let filter = TaskFilter {
                status,
                model: model.map(str::to_owned),
                before: None,
                limit: 10,
            };
            let (store, account) = (&db.store, &tenant.account);
            async move {
                let tasks = store.tasks(account, &filter).await.unwrap().tasks;
                tasks
                    .into_iter()
                    .map(|read| read.task.id)
                    .collect::<Vec<_>>()
            }
        };
        let (done, open) = (held.task.id.clone(), other.id);
        assert_eq!(list(None, None).await.len(), 2, "{}", db.name);
        assert_eq!(list(Some(Status::Success), None).await, [done]);
        assert_eq!(
            list(Some(Status::Waiting), None).await,
            std::slice::from_ref(&open)
        );
        assert_eq!(list(None, Some("other-model")).await, [open]);
        assert!(
            list(Some(Status::Success), Some("other-model"))
                .await
                .is_empty()
        );
        for hostile in ["%", "'", "with a \u{0} in it"] {
            assert!(list(None, Some(hostile)).await.is_empty(), "{}", db.name);
        }
    }
}

/// Only a database that several nodes share has a clock to compare theirs with.
#[tokio::test]
async fn the_shared_clock_is_the_databases() {
    for db in stores().await {
        let told_ms = db.store.any_clock_ms().await.unwrap();
        assert_eq!(told_ms.is_some(), db.store.is_shared(), "{}", db.name);
        let lead_ms = told_ms.map(|ms| ms - Clock::system().now_ms());
        assert!(lead_ms.unwrap_or(0).abs() < 3_600_000, "{lead_ms:?}");
    }
}
