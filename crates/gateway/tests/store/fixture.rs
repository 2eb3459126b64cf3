//! Accounts, tasks and steps to test with.

use std::sync::atomic::{AtomicU64, Ordering};

use domain::catalogue::{OnLostReply, Recovery, Route};
use domain::credits::Credits;
use domain::ids::{AccountId, AttemptId, KeyId, TaskId};
use domain::key::{ApiKey, Grant};
use domain::order::{Modality, Order};
use domain::price::Price;
use domain::signing::Secret;
use domain::task::{Attempt, Outcome, Phase, Rules, StoredFile, Task, advance};
use domain::upstream::{Call, Cursor, Fault, FaultClass, Kind, Output, Request, Wait};
use gateway::entropy::Entropy;
use gateway::store::accounts::NewAccount;
use gateway::store::audit::{Act, Actor};
use gateway::store::key_changes::{KeyOrder, Right};
use gateway::store::submit::Admission;
use gateway::store::work::{Claim, Committed, Lease};
use gateway::store::{Store, StoreError};
use tokio_postgres::NoTls;

use crate::support::{NOW_MS, TestStore};

/// How long a task may take.
const DEADLINE_MS: i64 = 3_600_000;

/// An account with a key.
#[derive(Clone)]
pub struct Tenant {
    pub account: AccountId,
    pub key: KeyId,
    pub api_key: ApiKey,
}

pub fn random<const N: usize>() -> [u8; N] {
    Entropy::system().bytes()
}

pub fn new_account(credits: i64) -> NewAccount {
    NewAccount {
        id: AccountId::mint(&random()),
        name: format!("account {}", hex::encode(random::<8>())),
        credits: Credits(credits),
        secret: Secret::mint(&random()),
        key: None,
    }
}

/// Something a command does.
pub fn act() -> Act {
    Act::new(Actor::Cli, NOW_MS, &random())
}

/// Whoever has a tenant's key.
pub fn actor_of(tenant: &Tenant) -> Actor {
    Actor::Key {
        key: tenant.key.clone(),
        account: tenant.account.clone(),
        ip: Some("203.0.113.9".to_owned()),
        request_id: "req_1".to_owned(),
    }
}

/// Something that whoever does.
pub fn act_of(tenant: &Tenant) -> Act {
    Act::new(actor_of(tenant), NOW_MS, &random())
}

/// The keys of an account, changed by a command.
pub fn cli(account: &AccountId) -> KeyOrder {
    KeyOrder {
        account: account.clone(),
        right: Right::Operator,
        act: act(),
    }
}

pub async fn tenant(store: &Store, credits: i64) -> Tenant {
    let (account, is_new) = store
        .any_account(new_account(credits), NOW_MS)
        .await
        .unwrap();
    assert!(is_new);
    let api_key = ApiKey::mint(&random(), &random());
    let grant = Grant::account("test");
    store
        .create_key(&account, &api_key, grant, NOW_MS)
        .await
        .unwrap();
    Tenant {
        account,
        key: api_key.id().clone(),
        api_key,
    }
}

impl Tenant {
    /// A new task of this tenant, not submitted yet.
    pub fn task(&self, hold: i64) -> Task {
        // Ids in the order they are made, as a clock would make them.
        static MADE: AtomicU64 = AtomicU64::new(0);
        let made = i64::try_from(MADE.fetch_add(1, Ordering::Relaxed)).unwrap();
        let route = |provider: &str| Route {
            provider: provider.to_owned(),
            ..Route::sandbox("m")
        };
        Task {
            id: TaskId::mint(NOW_MS + made, &random()),
            account: self.account.clone(),
            key: self.key.clone(),
            order: Order {
                model: "test-model".to_owned(),
                modality: Modality::Image,
                prompt: "a \"quoted\" prompt, with ünicode and \u{0} in it".to_owned(),
                messages: None,
                params: serde_json::Map::new(),
                scenario: None,
            },
            price: Price::per_run(Credits(hold)),
            hold: Credits(hold),
            routes: vec![route("one"), route("two")],
            callback_url: None,
            metadata: std::collections::BTreeMap::new(),
            phase: Phase::Queued { route: 0 },
            attempts: 0,
            misses: 0,
            is_metered: false,
            progress: None,
            is_cancel_asked: false,
            created_ms: NOW_MS,
            updated_ms: NOW_MS,
            started_ms: None,
            finished_ms: None,
            deadline_ms: NOW_MS + DEADLINE_MS,
            due_ms: NOW_MS,
            version: 1,
        }
    }

    /// A task that is recorded.
    pub async fn submitted(&self, store: &Store, hold: i64) -> Task {
        let task = self.task(hold);
        assert_eq!(
            store.submit(&task, None).await,
            Ok(Admission::Accepted(vec![]))
        );
        task
    }

