//! The committer: runs many operations in one transaction and answers them after the commit.
//!
//! Invariant: an operation is answered only when what it wrote is synced. Batches form by
//! themselves: each takes whatever queued up while the one before was being committed.

mod attempt;
mod batches;
mod writer;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::attempt::attempt;
use self::batches::Batches;
use self::writer::Writer;
use super::StoreError;
use super::db::{DbError, Postgres, Session, Sqlite, SqliteSession};
use super::intake::Intake;
use super::meters::Meters;

/// Most operations waiting to be committed.
const QUEUE: usize = 4_096;

/// How often an operation is tried again when another transaction was in the way.
const CONFLICTS: u32 = 5;

/// The transaction of a batch.
#[derive(Clone, Copy)]
pub(super) struct Tx<'a> {
    /// Where its statements run.
    pub(super) db: Session<'a>,
    /// The keys that it submits with.
    pub(super) meters: &'a Meters,
    /// What it submits.
    pub(super) intake: &'a Intake,
}

/// Something to be written. May run more than once, so it changes nothing but the database.
pub(super) trait Operation: Send + Sync + 'static {
    /// What it finds out.
    type Answer: Send + 'static;

    /// Writes. A refusal is an answer, not an error: an error rolls the whole batch back.
    fn run(&self, tx: Tx<'_>) -> impl Future<Output = Result<Self::Answer, DbError>> + Send;

    /// Two operations with the same mark never share a batch: one must see what the other did.
    fn mark(&self) -> Option<&str> {
        None
    }

    /// The account whose row it changes. Rows of accounts are locked ahead, in their order, so that
    /// nodes that commit for the same accounts wait for each other instead of deadlocking.
    fn account(&self) -> Option<&str> {
        None
    }

    /// Whether it takes tasks in. Such operations run behind the others of their batch, so that the accounts
    /// that they read once stay as they were read.
    fn is_intake(&self) -> bool {
        false
    }

    /// After the connection was lost in COMMIT: whether its transaction was committed, where rows
    /// that nobody else can have written tell.
    fn is_recorded(
        &self,
        _answer: &Self::Answer,
        _db: Session<'_>,
    ) -> impl Future<Output = Result<Option<bool>, DbError>> + Send {
        async { Ok(None) }
    }
}

/// Why a batch was not committed.
pub(super) enum Failed {
    /// The database failed, for every operation alike; nothing is recorded.
    Database(DbError),
    /// An operation failed; nothing is recorded.
    Operation(DbError),
    /// COMMIT failed: on SQLite nothing is recorded, on PostgreSQL it is not known.
    InCommit(DbError),
    /// It could not be found out whether it was committed.
    Unclear(DbError),
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Database(error) | Failed::Operation(error) | Failed::InCommit(error) => {
                Self::from(error)
            }
            Failed::Unclear(error) => Self::Unclear(error.to_string()),
        }
    }
}

/// Where batches are committed.
enum Place {
    Sqlite(Arc<SqliteSession>),
    Postgres(Box<Writer>),
}

/// Asked before each batch of a simulated store: it may take its time, or refuse for the store.
pub type Gate = Arc<dyn Fn() -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync>;

/// Told of each commit, in its way: how many operations it had and how long it took.
pub(super) type Observer = Box<dyn Fn(usize, Duration) + Send + Sync>;

type Observed = Arc<OnceLock<Observer>>;

/// The door to the committer.
#[derive(Clone)]
pub(super) struct Committer {
    queue: mpsc::Sender<Box<dyn Queued>>,
    observed: Observed,
}

pub(super) trait Queued: Send + Sync {
    fn mark(&self) -> Option<&str>;
    fn run<'a>(&'a mut self, tx: Tx<'a>) -> BoxFuture<'a, Result<(), DbError>>;
    fn account(&self) -> Option<&str>;
    fn is_intake(&self) -> bool;
    fn is_recorded<'a>(
        &'a mut self,
        db: Session<'a>,
    ) -> BoxFuture<'a, Result<Option<bool>, DbError>>;
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

struct Waiting<O: Operation> {
    operation: O,
    answer: std::sync::Mutex<Option<O::Answer>>,
    reply: oneshot::Sender<Result<O::Answer, StoreError>>,
}

impl<O: Operation> Waiting<O> {
    fn keep(&mut self, answer: Option<O::Answer>) {
        *self
            .answer
            .get_mut()
            .unwrap_or_else(|poison| poison.into_inner()) = answer;
    }
}

impl<O: Operation> Queued for Waiting<O> {
    fn mark(&self) -> Option<&str> {
        self.operation.mark()
    }

    fn run<'a>(&'a mut self, tx: Tx<'a>) -> BoxFuture<'a, Result<(), DbError>> {
        async move {
            let answer = self.operation.run(tx).await?;
            self.keep(Some(answer));
            Ok(())
        }
        .boxed()
    }

    fn account(&self) -> Option<&str> {
        self.operation.account()
    }

    fn is_intake(&self) -> bool {
        self.operation.is_intake()
    }

    fn is_recorded<'a>(
        &'a mut self,
        db: Session<'a>,
    ) -> BoxFuture<'a, Result<Option<bool>, DbError>> {
        async move {
            let answer = self.answer.get_mut();
            match answer.unwrap_or_else(|poison| poison.into_inner()) {
                Some(answer) => self.operation.is_recorded(answer, db).await,
                None => Ok(None),
            }
        }
        .boxed()
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let answer = self
            .answer
            .into_inner()
            .unwrap_or_else(|poison| poison.into_inner());
        let result = match (result, answer) {
            (Ok(()), Some(answer)) => Ok(answer),
            (Ok(()), None) => Err(StoreError::Broken(
                "an operation without an answer".to_owned(),
            )),
            (Err(error), _) => Err(error),
        };
        // Before whoever waits is woken, so that what they share with it is theirs to free.
        drop(self.operation);
        // Whoever asked may be gone; what is committed stays committed.
        let _ = self.reply.send(result);
    }
}

