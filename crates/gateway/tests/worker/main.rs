//! The worker against the real store, the real object store and the sandbox.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

mod conversations;
mod failover;
mod inline;
mod inputs;
mod marks;
mod translations;
mod upstreams;
mod webhooks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::catalogue::{Catalogue, Provider, Route, SourceFile};
use domain::credits::Credits;
use domain::ids::{AccountId, TaskId};
use domain::key::{ApiKey, Grant};
use domain::order::Scenario;
use domain::signing::Secret;
use domain::task::{ErrorKind, Phase, Status, Task};
use gateway::clock::Clock;
use gateway::entropy::Entropy;
use gateway::media::{Films, Media, MediaSettings};
use gateway::metrics::Metrics;
use gateway::net::{Net, NetSettings};
use gateway::sandbox::Upstream;
use gateway::store::accounts::NewAccount;
use gateway::store::submit::Admission;
use gateway::store::{Access, Store};
use gateway::traffic::{Credential, Traffic};
use gateway::worker::{Translation, Worker, WorkerParts, WorkerSettings};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Where clients would reach the gateway.
const PUBLIC_URL: &str = "https://gateway.test";

struct Bench {
    store: Store,
    worker: Arc<Worker>,
    net: Net,
    metrics: Metrics,
    catalogue: Arc<Catalogue>,
    traffic: Traffic,
    clock: Clock,
    entropy: Entropy,
    account: AccountId,
    key: ApiKey,
    folder: std::path::PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn catalogue() -> Catalogue {
    catalogue_with(Vec::new())
}

/// What is shipped, and more.
fn catalogue_with(mut files: Vec<SourceFile>) -> Catalogue {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../catalogue");
    for kind in ["models", "providers"] {
        for entry in std::fs::read_dir(root.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            files.push(SourceFile {
                path: format!("{kind}/{}", path.file_name().unwrap().to_str().unwrap()),
                text: std::fs::read_to_string(&path).unwrap(),
            });
        }
    }
    let dialects: Vec<&str> = dialects::DIALECTS.iter().map(|(name, _)| *name).collect();
    Catalogue::load(&files, &dialects).unwrap()
}

/// Where a bench keeps files.
fn media(folder: &std::path::Path) -> Media {
    let settings = MediaSettings {
        url: format!("file://{}/media", folder.display()),
        options: Vec::new(),
        retention_ms: 86_400_000,
        bytes_max: 1 << 30,
    };
    Media::open(settings, "secret").unwrap()
}

async fn bench(name: &str) -> Bench {
    bench_with(name, catalogue(), BTreeMap::new()).await
}

async fn bench_with(name: &str, catalogue: Catalogue, secrets: BTreeMap<String, String>) -> Bench {
    bench_of(name, catalogue, secrets, Extras::default()).await
}

/// What most benches do without.
#[derive(Default)]
struct Extras<'a> {
    /// The model that translates.
    translator: Option<&'a str>,
    /// Where providers may tell of their work.
    webhooks: Option<String>,
}

async fn bench_of(
    name: &str,
    catalogue: Catalogue,
    secrets: BTreeMap<String, String>,
    extras: Extras<'_>,
) -> Bench {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let folder = std::env::temp_dir().join(format!(
        "worker-{name}-{}",
        hex::encode(entropy.bytes::<6>())
    ));
    let url = format!("sqlite://{}/tasks.db", folder.display());
    let store = Store::open(&url, Access::Server, clock.now_ms())
        .await
        .unwrap();
    let catalogue = Arc::new(catalogue);
    let ticking = clock.clone();
    let local = (
        Arc::new(Upstream::new()) as _,
        Arc::new(move || ticking.now_ms()) as _,
    );
    let egress = NetSettings {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        ..NetSettings::default()
    };
    let net = Net::new(egress, Some(local)).unwrap();
    let films = Films::find(&std::env::var("PATH").unwrap(), clock.now_ms()).await;
    let pools = secrets
        .iter()
        .map(|(id, secret)| (id.clone(), Credential::pool(secret)));
    let traffic = Traffic::new(&catalogue, &pools.collect());
    let metrics = Metrics::new(["kie", "kling", "openrouter"], Vec::new());
    let worker = Worker::new(WorkerParts {
        store: store.clone(),
        catalogue: Arc::clone(&catalogue),
        net: net.clone(),
        media: media(&folder).marking(films),
        clock: clock.clone(),
        entropy: entropy.clone(),
        secret: "secret".to_owned(),
        traffic: traffic.clone(),
        settings: WorkerSettings {
            concurrency: 64,
            public_url: PUBLIC_URL.to_owned(),
        },
    });
    let has_secret = |one: &Provider| secrets.contains_key(&one.id);
    let translation = extras
        .translator
        .map(|id| Translation::new(&catalogue, id, has_secret).unwrap());
    let worker = worker
        .translating(translation.map(Arc::new))
        .hooked_at(extras.webhooks)
        .with_metrics(metrics.clone());
    let (account, key) = customer(&store, &clock, &entropy).await;
    Bench {
        traffic,
        store,
        worker: Arc::new(worker),
        net,
        metrics,
        catalogue,
        clock,
        entropy,
        account,
        key,
        folder,
    }
}

