//! The tasks that a batch takes in: what their accounts can still spend and run, and their rows.
//!
//! Invariant: an account is read once, behind every operation of the batch that takes nothing in, judged in
//! memory and written once, by a statement that repeats the rule; all while its row is locked. So no
//! interleaving of submits, on any node, spends or runs more than there is.

use std::sync::{Arc, Mutex, PoisonError};

use domain::credits::Credits;
use domain::ids::{AccountId, TaskId};
use futures_util::future::{try_join, try_join_all, try_join3};

use super::db::{DbError, Many, Session, Value};
use super::parked;
use super::read_once::{ReadOnce, Slot, once};
use super::submit::Idempotency;
use crate::values;

/// A task that is to be recorded.
pub(super) struct Record {
    pub(super) id: TaskId,
    /// The id of the entry that holds its credits.
    pub(super) hold_id: String,
    pub(super) account: AccountId,
    pub(super) model: String,
    /// The most it may cost.
    pub(super) hold: Credits,
    /// When it came, Unix milliseconds.
    pub(super) now_ms: i64,
    pub(super) deadline_ms: i64,
    /// The task as JSON.
    pub(super) body: String,
    pub(super) idempotency: Option<Idempotency>,
}

// Accounts take turns: a task stands behind the account's other queued ones, and the first one of an
// account stands beside the head of the queue: of what is due, as one that was put off long ago would
// let a newcomer pass all who came since.
const PURSE: &str = "SELECT posted - held, tasks_active_max - tasks_active, CAST(COALESCE(
        (SELECT turn + 1 FROM tasks WHERE lane = 1 AND account = $1
            ORDER BY turn DESC LIMIT 1),
        (SELECT turn FROM tasks WHERE lane = 1 AND due_ms <= $2 ORDER BY turn LIMIT 1),
        (SELECT turn FROM tasks WHERE lane = 1 ORDER BY turn LIMIT 1),
        0) AS BIGINT)
    FROM accounts WHERE id = $1";

const HOLD: &str = "UPDATE accounts SET held = held + $1, tasks_active = tasks_active + $2
    WHERE id = $3 AND posted - held >= $1
        AND (CAST($2 AS BIGINT) = 0 OR tasks_active + $2 <= tasks_active_max)";

const ENTRY: &str = "INSERT INTO entries (id, account, kind, task, amount, created_ms)
    VALUES ($1, $2, 'hold', $3, $4, $5)";

const TASK: &str = "INSERT INTO tasks (id, account, model, phase, status, lane, turn, due_ms,
        lease_owner, lease_until_ms, epoch, version, is_cancel_asked, created_ms, updated_ms, body)
    VALUES ($1, $2, $3, 'queued', 'waiting', $4, $5, $6, '', 0, 0, 1, 0, $7, $7, $8)";

const REMEMBER: &str = "INSERT INTO idempotency (account, key, fingerprint, reply, created_ms)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account, key) DO NOTHING";

static ENTRIES: Many = Many::new(ENTRY);
static TASKS: Many = Many::new(TASK);
static REMEMBERED: Many = Many::new(REMEMBER);

/// The lane of queued tasks.
const QUEUED: i64 = 1;

/// What is taken in.
#[derive(Default)]
pub(super) struct Intake {
    purses: ReadOnce<AccountId, Purse>,
    taken: Mutex<Vec<Taken>>,
}

/// An account as it was read, and what the batch has taken of it.
struct Purse {
    available: Credits,
    /// How many more tasks it may have under way; below 0 where the limit was lowered.
    places: i64,
    /// Of its next queued task.
    turn: i64,
    held: Credits,
    active: i64,
}

/// A task that its account can pay for, and where it stands.
struct Taken {
    record: Arc<Record>,
    lane: i64,
    turn: i64,
    due_ms: i64,
}

impl Intake {
    /// Reads an account that may be asked for, so that this need not wait for what is found out before.
    pub(super) async fn open(&self, db: Session<'_>, record: &Record) -> Result<(), DbError> {
        let slot = self.purses.slot(&record.account);
        let mut slot = slot.lock().await;
        once(&mut slot, Purse::read(db, record)).await.map(drop)
    }

