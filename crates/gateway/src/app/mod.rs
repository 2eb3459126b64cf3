//! The gateway put together: store, API, worker, callbacks, sweeps, and their common end.
//!
//! Invariant: the only module that knows all others. What one part needs of another is handed to it
//! here, as a value or a function.

mod billing;
pub mod bootstrap;
mod catalogue;
mod clocks;
mod error;
pub mod files;
mod means;
mod reach;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::catalogue::{Catalogue, Provider};
use domain::key::ApiKey;
use futures_util::future::OptionFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use catalogue::load as load_catalogue;
use clocks::Leads;
pub use error::AppError;

use crate::alerts::Post;
use crate::api::counters::Counters;
use crate::api::{Api, ApiSettings, Switchboard, TestCallback, TestResult};
use crate::callbacks::Callbacks;
use crate::client_ip::Proxies;
use crate::clock::Clock;
use crate::config::Config;
use crate::edge::{self, EdgeSettings};
use crate::entropy::Entropy;
use crate::media::Media;
use crate::metrics::{Metrics, Program};
use crate::net::{Net, NetSettings};
use crate::sandbox::Upstream;
use crate::store::{Access, Store};
use crate::traffic::{Credential, Traffic, TrafficPage};
use crate::worker::{Sweeper, Worker, WorkerParts, WorkerSettings};

/// How long a draining server goes on accepting, so that nobody is sent to a closed door.
const NOTICE: Duration = Duration::from_millis(1_000);

/// A gateway that is ready to run.
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    /// The first key, if this start made it.
    pub first_key: Option<ApiKey>,
    /// Where clients reach it, without a slash at the end.
    pub public_url: String,
    listener: TcpListener,
    post: Option<Post>,
    parts: Parts,
}

/// What the parts of the gateway share.
struct Parts {
    config: Config,
    store: Store,
    catalogue: Arc<Catalogue>,
    net: Net,
    media: Media,
    clock: Clock,
    entropy: Entropy,
    secret: String,
    counters: Arc<Counters>,
    leads: Arc<Leads>,
    metrics: Metrics,
    traffic: Traffic,
    translates: means::Translates,
}

