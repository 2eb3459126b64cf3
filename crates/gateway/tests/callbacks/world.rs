//! A store with accounts and ended tasks, a clock that is moved by hand, and a running dispatcher.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::catalogue::Route;
use domain::credits::Credits;
use domain::ids::{AccountId, KeyId, NoticeId, TaskId};
use domain::key::{ApiKey, Grant};
use domain::order::{Modality, Order};
use domain::price::Price;
use domain::signing::Secret;
use domain::task::{Change, ErrorKind, Phase, StoredFile, Task, TaskError};
use gateway::callbacks::{Callbacks, Settings};
use gateway::clock::Clock;
use gateway::entropy::Entropy;
use gateway::net::{Net, NetSettings};
use gateway::store::Store;
use gateway::store::accounts::NewAccount;
use gateway::store::notices::{Delivery, Notice};
use gateway::store::submit::Admission;
use gateway::store::work::{Committed, Lease};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::TestStore;

pub const PUBLIC_URL: &str = "https://gateway.example";
const NOW_MS: i64 = 1_764_020_127_045;

pub struct World {
    pub store: Store,
    pub clock: Clock,
    hand: Arc<AtomicI64>,
    pub account: AccountId,
    key: KeyId,
    settings: Settings,
    entropy: Entropy,
    // Behind the store, so that it is closed before.
    _database: TestStore,
}

/// A dispatcher that is under way.
pub struct Running {
    stop: CancellationToken,
    set: JoinSet<()>,
}

impl Running {
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.set.join_next().await.is_some() {}
    }
}

impl World {
    pub async fn sqlite() -> Self {
        Self::new(TestStore::sqlite().await).await
    }

    pub async fn postgres() -> Self {
        Self::new(TestStore::postgres().await).await
    }

    async fn new(database: TestStore) -> Self {
        let (clock, hand) = Clock::manual(NOW_MS);
        let store = database.store.clone();
        let settings = Settings {
            timeout_ms: 3_000,
            poll_ms: 20,
            drain_ms: 3_000,
            ..Settings::default()
        };
        let entropy = Entropy::system();
        let (account, key) = account(&store, &entropy, "first").await;
        Self {
            store,
            clock,
            hand,
            account,
            key,
            settings,
            entropy,
            _database: database,
        }
    }

    /// The same world as another account sees it.
    pub async fn other_account(&mut self, name: &str) {
        (self.account, self.key) = account(&self.store, &self.entropy, name).await;
    }

    pub fn set(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
    }

    pub fn pass(&self, ms: i64) {
        self.hand.fetch_add(ms, Ordering::AcqRel);
    }

    pub fn callbacks(&self) -> Callbacks {
        let settings = NetSettings {
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            ..NetSettings::default()
        };
        Callbacks::new(
            self.store.clone(),
            Net::new(settings, None).unwrap(),
            self.clock.clone(),
            self.entropy.clone(),
            PUBLIC_URL.to_owned(),
        )
        .with_settings(self.settings)
    }

    pub fn run(&self) -> Running {
        self.run_this(self.callbacks())
    }

    pub fn run_this(&self, callbacks: Callbacks) -> Running {
        let stop = CancellationToken::new();
        let mut set = JoinSet::new();
        set.spawn(Arc::new(callbacks).run(stop.clone()));
        Running { stop, set }
    }

    /// Submits a task and ends it well.
    pub async fn end(&self, url: &str) -> NoticeId {
        self.end_all(url, 1).await.remove(0)
    }

    /// Submits a task and ends it badly.
    pub async fn end_badly(&self, url: &str) -> NoticeId {
        self.submit(url).await;
        let error = TaskError {
            kind: ErrorKind::Timeout,
            message: "It took too long.".to_owned(),
            retryable: true,
        };
        self.finish(&Phase::Failed { error }).await.remove(0)
    }

    /// Submits many tasks and ends them well.
    pub async fn end_all(&self, url: &str, count: usize) -> Vec<NoticeId> {
        self.end_each(&vec![url.to_owned(); count]).await
    }

