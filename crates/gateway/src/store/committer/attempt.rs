//! One transaction of a batch.

use std::collections::BTreeSet;

use futures_util::future::{OptionFuture, join, join_all, try_join};

use super::super::db::{DbError, Session};
use super::super::intake::Intake;
use super::super::meters::Meters;
use super::{Failed, Queued, Tx};

/// Runs a batch in one transaction, once.
pub(super) async fn attempt(db: Session<'_>, batch: &mut [Box<dyn Queued>]) -> Result<(), Failed> {
    let (meters, intake) = (Meters::default(), Intake::default());
    let tx = Tx {
        db,
        meters: &meters,
        intake: &intake,
    };
    let mut errors = if db.is_shared() {
        run_together(tx, batch).await
    } else {
        db.begin().await.map_err(Failed::Database)?;
        first_error(tx, batch).await
    };
    if errors.is_empty() {
        // Nothing behind the first that fails, for the reason that `first_error` gives.
        let saved = try_join(meters.save(db), intake.save(db)).await;
        errors.extend(saved.err());
    }
    // Once one has failed PostgreSQL refuses the others, which says nothing about them.
    if let Some(error) = errors.into_iter().min_by_key(rank) {
        db.rollback().await;
        return Err(match error {
            DbError::Unavailable(_) | DbError::Slow(_) => Failed::Database(error),
            _ => Failed::Operation(error),
        });
    }
    db.commit().await.map_err(Failed::InCommit)
}

/// Runs operations so that their statements travel together, behind the beginning of the transaction and
/// the lock on their accounts. If one of those fails, PostgreSQL refuses what comes behind.
async fn run_together(tx: Tx<'_>, batch: &mut [Box<dyn Queued>]) -> Vec<DbError> {
    let accounts: BTreeSet<_> = batch
        .iter()
        .filter_map(|operation| operation.account())
        .collect();
    let accounts: Vec<_> = accounts.into_iter().map(str::to_owned).collect();
    let (intake, others): (Vec<_>, Vec<_>) = batch
        .iter_mut()
        .partition(|operation| operation.is_intake());
    let mut start = Some(join(tx.db.begin(), tx.db.lock_accounts(&accounts)));
    let mut errors = Vec::new();
    for part in [others, intake] {
        if part.is_empty() || !errors.is_empty() {
            continue;
        }
        let operations = join_all(part.into_iter().map(|operation| operation.run(tx)));
        let (started, results) = join(OptionFuture::from(start.take()), operations).await;
        let (begun, locked) = started.unwrap_or((Ok(()), Ok(())));
        errors.extend(begun.err().into_iter().chain(locked.err()));
        errors.extend(results.into_iter().filter_map(Result::err));
    }
    errors
}

/// Runs operations in turn up to the first that fails: after some errors, such as a full disk, SQLite
/// has ended the transaction by itself, and what came next would be committed alone.
async fn first_error(tx: Tx<'_>, batch: &mut [Box<dyn Queued>]) -> Vec<DbError> {
    for is_intake in [false, true] {
        for operation in batch.iter_mut() {
            if operation.is_intake() == is_intake
                && let Err(error) = operation.run(tx).await
            {
                return vec![error];
            }
        }
    }
    Vec::new()
}

fn rank(error: &DbError) -> u8 {
    match error {
        DbError::Unavailable(_) => 0,
        DbError::Slow(_) => 1,
        DbError::Conflict(_) => 2,
        DbError::Constraint(_) => 3,
        DbError::Broken(_) => 4,
    }
}
