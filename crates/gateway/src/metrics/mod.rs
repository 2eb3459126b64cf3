//! What is counted, for Prometheus.
//!
//! Invariant: every series exists from the start and is counted through a handle that was made then;
//! counting builds no label. A word nobody announced is counted as `other`.

mod program;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use domain::credits::Credits;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub use program::Program;
/// The type of what [`Metrics::render`] writes.
pub use prometheus_text::CONTENT_TYPE;

/// The word for what nobody announced.
const OTHER: &str = "other";

/// Ways a task ends: `success`, or the type of its error.
const ENDS: [&str; 9] = [
    "success",
    "moderated",
    "invalid_input",
    "provider_error",
    "provider_unavailable",
    "timeout",
    "outcome_unknown",
    "cancelled",
    "media_lost",
];

/// States in which an attempt ends, and the one in which it is not known whether it did.
const ATTEMPTS: [&str; 5] = ["refused", "unknown", "done", "failed", "abandoned"];

/// What comes of a delivery.
const CALLBACKS: [&str; 5] = ["delivered", "retry", "exhausted", "gone", "blocked"];

/// What comes of a webhook of a provider.
const WEBHOOKS: [&str; 6] = ["nudge", "receipt", "over", "orphan", "unsigned", "unknown"];

/// What comes of a mail about a low balance.
const MAILS: [&str; 4] = ["sent", "retry", "refused", "exhausted"];

/// What comes of a try to translate a prompt.
const TRANSLATIONS: [&str; 2] = ["done", "failed"];

