//! What is counted, for Prometheus.
//!
//! Invariant: every series exists from the start and is counted through a handle that was made then;
//! counting builds no label. A word nobody announced is counted as `other`.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What [`Metrics::render`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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

/// States in which an attempt ends.
const ATTEMPTS: [&str; 5] = ["refused", "unknown", "done", "failed", "abandoned"];

/// What comes of a callback's POST.
const CALLBACKS: [&str; 5] = ["delivered", "retry", "exhausted", "gone", "blocked"];

/// Why a submit is refused: the type of the error.
const REFUSALS: [&str; 11] = [
    "bad_request",
    "unauthorized",
    "insufficient_credits",
    "not_found",
    "conflict",
    "too_large",
    "validation_error",
    "rate_limited",
    "maintenance",
    "overloaded",
    "feature_disabled",
];

/// Which part of the API a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteClass {
    /// Submits and estimates.
    Submit,
    /// Reads of tasks, long polls and streams too.
    Task,
    /// Keys, credits, callbacks.
    Account,
    /// Models and prices.
    Catalogue,
    /// Uploads.
    Files,
    /// Fetched results.
    Results,
    /// The OpenAI dialect.
    OpenAi,
    /// Health, metrics, documents, console.
    Operating,
    /// What there is no route for.
    Unknown,
}

impl RouteClass {
    const ALL: [Self; 9] = [
        Self::Submit,
        Self::Task,
        Self::Account,
        Self::Catalogue,
        Self::Files,
        Self::Results,
        Self::OpenAi,
        Self::Operating,
        Self::Unknown,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Task => "task",
            Self::Account => "account",
            Self::Catalogue => "catalogue",
            Self::Files => "files",
            Self::Results => "results",
            Self::OpenAi => "openai",
            Self::Operating => "operating",
            Self::Unknown => "unknown",
        }
    }
}

/// Status classes; the last is for what is no status.
const STATUSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", OTHER];

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

/// Attempts at one provider.
#[derive(Debug)]
struct Provider {
    id: String,
    attempts: Words,
}

/// Every metric. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    requests: Vec<[Counter; STATUSES.len()]>,
    admitted: Counter,
    refused: Words,
    ended: Words,
    providers: Vec<Provider>,
    callbacks: Words,
    steps: Gauge,
    poll_lag: Histogram,
    commit_operations: Histogram,
    commit_time: Histogram,
    memory: Gauge,
}

impl Metrics {
    /// Every series at zero, for the providers of the catalogue.
    #[must_use]
    pub fn new<'a>(providers: impl IntoIterator<Item = &'a str>) -> Self {
        let mut registry = Registry::default();
        let requests = family(&mut registry, "http_requests", "Requests answered");
        let admitted = Counter::default();
        let help = "Submits recorded";
        registry.register("routerbase_submits_admitted", help, admitted.clone());
        let refused = family(&mut registry, "submits_refused", "Submits refused");
        let ended = family(&mut registry, "tasks_ended", "Tasks ended");
        let attempts = family(&mut registry, "attempts", "Attempts ended");
        let callbacks = family(&mut registry, "callbacks", "Callbacks posted");
        let steps = gauge(&mut registry, "routerbase_worker_steps", "Steps under way");
        let help = "Resident memory of this process";
        let memory = gauge(&mut registry, "process_resident_memory_bytes", help);
        let poll_lag = histogram(
            &mut registry,
            "poll_lag_seconds",
            "How late due steps are begun",
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
            "Time of a commit",
            exponential_buckets(0.000_1, 2.0, 16),
        );
        let provider = |id: &str| Provider {
            id: id.to_owned(),
            attempts: Words::new(&attempts, &[("provider", id)], "state", &ATTEMPTS),
        };
        Self(Arc::new(Inner {
            requests: RouteClass::ALL
                .map(|class| by_status(&requests, class))
                .to_vec(),
            admitted,
            refused: Words::new(&refused, &[], "type", &REFUSALS),
            ended: Words::new(&ended, &[], "end", &ENDS),
            providers: providers.into_iter().chain([OTHER]).map(provider).collect(),
            callbacks: Words::new(&callbacks, &[], "result", &CALLBACKS),
            steps,
            poll_lag,
            commit_operations,
            commit_time,
            memory,
            registry,
        }))
    }

    /// A request was answered.
    pub fn request(&self, class: RouteClass, status: u16) {
        let column = match status {
            200..300 => 0,
            300..400 => 1,
            400..500 => 2,
            500..600 => 3,
            _ => 4,
        };
        self.0.requests[class as usize][column].inc();
    }

    /// A submit was recorded.
    pub fn admitted(&self) {
        self.0.admitted.inc();
    }

    /// A submit was refused, with the type of the error.
    pub fn refused(&self, kind: &str) {
        self.0.refused.count(kind);
    }

    /// A task ended: `success`, or the type of its error.
    pub fn ended(&self, end: &str) {
        self.0.ended.count(end);
    }

    /// An attempt at a provider ended in a state.
    pub fn attempt(&self, provider: &str, state: &str) {
        let providers = &self.0.providers;
        let found = providers.iter().find(|known| known.id == provider);
        if let Some(provider) = found.or(providers.last()) {
            provider.attempts.count(state);
        }
    }

    /// A callback was posted: `delivered`, `retry`, `exhausted`, `gone` or `blocked`.
    pub fn callback(&self, result: &str) {
        self.0.callbacks.count(result);
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
        if let Some(bytes) = resident_bytes() {
            self.0.memory.set(bytes);
        }
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

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
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

fn by_status(family: &Family<Labels, Counter>, class: RouteClass) -> [Counter; STATUSES.len()] {
    STATUSES.map(|status| {
        let route = ("route", class.as_str().to_owned());
        family.get_or_create_owned(&vec![route, ("status", status.to_owned())])
    })
}

/// From the second number of `statm`, which counts pages; `None` where there is no such file.
fn resident_bytes() -> Option<i64> {
    let line = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = line.split(' ').nth(1)?.parse().ok()?;
    // Linux has other page sizes only on machines nobody runs this on; asking would need libc.
    pages.checked_mul(4_096)
}