/// An account with credits, and its key.
async fn customer(store: &Store, clock: &Clock, entropy: &Entropy) -> (AccountId, ApiKey) {
    let account = NewAccount {
        id: AccountId::mint(&entropy.bytes()),
        name: "default".to_owned(),
        credits: Credits(100_000_000),
        secret: Secret::mint(&entropy.bytes()),
        key: None,
    };
    let (account, _) = store.any_account(account, clock.now_ms()).await.unwrap();
    let key = ApiKey::mint(&entropy.bytes(), &entropy.bytes());
    let created = store.create_key(&account, &key, Grant::account("test"), clock.now_ms());
    created.await.unwrap();
    (account, key)
}

impl Bench {
    async fn submit(&self, model: &str, body: Value, scenario: &str) -> TaskId {
        let scenario = Scenario::parse(scenario).unwrap();
        let routes = vec![Route::sandbox(model)];
        self.submit_over(model, body, Some(scenario), routes).await
    }

    /// Submits over the routes of the catalogue.
    async fn submit_upstream(&self, model: &str, body: Value) -> TaskId {
        let found = self.catalogue.model(model).unwrap();
        let order = found.submission(&body, None).unwrap().order;
        let has_credential = |one: &Provider| self.traffic.credential(&one.id, "").is_some();
        let routes = self.catalogue.routes(found, &order, has_credential);
        let routes = routes.unwrap();
        self.submit_over(model, body, None, routes).await
    }

    async fn submit_over(
        &self,
        model: &str,
        body: Value,
        scenario: Option<Scenario>,
        routes: Vec<Route>,
    ) -> TaskId {
        let model = self.catalogue.model(model).unwrap();
        let submission = model.submission(&body, scenario).unwrap();
        let now_ms = self.clock.now_ms();
        let order = submission.order;
        let task = Task {
            id: TaskId::mint(now_ms, &self.entropy.bytes()),
            account: self.account.clone(),
            key: self.key.id().clone(),
            hold: model.price.hold(&order),
            price: model.price.frozen(&order),
            order,
            routes,
            callback_url: submission.callback_url,
            metadata: submission.metadata,
            phase: Phase::Queued { route: 0 },
            attempts: 0,
            misses: 0,
            is_metered: false,
            progress: None,
            is_cancel_asked: false,
            created_ms: now_ms,
            updated_ms: now_ms,
            started_ms: None,
            finished_ms: None,
            deadline_ms: now_ms + model.deadline_ms,
            due_ms: now_ms,
            version: 0,
        };
        let admission = self.store.submit(&task, None).await.unwrap();
        assert_eq!(admission, Admission::Accepted(vec![]));
        task.id
    }

