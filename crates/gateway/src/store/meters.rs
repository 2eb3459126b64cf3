//! The keys that a batch submits with: whether they live, what their limits say, what they have used.
//!
//! Invariant: read once a batch, judged in memory, written once a batch, all while the rows of their
//! accounts are locked. So an operation sees what every other one counted before it, on any node.

use std::sync::Arc;

use domain::credits::Credits;
use domain::ids::KeyId;
use domain::key::Grant;
use domain::limits::{Allowance, Exceeded, Limits, Meter};
use futures_util::future::try_join_all;

use super::db::{DbError, Row, Session};
use super::keyring::Seen;
use super::read_once::{ReadOnce, Slot, once};
use super::{json, parse};
use crate::values;

// A key of a suspended account is as good as expired.
const READ: &str =
    "SELECT k.body, CASE WHEN a.suspended_ms = 0 THEN k.expires_ms ELSE 0 END, m.body, k.hash
    FROM api_keys k JOIN accounts a ON a.id = k.account LEFT JOIN meters m ON m.key = k.id
    WHERE k.id = $1";

const WRITE: &str = "INSERT INTO meters (key, body) VALUES ($1, $2)
    ON CONFLICT (key) DO UPDATE SET body = $2";

/// A request that is to be counted.
pub(super) struct Toll<'a> {
    /// The key it came with.
    pub(super) key: &'a KeyId,
    /// The most it may cost.
    pub(super) hold: Credits,
    /// Whether the hold was meant to count against the day's credits.
    pub(super) is_metered: bool,
    /// When it came, Unix milliseconds.
    pub(super) now_ms: i64,
    /// The key that it was judged by, if that was not read for it.
    pub(super) presumed: Option<&'a Seen>,
}

/// What came of counting a request.
pub(super) enum Counted {
    /// It is admitted; what is left of each limit.
    Yes(Vec<Allowance>),
    /// A limit refuses it.
    Exceeded(Exceeded),
    /// The key is deleted or expired.
    KeyDead,
    /// The key is not what it was presumed to be, or got or lost its limit of credits since whoever asks
    /// looked at it.
    KeyChanged,
}

/// The keys of one batch.
#[derive(Default)]
pub(super) struct Meters(ReadOnce<KeyId, Known>);

/// A key as it was read, and what the batch has counted since.
struct Known {
    seen: Seen,
    limits: Limits,
    expires_ms: i64,
    meter: Meter,
    is_changed: bool,
}

impl Meters {
    /// Counts a request, or refuses it and counts nothing.
    pub(super) async fn count(&self, db: Session<'_>, toll: &Toll<'_>) -> Result<Counted, DbError> {
        let slot = self.0.slot(toll.key);
        let mut slot = slot.lock().await;
        let known = once(&mut slot, read(db, toll.key)).await?;
        let Some(known) = known.filter(|known| known.expires_ms > toll.now_ms) else {
            return Ok(Counted::KeyDead);
        };
        let is_other = toll.presumed.is_some_and(|seen| *seen != known.seen);
        // What is given back later must be what was counted, no more and no less.
        if is_other || known.limits.daily_credits.is_some() != toll.is_metered {
            return Ok(Counted::KeyChanged);
        }
        if known.limits.is_none() {
            return Ok(Counted::Yes(Vec::new()));
        }
        let counted = known.meter.admit(&known.limits, toll.hold, toll.now_ms);
        if let Err(exceeded) = counted {
            return Ok(Counted::Exceeded(exceeded));
        }
        known.is_changed = true;
        let left = known.meter.allowances(&known.limits, toll.now_ms);
        Ok(Counted::Yes(left))
    }

    /// Whether a key lives.
    pub(super) async fn is_alive(
        &self,
        db: Session<'_>,
        key: &KeyId,
        now_ms: i64,
    ) -> Result<bool, DbError> {
        let slot = self.0.slot(key);
        let mut slot = slot.lock().await;
        let known = once(&mut slot, read(db, key)).await?;
        Ok(known.is_some_and(|known| known.expires_ms > now_ms))
    }

    /// Gives credits of a key's day back that were held at `held_ms` and not spent.
    pub(super) async fn give_back(
        &self,
        db: Session<'_>,
        key: &KeyId,
        credits: Credits,
        held_ms: i64,
    ) -> Result<(), DbError> {
        let slot = self.0.slot(key);
        let mut slot = slot.lock().await;
        if let Some(known) = once(&mut slot, read(db, key)).await? {
            known.meter.give_back(credits, held_ms);
            known.is_changed = true;
        }
        Ok(())
    }

    /// Writes what the batch has counted.
    pub(super) async fn save(self, db: Session<'_>) -> Result<(), DbError> {
        let write = async |(key, slot): (KeyId, Arc<Slot<Known>>)| {
            let slot = slot.lock().await;
            let known = slot.as_ref().and_then(Option::as_ref);
            let Some(known) = known.filter(|known| known.is_changed) else {
                return Ok(());
            };
            let body = json(&known.meter)?;
            db.execute(WRITE, values![key.as_str(), &body])
                .await
                .map(drop)
        };
        let writes = self.0.into_slots().map(write);
        try_join_all(writes).await.map(drop)
    }
}

async fn read(db: Session<'_>, key: &KeyId) -> Result<Option<Known>, DbError> {
    let row = db.row(READ, values![key.as_str()]).await?;
    row.map(|row| known(&row)).transpose()
}

fn known(row: &Row) -> Result<Known, DbError> {
    let seen = Seen {
        hash: row.text(3)?,
        grant: row.text(0)?,
    };
    Ok(Known {
        limits: parse::<Grant>(&seen.grant)?.limits(),
        seen,
        expires_ms: row.int(1)?,
        meter: match row.text_or_null(2)? {
            Some(body) => parse(&body)?,
            None => Meter::default(),
        },
        is_changed: false,
    })
}
