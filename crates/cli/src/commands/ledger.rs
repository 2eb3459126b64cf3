//! Checking the books.

use clap::{Args, Subcommand};

use super::store;
use crate::{FAILED, Failure, Settings, output};

#[derive(Debug, Subcommand)]
pub enum Ledger {
    Check(Check),
}

/// Recompute every balance from its entries
#[derive(Debug, Args)]
#[command(
    after_help = "It may run beside a busy server; then look twice before believing a single problem.
Exit code 1 when something does not add up.

Example:
  routerbase ledger check"
)]
pub struct Check {}

impl Ledger {
    pub async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let Self::Check(Check {}) = self;
        let config = settings.load()?;
        let check = store(&config).await?.any_ledger_check().await?;
        for problem in &check.problems {
            output::line(problem)?;
        }
        let (accounts, entries) = (check.accounts, check.entries);
        if check.problems.is_empty() {
            output::line(&format!("ok: {accounts} accounts, {entries} entries"))?;
            return Ok(());
        }
        let problems = check.problems.len();
        let message = format!("{problems} problems in {accounts} accounts, {entries} entries");
        Err(Failure::new(FAILED, message).into())
    }
}