    /// Submits a task for each URL and ends it well.
    pub async fn end_each(&self, urls: &[String]) -> Vec<NoticeId> {
        let mut ids = Vec::new();
        for urls in urls.chunks(500) {
            let submits = urls.iter().map(|url| self.submit(url));
            futures_util::future::join_all(submits).await;
            ids.extend(self.finish(&self.done()).await);
        }
        assert_eq!(ids.len(), urls.len());
        ids
    }

    fn done(&self) -> Phase {
        let file = StoredFile {
            path: "0123abcd/picture.png".to_owned(),
            content_type: "image/png".to_owned(),
            bytes: 3,
            sha256: "00".repeat(32),
            width: Some(1),
            height: Some(1),
            duration_s: None,
            expires_ms: NOW_MS + 1_000_000,
        };
        Phase::Done {
            files: vec![file],
            answer: None,
            charge: Credits(1),
            absorbed: Credits::ZERO,
        }
    }

    async fn submit(&self, url: &str) {
        let now_ms = self.clock.now_ms();
        let task = Task {
            id: TaskId::mint(now_ms, &self.entropy.bytes()),
            account: self.account.clone(),
            key: self.key.clone(),
            order: Order {
                model: "picture".to_owned(),
                modality: Modality::Image,
                prompt: "a house".to_owned(),
                messages: None,
                params: serde_json::Map::new(),
                scenario: None,
            },
            price: Price::per_run(Credits(1)),
            hold: Credits(1),
            routes: vec![Route::sandbox("picture")],
            callback_url: Some(url.to_owned()),
            metadata: BTreeMap::from([("order".to_owned(), "7".to_owned())]),
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
            deadline_ms: now_ms + 1_000_000,
            due_ms: now_ms,
            version: 1,
        };
        let admission = self.store.submit(&task, None).await.unwrap();
        assert_eq!(admission, Admission::Accepted(vec![]));
    }

    async fn finish(&self, phase: &Phase) -> Vec<NoticeId> {
        let now_ms = self.clock.now_ms();
        let mut claims = Vec::new();
        loop {
            let more = self.store.claim("test", 500, now_ms).await.unwrap();
            if more.is_empty() {
                break;
            }
            claims.extend(more);
        }
        let commits = claims.iter().map(|claim| async move {
            let mut task = claim.task.clone();
            task.phase = phase.clone();
            task.finished_ms = Some(now_ms);
            let close = task.charge();
            let change = Change {
                task,
                attempt: None,
                close,
            };
            let committed = self
                .store
                .commit(claim, change, Lease::Release, now_ms)
                .await;
            assert_eq!(committed, Ok(Committed::Yes));
            NoticeId::of(&claim.task.id)
        });
        futures_util::future::join_all(commits).await
    }

    pub async fn notice(&self, id: &NoticeId) -> (Notice, Vec<Delivery>) {
        let found = self.store.notice(&self.account, id).await.unwrap();
        found.unwrap()
    }

    pub async fn state(&self, id: &NoticeId) -> String {
        self.notice(id).await.0.state
    }

    /// Waits until so many attempts of a notice are recorded.
    pub async fn attempts(&self, id: &NoticeId, count: i64) -> (Notice, Vec<Delivery>) {
        let what = format!("{count} attempts of {id}");
        eventually(&what, async || self.notice(id).await.0.attempts >= count).await;
        self.notice(id).await
    }

    pub async fn secrets(&self) -> Vec<String> {
        let now_ms = self.clock.now_ms();
        let secrets = self.store.callback_secrets(&self.account, now_ms).await;
        secrets.unwrap().iter().map(Secret::reveal).collect()
    }
}

async fn account(store: &Store, entropy: &Entropy, name: &str) -> (AccountId, KeyId) {
    let account = NewAccount {
        id: AccountId::mint(&entropy.bytes()),
        name: name.to_owned(),
        credits: Credits(1_000_000),
        secret: Secret::mint(&entropy.bytes()),
        key: None,
    };
    let (account, is_new) = store.any_account(account, NOW_MS).await.unwrap();
    assert!(is_new);
    let key = ApiKey::mint(&entropy.bytes(), &entropy.bytes());
    let grant = Grant::account("test");
    let made = store.create_key(&account, &key, grant, NOW_MS).await;
    made.unwrap();
    (account, key.id().clone())
}

/// Waits until something holds.
pub async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..1_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
