//! Accounts.

use clap::{Args, Subcommand};
use domain::credits::Credits;
use gateway::app::bootstrap::DEFAULT_ACCOUNT;
use serde_json::json;

use super::{ensure_account, gift, known_account, store};
use crate::{FAILED, Failure, Settings, output};

#[derive(Debug, Subcommand)]
pub enum Account {
    Create(Create),
    Show(Show),
}

/// Make an account and print its id
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  routerbase account create shop --credits 500")]
pub struct Create {
    /// Its name, unique
    name: String,
    /// What it starts with
    #[arg(long, default_value = "0", value_parser = gift, value_name = "N")]
    credits: Credits,
}

/// Print an account's id and balance
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  routerbase account show shop --json")]
pub struct Show {
    /// Its name
    #[arg(default_value = DEFAULT_ACCOUNT)]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Account {
    pub async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let config = settings.load()?;
        let store = store(&config).await?;
        match self {
            Self::Create(Create { name, credits }) => {
                let (id, is_new) = ensure_account(&store, &name, credits).await?;
                if !is_new {
                    let message = format!("there is an account {name} already: {id}");
                    return Err(Failure::new(FAILED, message).into());
                }
                output::line(id.as_str())?;
            }
            Self::Show(Show { name, json }) => {
                let id = known_account(&store, &name).await?;
                let balance = store.balance(&id).await?;
                let (available, held) = (balance.available(), balance.held);
                if json {
                    let view = json!({"id": id, "name": name, "credits": available, "held": held});
                    output::json(&view)?;
                } else {
                    output::line(&format!("{id}  {name}  {available} credits, {held} held"))?;
                }
            }
        }
        Ok(())
    }
}
