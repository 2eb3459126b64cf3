//! A gateway without workers: an API on a port, its store, and a hand that moves tasks on.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use domain::catalogue::{Catalogue, Provider, SourceFile};
use domain::credits::Credits;
use domain::ids::{AccountId, AttemptId, TaskId};
use domain::key::{ApiKey, Grant, Scope};
use domain::signing::Secret;
use domain::stripe::EndpointSecret;
use domain::task::{Attempt, Outcome, Rules, StoredFile, advance};
use domain::upstream::{Answer, Call as UpstreamCall, Cursor, Fault, FaultClass, Kind};
use domain::upstream::{Output, Request as UpstreamRequest, Wait};
use futures_util::FutureExt;
use gateway::api::desk::{Desk, Mails, PageWish, PayPage, Till};
use gateway::api::{Api, ApiSettings, Switchboard, TestCallback, TestResult, router};
use gateway::client_ip::ClientIp;
use gateway::clock::Clock;
use gateway::entropy::Entropy;
use gateway::hooks::{self, Hooks, Keys};
use gateway::metrics::Metrics;
use gateway::net::{Net, NetSettings};
use gateway::store::accounts::NewAccount;
use gateway::store::work::{Claim, Committed, Lease};
use gateway::store::{Access, Store};
use gateway::traffic::Traffic;
use serde_json::{Value, json};

use crate::client::Call;
use crate::place;

pub const IMAGE: &str = "image_generate.imagen_4";
pub const VIDEO: &str = "video_generate.kling_2_6";
pub const CHAT: &str = "solve_problem.kie_reasoning";
pub const DISABLED: &str = "image_generate.switched_off";
/// A model whose one route takes less than the model does.
pub const NARROW: &str = "image_generate.narrow";
pub const PICKY: &str = "video_generate.picky";

pub struct World {
    pub api: Arc<Api>,
    pub store: Store,
    pub address: SocketAddr,
    pub account: AccountId,
    pub key: String,
    pub tests_sent: Arc<Mutex<Vec<TestCallback>>>,
    pub folder: PathBuf,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(change: impl FnOnce(&mut Api)) -> Self {
        let name = hex::encode(Entropy::system().bytes::<8>());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let url = format!("sqlite://{}/gateway.db", folder.display());
        let store = Store::open(&url, Access::Server, 0).await.unwrap();
        let tests_sent = Arc::new(Mutex::new(Vec::new()));
        let mut api = api(store.clone(), Arc::clone(&tests_sent), &folder);
        change(&mut api);
        let api = Arc::new(api);
        let address = serve(&api).await;
        let mut world = Self {
            api,
            store,
            address,
            account: AccountId(String::new()),
            key: String::new(),
            tests_sent,
            folder,
        };
        world.account = world.new_account("default", 100).await;
        world.key = world.new_key(&world.account, Grant::account("tests")).await;
        world
    }

    pub async fn new_account(&self, name: &str, credits: i64) -> AccountId {
        let account = NewAccount {
            id: AccountId::mint(&self.api.entropy.bytes()),
            name: name.to_owned(),
            credits: Credits(credits * 1_000_000),
            secret: Secret::mint(&self.api.entropy.bytes()),
            key: None,
        };
        self.store
            .any_account(account, self.now_ms())
            .await
            .unwrap()
            .0
    }

    pub async fn new_key(&self, account: &AccountId, grant: Grant) -> String {
        let entropy = &self.api.entropy;
        let key = ApiKey::mint(&entropy.bytes(), &entropy.bytes());
        let created = self.store.create_key(account, &key, grant, self.now_ms());
        created.await.unwrap();
        key.reveal().to_owned()
    }

    pub fn now_ms(&self) -> i64 {
        self.api.clock.now_ms()
    }

    pub fn get(&self, path: &str) -> Call {
        Call::new(self.address, "GET", path).key(&self.key)
    }

    pub fn post(&self, path: &str, body: &Value) -> Call {
        Call::new(self.address, "POST", path)
            .key(&self.key)
            .json(body)
    }

    /// A call with the ordinary key.
    pub fn call(&self, method: &str, path: &str) -> Call {
        self.bare(method, path).key(&self.key)
    }

    /// A key that may do what an operator does, and nothing else, of an account of its own.
    pub async fn operator(&self) -> String {
        let account = self.new_account("operators", 0).await;
        let grant = Grant {
            scopes: vec![Scope::Admin],
            ..Grant::account("operator")
        };
        self.new_key(&account, grant).await
    }

    /// A second node on the same store.
    pub async fn node(&self) -> SocketAddr {
        let api = api(
            self.store.clone(),
            Arc::clone(&self.tests_sent),
            &self.folder,
        );
        serve(&Arc::new(api)).await
    }

    pub fn bare(&self, method: &str, path: &str) -> Call {
        Call::new(self.address, method, path)
    }

    pub fn run(&self, model: &str, body: &Value) -> Call {
        self.post(&format!("/api/v1/run/{model}"), body)
    }

