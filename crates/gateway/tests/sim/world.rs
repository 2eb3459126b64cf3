//! One run: providers, nodes, clients and faults, all from one seed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use domain::catalogue::Catalogue;
use futures_util::FutureExt;
use gateway::clock::Clock;
use gateway::entropy::Entropy;
use gateway::media::{Media, MediaSettings};
use gateway::net::{Net, NetSettings};
use gateway::store::{Gate, Store, StoreError};
use gateway::traffic::Traffic;
use gateway::worker::{Sweeper, Worker, WorkerParts, WorkerSettings};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::clients::Clients;
use crate::dice::Dice;
use crate::laws::Laws;
use crate::node::Node;
use crate::objects::Objects;
use crate::plan::Plan;
use crate::trace::Trace;
use crate::upstream::{Upstream, ms};

/// Largest result file.
pub(crate) const FILE_BYTES_MAX: usize = 20_000;

/// When every run begins: 2026-11-24, Unix milliseconds.
pub(crate) const START_MS: i64 = 1_795_500_000_000;

/// How long after the last fault every task must have ended, in milliseconds: the hour for which a
/// result is tried to be stored, and what reconciling may take.
const PATIENCE_MS: u64 = 5_400_000;

const SECRET: &str = "a secret of the simulation";

/// Everything there is in a run.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) dice: Dice,
    pub(crate) entropy: Entropy,
    pub(crate) clock: Clock,
    pub(crate) trace: Trace,
    pub(crate) store: Store,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) upstream: Upstream,
    objects: Objects,
    net: Net,
    weather: Arc<Weather>,
    folder: PathBuf,
    /// Nodes so far.
    started: AtomicU64,
}

/// How the store does.
#[derive(Default)]
struct Weather {
    is_away: Mutex<bool>,
    commit_ms: AtomicI64,
    stalls: AtomicI64,
    /// A batch is about to be committed.
    batch: Notify,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl World {
    pub(crate) async fn new(seed: u64, trace: Trace) -> Self {
        let dice = Dice::new(seed);
        let plan = Plan::of(&dice);
        trace.say(&format!("{plan:?}"));
        let weather = Arc::new(Weather::default());
        let commit_ms = i64::try_from(plan.commit_ms).unwrap();
        weather.commit_ms.store(commit_ms, Ordering::Relaxed);
        weather.stalls.store(plan.stalls.into(), Ordering::Relaxed);
        let folder = folder(seed);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("tasks.db");
        let gate = gate(Arc::clone(&weather), dice.clone());
        let store = Store::open_simulated(&file, START_MS, gate).await.unwrap();
        let upstream = Upstream::new(&plan.providers, dice.clone(), trace.clone());
        let wire = Arc::new(upstream.clone());
        Self {
            entropy: Entropy::seeded(seed),
            clock: Clock::following(START_MS).0,
            catalogue: Arc::new(plan.catalogue()),
            objects: Objects::new(dice.clone(), plan.media_faults),
            net: Net::over(wire, NetSettings::default(), None).unwrap(),
            plan,
            dice,
            trace,
            store,
            upstream,
            weather,
            folder,
            started: AtomicU64::new(1),
        }
    }

    /// Plays the whole run; what went wrong is in the trace.
    pub(crate) async fn play(&self) -> BTreeMap<&'static str, u64> {
        let laws = Laws {
            store: self.store.clone(),
            memory: Arc::clone(&self.objects.memory),
            upstream: self.upstream.clone(),
            trace: self.trace.clone(),
        };
        let clients = Clients::new(self, laws.clone()).await;
        let mut lives = JoinSet::new();
        let mut nodes: Vec<Node> = (0..self.plan.nodes)
            .map(|_| self.node(&mut lives))
            .collect();
        let tasks = clients.busy();
        let faults = async {
            self.faults(&mut nodes, &mut lives, &laws).await;
            self.calm(&mut nodes, &mut lives);
        };
        let all = async { tokio::join!(tasks, faults).0 };
        let limit_ms = self.plan.calm_ms + self.plan.busy_ms + PATIENCE_MS;
        let Ok(ended) = timeout(ms(limit_ms), all).await else {
            self.trace.wrong("there are tasks that never end");
            return self.upstream.counts();
        };
        // Zombies have their last chance.
        sleep(ms(150_000)).await;
        laws.ledger().await;
        self.sweep(&laws).await;
        for task in &ended {
            laws.end(task).await;
            self.upstream.count(match &task.phase {
                domain::task::Phase::Failed { error } => error.kind.as_str(),
                _ => "success",
            });
        }
        self.upstream.counts()
    }