impl Committer {
    fn new() -> (Self, mpsc::Receiver<Box<dyn Queued>>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let observed = Observed::default();
        (Self { queue, observed }, waiting)
    }

    /// Tells an observer of each commit from now on; the first one stays.
    pub(super) fn observe(&self, observer: Observer) {
        let _ = self.observed.set(observer);
    }

    /// A committer on SQLite: a thread of its own, as every statement blocks.
    pub(super) fn sqlite(database: &Sqlite) -> std::io::Result<Self> {
        let (committer, waiting) = Self::new();
        let observed = Arc::clone(&committer.observed);
        let mut place = Place::Sqlite(Arc::clone(database.writer()));
        std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || {
                let mut batches = Batches::new(waiting);
                while let Some(batch) = batches.next_blocking() {
                    // Nothing on SQLite waits for anything but the disk: one poll runs it all.
                    let done = supervised(commit(&mut place, &observed, batch)).now_or_never();
                    debug_assert!(done.is_some(), "a SQLite session never yields");
                }
            })?;
        Ok(committer)
    }

    /// A committer on SQLite that is a task of the runtime, so that no simulated time passes while
    /// it writes. It asks the gate before each batch.
    pub(super) fn sqlite_in_runtime(database: &Sqlite, gate: Gate) -> Self {
        let (committer, waiting) = Self::new();
        let observed = Arc::clone(&committer.observed);
        let mut place = Place::Sqlite(Arc::clone(database.writer()));
        crate::spawn::detached("committer", async move {
            let mut batches = Batches::new(waiting);
            while let Some(batch) = batches.next().await {
                match gate().await {
                    Ok(()) => commit(&mut place, &observed, batch).await,
                    Err(error) => {
                        for operation in batch {
                            operation.finish(Err(error.clone()));
                        }
                    }
                }
            }
        });
        committer
    }

    /// A committer on PostgreSQL, over a connection of its own. On a thread of its own as well: behind the
    /// requests of a busy runtime it would leave the database idle.
    pub(super) fn postgres(database: Arc<Postgres>) -> std::io::Result<Self> {
        let (committer, waiting) = Self::new();
        let observed = Arc::clone(&committer.observed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let work = async move {
            let mut batches = Batches::new(waiting);
            let mut place = Place::Postgres(Box::new(Writer::new(database)));
            while let Some(batch) = batches.next().await {
                supervised(commit(&mut place, &observed, batch)).await;
            }
        };
        std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || runtime.block_on(work))?;
        Ok(committer)
    }

    /// Commits an operation; waits for a place in the queue.
    pub(super) async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer, StoreError> {
        let (waiting, answer) = waiting(operation);
        let gone = || StoreError::Unavailable("the store is closed".to_owned());
        self.queue.send(waiting).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Commits an operation; refuses it when the queue is full.
    pub(super) async fn admit<O: Operation>(&self, operation: O) -> Result<O::Answer, StoreError> {
        let (waiting, answer) = waiting(operation);
        self.queue
            .try_send(waiting)
            .map_err(|_| StoreError::Overloaded)?;
        answer
            .await
            .map_err(|_| StoreError::Unavailable("the store is closed".to_owned()))?
    }
}

/// A process whose committer is gone would answer reads and refuse every write for ever: better none,
/// which is started again.
async fn supervised(work: impl Future<Output = ()>) {
    if AssertUnwindSafe(work).catch_unwind().await.is_err() {
        tracing::error!("the committer panicked; aborting");
        std::process::abort();
    }
}

type Answer<O> = oneshot::Receiver<Result<<O as Operation>::Answer, StoreError>>;

fn waiting<O: Operation>(operation: O) -> (Box<dyn Queued>, Answer<O>) {
    let (reply, answer) = oneshot::channel();
    let waiting = Waiting {
        operation,
        answer: std::sync::Mutex::new(None),
        reply,
    };
    (Box::new(waiting), answer)
}

/// Runs a batch in one transaction; if an operation fails, each in one of its own.
async fn commit(place: &mut Place, observed: &Observed, mut batch: Vec<Box<dyn Queued>>) {
    match run(place, observed, &mut batch).await {
        Err(Failed::Operation(_)) if batch.len() > 1 => {
            for mut operation in batch {
                let alone = std::slice::from_mut(&mut operation);
                let done = run(place, observed, alone).await;
                operation.finish(done.map_err(StoreError::from));
            }
        }
        done => {
            let done = done.map_err(StoreError::from);
            for operation in batch {
                operation.finish(done.clone());
            }
        }
    }
}

/// Runs a batch, again while only another transaction is in the way.
async fn run(
    place: &mut Place,
    observed: &Observed,
    batch: &mut [Box<dyn Queued>],
) -> Result<(), Failed> {
    let began = Instant::now();
    let mut conflicts = 0;
    loop {
        let done = match place {
            Place::Sqlite(session) => attempt(Session::Sqlite(session), batch).await,
            Place::Postgres(writer) => writer.attempt(batch).await,
        };
        match done {
            Err(Failed::Operation(DbError::Conflict(_))) if conflicts < CONFLICTS => conflicts += 1,
            Ok(()) => {
                if let Some(observe) = observed.get() {
                    observe(batch.len(), began.elapsed());
                }
                return Ok(());
            }
            failed => return failed,
        }
    }
}
