//! Very many tasks generating at once on one node: what each costs while it waits for its upstream.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::load::{Load, once};
use super::machine::{Ticks, describe};
use super::program::Program;
use super::{release_binary, request};
use crate::shell::say;

/// Model and provider of the bench.
const MODEL: &str = "image_generate.inflight";

/// Connections that submit.
const SUBMITTERS: usize = 64;

/// How long the server is left alone before its idle memory is read, and before polls are measured.
const SETTLE: Duration = Duration::from_secs(10);

/// Longest wait for all tasks to be under way, or to have ended.
const WAIT: Duration = Duration::from_secs(600);

/// How it is run.
#[derive(Debug, clap::Args)]
pub struct Settings {
    /// Tasks at once.
    #[arg(long, default_value_t = 10_000)]
    tasks: usize,
    /// Seconds that are measured while all are under way.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// The server; a release build of this tree unless given.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where the database lies while the bench runs; `target/bench` unless given.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// What the server says of itself, and the system of it.
struct Reading {
    /// Memory of its own.
    own_kib: u64,
    /// Pages of files, such as the database, that the kernel maps for it and may take back.
    mapped_kib: u64,
    /// Upper ends of the buckets in seconds, with how many polls were no later.
    lags: Vec<(f64, f64)>,
    ticks: Ticks,
    at: Instant,
    polls: u64,
}

/// One server, one upstream.
struct Rig {
    upstream: Program,
    server: Program,
}

/// Runs the bench and prints its figures.
///
/// # Errors
/// A program cannot be built or started, or tasks do not come under way or to an end.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let binary = release_binary(settings.binary.as_deref())?;
    let folder = settings.folder.clone();
    let folder = folder.unwrap_or_else(|| super::target().join("bench/inflight"));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder)?;
    let rig = Rig::start(&binary, &folder)?;
    for line in describe() {
        say(format_args!("{line}"));
    }
    std::thread::sleep(SETTLE);
    let idle = rig.read()?;
    let submitting = Instant::now();
    rig.submit(settings.tasks)?;
    let submitted = submitting.elapsed();
    rig.until("under way", || {
        Ok(rig.count("created")? >= settings.tasks as u64)
    })?;
    let started = submitting.elapsed();
    std::thread::sleep(SETTLE);
    let before = rig.read()?;
    std::thread::sleep(Duration::from_secs(settings.seconds));
    let after = rig.read()?;
    call(rig.upstream.address, "POST /finish")?;
    let finishing = Instant::now();
    rig.until("ended", || Ok(rig.ended()? >= settings.tasks as f64))?;
    let ended = finishing.elapsed();
    report(settings.tasks, &idle, &before, &after);
    say(format_args!(
        "submitted in {:.1} s, all under way after {:.1} s, all stored and ended {:.1} s after the upstream was done",
        submitted.as_secs_f64(),
        started.as_secs_f64(),
        ended.as_secs_f64(),
    ));
    let created = rig.count("created")?;
    ensure!(created == settings.tasks as u64, "{created} creating calls");
    drop(rig);
    drop(std::fs::remove_dir_all(&folder));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for a table")]
fn report(tasks: usize, idle: &Reading, before: &Reading, after: &Reading) {
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let polls = after.polls.saturating_sub(before.polls) as f64 / seconds;
    let grown = after.own_kib.saturating_sub(idle.own_kib);
    let mib = |kib: u64| kib as f64 / 1_024.0;
    let each = grown as f64 / tasks as f64;
    let cores = after
        .ticks
        .measured_since(before.ticks)
        .map(|used| used / seconds);
    let lag = quantile(&before.lags, &after.lags, 0.99);
    say(format_args!(
        "{tasks} tasks generating at once, {seconds:.0} s"
    ));
    say(format_args!("| figure | measured | target |"));
    say(format_args!("|---|---|---|"));
    say(format_args!(
        "| memory, idle / now | {:.1} / {:.1} MiB | |",
        mib(idle.own_kib),
        mib(after.own_kib)
    ));
    say(format_args!(
        "| mapped pages of files, idle / now | {:.1} / {:.1} MiB | |",
        mib(idle.mapped_kib),
        mib(after.mapped_kib)
    ));
    say(format_args!(
        "| memory for each task | {each:.2} KiB | ≤ 3 KB |"
    ));
    say(format_args!("| polls | {polls:.0}/s | |"));
    say(format_args!("| poll lag, p99 | ≤ {lag:.2} s | ≤ 1 s |"));
    let cores = cores.map_or_else(|| "unknown".to_owned(), |cores| format!("{cores:.2}"));
    say(format_args!("| processor | {cores} cores | ≤ 0.5 |"));
}

/// The upper end of the bucket that this share of what came in between reached.
fn quantile(before: &[(f64, f64)], after: &[(f64, f64)], share: f64) -> f64 {
    let counts = before.iter().zip(after);
    let counts: Vec<(f64, f64)> = counts.map(|(old, new)| (new.0, new.1 - old.1)).collect();
    let all = counts.last().map_or(0.0, |(_, count)| *count);
    let reached = counts.iter().find(|(_, count)| *count >= all * share);
    reached.map_or(f64::INFINITY, |(end, _)| *end)
}