impl App {
    /// Opens everything, makes the first key on a new store, and listens; serves nothing yet.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn open(config: Config) -> Result<Self, AppError> {
        // The S3 client finds its cryptography here; a second start in one process finds it set.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let catalogue =
            load_catalogue(&config).map_err(|problems| AppError::Catalogue(problems.join("\n")))?;
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let url = config.database.url.reveal();
        let (counters, leads) = <(Arc<Counters>, Arc<Leads>)>::default();
        let traffic = traffic(&config, &catalogue);
        let page = TrafficPage {
            traffic: traffic.clone(),
            clock: clock.clone(),
        };
        let metrics = metrics(&catalogue, &counters, &leads, page);
        let counted = metrics.clone();
        let store = Store::open(url, Access::Server, clock.now_ms()).await?;
        let store = store.observed(move |operations, time| counted.commit(operations, time));
        if !store.is_shared() {
            // Alone on the file: whoever held a lease is gone.
            store.any_release_all().await?;
            store.any_unclaim_all_notices().await?;
        }
        let secret = bootstrap::secret(&store, &entropy).await?;
        let media = means::media(&config, &secret, &clock).await?;
        let listen = config.server.listen;
        let listener = TcpListener::bind(listen).await;
        let listener = listener.map_err(|error| AppError::Listen(listen, error))?;
        let address = listener.local_addr();
        let address = address.map_err(|error| AppError::Listen(listen, error))?;
        let public_url = config.server.public_url.clone();
        let public_url = public_url.unwrap_or_else(|| reach::local(address));
        let post = billing::post(&config, &public_url)?;
        let net = net(&config, &clock)?;
        let translates = means::translation(&config, &catalogue)?;
        // Last, as nothing may fail between making the key and showing it.
        let bootstrap = &config.bootstrap;
        let first_key = bootstrap::first_key(
            &store,
            bootstrap.key.as_ref(),
            bootstrap.credits,
            &clock,
            &entropy,
        )
        .await?;
        Ok(Self {
            address,
            first_key,
            public_url,
            listener,
            post,
            parts: Parts {
                net,
                config,
                store,
                catalogue: Arc::new(catalogue),
                media,
                clock,
                entropy,
                secret,
                counters,
                leads,
                metrics,
                traffic,
                translates,
            },
        })
    }

    /// Serves and works until `stop`, then drains: no new work, what is under way ends or is handed
    /// back.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            listener,
            public_url,
            post,
            parts,
            ..
        } = self;
        let role = parts.config.server.role;
        let is_draining = Arc::new(AtomicBool::new(false));
        let callbacks = Arc::new(parts.callbacks(public_url.clone()));
        let api = parts.api(&callbacks, public_url.clone(), Arc::clone(&is_draining));
        let api = Arc::new(api);
        let router = match role.answers() {
            true => crate::api::router(api, parts.results(), parts.hooks()),
            false => crate::api::router_of_probes(api),
        };
        let closing = CancellationToken::new();
        let serving = edge::serve(
            listener,
            router,
            edge_settings(&parts.config),
            closing.clone(),
        );
        let draining = async {
            stop.cancelled().await;
            is_draining.store(true, Ordering::Relaxed);
            // Balancers see it at `/readyz` and send no more before connections are refused.
            tokio::time::sleep(NOTICE).await;
            closing.cancel();
        };
        let working = async {
            if role.works() {
                let worker = Arc::new(parts.worker(public_url));
                let sweeper = parts.sweeper();
                let alerts = post.map(|post| parts.alerts(post).run(stop.clone()));
                tokio::join!(
                    Arc::clone(&worker).run(stop.clone()),
                    worker.look_back(stop.clone()),
                    callbacks.run(stop.clone()),
                    sweeper.run(stop.clone()),
                    OptionFuture::from(alerts)
                );
            }
        };
        let comparing = parts.leads.watch(&parts.store, &parts.clock, stop.clone());
        tokio::join!(serving, working, draining, comparing);
    }
}

/// What the metrics page shows, from everywhere.
fn metrics(
    catalogue: &Catalogue,
    counters: &Arc<Counters>,
    leads: &Arc<Leads>,
    traffic: TrafficPage,
) -> Metrics {
    let providers = catalogue.providers().map(|provider| provider.id.as_str());
    let program = Program {
        began_ms: traffic.clock.now_ms(),
    };
    Metrics::new(
        providers,
        vec![
            Box::new(Arc::clone(counters)),
            Box::new(Arc::clone(leads)),
            Box::new(program),
            Box::new(traffic),
        ],
    )
}

fn edge_settings(config: &Config) -> EdgeSettings {
    EdgeSettings {
        proxies: Proxies::new(config.server.trusted_proxies.clone()),
        connections_max: config.server.connections_max,
        connections_per_ip_max: config.server.connections_per_ip_max,
        drain_ms: config.server.drain_ms,
        ..EdgeSettings::default()
    }
}

async fn send_test(callbacks: &Callbacks, test: TestCallback) -> TestResult {
    match callbacks.test(&test.account, &test.url).await {
        Ok(report) => TestResult {
            status: report.status,
            took_ms: report.took_ms,
            note: report.note,
        },
        Err(error) => {
            tracing::warn!(%error, "a test callback was not sent");
            TestResult {
                status: None,
                took_ms: 0,
                note: "nothing was sent; the URL cannot be called, or the store is away".to_owned(),
            }
        }
    }
}

fn net(config: &Config, clock: &Clock) -> Result<Net, AppError> {
    let settings = NetSettings {
        allow: config.egress.allow.clone(),
        ..NetSettings::default()
    };
    let clock = clock.clone();
    let sandbox = (
        Arc::new(Upstream::new()) as _,
        Arc::new(move || clock.now_ms()) as _,
    );
    Net::new(settings, Some(sandbox)).map_err(|error| AppError::Tls(error.to_string()))
}

