//! Running single tests with what they read from the environment.

use clap::Args;

use crate::shell::{cargo, run};

/// Which seeds to simulate.
#[derive(Debug, Args)]
pub struct Sim {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Print every line of the trace
    #[arg(long)]
    trace: bool,
}

impl Sim {
    /// Simulates; the test says what it found.
    ///
    /// # Errors
    /// A seed failed.
    pub fn run(&self) -> anyhow::Result<()> {
        let mut test = cargo();
        test.args([
            "test",
            "-p",
            "gateway",
            "--test",
            "sim",
            "--",
            "--nocapture",
        ]);
        test.env("SIM_SEED", self.seed.to_string());
        test.env("SIM_SEEDS", self.seeds.to_string());
        if self.trace {
            test.env("SIM_TRACE", "1");
        }
        run(&mut test)
    }
}

/// Writes `docs/openapi.json` and `docs/task_transitions.md` as the code has them now; the change is
/// then seen in review.
///
/// # Errors
/// They could not be made.
pub fn write_descriptions() -> anyhow::Result<()> {
    run(cargo()
        .env("UPDATE", "1")
        .args(["test", "-p", "gateway", "--test", "api", "document"]))?;
    run(cargo()
        .env("UPDATE", "1")
        .args(["test", "-p", "domain", "--lib", "table"]))
}
