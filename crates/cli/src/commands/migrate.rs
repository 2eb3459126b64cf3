//! Bringing the tables up to date.

use anyhow::Context;
use clap::Args;
use gateway::clock::Clock;
use gateway::store::{Access, Store};

use crate::{Settings, output};

/// Bring the tables up to date
#[derive(Debug, Args)]
#[command(
    after_help = "`serve` does the same when it starts; running it again changes nothing.

Example:
  ROUTERBASE_DATABASE__URL=postgres://… routerbase migrate"
)]
pub struct Migrate {}

impl Migrate {
    pub async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let config = settings.load()?;
        let store = Store::connect(config.database.url.reveal(), Access::Beside);
        let store = store.await.context("the database does not open")?;
        let applied = store.migrate(Clock::system().now_ms()).await?;
        if applied.is_empty() {
            output::line("up to date")?;
        }
        for version in applied {
            output::line(&format!("applied {version}"))?;
        }
        Ok(())
    }
}
