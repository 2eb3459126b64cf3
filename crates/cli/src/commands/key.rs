//! Keys: made, listed, deleted.

use anyhow::anyhow;
use clap::{Args, Subcommand};
use domain::credits::Credits;
use domain::ids::{AccountId, KeyId};
use domain::key::{ApiKey, Grant, Scope, Wish, masked};
use gateway::app::bootstrap::DEFAULT_ACCOUNT;
use gateway::app::load_catalogue;
use gateway::clock::{Clock, rfc3339};
use gateway::config::Config;
use gateway::entropy::Entropy;
use gateway::store::key_changes::{KEYS_MAX, KeyChanged, KeyOrder, Right};
use gateway::store::keys::KeyRead;
use serde_json::json;

use super::{act, ensure_account, gift, known_account, refused, store};
use crate::{FAILED, Failure, Settings, output};

#[derive(Debug, Subcommand)]
pub enum Key {
    Create(Create),
    List(List),
    Delete(Delete),
}

/// Make a key and print it, and nothing else, on stdout
#[derive(Debug, Args)]
#[command(
    after_help = "It works beside a running server and at once. Only a hash of the key is kept: it
cannot be shown again.

Examples:
  export ROUTERBASE_API_KEY=$(routerbase key create --name laptop)
  routerbase key create --name shop --account shop --credits 500
  routerbase key create --name tests --sandbox --scopes run,read
  routerbase key create --name operator --scopes admin"
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
    #[arg(
        long,
        visible_alias = "scope",
        value_delimiter = ',',
        value_name = "SCOPES"
    )]
    scopes: Vec<String>,
    /// The only models it may run; all unless given
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    models: Vec<String>,
}

/// Print the keys of an account, oldest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  routerbase key list --account shop --json")]
pub struct List {
    /// Name of the account
    #[arg(long, default_value = DEFAULT_ACCOUNT)]
    account: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Delete a key, at once on every node; tasks that were submitted with it finish
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  routerbase key delete key_0a1b2c3d4e5f60718293 --account shop")]
pub struct Delete {
    /// The key's id, as `key list` shows it
    id: String,
    /// Name of the account
    #[arg(long, default_value = DEFAULT_ACCOUNT)]
    account: String,
}

impl Key {
    pub async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let config = settings.load()?;
        match self {
            Self::Create(create) => create.run(&config).await,
            Self::List(list) => list.run(&config).await,
            Self::Delete(delete) => delete.run(&config).await,
        }
    }
}

impl Create {
    async fn run(self, config: &Config) -> anyhow::Result<()> {
        // Refused before an account is made for it.
        let grant = self.grant(config)?;
        let store = store(config).await?;
        let (account, is_new) = ensure_account(&store, &self.account, self.credits).await?;
        if is_new {
            let (name, credits) = (&self.account, self.credits);
            output::complain(&format!("made the account {name} with {credits} credits"));
        }
        let entropy = Entropy::system();
        let key = ApiKey::mint(&entropy.bytes(), &entropy.bytes());
        let whole = key.reveal().to_owned();
        settled(store.make_key(any(account), key, grant).await?)?;
        output::line(&whole)?;
        Ok(())
    }

    /// What the key may do, judged as the API judges it.
    fn grant(&self, config: &Config) -> anyhow::Result<Grant> {
        let catalogue = load_catalogue(config);
        let catalogue = catalogue.map_err(|problems| anyhow!("{}", problems.join("\n")))?;
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        let body = json!({
            "name": self.name, "sandbox": self.sandbox,
            "scopes": some(&self.scopes), "models": some(&self.models),
        });
        let wish = Wish::read(&catalogue, &body, Clock::system().now_ms()).map_err(refused)?;
        let everything = Grant {
            scopes: Scope::ALL.to_vec(),
            ..Grant::account("")
        };
        Ok(wish.of_new(&everything).map_err(refused)?)
    }
}

impl List {
    async fn run(self, config: &Config) -> anyhow::Result<()> {
        let store = store(config).await?;
        let account = known_account(&store, &self.account).await?;
        let keys = store.keys(&account).await?;
        if self.json {
            let keys: Vec<_> = keys.iter().map(view).collect();
            return Ok(output::json(&json!(keys))?);
        }
        let head = ["id", "name", "scopes", "until"]
            .map(str::to_owned)
            .to_vec();
        let rows: Vec<_> = std::iter::once(head).chain(keys.iter().map(row)).collect();
        Ok(output::table(&rows)?)
    }
}

fn row(read: &KeyRead) -> Vec<String> {
    let KeyRead { id, grant, .. } = read;
    let scopes: Vec<&str> = grant.scopes.iter().map(|scope| scope.as_str()).collect();
    let end = grant.expires_ms.map_or_else(String::new, rfc3339);
    vec![id.to_string(), grant.name.clone(), scopes.join(","), end]
}

fn view(read: &KeyRead) -> serde_json::Value {
    json!({
        "id": read.id, "name": read.grant.name, "key": masked(read.id.public()), "scopes": read.grant.scopes,
        "models": read.grant.models, "sandbox": read.grant.sandbox,
        "ip_whitelist": read.grant.ip_whitelist, "rate_limit_rpm": read.grant.rate_limit_rpm,
        "rate_limit_tph": read.grant.rate_limit_tph, "rate_limit_tpd": read.grant.rate_limit_tpd,
        "daily_credit_limit": read.grant.daily_credit_limit,
        "expires_at": read.grant.expires_ms.map(rfc3339), "created_at": rfc3339(read.created_ms),
    })
}

impl Delete {
    async fn run(self, config: &Config) -> anyhow::Result<()> {
        let store = store(config).await?;
        let account = known_account(&store, &self.account).await?;
        settled(store.delete_key(any(account), KeyId(self.id)).await?)
    }
}

/// The keys of an account, changed by this command.
fn any(account: AccountId) -> KeyOrder {
    KeyOrder {
        account,
        right: Right::Operator,
        act: act(),
    }
}

fn settled<T>(changed: KeyChanged<T>) -> anyhow::Result<T> {
    let message = match changed {
        KeyChanged::Yes(done) => return Ok(done),
        KeyChanged::Missing => "there is no such key in this account".to_owned(),
        KeyChanged::Full => format!("the account has {KEYS_MAX} keys already"),
        KeyChanged::Refused(invalid) => return Err(refused(invalid).into()),
        KeyChanged::Unauthorized => "a command may not do this".to_owned(),
    };
    Err(Failure::new(FAILED, message).into())
}
