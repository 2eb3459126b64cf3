//! What the operating system and the build know of this program.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;

/// The program itself, looked at whenever the page is read.
#[derive(Debug)]
pub struct Program {
    /// When it started, Unix milliseconds.
    pub began_ms: i64,
}

impl Collector for Program {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        // The names and units that Prometheus has for every program.
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Memory in use",
                resident_bytes(),
            ),
            (
                "process_start_time_seconds",
                "When it started, Unix time",
                self.began_ms as f64 / 1_000.0,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(gauge)?;
        }
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let name = "routerbase_build";
        let encoder = encoder.encode_descriptor(name, "What runs", None, MetricType::Info)?;
        build.encode(encoder)
    }
}

/// 0 where the system has no such file.
fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1_024.0
}
