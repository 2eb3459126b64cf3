//! Who may make, change and delete keys.
//!
//! Invariant: no key hands on what it does not have, and none widens itself.

use super::{Grant, Scope};
use crate::order::Invalid;

/// By which right keys are made, changed and deleted.
#[derive(Debug, Clone, Copy)]
pub enum Authority<'a> {
    /// A key with the scope `keys`, for the keys of its account: it hands on what it has.
    Account(&'a Grant),
    /// A key with the scope `keys` or `admin`, for itself: it gives away, and takes nothing.
    Itself(&'a Grant),
    /// A key with the scope `admin`, for the keys of any account. What accounts may do with their
    /// keys is the operator's to give; of the scope `admin` it hands on what it has.
    Operator(&'a Grant),
    /// Whoever runs commands beside the database.
    CommandLine,
}

/// Why a key is not made, changed or deleted.
#[derive(Debug, Clone, PartialEq)]
pub enum Denied {
    /// Whoever asks has not the scope for it.
    Scope,
    /// The key would have more than whoever asks for it.
    Excess(Invalid),
}

impl Authority<'_> {
    /// Checks that a key may change from `before` to `after`; a new key has no `before`, a deleted one
    /// no `after`. A change that only takes away needs no more than the scope.
    ///
    /// # Errors
    /// See [`Denied`].
    pub fn check(self, before: Option<&Grant>, after: Option<&Grant>) -> Result<(), Denied> {
        let is_operators = before.is_some_and(|before| before.has(Scope::Admin));
        let has_scope = match self {
            Self::CommandLine => return Ok(()),
            Self::Account(own) | Self::Itself(own) if !is_operators => own.has(Scope::Keys),
            Self::Account(own) | Self::Itself(own) | Self::Operator(own) => own.has(Scope::Admin),
        };
        if !has_scope {
            return Err(Denied::Scope);
        }
        let Some(after) = after else {
            return Ok(());
        };
        if before.is_some_and(|before| before.check_covers(after).is_ok()) {
            return Ok(());
        }
        match self {
            Self::Account(own) => check_hands_on(own, after),
            Self::Operator(own) if after.has(Scope::Admin) => check_hands_on(own, after),
            Self::Operator(_) | Self::CommandLine => Ok(()),
            Self::Itself(own) => before.unwrap_or(own).check_covers(after),
        }
        .map_err(Denied::Excess)
    }
}

/// Limits are counted for each key. A key with a limit that made others that run would have as many
/// times its limit, so it makes none.
fn check_hands_on(own: &Grant, after: &Grant) -> Result<(), Invalid> {
    own.check_covers(after)?;
    if own.is_limited() && after.has(Scope::Run) {
        let message = "must leave out run: limits count for each key, so a key that has one makes \
            no other that runs";
        let rest = own.scopes.iter().filter(|scope| **scope != Scope::Run);
        let rest: Vec<&str> = rest.map(|scope| scope.as_str()).collect();
        return Err(Invalid::new("scopes", message).allowing(rest));
    }
    Ok(())
}
