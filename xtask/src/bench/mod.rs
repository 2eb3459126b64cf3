//! Benchmarks: the real server over HTTP, beside a bare handler on the same work.
//!
//! Invariant: what is compared runs in turns within one run, and whoever is not measured is frozen.

mod bare;
mod cluster;
mod compare;
mod connection;
mod contender;
mod inflight;
mod load;
mod machine;
mod program;
mod request;
mod settings;
mod table;
mod targets;
mod upstream;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::shell::{cargo, root, run as run_program};
use settings::Settings;

/// What is measured.
#[derive(clap::Subcommand)]
pub enum Bench {
    /// Durable submits: `POST /api/v1/run/{model_id}`.
    Submit(Settings),
    /// Status reads of existing tasks: `GET /api/v1/run/tasks/{task_id}`.
    Status(Settings),
    /// Tasks that generate at once: memory for each, lag of polls, processor.
    Inflight(inflight::Settings),
    /// The upstream of tasks in flight; ends with its standard input.
    #[command(hide = true)]
    Upstream {
        /// 0 for any that is free.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// The bare handler alone; ends with its standard input.
    #[command(hide = true)]
    Bare {
        /// 0 for any that is free.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
}

/// The two benches that compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Submits.
    Submit,
    /// Status reads.
    Status,
}

/// Runs a bench and prints its table.
///
/// # Errors
/// A program cannot be built or started, or answers with an error.
pub fn run(bench: &Bench) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        return again_in_release();
    }
    match bench {
        Bench::Submit(settings) => compare::run(Work::Submit, settings),
        Bench::Status(settings) => compare::run(Work::Status, settings),
        Bench::Inflight(settings) => inflight::run(settings),
        Bench::Upstream { port } => upstream::serve(*port),
        Bench::Bare { port } => bare::serve(*port),
    }
}

/// The same command in a release build: a slow generator and a slow ceiling measure nothing.
fn again_in_release() -> anyhow::Result<()> {
    run_program(cargo().args(["build", "--quiet", "--release", "--package", "xtask"]))?;
    let program = target().join("release/xtask");
    ensure!(program.is_file(), "cargo built no {}", program.display());
    let arguments = std::env::args_os().skip(1);
    run_program(std::process::Command::new(program).args(arguments))
}

/// The server that is measured: the given one, or a release build of this tree.
fn release_binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return given.canonicalize().context("no such program");
    }
    run_program(cargo().args(["build", "--release", "--package", "routerbase"]))?;
    Ok(target().join("release/routerbase"))
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR");
    root().join(given.map_or_else(|| "target".into(), PathBuf::from))
}
