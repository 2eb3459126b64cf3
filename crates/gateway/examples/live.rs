//! One cheap real call for each modality of a provider, recorded as fixtures of its dialects.
//!
//! `cargo xtask live kie` says what would be run and what it costs; `--spend 0.50` runs it, if it costs
//! no more. The secret comes from the variable that the provider's file names, and is never recorded:
//! requests are recorded before it is put in. What a provider answers may still name an account, and
//! its links may be good for a while: read the files before you commit them.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program for a person at a terminal, not a part of the gateway"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use dialects::{Context, Dialect};
use domain::catalogue::{Catalogue, Listing, Model};
use domain::credits::Credits;
use domain::ids::{AccountId, TaskId};
use domain::key::{ApiKey, Grant};
use domain::order::{Modality, Order};
use domain::signing::Secret;
use domain::task::{Phase, Task};
use domain::upstream::{Call, Cursor, Fault, Next, Reply};
use gateway::app::{credentials, load_catalogue};
use gateway::clock::Clock;
use gateway::config::Config;
use gateway::entropy::Entropy;
use gateway::media::{Media, MediaSettings};
use gateway::net::{Net, NetSettings};
use gateway::store::accounts::NewAccount;
use gateway::store::submit::Admission;
use gateway::store::{Access, Store};
use gateway::traffic::Traffic;
use gateway::worker::{Worker, WorkerParts, WorkerSettings};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Where fixtures are.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dialects/fixtures");

/// Longest text of a reply that is recorded whole; a longer one is a file.
const TEXT_BYTES_MAX: usize = 2_000;

/// What is asked for.
const PICTURE: &str = "A red fox in fresh snow, morning light";
const QUESTION: &str = "Say hello in one word.";

/// What the conversation under way has said so far: the folder's name, then file by file.
static RECORD: Mutex<Vec<(String, Value)>> = Mutex::new(Vec::new());

fn record(name: String, value: Value) {
    let mut record = RECORD.lock().unwrap_or_else(PoisonError::into_inner);
    record.push((name, value));
}

/// A dialect whose conversation is recorded.
struct Recorded(&'static dyn Dialect);

fn recorded(name: &str) -> Option<&'static dyn Dialect> {
    let dialect = dialects::dialect(name)?;
    let recorded: &'static Recorded = Box::leak(Box::new(Recorded(dialect)));
    Some(recorded)
}

/// As the fixtures have it: nothing in it belongs to this attempt alone.
fn neutral(value: Value, cx: &Context<'_>) -> Value {
    match value {
        Value::String(text) if text.len() > TEXT_BYTES_MAX => Value::from("iVBORw0KGgo="),
        Value::String(text) => Value::from(
            text.replace(cx.base_url, "https://provider.test")
                .replace(cx.token, "token-1"),
        ),
        Value::Array(items) => items.into_iter().map(|item| neutral(item, cx)).collect(),
        Value::Object(pairs) => {
            let pairs = pairs.into_iter();
            pairs
                .map(|(name, value)| (name, neutral(value, cx)))
                .collect()
        }
        other => other,
    }
}

fn request(n: usize, call: &Call, cx: &Context<'_>) {
    let said = json!({ "kind": call.kind, "request": call.request });
    record(format!("{n}.request.json"), neutral(said, cx));
}

impl Dialect for Recorded {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let call = self.0.start(order, cx)?;
        let asked = json!({
            "model": cx.model, "modality": order.modality, "prompt": order.prompt, "fields": cx.fields,
        });
        record("order.json".to_owned(), neutral(asked, cx));
        request(1, &call, cx);
        Ok(call)
    }

    fn resume(
        &self,
        order: &Order,
        cx: &Context<'_>,
        at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault> {
        let n = {
            let record = RECORD.lock().unwrap_or_else(PoisonError::into_inner);
            record
                .iter()
                .filter(|(name, _)| name.ends_with("reply.json"))
                .count()
                + 1
        };
        let text = || Value::from(String::from_utf8_lossy(&reply.body).into_owned());
        let body = serde_json::from_slice(&reply.body).unwrap_or_else(|_| text());
        let said = json!({ "status": reply.status, "body": body });
        record(format!("{n}.reply.json"), neutral(said, cx));
        let next = self.0.resume(order, cx, at, reply);
        match &next {
            Ok(Next::Call(call)) => request(n + 1, call, cx),
            Ok(Next::Wait(wait)) => request(n + 1, &wait.then, cx),
            Ok(Next::Done(_)) | Err(_) => {}
        }
        next
    }
}