    /// Submits a picture.
    pub async fn submitted(&self) -> TaskId {
        self.submitted_to(IMAGE, &json!({"prompt": "a fox"})).await
    }

    pub async fn submitted_to(&self, model: &str, body: &Value) -> TaskId {
        let reply = self.run(model, body).send().await.ok();
        TaskId::parse(reply["task_id"].as_str().unwrap()).unwrap()
    }

    pub async fn balance(&self) -> (i64, i64) {
        let balance = self.store.balance(&self.account).await.unwrap();
        (balance.posted.0, balance.held.0)
    }

    pub async fn claim(&self, id: &TaskId) -> Claim {
        let claims = self.store.claim("hand", 1_000, i64::MAX / 2).await.unwrap();
        let found = claims.into_iter().find(|claim| &claim.task.id == id);
        found.expect("the task is due and free")
    }

    /// Applies an outcome and keeps the lease.
    pub async fn step(&self, mut claim: Claim, outcome: Outcome) -> Claim {
        let rules = Rules::of(&Provider::sandbox(), 0);
        let change = advance(&claim.task, outcome, self.now_ms(), &rules).unwrap();
        let task = change.task.clone();
        let committed = self
            .store
            .commit(&claim, change, Lease::Keep, self.now_ms());
        assert_eq!(committed.await.unwrap(), Committed::Yes);
        let version = claim.task.version + 1;
        claim.task = task;
        claim.task.version = version;
        claim
    }

    /// Claims a task and has it accepted.
    pub async fn started(&self, id: &TaskId) -> Claim {
        let claim = self.claim(id).await;
        let now_ms = self.now_ms();
        let attempt = Attempt {
            id: AttemptId::mint(&self.api.entropy.bytes()),
            route: 0,
            token: format!("token-{id}"),
            began_ms: now_ms,
            send_by_ms: now_ms + 1_000,
            sends: 1,
            lookups: 0,
            is_dirty: false,
            prompt: None,
            credential: String::new(),
        };
        let claim = self.step(claim, Outcome::Intended(attempt)).await;
        self.step(claim, progress(None)).await
    }

    pub async fn succeeded(&self, id: &TaskId) -> Claim {
        let claim = self.started(id).await;
        self.finished(claim).await
    }

    pub async fn finished(&self, claim: Claim) -> Claim {
        let answer = (claim.task.order.modality.as_str() == "chat").then(|| Answer {
            text: "42".to_owned(),
            finish_reason: "stop".to_owned(),
            usage: domain::price::Usage {
                input_tokens: 3,
                output_tokens: 2,
            },
        });
        let output = Output {
            sources: Vec::new(),
            answer,
        };
        let claim = self.step(claim, Outcome::Finished(output)).await;
        let file = StoredFile {
            path: format!("unguessable{}/fox.png", claim.task.id),
            content_type: "image/png".to_owned(),
            bytes: 4,
            sha256: "00".repeat(32),
            width: Some(1),
            height: Some(1),
            duration_s: None,
            expires_ms: 4_000_000_000_000,
        };
        self.step(claim, Outcome::Stored(vec![file])).await
    }

