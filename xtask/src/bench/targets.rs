//! What the figures should be; the table of targets is in docs/performance.md.

use super::Work;
use super::contender::{ALL, API, LIMITED, UNCHANGED};
use super::settings::Database;
use super::table::Row;

/// What p50 at one connection may take beyond one fsync.
const OVER_SYNC_MS: f64 = 0.2;

/// A sentence for each target that the rows say something about.
pub fn verdicts(work: Work, database: &Database, rows: &[Row], sync_ms: f64) -> Vec<String> {
    let mut verdicts = Vec::new();
    for row in rows.iter().filter(|row| row.name == API || row.name == ALL) {
        let mut at_least = |least: f64| verdicts.push(ratio(row, least));
        match (work, database, row.connections) {
            (Work::Submit, Database::Sqlite, 64) => at_least(0.5),
            (Work::Submit, Database::Sqlite, 512) => at_least(0.6),
            (Work::Submit, Database::Cluster | Database::Given(_), 512) => at_least(0.4),
            (Work::Status, _, 64 | 512) => at_least(0.75),
            _ => {}
        }
        let mut p99_below = |most: f64| verdicts.push(latency(row, "p99", row.p99.median, most));
        match (work, database, row.connections) {
            (Work::Submit, Database::Sqlite, 64) => p99_below(5.0),
            (Work::Submit, Database::Cluster | Database::Given(_), 64) => p99_below(10.0),
            (Work::Submit, Database::Sqlite, 1) => {
                let most = sync_ms + OVER_SYNC_MS;
                verdicts.push(latency(row, "p50", row.p50.median, most));
            }
            _ => {}
        }
    }
    for (name, least, what) in [(UNCHANGED, 1.0, "200"), (LIMITED, 0.85, "without limits")] {
        for row in rows.iter().filter(|row| row.name == name) {
            let is_twin = |other: &&Row| other.name == API && other.connections == row.connections;
            if let Some(twin) = rows.iter().find(is_twin) {
                let share = row.per_second.median / twin.per_second.median;
                let met = says(row, share >= least);
                let connections = row.connections;
                verdicts.push(format!(
                    "{met}: {name} at {connections}: {share:.2} × {what}, target ≥ {least}"
                ));
            }
        }
    }
    verdicts
}

fn ratio(row: &Row, least: f64) -> String {
    let (name, connections, ratio) = (row.name, row.connections, row.ratio.median);
    let met = says(row, ratio >= least);
    format!("{met}: {name} at {connections}: {ratio:.2} × bare, target ≥ {least:.2}")
}

fn latency(row: &Row, what: &str, ms: f64, most: f64) -> String {
    let (name, connections) = (row.name, row.connections);
    let met = says(row, ms <= most);
    format!("{met}: {name} at {connections}: {what} {ms:.2} ms, target ≤ {most:.2} ms")
}

/// Nothing is judged by rounds in which others had the machine.
fn says(row: &Row, is_met: bool) -> &'static str {
    match (row.noisy, is_met) {
        (0, true) => "met",
        (0, false) => "MISSED",
        (_, true) => "unsure (noisy), met",
        (_, false) => "unsure (noisy), missed",
    }
}