type Labels = Vec<(&'static str, String)>;

/// Counters by a word.
#[derive(Debug)]
pub struct Words {
    counters: Vec<(&'static str, Counter)>,
    other: Counter,
}

impl Words {
    fn new(
        family: &Family<Labels, Counter>,
        fixed: &[(&'static str, &str)],
        label: &'static str,
        words: &[&'static str],
    ) -> Self {
        let counter = |word: &str| {
            let fixed = fixed
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()));
            let labels = fixed.chain([(label, word.to_owned())]).collect();
            family.get_or_create_owned(&labels)
        };
        Self {
            counters: words.iter().map(|word| (*word, counter(word))).collect(),
            other: counter(OTHER),
        }
    }

    /// Counts one.
    pub fn count(&self, word: &str) {
        let found = self.counters.iter().find(|(known, _)| *known == word);
        found.map_or(&self.other, |(_, counter)| counter).inc();
    }
}

/// What is counted of one provider.
#[derive(Debug)]
struct Provider {
    id: String,
    attempts: Words,
    webhooks: Words,
    orphans: Counter,
    late: Counter,
}

/// What is counted of every provider.
struct Families {
    attempts: Family<Labels, Counter>,
    webhooks: Family<Labels, Counter>,
    orphans: Family<Labels, Counter>,
    late: Family<Labels, Counter>,
}

impl Families {
    fn new(registry: &mut Registry) -> Self {
        let mut family = |name, help| family(registry, name, help);
        Self {
            attempts: family("attempts", "Attempts ended, or gone unanswered"),
            webhooks: family("webhooks", "Webhooks of providers"),
            orphans: family("orphan_works", "Webhooks about work that no task waits for"),
            late: family(
                "late_successes",
                "Works finished after their attempt was given up; the operator's loss",
            ),
        }
    }

    fn of(&self, id: &str) -> Provider {
        let one = [("provider", id)];
        let labels = vec![("provider", id.to_owned())];
        Provider {
            id: id.to_owned(),
            attempts: Words::new(&self.attempts, &one, "state", &ATTEMPTS),
            webhooks: Words::new(&self.webhooks, &one, "result", &WEBHOOKS),
            orphans: self.orphans.get_or_create_owned(&labels),
            late: self.late.get_or_create_owned(&labels),
        }
    }
}

/// What the page shows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    ended: Words,
    providers: Vec<Provider>,
    callbacks: Words,
    absorbed: Counter,
    mails: Words,
    translations: Words,
    steps: Gauge,
    poll_lag: Histogram,
    commit_operations: Histogram,
    commit_time: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new([], Vec::new())
    }
}

impl Metrics {
    /// Every series at zero, for the providers of the catalogue; with what is counted elsewhere.
    #[must_use]
    pub fn new<'a>(
        providers: impl IntoIterator<Item = &'a str>,
        elsewhere: Vec<Box<dyn Collector>>,
    ) -> Self {
        let mut registry = Registry::default();
        for collector in elsewhere {
            registry.register_collector(collector);
        }
        let ended = family(&mut registry, "tasks_ended", "Tasks ended");
        let families = Families::new(&mut registry);
        let callbacks = family(&mut registry, "callbacks", "Deliveries of callbacks");
        let absorbed = Counter::default();
        registry.register(
            "routerbase_absorbed_micro_credits",
            "What tasks cost beyond their holds, in micro-credits; the operator's loss",
            absorbed.clone(),
        );
        let mails = family(&mut registry, "mails", "Mails about low balances");
        let translations = family(&mut registry, "translations", "Tries to translate a prompt");
        let steps = Gauge::default();
        registry.register("routerbase_worker_steps", "Steps under way", steps.clone());
        let poll_lag = histogram(
            &mut registry,
            "poll_lag_seconds",
            "How late due steps of tasks under way begin",
            exponential_buckets(0.005, 2.0, 14),
        );
        let commit_operations = histogram(
            &mut registry,
            "commit_operations",
            "Operations that share a commit",
            exponential_buckets(1.0, 2.0, 11),
        );
        let commit_time = histogram(
            &mut registry,
            "commit_seconds",
            "How long a commit takes",
            exponential_buckets(0.000_1, 2.0, 16),
        );
        Self(Arc::new(Inner {
            ended: Words::new(&ended, &[], "end", &ENDS),
            providers: providers
                .into_iter()
                .chain([OTHER])
                .map(|id| families.of(id))
                .collect(),
            callbacks: Words::new(&callbacks, &[], "result", &CALLBACKS),
            absorbed,
            mails: Words::new(&mails, &[], "result", &MAILS),
            translations: Words::new(&translations, &[], "result", &TRANSLATIONS),
            steps,
            poll_lag,
            commit_operations,
            commit_time,
            registry,
        }))
    }

    /// A task ended: `success`, or the type of its error.
    pub fn ended(&self, end: &str) {
        self.0.ended.count(end);
    }

    /// A task cost so much more than its hold.
    pub fn absorbed(&self, credits: Credits) {
        let micros = u64::try_from(credits.0).unwrap_or(0);
        self.0.absorbed.inc_by(micros);
    }

    /// The counters of a provider, or of those that nobody announced.
    fn provider(&self, id: &str) -> Option<&Provider> {
        let providers = &self.0.providers;
        let found = providers.iter().find(|known| known.id == id);
        found.or(providers.last())
    }

    /// An attempt at a provider ended in a state, or went unanswered.
    pub fn attempt(&self, provider: &str, state: &str) {
        if let Some(provider) = self.provider(provider) {
            provider.attempts.count(state);
        }
    }

    /// A webhook of a provider came to `nudge`, `receipt`, `over`, `orphan`, `unsigned` or `unknown`.
    pub fn webhook(&self, provider: &str, result: &str) {
        if let Some(provider) = self.provider(provider) {
            provider.webhooks.count(result);
        }
    }

    /// A webhook was about work that no task waits for.
    pub fn orphan_work(&self, provider: &str) {
        if let Some(provider) = self.provider(provider) {
            provider.orphans.inc();
        }
    }

    /// Work was finished after its attempt was given up.
    pub fn late_success(&self, provider: &str) {
        if let Some(provider) = self.provider(provider) {
            provider.late.inc();
        }
    }

    /// A delivery came to `delivered`, `retry`, `exhausted`, `gone` or `blocked`.
    pub fn callback(&self, result: &str) {
        self.0.callbacks.count(result);
    }

    /// A try of a mail came to `sent`, `retry`, `refused` or `exhausted`.
    pub fn mail(&self, result: &str) {
        self.0.mails.count(result);
    }

    /// A try to translate a prompt came to `done` or `failed`.
    pub fn translation(&self, result: &str) {
        self.0.translations.count(result);
    }

    /// A step began; it ends when the answer is dropped.
    #[must_use]
    pub fn step(&self) -> Step {
        self.0.steps.inc();
        Step(self.0.steps.clone())
    }

    /// A due step was begun so late.
    pub fn poll_lag_ms(&self, lag_ms: i64) {
        self.0.poll_lag.observe(lag_ms.max(0) as f64 / 1_000.0);
    }

    /// A commit of so many operations took so long.
    pub fn commit(&self, operations: usize, time: std::time::Duration) {
        self.0.commit_operations.observe(operations as f64);
        self.0.commit_time.observe(time.as_secs_f64());
    }

    /// All of them as Prometheus reads them.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        match prometheus_text::encode(&mut text, &self.0.registry) {
            Ok(()) => text,
            Err(error) => {
                tracing::error!(%error, "metrics cannot be written");
                String::new()
            }
        }
    }
}

/// A step under way.
#[derive(Debug)]
pub struct Step(Gauge);

impl Drop for Step {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn family(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Counter> {
    let family = Family::default();
    registry.register(format!("routerbase_{name}"), help, family.clone());
    family
}

fn histogram(
    registry: &mut Registry,
    name: &str,
    help: &str,
    buckets: impl Iterator<Item = f64>,
) -> Histogram {
    let histogram = Histogram::new(buckets);
    registry.register(format!("routerbase_{name}"), help, histogram.clone());
    histogram
}
