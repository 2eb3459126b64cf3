//! Giving credits.

use clap::{Args, Subcommand};
use domain::credits::Credits;
use gateway::app::bootstrap::DEFAULT_ACCOUNT;
use gateway::entropy::Entropy;
use gateway::store::accounts::Grant as Kind;
use gateway::store::admin_accounts::{CreditOrder, Credited};

use super::{act, amount, known_account, store};
use crate::{FAILED, Failure, Settings, USAGE, output};

#[derive(Debug, Subcommand)]
pub enum Credit {
    Grant(Grant),
}

/// Give credits to an account, or take some back, and print what it has then
#[derive(Debug, Args)]
#[command(
    after_help = "A reference counts once: granting again with the same one changes nothing, so a
script may be run again.

Examples:
  routerbase credit grant --account shop --credits 50 --reference invoice-117
  routerbase credit grant --account shop --credits=-5 --adjust --reference refund-117"
)]
pub struct Grant {
    /// Name of the account
    #[arg(long, default_value = DEFAULT_ACCOUNT)]
    account: String,
    /// How many; negative ones are always a correction
    #[arg(long, value_parser = amount, value_name = "N", allow_hyphen_values = true)]
    credits: Credits,
    /// Enter them as a correction rather than as a gift
    #[arg(long)]
    adjust: bool,
    /// What they are for; a random one unless given
    #[arg(long)]
    reference: Option<String>,
}

impl Credit {
    pub async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let Self::Grant(Grant {
            account,
            credits,
            adjust,
            reference,
        }) = self;
        if credits == Credits::ZERO {
            return Err(Failure::new(USAGE, "0 credits change nothing").into());
        }
        let config = settings.load()?;
        let store = store(&config).await?;
        let id = known_account(&store, &account).await?;
        let random = || format!("cli-{}", hex::encode(Entropy::system().bytes::<10>()));
        let reference = reference.unwrap_or_else(random);
        let kind = match adjust || credits < Credits::ZERO {
            true => Kind::Adjust,
            false => Kind::TopUp,
        };
        let order = CreditOrder {
            account: id,
            kind,
            credits,
            reference: reference.clone(),
            note: None,
        };
        let fail = |message: String| Err(Failure::new(FAILED, message).into());
        let balance = match store.credit(order, act()).await? {
            Credited::Yes(balance) => balance,
            Credited::Before(balance) => {
                output::complain(&format!("{reference} was entered before; nothing changed"));
                balance
            }
            Credited::Reused => {
                return fail(format!("{reference} was used for something else before"));
            }
            Credited::Insufficient => {
                return fail(format!("{account} has not so much that is free"));
            }
            Credited::Missing => return fail(format!("there is no account {account}")),
        };
        output::line(&balance.available().to_string())?;
        Ok(())
    }
}
