//! `cargo xtask`: the chores of this repository.
//!
//! Invariant: knows nothing of the workspace's crates; what it runs, it runs as anyone would.

mod bench;
mod ci;
mod shell;

use clap::Parser;

/// The chores of this repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Chore {
    /// Format, lints and tests: exactly what CI runs.
    Ci,
    /// Compares a release build with a bare handler in one run.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> anyhow::Result<()> {
    match Chore::parse() {
        Chore::Ci => ci::run_all(),
        Chore::Bench(bench) => bench::run(&bench),
    }
}
