//! The API's own description.

use clap::Args;

use crate::output;

/// Print the OpenAPI document of the API
#[derive(Debug, Args)]
#[command(after_help = "A running server has the same under /openapi.json.

Example:
  routerbase openapi > openapi.json")]
pub struct Openapi {}

impl Openapi {
    pub fn run(self) -> anyhow::Result<()> {
        let document = gateway::api::openapi().to_pretty_json()?;
        output::line(&document)?;
        Ok(())
    }
}
