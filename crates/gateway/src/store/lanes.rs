//! Lanes: the pending notices of one account for one host.
//!
//! Invariant: finding what is due costs a look per lane, not per notice, so ten thousand notices for
//! a dead host are passed over as one.

use domain::ids::AccountId;

use super::committer::{Operation, Tx};
use super::db::{DbError, Row};
use super::notices::{LEASE_MS, Notice, read};
use super::{Store, StoreError};
use crate::values;

/// A lane with pending notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Whose notices.
    pub account: AccountId,
    /// Where they go.
    pub host: String,
    /// When the first that nobody holds is due, Unix milliseconds; `None` when all are held.
    pub due_ms: Option<i64>,
}

/// The lane's place in the order of lanes.
pub(super) fn name(account: &AccountId, host: &str) -> String {
    format!("{account} {host}")
}

impl Lane {
    /// The lane's place in the order of lanes.
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.account, &self.host)
    }
}

// Jumps from lane to lane along the index; a GROUP BY would read every pending notice.
const LANES: &str = "WITH RECURSIVE lanes (lane) AS (
        SELECT (SELECT f.lane FROM notices f WHERE f.state = 'pending' AND f.lane > $1
            ORDER BY f.lane LIMIT 1)
        UNION ALL
        SELECT (SELECT n.lane FROM notices n WHERE n.state = 'pending' AND n.lane > lanes.lane
            ORDER BY n.lane LIMIT 1)
        FROM lanes WHERE lanes.lane IS NOT NULL)
    SELECT lanes.lane, (SELECT d.due_ms FROM notices d
        WHERE d.state = 'pending' AND d.lane = lanes.lane AND d.lease_until_ms <= $2
        ORDER BY d.due_ms LIMIT 1)
    FROM lanes WHERE lanes.lane IS NOT NULL LIMIT $3";

// A CTE, as PostgreSQL may run a subquery in IN once for each row and so claim more than its limit.
const CLAIM: &str = "WITH due AS (
        SELECT id FROM notices
        WHERE state = 'pending' AND lane = $1 AND due_ms <= $2 AND lease_until_ms <= $2
        ORDER BY due_ms LIMIT $3 /* skip locked */)
    UPDATE notices SET lease_until_ms = $4
    WHERE id IN (SELECT id FROM due)
    AND state || '' = 'pending' AND due_ms <= $2 AND lease_until_ms <= $2
    RETURNING id, account, task, url, host, state, attempts, attempts_before, due_ms,
        lease_until_ms, last_status, created_ms, updated_ms";

impl Store {
    /// Up to `limit` lanes behind the one named `after`, in their order.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_lanes(
        &self,
        after: &str,
        limit: i64,
        now_ms: i64,
    ) -> Result<Vec<Lane>, StoreError> {
        let reader = self.reader().await?;
        let values = values![after, now_ms, limit];
        let rows = reader.session().rows(LANES, values).await?;
        let lanes: Result<Vec<_>, _> = rows.iter().map(lane).collect();
        Ok(lanes?)
    }

    /// Claims the notices that are due first, up to so many from each lane.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_claim_lanes(
        &self,
        wanted: &[(Lane, i64)],
        now_ms: i64,
    ) -> Result<Vec<Notice>, StoreError> {
        let wanted = wanted.iter().map(|(lane, limit)| (lane.name(), *limit));
        self.write(Claim {
            wanted: wanted.collect(),
            now_ms,
        })
        .await
    }
}

fn lane(row: &Row) -> Result<Lane, DbError> {
    let name = row.text(0)?;
    let (account, host) = name.split_once(' ').unwrap_or((&name, ""));
    Ok(Lane {
        account: AccountId(account.to_owned()),
        host: host.to_owned(),
        due_ms: row.int_or_null(1)?,
    })
}

struct Claim {
    wanted: Vec<(String, i64)>,
    now_ms: i64,
}

impl Operation for Claim {
    type Answer = Vec<Notice>;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<Vec<Notice>, DbError> {
        let until_ms = self.now_ms.saturating_add(LEASE_MS);
        let mut notices = Vec::new();
        for (lane, limit) in &self.wanted {
            let values = values![lane, self.now_ms, *limit, until_ms];
            for row in db.rows(CLAIM, values).await? {
                notices.push(read(&row)?);
            }
        }
        Ok(notices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::SKIP_LOCKED;

    #[test]
    fn claims_pass_over_rows_that_others_claim() {
        assert!(CLAIM.contains(SKIP_LOCKED));
    }
}
