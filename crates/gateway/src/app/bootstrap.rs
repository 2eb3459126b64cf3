//! What a new deployment starts with: an account, its first key, the deployment's secret.

use domain::credits::Credits;
use domain::ids::AccountId;
use domain::key::{ApiKey, Grant, Scope};
use domain::signing::Secret;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::store::accounts::NewAccount;
use crate::store::{Store, StoreError};

/// Name of the account that commands and the first key belong to unless another is named.
pub const DEFAULT_ACCOUNT: &str = "default";

/// The account of a name, made with `credits` if it is new; and whether it is.
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
    let account = NewAccount {
        id: AccountId::mint(&entropy.bytes()),
        name: name.to_owned(),
        credits,
        secret: Secret::mint(&entropy.bytes()),
    };
    store.any_account(account, clock.now_ms()).await
}

/// Makes the first account and its key, which may do everything; the key if it was made now.
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
        return Ok(None);
    }
    let (account, is_new) = account(store, DEFAULT_ACCOUNT, credits, clock, entropy).await?;
    if !is_new {
        return Ok(None);
    }
    let minted = || ApiKey::mint(&entropy.bytes(), &entropy.bytes());
    let key = key.cloned().unwrap_or_else(minted);
    let grant = Grant {
        scopes: Scope::ALL.to_vec(),
        ..Grant::account("first key")
    };
    store
        .create_key(&account, &key, grant, clock.now_ms())
        .await?;
    Ok(Some(key))
}

/// The deployment's secret, the same on every node.
///
/// # Errors
/// The store is unavailable.
pub async fn secret(store: &Store, entropy: &Entropy) -> Result<String, StoreError> {
    store.any_secret(hex::encode(entropy.bytes::<32>())).await
}
