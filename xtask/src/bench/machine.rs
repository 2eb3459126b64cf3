//! What a figure depends on: the machine, its disk, and who else is using it.

use std::fs::{File, read_to_string};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use tokio::time::Instant;

const SYNCS: usize = 300;
const SYNC_BYTES: usize = 4096;

/// Time that the processors have spent since the machine started, in ticks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ticks {
    all: u64,
    busy: u64,
    ours: u64,
    /// Of the one that is measured.
    measured: u64,
}

impl Ticks {
    /// Reads the counters; all zero where there is no `/proc`.
    pub fn now(ours: &[u32], measured: u32) -> Self {
        let (all, busy) = read_to_string("/proc/stat")
            .map(|stat| machine(&stat))
            .unwrap_or_default();
        let of = |id: u32| {
            let stat = read_to_string(format!("/proc/{id}/stat"));
            stat.ok().and_then(|stat| of_program(&stat)).unwrap_or(0)
        };
        let ours = ours.iter().copied().chain(databases());
        Self {
            all,
            busy,
            ours: ours.map(of).sum(),
            measured: of(measured),
        }
    }

    /// The share of the machine that others had since `before`; `None` if that is not known.
    #[expect(clippy::cast_precision_loss, reason = "a share for a table")]
    pub fn foreign_since(&self, before: Self) -> Option<f64> {
        let all = self.all.saturating_sub(before.all);
        let busy = self.busy.saturating_sub(before.busy);
        let ours = self.ours.saturating_sub(before.ours);
        (all > 0).then(|| busy.saturating_sub(ours) as f64 / all as f64)
    }

    /// What the measured process used since `before`, in seconds; a tick is 10 ms on Linux.
    #[expect(clippy::cast_precision_loss, reason = "a time for a table")]
    pub fn measured_since(&self, before: Self) -> Option<f64> {
        let used = self.measured.saturating_sub(before.measured);
        (self.all > 0).then_some(used as f64 / 100.0)
    }
}

/// All ticks, and those of programs. Interrupts are left out: most of them are our own packets.
fn machine(stat: &str) -> (u64, u64) {
    let line = stat.lines().next().unwrap_or_default();
    let numbers = line.split_whitespace().skip(1);
    let numbers: Vec<u64> = numbers.map_while(|number| number.parse().ok()).collect();
    let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
    // user, nice, system and stolen by other machines.
    let busy = at(0) + at(1) + at(2) + at(7);
    (numbers.iter().take(8).sum(), busy)
}

/// User and system time of `/proc/PID/stat`.
fn of_program(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Processes of PostgreSQL.
fn databases() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_database = |id: &u32| {
        let name = read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        name.trim() == "postgres"
    };
    ids.filter(is_database).collect()
}

/// Lines that describe the machine, the disk under `folder` excepted.
pub fn describe() -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let first = |path: &str, key: &str| {
        let text = read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(
            || "unknown".to_owned(),
            |(_, value)| value.trim().to_owned(),
        )
    };
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        format!("{cores} cores, {}", first("/proc/cpuinfo", "model name")),
        format!("memory {}", first("/proc/meminfo", "MemTotal")),
        format!("{} {}", std::env::consts::OS, kernel.trim()),
        format!("source {}", revision()),
    ]
}

fn revision() -> String {
    let mut git = Command::new("git");
    git.current_dir(crate::shell::root());
    let said = git.args(["describe", "--always", "--dirty"]).output();
    let said = said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    said.unwrap_or_else(|_| "unknown".to_owned())
}

/// How long appending 4 KiB durably takes in a folder: p50 and p99 in milliseconds.
///
/// # Errors
/// The folder cannot be written.
pub fn sync_ms(folder: &Path) -> anyhow::Result<(f64, f64)> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let block = [0x5a; SYNC_BYTES];
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    std::fs::remove_file(&path)?;
    took.sort_by(f64::total_cmp);
    Ok((took[SYNCS / 2], took[SYNCS * 99 / 100]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_as_the_kernel_writes_them() {
        let stat = "cpu  100 10 50 800 5 3 7 25 0 0\ncpu0 1 2\n";
        assert_eq!(machine(stat), (1000, 185));
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14";
        assert_eq!(of_program(stat), Some(23));
        assert_eq!(of_program("42"), None);
    }
}
