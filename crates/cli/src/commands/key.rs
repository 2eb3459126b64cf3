//! Making keys.

use clap::{Args, Subcommand};
use domain::credits::Credits;
use domain::key::{ApiKey, Grant, Scope};
use gateway::app::bootstrap::DEFAULT_ACCOUNT;
use gateway::clock::Clock;
use gateway::entropy::Entropy;

use super::{ensure_account, gift, store};
use crate::{Settings, output};

#[derive(Debug, Subcommand)]
pub enum Key {
    Create(Create),
}

/// Make a key and print it, and nothing else, on stdout
#[derive(Debug, Args)]
#[command(
    after_help = "It works beside a running server and at once. Only a hash of the key is kept: it
cannot be shown again.

Examples:
  export ROUTERBASE_API_KEY=$(routerbase key create --name laptop)
  routerbase key create --name shop --account shop --credits 500
  routerbase key create --name tests --sandbox --scopes run,read"
)]
pub struct Create {
    /// What the key is for
    #[arg(long)]
    name: String,
    /// Name of the account; made if it is new
    #[arg(long, default_value = DEFAULT_ACCOUNT)]
    account: String,
    /// What the account starts with if it is new
    #[arg(long, default_value = "100", value_parser = gift, value_name = "N")]
    credits: Credits,
    /// Runs go to the built-in sandbox and cost nothing
    #[arg(long)]
    sandbox: bool,
    /// What the key may do: run, read, keys, billing, admin; all but admin unless given
    #[arg(long, value_delimiter = ',', value_parser = scope, value_name = "SCOPES")]
    scopes: Vec<Scope>,
    /// The only models it may run; all unless given
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    models: Vec<String>,
}

fn scope(word: &str) -> Result<Scope, String> {
    let known = Scope::ALL.map(Scope::as_str).join(", ");
    Scope::parse(word).ok_or_else(|| format!("must be one of {known}"))
}

impl Key {
    pub async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let Self::Create(create) = self;
        create.run(settings).await
    }
}

impl Create {
    async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let config = settings.load()?;
        let store = store(&config).await?;
        let (account, is_new) = ensure_account(&store, &self.account, self.credits).await?;
        if is_new {
            let (name, credits) = (&self.account, self.credits);
            output::complain(&format!("made the account {name} with {credits} credits"));
        }
        let entropy = Entropy::system();
        let key = ApiKey::mint(&entropy.bytes(), &entropy.bytes());
        let mut grant = Grant::account(self.name);
        grant.sandbox = self.sandbox;
        if !self.scopes.is_empty() {
            grant.scopes = self.scopes;
        }
        if !self.models.is_empty() {
            grant.models = Some(self.models);
        }
        let now_ms = Clock::system().now_ms();
        store.create_key(&account, &key, grant, now_ms).await?;
        output::line(&key.reveal())?;
        Ok(())
    }
}