/// The cheapest model of a modality that a provider runs with nothing but a prompt.
struct Plan<'a> {
    model: &'a Model,
    listing: &'a Listing,
    order: Order,
    cost: Credits,
}

fn plan<'a>(catalogue: &'a Catalogue, provider: &str, modality: Modality) -> Option<Plan<'a>> {
    let prompt = if modality == Modality::Chat {
        QUESTION
    } else {
        PICTURE
    };
    let mut plans = Vec::new();
    for model in catalogue
        .models()
        .filter(|model| model.modality == modality && !model.disabled)
    {
        let body = json!({ "prompt": prompt });
        let Ok(submission) = model.submission(&body, None) else {
            continue;
        };
        let order = submission.order;
        let mut listings = model.listings.iter();
        let takes = |one: &&Listing| one.route.provider == provider && one.takes(&order).is_ok();
        if let Some(listing) = listings.find(takes) {
            let price = listing.price.as_ref().unwrap_or(&model.price);
            let cost = price.hold(&order);
            plans.push(Plan {
                model,
                listing,
                order,
                cost,
            });
        }
    }
    plans.into_iter().min_by_key(|plan| plan.cost)
}

/// A gateway of its own, gone with the program.
struct Bench {
    store: Store,
    worker: Arc<Worker>,
    clock: Clock,
    entropy: Entropy,
    account: AccountId,
    key: ApiKey,
}

async fn bench(
    config: &Config,
    catalogue: &Arc<Catalogue>,
    folder: &Path,
) -> anyhow::Result<Bench> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let url = format!("sqlite://{}/live.db", folder.display());
    let store = Store::open(&url, Access::Server, clock.now_ms()).await?;
    let pools = catalogue.providers().filter(|one| one.secret_env.is_some());
    let pools = pools.map(|one| (one.id.clone(), credentials(config, one)));
    let media = MediaSettings {
        url: format!("file://{}/media", folder.display()),
        options: Vec::new(),
        retention_ms: 86_400_000,
        bytes_max: 1 << 30,
    };
    let egress = NetSettings {
        allow: config.egress.allow.clone(),
        ..NetSettings::default()
    };
    let worker = Worker::new(WorkerParts {
        store: store.clone(),
        catalogue: Arc::clone(catalogue),
        net: Net::new(egress, None).context("TLS cannot be set up")?,
        media: Media::open(media, "live")?,
        clock: clock.clone(),
        entropy: entropy.clone(),
        secret: "live".to_owned(),
        traffic: Traffic::new(catalogue, &pools.collect()),
        settings: WorkerSettings {
            concurrency: 1,
            // No order here has files.
            public_url: "http://127.0.0.1:8080".to_owned(),
        },
    });
    let account = NewAccount {
        id: AccountId::mint(&entropy.bytes()),
        name: "live".to_owned(),
        credits: Credits(1_000_000_000),
        secret: Secret::mint(&entropy.bytes()),
        key: None,
    };
    let (account, _) = store.any_account(account, clock.now_ms()).await?;
    let key = ApiKey::mint(&entropy.bytes(), &entropy.bytes());
    let grant = Grant::account("live");
    store
        .create_key(&account, &key, grant, clock.now_ms())
        .await?;
    Ok(Bench {
        worker: Arc::new(worker.speaking(recorded)),
        store,
        clock,
        entropy,
        account,
        key,
    })
}

