//! Clients: they submit, repeat themselves, cancel, and poll to the end.

use domain::catalogue::Route;
use domain::credits::Credits;
use domain::ids::{AccountId, KeyId, TaskId};
use domain::key::{ApiKey, Grant};
use domain::signing::Secret;
use domain::task::{Phase, Task};
use futures_util::future::join_all;
use gateway::store::StoreError;
use gateway::store::accounts::NewAccount;
use gateway::store::submit::{Admission, Idempotency};
use serde_json::json;
use tokio::time::sleep;

use crate::dialect::{PLAIN, WITH_UPLOAD};
use crate::laws::Laws;
use crate::plan::{ANSWERS, PICTURES};
use crate::upstream::ms;
use crate::world::World;

/// What the accounts have; the last one is soon out of it.
const CREDITS: [i64; 3] = [10_000_000, 5_000_000, 100_000];

/// All clients of a run.
pub(crate) struct Clients<'a> {
    world: &'a World,
    laws: Laws,
    accounts: Vec<(AccountId, KeyId)>,
}

impl<'a> Clients<'a> {
    pub(crate) async fn new(world: &'a World, laws: Laws) -> Self {
        let mut accounts = Vec::new();
        for (n, credits) in CREDITS.into_iter().enumerate() {
            let account = NewAccount {
                id: AccountId::mint(&world.entropy.bytes()),
                name: format!("account {n}"),
                credits: Credits(credits),
                secret: Secret::mint(&world.entropy.bytes()),
                key: None,
            };
            let now_ms = world.clock.now_ms();
            let account = patiently(|| world.store.any_account(account.clone(), now_ms)).await;
            let key = ApiKey::mint(&world.entropy.bytes(), &world.entropy.bytes());
            let made = || {
                let grant = Grant::account("sim");
                world.store.create_key(&account.0, &key, grant, now_ms)
            };
            patiently(made).await;
            accounts.push((account.0, key.id().clone()));
        }
        Self {
            world,
            laws,
            accounts,
        }
    }

    /// Every task from submit to end; those that were admitted.
    pub(crate) async fn busy(&self) -> Vec<Task> {
        let ended = join_all((0..self.world.plan.tasks).map(|n| self.one(n))).await;
        ended.into_iter().flatten().collect()
    }

    async fn one(&self, n: u32) -> Option<Task> {
        let (plan, dice) = (&self.world.plan, &self.world.dice);
        sleep(ms(dice.between(0, plan.busy_ms))).await;
        let task = self.admitted(n).await?;
        let cancel = async {
            if dice.chance(plan.cancels) {
                sleep(ms(dice.weighted(&[
                    (1, dice.between(0, 50)),
                    (3, dice.between(0, 60_000)),
                ])))
                .await;
                self.world.trace.say(&format!("t{n} is to be cancelled"));
                let now_ms = self.world.clock.now_ms();
                let wish = || self.world.store.cancel(&task.account, &task.id, now_ms);
                patiently(wish).await;
                self.world.upstream.count("cancel");
            }
        };
        Some(tokio::join!(self.laws.follow(task.clone()), cancel).0)
    }

    /// Submits, sometimes twice at once or again after an error, and looks at what is recorded.
    async fn admitted(&self, n: u32) -> Option<Task> {
        let trace = &self.world.trace;
        let task = self.task(n);
        let wish = Idempotency {
            key: format!("key {n}"),
            fingerprint: task.order.prompt.clone(),
            reply: task.id.to_string(),
        };
        let submit = |task: Task, wish: Idempotency| async move {
            let admit = || self.world.store.submit(&task, Some(wish.clone()));
            patiently(admit).await
        };
        let twin = Task {
            id: TaskId::mint(task.created_ms, &self.world.entropy.bytes()),
            ..task.clone()
        };
        let twin_wish = Idempotency {
            reply: twin.id.to_string(),
            ..wish.clone()
        };
        let is_twice = self.world.dice.chance(30);
        let second = async {
            match is_twice {
                true => Some(submit(twin.clone(), twin_wish).await),
                false => None,
            }
        };
        let (first, second) = tokio::join!(submit(task.clone(), wish), second);
        trace.say(&format!("t{n} is submitted: {first:?} {second:?}"));
        let id = |task: &Task| Admission::Replayed(task.id.to_string());
        match (first, second) {
            (Admission::Accepted(_), None) => Some(task),
            (Admission::Accepted(_), Some(again)) if again == id(&task) => Some(task),
            (again, Some(Admission::Accepted(_))) if again == id(&twin) => Some(twin),
            // What is refused is not remembered; credits may have come free in between.
            (Admission::Accepted(_), Some(Admission::Insufficient)) => Some(task),
            (Admission::Insufficient, Some(Admission::Accepted(_))) => Some(twin),
            (Admission::Insufficient, None | Some(Admission::Insufficient)) => {
                self.world.upstream.count("insufficient");
                None
            }
            other => {
                trace.wrong(&format!("t{n} is admitted as {other:?}"));
                None
            }
        }
    }

    fn task(&self, n: u32) -> Task {
        let (world, dice) = (self.world, &self.world.dice);
        let (account, key) = &self.accounts[dice.weighted(&[(4, 0), (3, 1), (1, 2)])];
        let model = world
            .catalogue
            .model(dice.weighted(&[(3, PICTURES), (1, ANSWERS)]))
            .unwrap();
        let mut body = json!({ "prompt": format!("t{n}") });
        if dice.chance(60) {
            body["callback_url"] = json!("https://client.example/hook");
        }
        let submission = model.submission(&body, None).unwrap();
        let now_ms = world.clock.now_ms();
        let deadline_ms = match dice.chance(world.plan.short_deadlines) {
            true => dice.between(500, 60_000),
            false => dice.between(120_000, 600_000),
        };
        Task {
            id: TaskId::mint(now_ms, &world.entropy.bytes()),
            account: account.clone(),
            key: key.clone(),
            hold: model.price.hold(&submission.order),
            price: model.price.frozen(&submission.order),
            order: submission.order,
            routes: self.routes(),
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
            deadline_ms: now_ms + i64::try_from(deadline_ms).unwrap(),
            due_ms: now_ms,
            version: 0,
        }
    }

    /// Some of the providers, in any order.
    fn routes(&self) -> Vec<Route> {
        let (dice, providers) = (&self.world.dice, &self.world.plan.providers);
        let count = dice.between(1, providers.len() as u64) as usize;
        let first = dice.below(u32::try_from(providers.len()).unwrap()) as usize;
        let route = |n: usize| Route {
            provider: providers[(first + n) % providers.len()].id.clone(),
            dialect: "sim".to_owned(),
            model: dice.pick(&[PLAIN, WITH_UPLOAD]).to_owned(),
            weight: 1,
            rank: u32::try_from(n).unwrap(),
        };
        (0..count).map(route).collect()
    }
}

/// Again while the store is away, as a client would.
async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(act: impl Fn() -> F) -> T {
    loop {
        match act().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(_) | StoreError::Overloaded) => sleep(ms(700)).await,
            Err(error) => panic!("{error}"),
        }
    }
}