    /// Long after everything was to be removed, nothing is left.
    async fn sweep(&self, laws: &Laws) {
        let sweeper = Sweeper {
            store: self.store.clone(),
            media: self.media(),
            clock: Clock::manual(i64::MAX / 2).0,
        };
        let stop = CancellationToken::new();
        sweeper.sweep(&stop).await.unwrap();
        laws.bucket().await;
    }

    fn media(&self) -> Media {
        let settings = MediaSettings {
            url: String::new(),
            options: Vec::new(),
            retention_ms: 86_400_000,
            bytes_max: FILE_BYTES_MAX as u64,
        };
        Media::over(Arc::new(self.objects.clone()), settings, SECRET)
    }

    fn node(&self, lives: &mut JoinSet<()>) -> Node {
        let skew_ms = i64::try_from(self.dice.between(0, self.plan.skew_ms)).unwrap();
        let (clock, behind_ms) = Clock::following(self.clock.now_ms() + skew_ms);
        let worker = Worker::new(WorkerParts {
            store: self.store.clone(),
            catalogue: Arc::clone(&self.catalogue),
            net: self.net.clone(),
            media: self.media(),
            clock,
            entropy: self.entropy.clone(),
            secret: SECRET.to_owned(),
            traffic: Traffic::new(&self.catalogue, &BTreeMap::new()),
            settings: WorkerSettings {
                concurrency: self.plan.concurrency,
                public_url: String::new(),
            },
        });
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let worker = worker.speaking(crate::dialect::dialect);
        let moving = self.upstream.moving.clone();
        Node::start(number, worker, behind_ms, moving, lives)
    }

    /// Faults of ours, one after the other, until all is to be calm.
    async fn faults(&self, nodes: &mut Vec<Node>, lives: &mut JoinSet<()>, laws: &Laws) {
        let until = Instant::now() + ms(self.plan.calm_ms);
        let plan = &self.plan;
        let kinds = [
            (plan.crashes, Fault::Crash),
            (plan.freezes, Fault::Freeze),
            (plan.stops, Fault::Stop),
            (plan.store_outages, Fault::StoreAway),
            (plan.media_outages, Fault::MediaAway),
            (1, Fault::None),
        ];
        let mut over = Over::default();
        loop {
            let pause_ms = self.dice.between(1, 2 * plan.fault_pause_ms);
            let next = Instant::now() + ms(pause_ms);
            if next >= until {
                sleep_until(until).await;
                return;
            }
            sleep_until(next).await;
            let near = self.moment().await;
            self.recover(&mut over, nodes, lives);
            let any = self.dice.below(u32::try_from(nodes.len()).unwrap()) as usize;
            let near = nodes.iter().position(|node| Some(node.number) == near);
            let fault = self.dice.weighted(&kinds);
            self.strike(fault, near.unwrap_or(any), &mut over, nodes, lives);
            laws.ledger().await;
        }
    }

    /// Ends the faults whose time is over.
    fn recover(&self, over: &mut Over, nodes: &mut [Node], lives: &mut JoinSet<()>) {
        let now = Instant::now();
        if over.outage.is_some_and(|at| now >= at) {
            over.outage = None;
            *self.weather.is_away.lock().unwrap() = false;
            self.objects.set_away(false);
        }
        over.freezes.retain(|(at, node)| {
            if now >= *at {
                nodes[*node].thaw();
            }
            now < *at
        });
        self.replace(nodes, lives);
    }

    fn strike(
        &self,
        fault: Fault,
        at: usize,
        over: &mut Over,
        nodes: &mut Vec<Node>,
        lives: &mut JoinSet<()>,
    ) {
        let soon = |most_ms| Instant::now() + ms(self.dice.between(500, most_ms));
        match fault {
            Fault::None => {}
            Fault::Crash => {
                self.fault(&format!("node {at} crashes"), "crash");
                nodes[at].crash();
            }
            Fault::Stop => {
                self.fault(&format!("node {at} is asked to stop"), "stop");
                nodes[at].stop();
            }
            Fault::Freeze => {
                // One that does move, if there is any.
                let mut all = (0..nodes.len()).map(|n| (at + n) % nodes.len());
                let at = all.find(|n| !nodes[*n].is_frozen()).unwrap_or(at);
                let end = soon(150_000);
                let freeze_ms = (end - Instant::now()).as_millis();
                self.fault(&format!("node {at} freezes for {freeze_ms} ms"), "freeze");
                match self.dice.chance(self.plan.whole_freezes) {
                    true => nodes[at].freeze_with_machine(),
                    false => nodes[at].freeze(),
                }
                over.freezes.push((end, at));
                // Somebody takes its place.
                let is_last = nodes.iter().all(Node::is_frozen);
                if is_last && nodes.len() < 12 || self.dice.chance(70) && nodes.len() < 6 {
                    nodes.push(self.node(lives));
                }
            }
            Fault::StoreAway => {
                over.outage = Some(soon(30_000));
                self.fault("the store is away", "store away");
                *self.weather.is_away.lock().unwrap() = true;
            }
            Fault::MediaAway => {
                over.outage = Some(soon(60_000));
                self.fault("the object store is away", "object store away");
                self.objects.set_away(true);
            }
        }
    }