    async fn ended(&self, id: &TaskId) -> Task {
        for _ in 0..4_800 {
            let task = self
                .store
                .task(&self.account, id)
                .await
                .unwrap()
                .unwrap()
                .task;
            if task.status().is_terminal() {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{id} did not end");
    }

    /// Runs `work` beside a running worker.
    async fn with_worker<T>(&self, work: impl Future<Output = T>) -> T {
        let stop = CancellationToken::new();
        let worker = Arc::clone(&self.worker).run(stop.clone());
        let work = async {
            let done = work.await;
            stop.cancel();
            done
        };
        tokio::join!(worker, work).1
    }

    async fn assert_ledger_adds_up(&self) {
        let check = self.store.any_ledger_check().await.unwrap();
        assert_eq!(check.problems, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_modality_ends_with_its_files() {
    let bench = bench("files").await;
    let tasks = bench
        .with_worker(async {
            let image = json!({"prompt": "a red fox", "image_params": {"aspect_ratio": "16:9"}});
            let chat = json!({"prompt": "why is the sky blue?"});
            let ids = [
                bench.submit("image_generate.imagen_4", image, "").await,
                bench.submit("solve_problem.kie_reasoning", chat, "").await,
            ];
            let [image, chat] = &ids;
            (bench.ended(image).await, bench.ended(chat).await)
        })
        .await;
    let (image, chat) = tasks;
    let Phase::Done { files, charge, .. } = &image.phase else {
        panic!("{:?}", image.phase);
    };
    assert_eq!(*charge, image.hold);
    assert_eq!(files[0].content_type, "image/png");
    let (width, height) = (files[0].width.unwrap(), files[0].height.unwrap());
    assert!(width.abs_diff(height * 16 / 9) <= 1, "{width}x{height}");
    let stored = std::fs::read(bench.folder.join("media").join(&files[0].path)).unwrap();
    assert_eq!(stored.len() as u64, files[0].bytes);
    let Phase::Done {
        files,
        answer,
        charge,
        absorbed: Credits::ZERO,
    } = &chat.phase
    else {
        panic!("{:?}", chat.phase);
    };
    let text = std::fs::read_to_string(bench.folder.join("media").join(&files[0].path)).unwrap();
    assert_eq!(text, answer.as_ref().unwrap().text);
    assert!(*charge > Credits::ZERO && *charge < chat.hold);
    bench.assert_ledger_adds_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scripted_failure_ends_as_it_should_and_costs_nothing() {
    let bench = bench("failures").await;
    let before = bench.store.balance(&bench.account).await.unwrap();
    let cases = [
        ("outcome=fail, delay=50ms", ErrorKind::ProviderError),
        ("outcome=moderated, delay=50ms", ErrorKind::Moderated),
        ("outcome=garbage", ErrorKind::OutcomeUnknown),
        ("outcome=timeout", ErrorKind::OutcomeUnknown),
        ("outcome=rate_limited", ErrorKind::ProviderUnavailable),
    ];
    bench
        .with_worker(async {
            let mut ids = Vec::new();
            for (scenario, _) in cases {
                let body = json!({"prompt": "x"});
                ids.push(
                    bench
                        .submit("image_generate.imagen_4", body, scenario)
                        .await,
                );
            }
            for (id, (scenario, kind)) in ids.iter().zip(cases) {
                let task = bench.ended(id).await;
                let Phase::Failed { error } = &task.phase else {
                    panic!("{scenario}: {:?}", task.phase);
                };
                assert_eq!(error.kind, kind, "{scenario}");
            }
        })
        .await;
    assert_eq!(bench.store.balance(&bench.account).await.unwrap(), before);
    bench.assert_ledger_adds_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_task_is_cancelled_and_costs_nothing() {
    let bench = bench("cancel").await;
    bench
        .with_worker(async {
            let body = json!({"prompt": "x"});
            let id = bench
                .submit("image_generate.imagen_4", body, "delay=600s")
                .await;
            loop {
                let task = bench
                    .store
                    .task(&bench.account, &id)
                    .await
                    .unwrap()
                    .unwrap()
                    .task;
                if task.status() == Status::Generating {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            bench
                .store
                .cancel(&bench.account, &id, bench.clock.now_ms())
                .await
                .unwrap();
            let task = bench.ended(&id).await;
            assert!(
                matches!(&task.phase, Phase::Failed { error } if error.kind == ErrorKind::Cancelled)
            );
        })
        .await;
    bench.assert_ledger_adds_up().await;
}
