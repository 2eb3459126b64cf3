//! Waiting for a task to change.
//!
//! Invariant: no change is missed. Whoever waits is told before it looks, and looks again after a
//! while all the same, because another node gives no hint.

use std::pin::pin;
use std::time::Duration;

use domain::ids::{AccountId, TaskId};
use tokio::time::{Instant, timeout};

use super::{Api, ApiError};
use crate::store::Watch;
use crate::store::tasks::TaskRead;

/// How often to look whether the server is draining, and on a shared store at the task.
const TICK: Duration = Duration::from_secs(1);

/// Of how many ticks one looks at the task where every change gives a hint.
const TICKS_WITHOUT_A_LOOK: u32 = 5;

/// The task as it is now.
pub(super) async fn now(api: &Api, account: &AccountId, id: &TaskId) -> Result<TaskRead, ApiError> {
    let found = api.store.task(account, id).await?;
    found.ok_or_else(|| ApiError::not_found("task"))
}

/// A task somebody waits for.
pub(super) struct Awaited<'a> {
    pub(super) api: &'a Api,
    pub(super) account: &'a AccountId,
    pub(super) id: &'a TaskId,
    pub(super) watch: &'a Watch,
}

impl Awaited<'_> {
    /// The task once its version is above `version`; nothing when the time is over first or the
    /// server drains.
    pub(super) async fn newer(
        &self,
        version: i64,
        until: Instant,
    ) -> Result<Option<TaskRead>, ApiError> {
        loop {
            let mut changed = pin!(self.watch.changed());
            changed.as_mut().enable();
            let read = now(self.api, self.account, self.id).await?;
            if read.task.version > version {
                return Ok(Some(read));
            }
            let mut ticks = 0;
            loop {
                let now = Instant::now();
                if now >= until || self.api.is_draining() {
                    return Ok(None);
                }
                let pause = TICK.min(until.duration_since(now));
                if timeout(pause, changed.as_mut()).await.is_ok() {
                    break;
                }
                ticks += 1;
                if self.api.store.is_shared() || ticks == TICKS_WITHOUT_A_LOOK {
                    break;
                }
            }
        }
    }
}

/// The task when `is_enough`, or as it is after so long, or when the server drains.
pub(super) async fn until(
    api: &Api,
    account: &AccountId,
    id: &TaskId,
    longest: Duration,
    is_enough: impl Fn(&TaskRead) -> bool,
) -> Result<TaskRead, ApiError> {
    if longest.is_zero() {
        return now(api, account, id).await;
    }
    let watch = api.store.watch(id);
    let until = Instant::now() + longest;
    let awaited = Awaited {
        api,
        account,
        id,
        watch: &watch,
    };
    let mut last = now(api, account, id).await?;
    while !is_enough(&last) {
        match awaited.newer(last.task.version, until).await? {
            Some(newer) => last = newer,
            None => break,
        }
    }
    Ok(last)
}

/// Whether a task has ended.
pub(super) fn has_ended(read: &TaskRead) -> bool {
    read.task.status().is_terminal()
}
