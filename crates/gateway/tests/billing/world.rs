//! The whole gateway on a database of its own, with a Stripe beside it.

use std::net::SocketAddr;
use std::path::PathBuf;

use domain::credits::Credits;
use domain::ids::AccountId;
use domain::key::{ApiKey, Grant};
use domain::signing::Secret;
use gateway::app::App;
use gateway::config::Config;
use gateway::entropy::Entropy;
use gateway::store::accounts::NewAccount;
use gateway::store::{Access, Store};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{Call, Reply};
use crate::log;
use crate::stripe::{SECRET_KEY, Stripe, WEBHOOK_SECRET, signed};
use crate::support::TestStore;

pub const KEY: &str = "sk-t0-billing-0123456789abcdef";
pub const WEBHOOK: &str = "/api/v1/billing/stripe/webhook";

/// What is in the variables of every node.
pub fn payments(stripe: &Stripe) -> Vec<(&'static str, String)> {
    vec![
        ("STRIPE_SECRET_KEY", SECRET_KEY.to_owned()),
        ("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned()),
        ("ROUTERBASE_STRIPE__BASE_URL", stripe.url()),
        (
            "ROUTERBASE_SERVER__PUBLIC_URL",
            "https://ai.example.com".to_owned(),
        ),
    ]
}

pub struct World {
    /// `SQLite` or `PostgreSQL`, for messages.
    pub name: &'static str,
    pub stripe: Stripe,
    /// What the nodes work on, looked at from beside.
    pub store: Store,
    pub url: String,
    pub account: AccountId,
    nodes: Vec<SocketAddr>,
    folder: PathBuf,
    // Behind the store, so that they end after it.
    running: JoinSet<()>,
    _database: Option<TestStore>,
}

/// One on each database; on PostgreSQL with two nodes.
pub async fn worlds() -> Vec<World> {
    let stripe = Stripe::start().await;
    let variables = payments(&stripe);
    vec![
        World::sqlite(stripe.clone(), &variables).await,
        World::postgres(stripe, &variables).await,
    ]
}

impl World {
    pub async fn sqlite(stripe: Stripe, variables: &[(&'static str, String)]) -> Self {
        log::keep();
        let folder = fresh_folder();
        let url = format!("sqlite://{}/routerbase.db", folder.display());
        Self::open("SQLite", stripe, variables, (url, None, folder), 1).await
    }

    pub async fn postgres(stripe: Stripe, variables: &[(&'static str, String)]) -> Self {
        log::keep();
        let database = TestStore::postgres().await;
        let place = (database.url.clone(), Some(database), fresh_folder());
        Self::open("PostgreSQL", stripe, variables, place, 2).await
    }

    async fn open(
        name: &'static str,
        stripe: Stripe,
        variables: &[(&'static str, String)],
        (url, database, folder): (String, Option<TestStore>, PathBuf),
        nodes: usize,
    ) -> Self {
        let own = [
            ("ROUTERBASE_SERVER__LISTEN", "127.0.0.1:0".to_owned()),
            ("ROUTERBASE_DATABASE__URL", url.clone()),
            (
                "ROUTERBASE_MEDIA__URL",
                format!("file://{}/media", folder.display()),
            ),
            ("ROUTERBASE_BOOTSTRAP__KEY", KEY.to_owned()),
        ];
        let all = || {
            let pairs = own.iter().chain(variables);
            pairs.map(|(name, value)| ((*name).to_owned(), value.clone()))
        };
        let mut running = JoinSet::new();
        let mut addresses = Vec::new();
        for _ in 0..nodes {
            let config = Config::load(None, all()).unwrap();
            let app = App::open(config).await.unwrap();
            addresses.push(app.address);
            running.spawn(app.run(CancellationToken::new()));
        }
        let store = Store::connect(&url, Access::Beside).await.unwrap();
        let account = store.any_account_by_name("default").await;
        let account = account.unwrap().unwrap().id;
        Self {
            name,
            stripe,
            store,
            url,
            account,
            nodes: addresses,
            folder,
            running,
            _database: database,
        }
    }

    /// A node; any number names one.
    pub fn node(&self, n: usize) -> SocketAddr {
        self.nodes[n % self.nodes.len()]
    }

    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.node(0), method, path).key(KEY)
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call("GET", path).send().await.ok()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.call("POST", path).json(body).send().await
    }

    /// What the account has, in micro-credits.
    pub async fn posted(&self) -> i64 {
        self.store.balance(&self.account).await.unwrap().posted.0
    }

    /// The key of another account.
    pub async fn other_key(&self, name: &str) -> String {
        let entropy = Entropy::system();
        let account = NewAccount {
            id: AccountId::mint(&entropy.bytes()),
            name: name.to_owned(),
            credits: Credits::ZERO,
            secret: Secret::mint(&entropy.bytes()),
            key: None,
        };
        let (account, _) = self.store.any_account(account, 0).await.unwrap();
        let key = ApiKey::mint(&entropy.bytes(), &entropy.bytes());
        let made = self
            .store
            .create_key(&account, &key, Grant::account(name), 0);
        made.await.unwrap();
        key.reveal().to_owned()
    }

    /// Sends a message as Stripe does, to a node.
    pub async fn tell(&self, n: usize, body: &str) -> Reply {
        let header = signed(body, now_s());
        self.tell_with(n, body, &header).await
    }

    pub async fn tell_with(&self, n: usize, body: &str, header: &str) -> Reply {
        Call::new(self.node(n), "POST", WEBHOOK)
            .header("content-type", "application/json; charset=utf-8")
            .header("stripe-signature", header)
            .body(body.to_owned())
            .send()
            .await
    }

    /// The number of a series on the pages of all nodes.
    pub async fn counted(&self, series: &str) -> u64 {
        let mut sum = 0;
        for node in &self.nodes {
            let page = Call::new(*node, "GET", "/metrics").send().await;
            let page = String::from_utf8(page.body.to_vec()).unwrap();
            let mut lines = page.lines();
            let line = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            sum += line.expect(series).parse::<u64>().unwrap();
        }
        sum
    }

    /// How often something came of payments.
    pub async fn top_ups(&self, outcome: &str) -> u64 {
        let series = format!("routerbase_top_ups_total{{outcome=\"{outcome}\"}}");
        self.counted(&series).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.running.abort_all();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub fn now_s() -> i64 {
    gateway::clock::Clock::system().now_ms() / 1_000
}

fn fresh_folder() -> PathBuf {
    let name = hex::encode(Entropy::system().bytes::<8>());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
