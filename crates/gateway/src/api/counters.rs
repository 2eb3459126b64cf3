//! What the API counts, for the metrics page.
//!
//! Invariant: every counter is there from the start; counting is one atomic addition.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

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
        Stream = "stream", Attempts = "attempts", Cancel = "cancel", Callbacks = "callbacks",
        Models = "models", Keys = "keys", Billing = "billing", Probe = "probe", Docs = "docs",
        Other = "other",
    }
}

words! {
    /// What can come of a submit.
    Submitted { Accepted = "accepted", Replayed = "replayed", Refused = "refused" }
}

/// The counters.
#[derive(Debug, Default)]
pub struct Counters {
    requests: [[AtomicU64; CLASSES.len()]; Endpoint::ALL.len()],
    submits: [AtomicU64; Submitted::ALL.len()],
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
}
