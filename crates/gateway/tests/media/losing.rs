//! Tasks whose results cannot be stored, for a while or for good.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::ids::TaskId;
use domain::task::{ErrorKind, Phase, STORE_PATIENCE_MS, Status, Task};
use gateway::entropy::Entropy;
use gateway::media::Media;
use gateway::net::{Net, NetSettings};
use gateway::sandbox::Upstream;
use gateway::traffic::Traffic;
use gateway::worker::{Worker, WorkerParts, WorkerSettings};
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;

use crate::full::Failing;
use crate::place::settings;
use crate::shelf::Shelf;

struct Bench {
    shelf: Shelf,
    worker: Arc<Worker>,
    is_full: Arc<AtomicBool>,
}

impl Bench {
    async fn new() -> Self {
        let shelf = Shelf::new().await;
        let is_full = Arc::new(AtomicBool::new(true));
        let objects = Failing {
            inner: Arc::new(InMemory::new()),
            is_full: Arc::clone(&is_full),
            keeps: None,
        };
        let media = Media::over(Arc::new(objects), settings(String::new()), "secret");
        let ticking = shelf.clock.clone();
        let local = (
            Arc::new(Upstream::new()) as _,
            Arc::new(move || ticking.now_ms()) as _,
        );
        let worker = Worker::new(WorkerParts {
            store: shelf.store.clone(),
            catalogue: Arc::clone(&shelf.catalogue),
            net: Net::new(NetSettings::default(), Some(local)).unwrap(),
            media,
            clock: shelf.clock.clone(),
            entropy: Entropy::system(),
            secret: "secret".to_owned(),
            traffic: Traffic::new(&shelf.catalogue, &BTreeMap::new()),
            settings: WorkerSettings {
                concurrency: 4,
                public_url: String::new(),
            },
        });
        Self {
            shelf,
            worker: Arc::new(worker),
            is_full,
        }
    }

    async fn task(&self, id: &TaskId) -> Task {
        let read = self.shelf.store.task(&self.shelf.account, id).await;
        read.unwrap().unwrap().task
    }

    /// Runs the worker, with time four times as fast, until the task is as it should be.
    async fn until(&self, id: &TaskId, is_so: impl Fn(&Task) -> bool) -> Task {
        let stop = CancellationToken::new();
        let work = async {
            for _ in 0..1_200 {
                let task = self.task(id).await;
                if is_so(&task) {
                    stop.cancel();
                    return task;
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
                self.shelf.hand.fetch_add(100, Ordering::AcqRel);
            }
            panic!("{:?}", self.task(id).await.phase);
        };
        tokio::join!(Arc::clone(&self.worker).run(stop.clone()), work).1
    }
}

fn is_storing(task: &Task) -> bool {
    matches!(task.phase, Phase::Storing { .. }) && task.misses >= 2
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_waits_for_space_and_then_succeeds() {
    let bench = Bench::new().await;
    let id = bench.shelf.submit().await;
    let task = bench.until(&id, is_storing).await;
    assert_eq!(task.status(), Status::Generating);
    bench.is_full.store(false, Ordering::Release);
    let task = bench.until(&id, |task| task.status().is_terminal()).await;
    let Phase::Done { files, charge, .. } = &task.phase else {
        panic!("{:?}", task.phase);
    };
    assert_eq!(files.len(), 1);
    assert_eq!(*charge, task.hold);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_result_finds_no_space_is_lost_and_costs_nothing() {
    let bench = Bench::new().await;
    let store = &bench.shelf.store;
    let before = store.balance(&bench.shelf.account).await.unwrap();
    let id = bench.shelf.submit().await;
    bench.until(&id, is_storing).await;
    assert_ne!(store.balance(&bench.shelf.account).await.unwrap(), before);
    bench
        .shelf
        .hand
        .fetch_add(STORE_PATIENCE_MS, Ordering::AcqRel);
    let task = bench.until(&id, |task| task.status().is_terminal()).await;
    let Phase::Failed { error } = &task.phase else {
        panic!("{:?}", task.phase);
    };
    assert_eq!(error.kind, ErrorKind::MediaLost);
    assert_eq!(store.balance(&bench.shelf.account).await.unwrap(), before);
    let check = store.any_ledger_check().await.unwrap();
    assert_eq!(check.problems, Vec::<String>::new());
}