    pub async fn failed(&self, id: &TaskId) -> Claim {
        let claim = self.started(id).await;
        let fault = Fault::new(FaultClass::Failed, "the fox ran away").because("secret detail");
        self.step(claim, Outcome::Failed(fault)).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The upstream goes on with its work.
pub fn progress(progress: Option<f64>) -> Outcome {
    Outcome::Waiting(Wait {
        ms: 0,
        then: UpstreamCall {
            request: UpstreamRequest::get("http://sandbox.internal/work/1"),
            at: Cursor::default(),
            kind: Kind::Reads,
        },
        upstream_id: None,
        progress,
    })
}

fn api(store: Store, tests_sent: Arc<Mutex<Vec<TestCallback>>>, folder: &Path) -> Api {
    let catalogue = catalogue();
    Api {
        shelf: place::shelf(&store, folder),
        traffic: Traffic::new(&catalogue, &BTreeMap::new()),
        store,
        catalogue: Arc::new(catalogue),
        clock: Clock::system(),
        entropy: Entropy::system(),
        settings: ApiSettings {
            public_url: "https://gateway.test".to_owned(),
        },
        does_itself: Arc::new(|_, _| Err("it has no hands".to_owned())),
        is_usable: Arc::new(|provider| provider.id == "weak"),
        has_secret: Arc::new(|provider| !provider.wants_secret()),
        may_call: Arc::new(|url| match url.contains("internal") {
            true => Err("The URL cannot be called.".to_owned()),
            false => Ok(()),
        }),
        send_test: Arc::new(move |test| {
            tests_sent.lock().unwrap().push(test);
            let result = TestResult {
                status: Some(204),
                took_ms: 12,
                note: String::new(),
            };
            async move { result }.boxed()
        }),
        desk: desk(),
        metrics: Arc::new(|| "up 1\n".to_owned()),
        is_draining: Arc::new(AtomicBool::new(false)),
        switchboard: Switchboard::default(),
        counters: Arc::default(),
    }
}

/// Pages that always open, and mails that nobody sends.
fn desk() -> Desk {
    let open = |wish: PageWish| {
        let id = format!("cs_test_{}", wish.key);
        let url = format!("https://checkout.stripe.com/{id}");
        async move { Ok(PayPage { id, url }) }.boxed()
    };
    Desk {
        till: Some(Till {
            least: Credits(1_000_000),
            most: Credits(1_000_000_000),
            open: Arc::new(open),
        }),
        stripe_secret: Some(EndpointSecret::new("whsec_test".to_owned())),
        mails: Some(Mails {
            is_address: |text| text.contains('@'),
            operator: "operator@example.com".to_owned(),
        }),
    }
}

/// What is shipped, a model that is switched off and one whose provider honours nothing.
fn catalogue() -> Catalogue {
    let mut files = shipped("models");
    files.extend(shipped("providers"));
    let own = |path: &str, text: &str| SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    files.push(own(
        "providers/weak.toml",
        "id = \"weak\"\nname = \"Weak\"\ndialect = \"sandbox\"\nbase_url = \"http://weak.test\"\n",
    ));
    files.push(own(
        "models/image_generate.switched_off.toml",
        "id = \"image_generate.switched_off\"\nname = \"Off\"\nvendor = \"Nobody\"\n\
         modality = \"image\"\ndescription = \"Off.\"\ndisabled = true\n\
         [parameters]\n[price]\nper_run = 1\n",
    ));
    files.push(own(
        "models/video_generate.picky.toml",
        "id = \"video_generate.picky\"\nname = \"Picky\"\nvendor = \"Nobody\"\n\
         modality = \"video\"\ndescription = \"Picky.\"\n\
         routes = [{ provider = \"weak\", model = \"x\" }]\n\
         [parameters]\n[price]\nper_run = 1\n",
    ));
    files.push(own(
        "models/image_generate.narrow.toml",
        "id = \"image_generate.narrow\"\nname = \"Narrow\"\nvendor = \"Nobody\"\n\
         modality = \"image\"\ndescription = \"Narrow.\"\n\
         [parameters]\n\
         aspect_ratio = { words = [\"1:1\", \"16:9\", \"4:3\"], default = \"1:1\" }\n\
         image_urls = { urls = 4 }\n\
         [price]\nper_run = 1\n\
         [[routes]]\nprovider = \"weak\"\nmodel = \"x\"\n\
         only = { aspect_ratio = [\"1:1\", \"16:9\"] }\ninputs = { image_urls = [0, 1] }\n\
         send = { aspect_ratio = \"aspect_ratio\", image_urls = \"image_urls\" }\n",
    ));
    // No provider is called here, so any dialect that is named will do.
    let texts = files.iter().flat_map(|file| file.text.lines());
    let named = texts.filter_map(|line| line.strip_prefix("dialect = \"")?.split('"').next());
    let dialects: Vec<&str> = named.collect();
    Catalogue::load(&files, &dialects).unwrap()
}

/// The files of a folder of the catalogue, if it is there.
fn shipped(kind: &str) -> Vec<SourceFile> {
    let folder = format!("{}/../../catalogue/{kind}", env!("CARGO_MANIFEST_DIR"));
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        SourceFile {
            path: format!("{kind}/{name}"),
            text: std::fs::read_to_string(path).unwrap(),
        }
    };
    entries.map(file).collect()
}

async fn serve(api: &Arc<Api>) -> SocketAddr {
    let ip = ClientIp(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)));
    let app = router(Arc::clone(api), results(), hooks(api)).layer(axum::Extension(ip));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// What the world's tokens of attempts are derived from.
pub const DEPLOYMENT: &str = "secret";

/// What Kling signs its deliveries with; the other providers sign nothing.
pub fn kling_secret() -> Secret {
    Secret::mint(&[7; 32])
}

/// Where providers tell of their work.
pub fn hooks(api: &Api) -> axum::Router {
    let secrets = BTreeMap::from([("kling".to_owned(), kling_secret().reveal().to_owned())]);
    let net = Net::new(NetSettings::default(), None).unwrap();
    hooks::router(Hooks {
        store: api.store.clone(),
        catalogue: Arc::clone(&api.catalogue),
        clock: api.clock.clone(),
        metrics: Metrics::default(),
        secret: DEPLOYMENT.to_owned(),
        keys: Keys::new(secrets, net, api.clock.clone()),
    })
}

/// Where results would be.
pub fn results() -> axum::Router {
    axum::Router::new().route("/results/{*path}", axum::routing::get(lost))
}

/// Stands for a place of results that says itself what is wrong.
async fn lost() -> (axum::http::StatusCode, axum::Json<Value>) {
    let said = json!({"code": 404, "message": "gone", "type": "not_found"});
    (axum::http::StatusCode::NOT_FOUND, axum::Json(said))
}
