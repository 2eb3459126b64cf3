//! Accounts.

use clap::{Args, Subcommand};
use domain::credits::Credits;
use gateway::app::bootstrap::DEFAULT_ACCOUNT;
use gateway::clock::rfc3339;
use gateway::store::Store;
use gateway::store::admin_accounts::{AccountRead, Place};
use serde_json::{Value, json};

use super::{ensure_account, gift, known_account, store};
use crate::{FAILED, Failure, Settings, output};

/// Accounts read at a time.
const PAGE: i64 = 500;

#[derive(Debug, Subcommand)]
pub enum Account {
    Create(Create),
    List(List),
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

/// Print all accounts with their balances, newest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  routerbase account list --json")]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
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
            Self::List(List { json }) => list(&store, json).await?,
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

async fn list(store: &Store, json: bool) -> anyhow::Result<()> {
    let mut accounts: Vec<AccountRead> = Vec::new();
    loop {
        let behind = accounts.last().map(|last| Place {
            created_ms: last.created_ms,
            id: last.id.0.clone(),
        });
        let page = store.any_accounts(behind.as_ref(), PAGE).await?;
        if page.is_empty() {
            break;
        }
        accounts.extend(page);
    }
    if json {
        let accounts: Vec<_> = accounts.iter().map(view).collect();
        return Ok(output::json(&json!(accounts))?);
    }
    let head = ["id", "name", "credits", "held", "state"];
    let head = head.map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(head)
        .chain(accounts.iter().map(row))
        .collect();
    Ok(output::table(&rows)?)
}

fn row(read: &AccountRead) -> Vec<String> {
    let state = read.suspended_ms.map_or("", |_| "suspended");
    vec![
        read.id.to_string(),
        read.name.clone(),
        read.balance.available().to_string(),
        read.balance.held.to_string(),
        state.to_owned(),
    ]
}

fn view(read: &AccountRead) -> Value {
    json!({
        "id": read.id, "name": read.name, "credits": read.balance.available(),
        "held": read.balance.held, "suspended": read.suspended_ms.is_some(),
        "created_at": rfc3339(read.created_ms),
    })
}