/// The credentials of a provider that wants one: the secrets that its variable holds.
#[must_use]
pub fn credentials(config: &Config, provider: &Provider) -> Vec<Credential> {
    let name = provider.secret_env.as_deref();
    let setting = name.and_then(|name| config.secrets.get(name));
    setting.map(Credential::pool).unwrap_or_default()
}

fn traffic(config: &Config, catalogue: &Catalogue) -> Traffic {
    let wanting = catalogue.providers().filter(|one| one.secret_env.is_some());
    let pools = wanting.map(|one| (one.id.clone(), credentials(config, one)));
    Traffic::new(catalogue, &pools.collect())
}

/// Whether a provider can be routed to: it is switched on and has the secret it wants. One on the
/// operator's own machines is there when the settings say where.
#[must_use]
pub fn is_usable(config: &Config, provider: &Provider) -> bool {
    let settings = config.providers.get(&provider.id);
    let is_placed = settings.is_some_and(|settings| settings.base_url.is_some());
    settings.is_none_or(|settings| settings.is_enabled)
        && has_secret(config, provider)
        && (is_placed || !provider.is_local)
}

/// Whether the secret of a provider is there, or it wants none.
fn has_secret(config: &Config, provider: &Provider) -> bool {
    !provider.wants_secret() || !credentials(config, provider).is_empty()
}

impl Parts {
    fn api(
        &self,
        callbacks: &Arc<Callbacks>,
        public_url: String,
        is_draining: Arc<AtomicBool>,
    ) -> Api {
        let config = Arc::new(self.config.clone());
        let secrets = Arc::clone(&config);
        let net = self.net.clone();
        let callbacks = Arc::clone(callbacks);
        let metrics = self.metrics.clone();
        let own_origin = Url::parse(&public_url).ok().map(|url| url.origin());
        Api {
            desk: self.desk(&public_url),
            shelf: self.shelf(),
            store: self.store.clone(),
            catalogue: Arc::clone(&self.catalogue),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            settings: ApiSettings { public_url },
            does_itself: self.means(),
            is_usable: Arc::new(move |provider| is_usable(&config, provider)),
            has_secret: Arc::new(move |provider| has_secret(&secrets, provider)),
            traffic: self.traffic.clone(),
            may_call: Arc::new(move |url| {
                let url = Url::parse(url).map_err(|_| "the URL is malformed".to_owned())?;
                if own_origin.as_ref() == Some(&url.origin()) {
                    return Err("the gateway does not call itself".to_owned());
                }
                net.egress()
                    .check_url(&url)
                    .map_err(|blocked| blocked.to_string())
            }),
            send_test: Arc::new(move |test| {
                let callbacks = Arc::clone(&callbacks);
                Box::pin(async move { send_test(&callbacks, test).await })
            }),
            metrics: Arc::new(move || metrics.render()),
            is_draining,
            switchboard: Switchboard::default(),
            counters: Arc::clone(&self.counters),
        }
    }

    fn callbacks(&self, public_url: String) -> Callbacks {
        Callbacks::new(
            self.store.clone(),
            self.net.clone(),
            self.clock.clone(),
            self.entropy.clone(),
            public_url,
        )
        .with_metrics(self.metrics.clone())
    }

    fn worker(&self, public_url: String) -> Worker {
        Worker::new(WorkerParts {
            store: self.store.clone(),
            catalogue: Arc::clone(&self.catalogue),
            net: self.net.clone(),
            media: self.media.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            secret: self.secret.clone(),
            settings: WorkerSettings {
                concurrency: usize::try_from(self.config.worker.concurrency).unwrap_or(usize::MAX),
                public_url,
            },
            traffic: self.traffic.clone(),
        })
        .hooked_at(self.webhooks())
        .with_metrics(self.metrics.clone())
        .translating(self.translates.clone().ok())
    }

    fn sweeper(&self) -> Sweeper {
        Sweeper {
            store: self.store.clone(),
            media: self.media.clone(),
            clock: self.clock.clone(),
        }
    }
}
