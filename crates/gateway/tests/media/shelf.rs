//! The store's side of result files: tasks that own them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use domain::catalogue::{Catalogue, OnLostReply, Recovery, Route, SourceFile};
use domain::credits::Credits;
use domain::ids::{AccountId, AttemptId, TaskId};
use domain::key::{ApiKey, Grant};
use domain::signing::Secret;
use domain::task::{Attempt, Outcome, Phase, Rules, StoredFile, Task, advance};
use domain::upstream::Output;
use gateway::clock::Clock;
use gateway::entropy::Entropy;
use gateway::store::accounts::NewAccount;
use gateway::store::work::{Claim, Committed, Lease};
use gateway::store::{Access, Store};
use serde_json::json;

use crate::place::Scratch;

pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

pub(crate) struct Shelf {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) hand: Arc<AtomicI64>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) account: AccountId,
    key: ApiKey,
    count: AtomicU8,
    _scratch: Scratch,
}

impl Shelf {
    pub(crate) async fn new() -> Self {
        let (clock, hand) = Clock::manual(NOW_MS);
        let scratch = Scratch::new();
        let url = format!("sqlite://{}/tasks.db", scratch.path().display());
        let store = Store::open(&url, Access::Server, NOW_MS).await.unwrap();
        let entropy = Entropy::system();
        let account = NewAccount {
            id: AccountId::mint(&entropy.bytes()),
            name: "default".to_owned(),
            credits: Credits(100_000_000),
            secret: Secret::mint(&entropy.bytes()),
            key: None,
        };
        let (account, _) = store.any_account(account, NOW_MS).await.unwrap();
        let key = ApiKey::mint(&entropy.bytes(), &entropy.bytes());
        let grant = Grant::account("test");
        store
            .create_key(&account, &key, grant, NOW_MS)
            .await
            .unwrap();
        Self {
            store,
            clock,
            hand,
            catalogue: Arc::new(catalogue()),
            account,
            key,
            count: AtomicU8::new(1),
            _scratch: scratch,
        }
    }

    /// Submits a task that is due now.
    pub(crate) async fn submit(&self) -> TaskId {
        let now_ms = self.clock.now_ms();
        let model = self.catalogue.model("image_generate.imagen_4").unwrap();
        let order = model
            .submission(&json!({"prompt": "x"}), None)
            .unwrap()
            .order;
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let task = Task {
            id: TaskId::mint(now_ms, &[number; 10]),
            account: self.account.clone(),
            key: self.key.id().clone(),
            hold: model.price.hold(&order),
            price: model.price.frozen(&order),
            order,
            routes: vec![Route::sandbox(&model.id)],
            callback_url: None,
            metadata: std::collections::BTreeMap::new(),
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
        self.store.submit(&task, None).await.unwrap();
        task.id
    }

    /// Ends a task with these files.
    pub(crate) async fn put(&self, files: Vec<StoredFile>) {
        self.end(Output::default(), Outcome::Stored(files)).await;
    }

    /// Ends a task whose output cannot be stored.
    pub(crate) async fn lose(&self, output: Output) -> TaskId {
        self.end(output, Outcome::Lost).await
    }

    async fn end(&self, output: Output, outcome: Outcome) -> TaskId {
        let id = self.submit().await;
        let now_ms = self.clock.now_ms();
        let claims = self.store.claim("test", 1, now_ms).await.unwrap();
        let [claim] = claims.as_slice() else {
            panic!("{} tasks are due", claims.len());
        };
        let mut task = claim.task.clone();
        task.phase = Phase::Storing {
            attempt: Attempt {
                id: AttemptId::mint(&Entropy::system().bytes()),
                route: 0,
                token: "token".to_owned(),
                began_ms: now_ms,
                send_by_ms: now_ms,
                sends: 1,
                lookups: 0,
                is_dirty: false,
                prompt: None,
                credential: String::new(),
            },
            output,
            since_ms: now_ms,
        };
        let rules = Rules {
            recovery: Recovery::None,
            on_lost_reply: OnLostReply::FailAndRelease,
            resubmit_below: Credits::ZERO,
            quiet_ms: 0,
            jitter: 0,
        };
        let claim = Claim {
            task,
            ..claim.clone()
        };
        let change = advance(&claim.task, outcome, now_ms, &rules).unwrap();
        let committed = self.store.commit(&claim, change, Lease::Release, now_ms);
        assert_eq!(committed.await.unwrap(), Committed::Yes);
        id
    }
}

fn catalogue() -> Catalogue {
    let paths = [
        "models/image_generate.imagen_4.toml",
        "providers/gemini.toml",
        "providers/kie.toml",
    ];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../catalogue");
    let files = paths.map(|path| SourceFile {
        path: path.to_owned(),
        text: std::fs::read_to_string(folder.join(path)).unwrap(),
    });
    let dialects: Vec<&str> = dialects::DIALECTS.iter().map(|(name, _)| *name).collect();
    Catalogue::load(&files, &dialects).unwrap()
}