    /// Takes a task in, unless the available credits do not cover it.
    pub(super) async fn take(
        &self,
        db: Session<'_>,
        record: &Arc<Record>,
    ) -> Result<bool, DbError> {
        let slot = self.purses.slot(&record.account);
        let mut slot = slot.lock().await;
        let Some(purse) = once(&mut slot, Purse::read(db, record)).await? else {
            return Ok(false);
        };
        let Some(taken) = purse.pay(record) else {
            return Ok(false);
        };
        let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(taken);
        Ok(true)
    }

    /// Writes what was taken in.
    pub(super) async fn save(self, db: Session<'_>) -> Result<(), DbError> {
        let taken = self.taken.into_inner();
        let taken = taken.unwrap_or_else(PoisonError::into_inner);
        if taken.is_empty() {
            return Ok(());
        }
        let purses = self.purses.into_slots();
        let holds = try_join_all(purses.map(|(account, slot)| hold(db, account, slot)));
        let entries: Vec<_> = taken.iter().map(Taken::entry).collect();
        let tasks: Vec<_> = taken.iter().map(Taken::task).collect();
        let remembered: Vec<_> = taken.iter().filter_map(Taken::remembered).collect();
        let rows = try_join3(
            db.insert(&ENTRIES, &entries),
            db.insert(&TASKS, &tasks),
            db.insert(&REMEMBERED, &remembered),
        );
        let (_, (.., count)) = try_join(holds, rows).await?;
        // The lock on the account keeps twins on other nodes away; one that got past it has to wait.
        if usize::try_from(count) != Ok(remembered.len()) {
            return Err(DbError::Conflict("a twin was just recorded".to_owned()));
        }
        Ok(())
    }
}

async fn hold(db: Session<'_>, account: AccountId, slot: Arc<Slot<Purse>>) -> Result<(), DbError> {
    let slot = slot.lock().await;
    let purse = slot.as_ref().and_then(Option::as_ref);
    let Some(purse) = purse.filter(|purse| purse.is_changed()) else {
        return Ok(());
    };
    let values = values![purse.held.0, purse.active, account.as_str()];
    match db.execute(HOLD, values).await? {
        1 => Ok(()),
        _ => Err(DbError::Conflict("an account was changed".to_owned())),
    }
}

impl Purse {
    async fn read(db: Session<'_>, record: &Record) -> Result<Option<Self>, DbError> {
        let values = values![record.account.as_str(), record.now_ms];
        let Some(row) = db.row(PURSE, values).await? else {
            return Ok(None);
        };
        Ok(Some(Self {
            available: Credits(row.int(0)?),
            places: row.int(1)?,
            turn: row.int(2)?,
            held: Credits::ZERO,
            active: 0,
        }))
    }

    fn is_changed(&self) -> bool {
        self.held > Credits::ZERO || self.active > 0
    }

    /// Pays for a task, if there is enough; without a place it is parked, due at its deadline.
    fn pay(&mut self, record: &Arc<Record>) -> Option<Taken> {
        let left = self.available.minus(record.hold);
        let left = left.filter(|left| *left >= Credits::ZERO)?;
        self.held = self.held.plus(record.hold)?;
        self.available = left;
        let is_parked = self.active >= self.places;
        let (lane, due_ms) = match is_parked {
            true => (parked::LANE, record.deadline_ms),
            false => (QUEUED, record.now_ms),
        };
        let taken = Taken {
            record: Arc::clone(record),
            lane,
            turn: self.turn,
            due_ms,
        };
        if !is_parked {
            self.active += 1;
            self.turn += 1;
        }
        Some(taken)
    }
}

impl Taken {
    fn entry(&self) -> [Value<'_>; 5] {
        let one = &*self.record;
        [
            (&one.hold_id).into(),
            one.account.as_str().into(),
            one.id.as_str().into(),
            one.hold.0.into(),
            one.now_ms.into(),
        ]
    }

    fn task(&self) -> [Value<'_>; 8] {
        let one = &*self.record;
        [
            one.id.as_str().into(),
            one.account.as_str().into(),
            (&one.model).into(),
            self.lane.into(),
            self.turn.into(),
            self.due_ms.into(),
            one.now_ms.into(),
            (&one.body).into(),
        ]
    }

    fn remembered(&self) -> Option<[Value<'_>; 5]> {
        let one = &*self.record;
        let wish = one.idempotency.as_ref()?;
        Some([
            one.account.as_str().into(),
            (&wish.key).into(),
            (&wish.fingerprint).into(),
            (&wish.reply).into(),
            one.now_ms.into(),
        ])
    }
}
