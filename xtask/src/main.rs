//! `cargo xtask`: the chores of this repository.
//!
//! Invariant: knows nothing of the workspace's crates; what it runs, it runs as anyone would.

mod bench;
mod catalogue;
mod ci;
mod replay;
mod shell;

use clap::Parser;

/// The chores of this repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Chore {
    /// Format, lints and tests: exactly what CI runs.
    Ci,
    /// Simulates the worker from seeds; a seed that failed is replayed with it.
    Sim(replay::Sim),
    /// The catalogue.
    #[command(subcommand)]
    Catalogue(catalogue::Catalogue),
    /// One cheap real call for each modality of a provider, recorded as fixtures; without `--spend` it
    /// only says what that would cost.
    Live(catalogue::Live),
    /// Writes the committed descriptions anew: the API's document and the table of transitions.
    Openapi,
    /// Compares a release build with a bare handler in one run.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> anyhow::Result<()> {
    match Chore::parse() {
        Chore::Ci => ci::run_all(),
        Chore::Sim(sim) => sim.run(),
        Chore::Catalogue(catalogue) => catalogue.run(),
        Chore::Live(live) => live.run(),
        Chore::Openapi => replay::write_descriptions(),
        Chore::Bench(bench) => bench::run(&bench),
    }
}
