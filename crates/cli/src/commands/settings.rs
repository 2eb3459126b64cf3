//! The settings there are.

use clap::Args;
use gateway::config::DEFAULTS;

use crate::output;

/// Print every setting with its default and what it means
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  routerbase config > routerbase.toml")]
pub struct Print {}

impl Print {
    pub fn run(self) -> anyhow::Result<()> {
        output::bytes(DEFAULTS.as_bytes())?;
        Ok(())
    }
}
