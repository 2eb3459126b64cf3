//! This node's clock beside the machine's, and beside the one that all nodes share: the database's.
//!
//! Invariant: it looks and tells. Nothing that is recorded comes from another machine's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, DIFFERENCE_MS_MAX};
use crate::store::{Store, StoreError};

/// How often they are compared, in seconds.
const EVERY_S: u64 = 5;

/// A database that took longer to answer says nothing exact, in milliseconds.
const ROUND_TRIP_MS_MAX: i64 = 1_000;

/// How far the others are ahead, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Leads {
    machine_ms: AtomicI64,
    database_ms: AtomicI64,
}

impl Leads {
    /// Compares until `stop`.
    pub(super) async fn watch(&self, store: &Store, clock: &Clock, stop: CancellationToken) {
        loop {
            self.tell(&self.machine_ms, clock.lead_ms(), "machine");
            match database_lead_ms(store, clock).await {
                Ok(Some(lead_ms)) => {
                    clock.hear(lead_ms);
                    self.tell(&self.database_ms, lead_ms, "database");
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "clocks could not be compared"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(EVERY_S)) => {}
            }
        }
    }

    /// Says once that a difference is large, and once that it is not any more.
    fn tell(&self, known: &AtomicI64, lead_ms: i64, whose: &str) {
        let before_ms = known.swap(lead_ms, Ordering::Relaxed);
        let is_large = |ms: i64| ms.unsigned_abs() > DIFFERENCE_MS_MAX.unsigned_abs();
        match (is_large(before_ms), is_large(lead_ms)) {
            (false, true) => tracing::warn!(
                whose,
                lead_ms,
                "another clock differs from the one this process goes by, which follows the \
                 machine's by a tenth; a restart takes the machine's at once"
            ),
            (true, false) => tracing::info!(whose, lead_ms, "clocks agree again"),
            _ => {}
        }
    }
}

/// How far the database's clock is ahead of this node's, taken in the middle of asking.
async fn database_lead_ms(store: &Store, clock: &Clock) -> Result<Option<i64>, StoreError> {
    let asked_ms = clock.now_ms();
    let Some(told_ms) = store.any_clock_ms().await? else {
        return Ok(None);
    };
    let took_ms = clock.now_ms().saturating_sub(asked_ms);
    let middle_ms = asked_ms.saturating_add(took_ms / 2);
    let is_exact = took_ms <= ROUND_TRIP_MS_MAX;
    Ok(is_exact.then(|| told_ms.saturating_sub(middle_ms)))
}

impl Collector for Leads {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let name = "routerbase_clock_lead_seconds";
        let help = "How far another clock is ahead of the one this node goes by";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (clock, lead_ms) in [
            ("machine", &self.machine_ms),
            ("database", &self.database_ms),
        ] {
            let lead_s = lead_ms.load(Ordering::Relaxed) as f64 / 1_000.0;
            let labels = [("clock", clock)];
            ConstGauge::new(lead_s).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Metrics;
    use crate::store::Access;

    #[tokio::test]
    async fn a_machine_that_is_ahead_shows_on_the_page() {
        let leads = Arc::new(Leads::default());
        let page = Metrics::new([], vec![Box::new(Arc::clone(&leads))]);
        let folder = std::env::temp_dir().join(format!("clocks-{}", std::process::id()));
        let url = format!("sqlite://{}/test.db", folder.display());
        let store = Store::connect(&url, Access::Beside).await.unwrap();
        let (clock, behind_ms) = Clock::following(0);
        behind_ms.store(90_500, Ordering::Relaxed);
        let stop = CancellationToken::new();
        stop.cancel();
        leads.watch(&store, &clock, stop).await;
        drop(store);
        std::fs::remove_dir_all(folder).unwrap();
        let text = page.render();
        for line in [
            "# TYPE routerbase_clock_lead_seconds gauge",
            "routerbase_clock_lead_seconds{clock=\"machine\"} 90.5",
            "routerbase_clock_lead_seconds{clock=\"database\"} 0.0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }
}
