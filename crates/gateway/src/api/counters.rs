//! What the API counts, for the metrics page.
//!
//! Invariant: every counter is there from the start; counting is one atomic addition. The page asks
//! for the sums when it is read.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Status classes: 1xx to 5xx.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the words say it")]
        pub enum $name { $($variant),* }

        impl $name {
            /// Every one, in the order of the counters.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$variant),*];

            /// The word on the metrics page.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

words! {
    /// The endpoints that are counted apart.
    Endpoint {
        Submit = "submit", Estimate = "estimate", Task = "task", Tasks = "tasks",
        Stream = "stream", Attempts = "attempts", Cancel = "cancel", Files = "files", Callbacks = "callbacks",
        Models = "models", Keys = "keys", Billing = "billing", Receipts = "receipts",
        Admin = "admin", Probe = "probe", Docs = "docs", Results = "results", Hooks = "hooks", Other = "other",
    }
}

words! {
    /// What can come of a submit.
    Submitted { Accepted = "accepted", Replayed = "replayed", Refused = "refused" }
}

words! {
    /// What can come of payments.
    TopUp {
        Opened = "opened", Unopened = "unopened", Credited = "credited", Repeated = "repeated",
        Foreign = "foreign", Unclaimed = "unclaimed", Forged = "forged", Refunded = "refunded",
        Disputed = "disputed",
    }
}

/// The counters.
#[derive(Debug, Default)]
pub struct Counters {
    requests: [[AtomicU64; CLASSES.len()]; Endpoint::ALL.len()],
    submits: [AtomicU64; Submitted::ALL.len()],
    top_ups: [AtomicU64; TopUp::ALL.len()],
}

impl Counters {
    pub(super) fn request(&self, endpoint: Endpoint, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.requests[endpoint as usize].get(class) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn submitted(&self, outcome: Submitted) {
        self.submits[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn top_up(&self, outcome: TopUp) {
        self.top_ups[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Answered requests by endpoint and status class.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        Endpoint::ALL.into_iter().flat_map(move |endpoint| {
            let counters = &self.requests[endpoint as usize];
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let named = CLASSES.into_iter().zip(counters.iter().map(read));
            named.map(move |(class, count)| (endpoint.as_str(), class, count))
        })
    }

    /// Submits by what came of them.
    pub fn submits(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let read = |outcome: Submitted| {
            let count = self.submits[outcome as usize].load(Ordering::Relaxed);
            (outcome.as_str(), count)
        };
        Submitted::ALL.into_iter().map(read)
    }

    /// Payments by what came of them.
    pub fn top_ups(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let read = |outcome: TopUp| {
            let count = self.top_ups[outcome as usize].load(Ordering::Relaxed);
            (outcome.as_str(), count)
        };
        TopUp::ALL.into_iter().map(read)
    }
}

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let kind = MetricType::Counter;
        let name = "routerbase_http_requests";
        let mut family = encoder.encode_descriptor(name, "Requests answered", None, kind)?;
        for (endpoint, status, count) in self.requests() {
            let labels = [("endpoint", endpoint), ("status", status)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        let name = "routerbase_submits";
        let mut family = encoder.encode_descriptor(name, "Submits answered", None, kind)?;
        for (outcome, count) in self.submits() {
            let labels = [("outcome", outcome)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        let name = "routerbase_top_ups";
        let mut family = encoder.encode_descriptor(name, "Payments", None, kind)?;
        for (outcome, count) in self.top_ups() {
            let labels = [("outcome", outcome)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn every_counter_is_on_the_page() {
        let counters = std::sync::Arc::new(Counters::default());
        let page = Metrics::new([], vec![Box::new(std::sync::Arc::clone(&counters))]);
        for endpoint in Endpoint::ALL {
            counters.request(endpoint, StatusCode::OK);
        }
        counters.request(Endpoint::Submit, StatusCode::PAYMENT_REQUIRED);
        counters.submitted(Submitted::Replayed);
        counters.top_up(TopUp::Disputed);
        let text = page.render();
        let lines = |start| text.lines().filter(move |line| line.starts_with(start));
        let requests = lines("routerbase_http_requests_total{").count();
        assert_eq!(requests, Endpoint::ALL.len() * CLASSES.len());
        assert_eq!(lines("routerbase_submits_total{").count(), 3);
        let top_ups = lines("routerbase_top_ups_total{").count();
        assert_eq!(top_ups, TopUp::ALL.len());
        for line in [
            "# TYPE routerbase_http_requests_total counter",
            "routerbase_http_requests_total{endpoint=\"submit\",status=\"4xx\"} 1",
            "routerbase_http_requests_total{endpoint=\"other\",status=\"2xx\"} 1",
            "routerbase_http_requests_total{endpoint=\"other\",status=\"5xx\"} 0",
            "routerbase_submits_total{outcome=\"replayed\"} 1",
            "routerbase_submits_total{outcome=\"refused\"} 0",
            "routerbase_top_ups_total{outcome=\"disputed\"} 1",
            "routerbase_top_ups_total{outcome=\"credited\"} 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }
}