    /// A task that is recorded and claimed, with a callback.
    pub async fn claimed(&self, store: &Store, hold: i64) -> Claim {
        let mut task = self.task(hold);
        task.callback_url = Some("https://example.com/hook".to_owned());
        assert_eq!(
            store.submit(&task, None).await,
            Ok(Admission::Accepted(vec![]))
        );
        claim(store, "worker", &task.id).await
    }
}

/// Claims until the task is among what was claimed.
pub async fn claim(store: &Store, owner: &str, id: &TaskId) -> Claim {
    loop {
        let claims = store.claim(owner, 100, NOW_MS).await.unwrap();
        assert!(!claims.is_empty(), "{id} cannot be claimed");
        if let Some(claim) = claims.into_iter().find(|claim| claim.task.id == *id) {
            return claim;
        }
    }
}

/// Rules of a provider that can be asked for our reference.
pub fn rules() -> Rules {
    Rules {
        recovery: Recovery::Lookup,
        on_lost_reply: OnLostReply::FailAndRelease,
        resubmit_below: Credits::ZERO,
        quiet_ms: 1_000,
        jitter: 0,
    }
}

/// Commits what an outcome makes of a claimed task; on success the claim goes on from there.
pub async fn step(
    store: &Store,
    claim: &mut Claim,
    outcome: Outcome,
    lease: Lease,
) -> Result<Committed, StoreError> {
    let change = advance(&claim.task, outcome, NOW_MS, &rules()).unwrap();
    let next = change.task.clone();
    let committed = store.commit(claim, change, lease, NOW_MS).await?;
    if committed == Committed::Yes {
        let version = claim.task.version + 1;
        claim.task = next;
        claim.task.version = version;
    }
    Ok(committed)
}

/// Takes a claimed task through the given outcomes, each of which must be committed.
pub async fn steps(store: &Store, claim: &mut Claim, outcomes: impl IntoIterator<Item = Outcome>) {
    for outcome in outcomes {
        let done = step(store, claim, outcome, Lease::Keep).await;
        assert_eq!(done, Ok(Committed::Yes));
    }
}

pub fn intended(route: usize) -> Outcome {
    Outcome::Intended(Attempt {
        id: AttemptId::mint(&random()),
        route,
        token: hex::encode(random::<10>()),
        began_ms: NOW_MS,
        send_by_ms: NOW_MS + 10_000,
        sends: 1,
        lookups: 0,
        is_dirty: false,
        prompt: None,
        credential: String::new(),
    })
}

pub fn accepted(upstream_id: &str) -> Outcome {
    Outcome::Waiting(Wait {
        ms: 3_000,
        then: Call {
            request: Request::get("https://example.com/status"),
            at: Cursor::default(),
            kind: Kind::Reads,
        },
        upstream_id: Some(upstream_id.to_owned()),
        progress: Some(0.5),
    })
}

pub fn finished() -> Outcome {
    Outcome::Finished(Output::default())
}

pub fn stored(path: &str) -> Outcome {
    Outcome::Stored(vec![StoredFile {
        path: path.to_owned(),
        content_type: "image/png".to_owned(),
        bytes: 12,
        sha256: "ab".repeat(32),
        width: None,
        height: None,
        duration_s: None,
        expires_ms: NOW_MS + 1_000,
    }])
}

pub fn failed() -> Outcome {
    Outcome::Failed(Fault::new(FaultClass::Failed, "the work failed"))
}

/// An id that no other task has upstream.
pub fn upstream_id() -> String {
    hex::encode(random::<8>())
}

/// Everything that takes a claimed task to a good end.
pub fn success() -> Vec<Outcome> {
    let path = format!("{}/1.png", hex::encode(random::<8>()));
    vec![
        intended(0),
        accepted(&upstream_id()),
        finished(),
        stored(&path),
    ]
}

/// Runs SQL beside the store, as someone with a database shell would.
pub async fn by_hand(db: &TestStore, sql: &str) {
    try_by_hand(db, sql).await.unwrap();
}

/// The same, where the database may refuse.
pub async fn try_by_hand(db: &TestStore, sql: &str) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = db.url.strip_prefix("sqlite://") {
        let file = rusqlite::Connection::open(path)?;
        file.busy_timeout(std::time::Duration::from_secs(5))?;
        return Ok(file.execute_batch(sql)?);
    }
    let (client, connection) = tokio_postgres::connect(&db.url, NoTls).await?;
    let run = async {
        let done = client.batch_execute(sql).await;
        drop(client);
        done
    };
    let (done, _) = tokio::join!(run, connection);
    Ok(done?)
}

/// The number that a statement answers on PostgreSQL, asked beside the store.
pub async fn asked(db: &TestStore, sql: &str) -> i64 {
    let (client, connection) = tokio_postgres::connect(&db.url, NoTls).await.unwrap();
    let answer = async {
        let row = client.query_one(sql, &[]).await.unwrap();
        drop(client);
        row.get(0)
    };
    tokio::join!(answer, connection).0
}
