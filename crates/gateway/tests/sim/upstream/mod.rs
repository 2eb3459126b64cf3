//! The providers' own truth: which runs they made, for whom, and what became of them.
//!
//! Invariant: it knows nothing of the gateway but the bytes that arrive, and it is the witness the
//! laws are checked against.

mod reply;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use domain::catalogue::OnLostReply;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::node::Moving;
use crate::plan::ProviderPlan;
use crate::trace::Trace;

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    Failed,
    Moderated,
    Never,
}

/// How a result file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileFate {
    Good,
    /// Not yet: empty, cut off or missing.
    Early(Early),
    /// Never right: of a type that is not kept.
    WrongType,
    /// Never right: larger than what is kept.
    Oversized,
}

/// What is wrong with a file that will be right later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Early {
    Empty,
    Cut,
    Missing,
}

/// How a file is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handing {
    Path,
    Link,
    Inline,
}

/// A paid run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) provider: usize,
    /// The task's name, as its prompt says.
    pub(crate) task: String,
    key: String,
    born: Instant,
    ends: Instant,
    pub(crate) fate: Fate,
    is_cancelled: bool,
    is_chat: bool,
    files: Vec<(FileFate, Handing)>,
    /// When files that are not right yet become right.
    right_at: Instant,
}

#[derive(Default)]
struct Books {
    runs: Vec<Run>,
    counts: BTreeMap<&'static str, u64>,
    is_calm: bool,
}

/// All providers. Clones share everything.
#[derive(Clone)]
pub(crate) struct Upstream {
    plans: Arc<[ProviderPlan]>,
    dice: Dice,
    trace: Trace,
    books: Arc<Mutex<Books>>,
    /// A connection is made.
    pub(crate) connection: Arc<Notify>,
    /// The number of the node that made the last one.
    pub(crate) dialer: Arc<AtomicU64>,
    pub(crate) moving: Moving,
    /// A creating call arrives.
    pub(crate) arrival: Arc<Notify>,
}

impl Upstream {
    pub(crate) fn new(plans: &[ProviderPlan], dice: Dice, trace: Trace) -> Self {
        Self {
            plans: plans.into(),
            dice,
            trace,
            books: Arc::default(),
            connection: Arc::default(),
            dialer: Arc::default(),
            moving: Moving::default(),
            arrival: Arc::default(),
        }
    }

    /// From now on everybody behaves.
    pub(crate) fn calm_down(&self) {
        self.books.lock().unwrap().is_calm = true;
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.books.lock().unwrap().is_calm
    }

    /// How often what happened.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.books.lock().unwrap().counts.clone()
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.books.lock().unwrap().counts.entry(what).or_default() += 1;
    }

    /// The run that a provider calls so.
    pub(crate) fn run(&self, id: &str) -> Option<Run> {
        let books = self.books.lock().unwrap();
        books.runs.iter().find(|run| run.id == id).cloned()
    }

    /// Every run that was made for a task.
    pub(crate) fn runs_of(&self, task: &str) -> Vec<Run> {
        let books = self.books.lock().unwrap();
        let runs = books.runs.iter().filter(|run| run.task == task);
        runs.cloned().collect()
    }

    /// Whether a mishap with so many chances in a hundred happens now.
    fn mishap(&self, percent: u32) -> bool {
        !self.is_calm() && self.dice.chance(percent)
    }

    /// Whether a task may take a run for its own: a provider that names the wrong run, one that
    /// nobody else has been told of, is believed.
    pub(crate) fn may_be_of(&self, run: &Run, task: &str) -> bool {
        run.task == task || self.plans[run.provider].lies > 0
    }

    /// Accepts a creating call, for better or worse; answers the run's id.
    fn accept(&self, provider: usize, key: &str, task: &str, is_chat: bool) -> String {
        let plan = &self.plans[provider];
        if plan.recovery == domain::catalogue::Recovery::Idempotent
            && let Some(known) = self.find(provider, key)
        {
            self.count("key known");
            return known.id;
        }
        let run = self.make(provider, key, task, is_chat);
        let (id, fate) = (run.id.clone(), run.fate);
        let earlier = self.runs_of(task);
        self.books.lock().unwrap().runs.push(run);
        self.count("run");
        self.trace
            .say(&format!("{} accepts {task} as {id}, {fate:?}", plan.id));
        // The law of laws: nobody pays twice, save where the operator took that risk, and then once.
        let risk = |run: &Run| self.plans[run.provider].on_lost_reply == OnLostReply::Resubmit;
        match earlier.len() {
            0 => {}
            1 if earlier.iter().any(risk) => self.count("paid twice at the operator's risk"),
            _ => self.trace.wrong(&format!(
                "{task} is paid {} times: {id} beside {:?}",
                earlier.len() + 1,
                earlier.iter().map(|run| &run.id).collect::<Vec<_>>()
            )),
        }
        id
    }

    fn make(&self, provider: usize, key: &str, task: &str, is_chat: bool) -> Run {
        let (plan, dice) = (&self.plans[provider], &self.dice);
        let now = Instant::now();
        let fate = match dice.chance(plan.fails) {
            true => dice.pick(&[Fate::Failed, Fate::Moderated, Fate::Never]),
            false => Fate::Done,
        };
        let files = match is_chat {
            true => 0,
            false => dice.between(1, 2),
        };
        let file = |_| {
            let fate = match dice.chance(plan.spoils) {
                true => dice.weighted(&[
                    (4, FileFate::Early(Early::Empty)),
                    (4, FileFate::Early(Early::Cut)),
                    (4, FileFate::Early(Early::Missing)),
                    (1, FileFate::WrongType),
                    (1, FileFate::Oversized),
                ]),
                false => FileFate::Good,
            };
            (
                fate,
                dice.pick(&[Handing::Path, Handing::Link, Handing::Inline]),
            )
        };
        let number = self.books.lock().unwrap().runs.len();
        Run {
            id: format!("{}-r{number}", plan.id),
            provider,
            task: task.to_owned(),
            key: key.to_owned(),
            born: now,
            ends: now + ms(dice.between(500, plan.run_ms)),
            fate,
            is_cancelled: false,
            is_chat,
            files: (0..files).map(file).collect(),
            right_at: now + ms(dice.between(20_000, 120_000)),
        }
    }

    /// What a provider knows by a key, visible or not.
    fn find(&self, provider: usize, key: &str) -> Option<Run> {
        let books = self.books.lock().unwrap();
        let found = books
            .runs
            .iter()
            .find(|run| run.provider == provider && run.key == key);
        found.cloned()
    }

    /// Cancels a run; whether it is confirmed that nothing will be charged.
    fn cancel(&self, id: &str) -> bool {
        let mut books = self.books.lock().unwrap();
        let run = books.runs.iter_mut().find(|run| run.id == id);
        let Some(run) = run.filter(|run| Instant::now() < run.ends || run.fate == Fate::Never)
        else {
            return false;
        };
        run.is_cancelled = true;
        true
    }
}

impl Run {
    /// Whether it has succeeded by now.
    pub(crate) fn is_done(&self) -> bool {
        self.fate == Fate::Done && !self.is_cancelled && Instant::now() >= self.ends
    }
}

pub(crate) fn ms(ms: u64) -> std::time::Duration {
    std::time::Duration::from_millis(ms)
}
