//! What a new deployment starts with: an account, its first key, the deployment's secret.

use domain::credits::Credits;
use domain::ids::AccountId;
use domain::key::{ApiKey, Grant, Scope};
use domain::signing::Secret;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::store::accounts::NewAccount;
use crate::store::audit::{Act, Actor};
use crate::store::{Store, StoreError};

/// Name of the account that commands and the first key belong to unless another is named.
pub const DEFAULT_ACCOUNT: &str = "default";

/// An account as it is made if its name is new.
fn new_account(name: &str, credits: Credits, entropy: &Entropy) -> NewAccount {
    NewAccount {
        id: AccountId::mint(&entropy.bytes()),
        name: name.to_owned(),
        credits,
        secret: Secret::mint(&entropy.bytes()),
        key: None,
    }
}

/// Something that a command does, as the audit log keeps it.
#[must_use]
pub fn command(clock: &Clock, entropy: &Entropy) -> Act {
    Act::new(Actor::Cli, clock.now_ms(), &entropy.bytes())
}

/// The account of a name, made with `credits` by a command if it is new; and whether it is.
///
/// # Errors
/// The store is unavailable.
pub async fn account(
    store: &Store,
    name: &str,
    credits: Credits,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<(AccountId, bool), StoreError> {
    let account = new_account(name, credits, entropy);
    store
        .any_make_account(account, command(clock, entropy))
        .await
}

/// Makes the first account with its key, which may do everything; the key if it was made now.
///
/// # Errors
/// The store is unavailable.
pub async fn first_key(
    store: &Store,
    key: Option<&ApiKey>,
    credits: Credits,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<Option<ApiKey>, StoreError> {
    if store.any_account_count().await? > 0 {
        if let Some(key) = key
            && store.authenticate(key, clock.now_ms()).await?.is_none()
        {
            tracing::warn!("bootstrap.key is not used: there are accounts already");
        }
        return Ok(None);
    }
    let minted = || ApiKey::mint(&entropy.bytes(), &entropy.bytes());
    let key = key.cloned().unwrap_or_else(minted);
    let grant = Grant {
        scopes: Scope::ALL.to_vec(),
        ..Grant::account("first key")
    };
    let account = NewAccount {
        key: Some((key.clone(), grant)),
        ..new_account(DEFAULT_ACCOUNT, credits, entropy)
    };
    let act = Act::new(Actor::Bootstrap, clock.now_ms(), &entropy.bytes());
    let (_, is_new) = store.any_make_account(account, act).await?;
    Ok(is_new.then_some(key))
}

/// The deployment's secret, the same on every node.
///
/// # Errors
/// The store is unavailable.
pub async fn secret(store: &Store, entropy: &Entropy) -> Result<String, StoreError> {
    store.any_secret(hex::encode(entropy.bytes::<32>())).await
}