async fn run(bench: &Bench, plan: &Plan<'_>) -> anyhow::Result<Task> {
    let now_ms = bench.clock.now_ms();
    let id = TaskId::mint(now_ms, &bench.entropy.bytes());
    let task = Task {
        id: id.clone(),
        account: bench.account.clone(),
        key: bench.key.id().clone(),
        order: plan.order.clone(),
        price: plan.model.price.frozen(&plan.order),
        hold: plan.model.price.hold(&plan.order),
        is_metered: false,
        routes: vec![plan.listing.route.clone()],
        callback_url: None,
        metadata: BTreeMap::new(),
        phase: Phase::Queued { route: 0 },
        attempts: 0,
        misses: 0,
        progress: None,
        is_cancel_asked: false,
        created_ms: now_ms,
        updated_ms: now_ms,
        started_ms: None,
        finished_ms: None,
        deadline_ms: now_ms.saturating_add(plan.model.deadline_ms),
        due_ms: now_ms,
        version: 1,
    };
    let admission = bench.store.submit(&task, None).await?;
    ensure!(matches!(admission, Admission::Accepted(_)), "{admission:?}");
    let stop = CancellationToken::new();
    let worker = Arc::clone(&bench.worker).run(stop.clone());
    let watch = async {
        loop {
            let read = bench.store.task(&bench.account, &id).await?;
            let task = read.context("the task is gone")?.task;
            if task.status().is_terminal() {
                stop.cancel();
                return Ok::<Task, anyhow::Error>(task);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::join!(worker, watch).1
}

/// Writes what was recorded as a case of the dialect.
fn keep(plan: &Plan<'_>) -> anyhow::Result<PathBuf> {
    let name = plan.model.id.replace('.', "_");
    let folder = Path::new(FIXTURES)
        .join(&plan.listing.route.dialect)
        .join(format!("live_{name}"));
    std::fs::create_dir_all(&folder)?;
    let files = std::mem::take(&mut *RECORD.lock().unwrap_or_else(PoisonError::into_inner));
    for (name, value) in files {
        let text = serde_json::to_string_pretty(&value)? + "\n";
        std::fs::write(folder.join(name), text)?;
    }
    Ok(folder)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (provider, spend) = match arguments.as_slice() {
        [provider] => (provider, None),
        [provider, word, most] if word == "--spend" => (provider, Some(most)),
        _ => bail!("usage: live PROVIDER [--spend CREDITS]"),
    };
    let config = Config::load(None, std::env::vars())?;
    let catalogue = load_catalogue(&config);
    let catalogue = catalogue.map_err(|problems| anyhow::anyhow!(problems.join("\n")))?;
    let known = catalogue.provider(provider);
    let known = known.with_context(|| format!("no provider is called {provider}"))?;
    let plans = Modality::ALL.into_iter();
    let plans: Vec<Plan<'_>> = plans
        .filter_map(|modality| plan(&catalogue, provider, modality))
        .collect();
    let mut sum = Credits::ZERO;
    for plan in &plans {
        println!(
            "{} as {}: up to {} USD",
            plan.model.id, plan.listing.route.model, plan.cost
        );
        sum = sum.plus(plan.cost).context("too much")?;
    }
    let Some(most) = spend else {
        println!("in all up to {sum} USD; `--spend {sum}` runs it");
        return Ok(());
    };
    let most: Credits = serde_json::from_str(most).context("--spend wants a number")?;
    ensure!(sum <= most, "it may cost {sum}, more than {most}");
    let has_secret = !known.wants_secret() || !credentials(&config, known).is_empty();
    let variable = known.secret_env.as_deref().unwrap_or_default();
    ensure!(has_secret, "{variable} is not set");
    let folder = std::env::temp_dir().join(format!("routerbase-live-{}", std::process::id()));
    let shared = Arc::new(catalogue.clone());
    let bench = bench(&config, &shared, &folder).await?;
    for plan in &plans {
        let task = run(&bench, plan).await?;
        let kept = keep(plan)?;
        match &task.phase {
            Phase::Failed { error } => println!("{}: {}", plan.model.id, error.message),
            _ => println!("{}: done", plan.model.id),
        }
        println!("  recorded in {}", kept.display());
    }
    std::fs::remove_dir_all(&folder)?;
    println!(
        "now `UPDATE=1 cargo test -p dialects` writes the outcomes; read everything before you commit it"
    );
    Ok(())
}
