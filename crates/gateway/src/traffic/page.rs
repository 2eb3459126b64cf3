//! How the providers fare, for Prometheus.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{ProviderState, Traffic};
use crate::clock::Clock;

/// The page's part about providers.
#[derive(Debug)]
pub struct TrafficPage {
    /// What is known of them.
    pub traffic: Traffic,
    /// The time.
    pub clock: Clock,
}

type Reading = (&'static str, &'static str, fn(&ProviderState) -> i64);

fn counted(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn standing(state: &ProviderState, word: &str) -> i64 {
    let all = state.credentials.iter();
    counted(all.filter(|one| one.state == word).count())
}

const READINGS: [Reading; 6] = [
    (
        "routerbase_provider_open_attempts",
        "Tasks a provider works on",
        |state| i64::try_from(state.open).unwrap_or(i64::MAX),
    ),
    (
        "routerbase_provider_waiting_tasks",
        "Tasks of this node that wait for a provider",
        |state| counted(state.waiting),
    ),
    (
        "routerbase_provider_credentials_parked",
        "Credentials a provider does not accept",
        |state| standing(state, "parked"),
    ),
    (
        "routerbase_provider_credentials_cooling",
        "Credentials a provider wants less from",
        |state| standing(state, "cooling"),
    ),
    (
        "routerbase_provider_breakers_open",
        "Models that are not sent to a provider for a while",
        |state| counted(state.breakers.len()),
    ),
    (
        "routerbase_provider_unreachable",
        "Whether connections to a provider do not come about",
        |state| i64::from(state.unreachable_until_ms.is_some()),
    ),
];

impl Collector for TrafficPage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let states = self.traffic.states(self.clock.now_ms());
        for (name, help, reading) in READINGS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (id, state) in &states {
                let labels = [("provider", id.as_str())];
                ConstGauge::new(reading(state)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