    /// Any await of what happens just now, or of what happens around a commit or a creating call:
    /// there is little time between those, and much to go wrong. Answers which node is at it, where
    /// that is known.
    async fn moment(&self) -> Option<u64> {
        let (batch, upstream) = (&self.weather.batch, &self.upstream);
        let near: &[&Notify] = match self.dice.below(3) {
            // Often a commit of intent.
            _ if self.dice.chance(self.plan.strikes_between) => &[&upstream.connection, batch],
            0 => &[],
            1 => &[batch],
            _ => &[&upstream.arrival],
        };
        for notify in near {
            let _ = timeout(ms(3_000), notify.notified()).await;
        }
        let yields = match near {
            [] => self.dice.below(40),
            // At once: whoever was waiting for it has not gone on yet.
            _ if self.dice.chance(60) => 0,
            _ => self.dice.below(8),
        };
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        (near.len() == 2).then(|| upstream.dialer.load(Ordering::Relaxed))
    }

    fn fault(&self, line: &str, count: &'static str) {
        self.trace.say(line);
        self.upstream.count(count);
    }

    /// Starts another node for each that is gone.
    fn replace(&self, nodes: &mut [Node], lives: &mut JoinSet<()>) {
        for node in nodes.iter_mut().filter(|node| node.is_gone()) {
            self.trace.say("a node starts");
            *node = self.node(lives);
        }
        while let Some(ended) = lives.try_join_next() {
            if ended.is_err_and(|error| error.is_panic()) {
                self.trace.wrong("a worker panicked");
            }
        }
    }

    /// Everything works from now on.
    fn calm(&self, nodes: &mut [Node], lives: &mut JoinSet<()>) {
        self.trace.say("calm");
        self.upstream.calm_down();
        self.objects.calm_down();
        *self.weather.is_away.lock().unwrap() = false;
        self.weather.commit_ms.store(0, Ordering::Relaxed);
        self.weather.stalls.store(0, Ordering::Relaxed);
        for node in nodes.iter() {
            node.thaw();
        }
        self.replace(nodes, lives);
        // One that is still about to stop must not be the last.
        nodes[0].crash();
        nodes[0] = self.node(lives);
    }
}

/// When faults are over.
#[derive(Default)]
struct Over {
    freezes: Vec<(Instant, usize)>,
    outage: Option<Instant>,
}

#[derive(Clone, Copy)]
enum Fault {
    None,
    Crash,
    Freeze,
    Stop,
    StoreAway,
    MediaAway,
}

/// What the store's committer passes before each batch.
fn gate(weather: Arc<Weather>, dice: Dice) -> Gate {
    Arc::new(move || {
        let (weather, dice) = (Arc::clone(&weather), dice.clone());
        async move {
            let commit_ms = weather.commit_ms.load(Ordering::Relaxed);
            if commit_ms > 0 {
                sleep(ms(dice.between(0, u64::try_from(commit_ms).unwrap()))).await;
            }
            let stalls = u32::try_from(weather.stalls.load(Ordering::Relaxed)).unwrap();
            // In a thousand, as there are many batches.
            if stalls > 0 && dice.below(1_000) < stalls {
                sleep(ms(dice.between(1_000, 25_000))).await;
            }
            weather.batch.notify_waiters();
            if *weather.is_away.lock().unwrap() {
                return Err(StoreError::Unavailable("a bad day".to_owned()));
            }
            Ok(())
        }
        .boxed()
    })
}

/// In memory where there is such a place: syncing is for the other tests.
fn folder(seed: u64) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let root = match memory.is_dir() {
        true => memory,
        false => std::env::temp_dir(),
    };
    let unique = hex::encode(Entropy::system().bytes::<6>());
    root.join(format!("sim-{seed}-{unique}"))
}