impl Rig {
    fn start(binary: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let upstream = Program::start(
            command.args(["bench", "upstream"]),
            &folder.join("upstream.log"),
        )?;
        let catalogue = folder.join("catalogue");
        std::fs::create_dir_all(catalogue.join("providers"))?;
        std::fs::create_dir_all(catalogue.join("models"))?;
        let provider = format!(
            "id = \"inflight\"\nname = \"Bench\"\ndialect = \"kie\"\nbase_url = \"http://{}\"\n\
             secret = \"INFLIGHT_KEY\"\nconcurrency = 1000000\n",
            upstream.address
        );
        std::fs::write(catalogue.join("providers/inflight.toml"), provider)?;
        let model = format!(
            "id = \"{MODEL}\"\nname = \"Bench\"\nvendor = \"Bench\"\nmodality = \"image\"\n\
             description = \"For the bench.\"\ndeadline_s = 7200\n\
             [parameters]\naspect_ratio = {{ words = [\"1:1\", \"16:9\"], default = \"1:1\" }}\n\
             seed = {{ integer = [0, 1000000] }}\n[price]\nper_run = 0.01\n\
             [[routes]]\nprovider = \"inflight\"\nmodel = \"m\"\n\
             send = {{ aspect_ratio = \"aspect_ratio\", seed = \"seed\" }}\n"
        );
        std::fs::write(catalogue.join(format!("models/{MODEL}.toml")), model)?;
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .current_dir(folder)
            .env("ROUTERBASE_SERVER__LISTEN", "127.0.0.1:0")
            .env("ROUTERBASE_BOOTSTRAP__KEY", request::KEY)
            .env("ROUTERBASE_BOOTSTRAP__CREDITS", "100000000")
            .env("ROUTERBASE_EGRESS__ALLOW", "127.0.0.0/8")
            .env("ROUTERBASE_CATALOGUE__FOLDER", &catalogue)
            .env("INFLIGHT_KEY", "bench");
        let server = Program::start(&mut command, &folder.join("server.log"))?;
        Ok(Self { upstream, server })
    }

    fn submit(&self, tasks: usize) -> anyhow::Result<()> {
        let address = self.server.address;
        let submit = request::submit_to(address, MODEL);
        let load = Load {
            address,
            requests: Arc::new(vec![submit; tasks]),
            status: 200,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(once(&load, SUBMITTERS)).map(drop)
    }

    fn until(&self, what: &str, is_so: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let began = Instant::now();
        while !is_so()? {
            ensure!(began.elapsed() < WAIT, "not all tasks are {what}");
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// What the upstream counted.
    fn count(&self, name: &str) -> anyhow::Result<u64> {
        let counts: Value = serde_json::from_str(&call(self.upstream.address, "GET /counts")?)?;
        counts[name].as_u64().context("no count")
    }

    fn ended(&self) -> anyhow::Result<f64> {
        let page = call(self.server.address, "GET /metrics")?;
        let name = "routerbase_tasks_ended_total{end=\"success\"} ";
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.context("no such series")?.trim().parse()?)
    }

    fn read(&self) -> anyhow::Result<Reading> {
        let id = self.server.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|text| text.split_whitespace().next());
            Ok::<u64, anyhow::Error>(number.with_context(|| format!("no {name}"))?.parse()?)
        };
        let page = call(self.server.address, "GET /metrics")?;
        Ok(Reading {
            own_kib: kib("RssAnon:")?,
            mapped_kib: kib("RssFile:")?,
            lags: lags(&page),
            ticks: Ticks::now(&[id, self.upstream.id()], id),
            at: Instant::now(),
            polls: self.count("polls")?,
        })
    }
}

/// The buckets of the lag of polls on the page of metrics.
fn lags(page: &str) -> Vec<(f64, f64)> {
    let start = "routerbase_poll_lag_seconds_bucket{le=\"";
    let lines = page.lines().filter_map(|line| line.strip_prefix(start));
    let bucket = |line: &str| {
        let (end, count) = line.split_once("\"} ")?;
        let end = end.parse().unwrap_or(f64::INFINITY);
        Some((end, count.trim().parse().ok()?))
    };
    lines.filter_map(bucket).collect()
}

/// One call on a connection of its own; the body of the reply.
fn call(address: SocketAddr, line: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let head = format!(
        "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").context("no reply")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{line}: {head}");
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_end_of_its_bucket() {
        let before = [(0.1, 5.0), (1.0, 5.0), (f64::INFINITY, 5.0)];
        let after = [(0.1, 104.0), (1.0, 105.0), (f64::INFINITY, 105.0)];
        assert!((quantile(&before, &after, 0.99) - 0.1).abs() < f64::EPSILON);
        assert!((quantile(&before, &after, 1.0) - 1.0).abs() < f64::EPSILON);
        let page = "x 1\nrouterbase_poll_lag_seconds_bucket{le=\"0.5\"} 7\n\
                    routerbase_poll_lag_seconds_bucket{le=\"+Inf\"} 9\n";
        assert_eq!(lags(page), [(0.5, 7.0), (f64::INFINITY, 9.0)]);
    }
}
