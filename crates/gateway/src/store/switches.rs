//! The operator's switches: one document for the whole deployment.
//!
//! Invariant: it is replaced as a whole and only as it was read, so that no two operators undo one
//! another's turns unseen.

use domain::switches::{Maintenance, Switches, Turns};
use serde_json::{Value, json};

use super::audit::{self, Act, Action, Told};
use super::committer::{Operation, Tx};
use super::db::{DbError, Session};
use super::{Store, StoreError, parse};
use crate::values;

const READ: &str = "SELECT value FROM settings WHERE name = 'switches'";

const REPLACE: &str = "UPDATE settings SET value = $1 WHERE name = 'switches' AND value = $2";

impl Store {
    /// What is switched off.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_switches(&self) -> Result<Switches, StoreError> {
        let reader = self.reader().await?;
        Ok(read(reader.session()).await?.1)
    }

    /// Switches submits off, with a message for clients if there is one, or on.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_set_maintenance(
        &self,
        maintenance: Option<Maintenance>,
        act: Act,
    ) -> Result<Switches, StoreError> {
        self.write(Set {
            wish: Wish::Maintenance(maintenance),
            act,
        })
        .await
    }

    /// Turns switches of features, models and providers.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_turn_switches(&self, turns: Turns, act: Act) -> Result<Switches, StoreError> {
        let wish = Wish::Turns(turns);
        self.write(Set { wish, act }).await
    }
}

/// The document as it is written, and what it says.
async fn read(db: Session<'_>) -> Result<(String, Switches), DbError> {
    let row = db.row(READ, &[]).await?;
    let row = row.ok_or_else(|| DbError::Broken("the switches are gone".to_owned()))?;
    let text = row.text(0)?;
    let switches = parse(&text)?;
    Ok((text, switches))
}

enum Wish {
    Maintenance(Option<Maintenance>),
    Turns(Turns),
}

impl Wish {
    fn of(&self, before: &Switches) -> Switches {
        match self {
            Self::Turns(turns) => before.clone().turned(turns),
            Self::Maintenance(wanted) => {
                let mut after = before.clone();
                after.maintenance.clone_from(wanted);
                // What goes on has begun when it began.
                if let (Some(new), Some(old)) = (&mut after.maintenance, &before.maintenance) {
                    new.since_ms = old.since_ms;
                }
                after
            }
        }
    }

    fn action(&self) -> Action {
        match self {
            Self::Maintenance(_) => Action::MaintenanceSet,
            Self::Turns(_) => Action::FeaturesSet,
        }
    }

    /// The part of the switches it is about, as the audit log keeps it.
    fn told(&self, switches: &Switches) -> Value {
        match self {
            Self::Turns(turns) => json!(switches.standing(turns)),
            Self::Maintenance(_) => {
                let maintenance = switches.maintenance.as_ref();
                let message = maintenance.and_then(|one| one.message.as_ref());
                json!({ "enabled": maintenance.is_some(), "message": message })
            }
        }
    }
}

struct Set {
    wish: Wish,
    act: Act,
}

impl Operation for Set {
    type Answer = Switches;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<Switches, DbError> {
        let (text, before) = read(db).await?;
        let after = self.wish.of(&before);
        let new = super::json(&after)?;
        if db.execute(REPLACE, values![&new, &text]).await? == 0 {
            return Err(DbError::Conflict("another turn came first".to_owned()));
        }
        let action = self.wish.action();
        let line = Told {
            action,
            account: None,
            subject: action.as_str().split('.').next().unwrap_or_default(),
            before: Some(self.wish.told(&before)),
            after: Some(self.wish.told(&after)),
        };
        audit::record(db, &self.act, line).await?;
        Ok(after)
    }

    fn mark(&self) -> Option<&str> {
        Some("switches")
    }

    async fn is_recorded(
        &self,
        _answer: &Switches,
        db: Session<'_>,
    ) -> Result<Option<bool>, DbError> {
        audit::is_recorded(db, &self.act).await.map(Some)
    }
}
