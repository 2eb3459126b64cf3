//! One file for each command.

pub mod account;
pub mod credit;
pub mod doctor;
pub mod key;
pub mod ledger;
pub mod migrate;
pub mod models;
pub mod openapi;
pub mod run;
pub mod serve;
pub mod settings;
pub mod task;

use anyhow::Context;
use domain::credits::Credits;
use domain::ids::AccountId;
use domain::order::Invalid;
use gateway::app::bootstrap;
use gateway::clock::Clock;
use gateway::config::Config;
use gateway::entropy::Entropy;
use gateway::store::audit::Act;
use gateway::store::{Access, Store};
use serde_json::json;

use crate::{FAILED, Failure, USAGE};

/// The store of the settings, beside a server that may be running.
async fn store(config: &Config) -> anyhow::Result<Store> {
    let now_ms = Clock::system().now_ms();
    let store = Store::open(config.database.url.reveal(), Access::Beside, now_ms);
    store.await.context("the database does not open")
}

/// The account of a name, made with `credits` if it is new; and whether it is.
async fn ensure_account(
    store: &Store,
    name: &str,
    credits: Credits,
) -> anyhow::Result<(AccountId, bool)> {
    let name = domain::key::name("the account's name", &json!(name)).map_err(refused)?;
    let (clock, entropy) = (Clock::system(), Entropy::system());
    Ok(bootstrap::account(store, &name, credits, &clock, &entropy).await?)
}

/// What this command does, as the audit log keeps it.
fn act() -> Act {
    bootstrap::command(&Clock::system(), &Entropy::system())
}

/// A value that the API would refuse as well.
fn refused(invalid: Invalid) -> Failure {
    let Invalid { param, message, .. } = invalid;
    Failure::new(USAGE, format!("{param} {message}"))
}

/// The account of a name that must be there.
async fn known_account(store: &Store, name: &str) -> anyhow::Result<AccountId> {
    let found = store.any_account_by_name(name).await?;
    let unknown = || Failure::new(FAILED, format!("there is no account {name}"));
    Ok(found.ok_or_else(unknown)?.id)
}

/// An amount of the command line.
fn amount(text: &str) -> Result<Credits, String> {
    Credits::parse(text).map_err(|error| error.to_string())
}

/// An amount of the command line that is not negative.
fn gift(text: &str) -> Result<Credits, String> {
    let credits = amount(text)?;
    if credits < Credits::ZERO {
        return Err("must not be negative".to_owned());
    }
    Ok(credits)
}
