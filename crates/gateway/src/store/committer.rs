//! The committer: runs many operations in one transaction and answers them after the commit.
//!
//! Invariant: an operation is answered only when what it wrote is synced. Batches form by
//! themselves: each takes whatever queued up while the one before was being committed.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::db::{DbError, Postgres, PostgresSession, Session, Sqlite};

/// Most operations waiting to be committed.
const QUEUE: usize = 4_096;

/// Most operations in one transaction.
const BATCH: usize = 512;

/// How often an operation is tried again when another transaction was in the way.
const CONFLICTS: u32 = 5;

/// How long to go on looking for a database that was lost while committing, in seconds.
const RECALL_S: u64 = 10;

/// Something to be written. May run more than once, so it changes nothing but the database.
pub(super) trait Operation: Send + Sync + 'static {
    /// What it finds out.
    type Answer: Send + 'static;

    /// Writes. A refusal is an answer, not an error: an error rolls the whole batch back.
    fn run(&self, db: Session<'_>) -> impl Future<Output = Result<Self::Answer, DbError>> + Send;

    /// Two operations with the same mark never share a batch: one must see what the other did.
    fn mark(&self) -> Option<&str> {
        None
    }

    /// After the connection was lost in COMMIT: what it answered, if it was committed after all.
    fn recall(
        &self,
        _db: Session<'_>,
    ) -> impl Future<Output = Result<Option<Self::Answer>, DbError>> + Send {
        async { Ok(None) }
    }
}

/// The door to the committer.
#[derive(Clone)]
pub(super) struct Committer {
    queue: mpsc::Sender<Box<dyn Queued>>,
}

trait Queued: Send + Sync {
    fn mark(&self) -> Option<&str>;
    fn run<'a>(&'a mut self, db: Session<'a>) -> BoxFuture<'a, Result<(), DbError>>;
    fn recall<'a>(&'a mut self, db: Session<'a>) -> BoxFuture<'a, Result<bool, DbError>>;
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

    fn run<'a>(&'a mut self, db: Session<'a>) -> BoxFuture<'a, Result<(), DbError>> {
        async move {
            let answer = self.operation.run(db).await?;
            self.keep(Some(answer));
            Ok(())
        }
        .boxed()
    }

    fn recall<'a>(&'a mut self, db: Session<'a>) -> BoxFuture<'a, Result<bool, DbError>> {
        async move {
            let answer = self.operation.recall(db).await?;
            let is_known = answer.is_some();
            self.keep(answer);
            Ok(is_known)
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
        // Whoever asked may be gone; what is committed stays committed.
        let _ = self.reply.send(result);
    }
}

impl Committer {
    /// A committer on SQLite: a thread of its own, as every statement blocks.
    pub(super) fn sqlite(database: &Sqlite) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let session = Arc::clone(database.writer());
        std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || {
                let mut batches = Batches::new(waiting);
                while let Some(batch) = batches.next_blocking() {
                    // Nothing on SQLite waits for anything but the disk: one poll runs it all.
                    let done = commit(Session::Sqlite(&session), batch).now_or_never();
                    debug_assert!(done.is_some(), "a SQLite session never yields");
                }
            })?;
        Ok(Self { queue })
    }

    /// A committer on PostgreSQL, over a connection of its own.
    pub(super) fn postgres(database: Arc<Postgres>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        crate::spawn::detached("committer", async move {
            let mut batches = Batches::new(waiting);
            let mut session = None;
            while let Some(batch) = batches.next().await {
                commit_on_postgres(&database, &mut session, batch).await;
            }
        });
        Self { queue }
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

/// Forms batches; operations whose mark is taken wait for the next one.
struct Batches {
    queue: mpsc::Receiver<Box<dyn Queued>>,
    left: Vec<Box<dyn Queued>>,
}

impl Batches {
    fn new(queue: mpsc::Receiver<Box<dyn Queued>>) -> Self {
        Self {
            queue,
            left: Vec::new(),
        }
    }

    fn next_blocking(&mut self) -> Option<Vec<Box<dyn Queued>>> {
        let first = if self.left.is_empty() {
            Some(self.queue.blocking_recv()?)
        } else {
            None
        };
        Some(self.fill(first))
    }

    async fn next(&mut self) -> Option<Vec<Box<dyn Queued>>> {
        let first = if self.left.is_empty() {
            Some(self.queue.recv().await?)
        } else {
            None
        };
        Some(self.fill(first))
    }

    fn fill(&mut self, first: Option<Box<dyn Queued>>) -> Vec<Box<dyn Queued>> {
        let mut candidates = std::mem::take(&mut self.left);
        candidates.extend(first);
        while candidates.len() < BATCH
            && let Ok(next) = self.queue.try_recv()
        {
            candidates.push(next);
        }
        let mut marks = HashSet::new();
        let (batch, left) = candidates.into_iter().partition(|operation| {
            let mark = operation.mark();
            mark.is_none_or(|mark| marks.insert(mark.to_owned()))
        });
        self.left = left;
        batch
    }
}

/// Runs a batch in one transaction; if an operation fails, each in one of its own.
async fn commit(db: Session<'_>, mut batch: Vec<Box<dyn Queued>>) {
    match attempt(db, &mut batch).await {
        Ok(()) => finish(batch, || Ok(())),
        Err(Failed::Before(error)) if batch.len() == 1 => {
            commit_alone(db, batch, error).await;
        }
        Err(Failed::Before(DbError::Unavailable(text))) => {
            finish(batch, || Err(StoreError::Unavailable(text.clone())));
        }
        Err(Failed::Before(_)) => {
            for operation in batch {
                let mut alone = vec![operation];
                match attempt(db, &mut alone).await {
                    Ok(()) => finish(alone, || Ok(())),
                    Err(Failed::Before(error)) => commit_alone(db, alone, error).await,
                    Err(Failed::InCommit(error)) => fail(alone, &error),
                }
            }
        }
        Err(Failed::InCommit(error)) => fail(batch, &error),
    }
}

/// One operation that failed once: again while only another transaction is in the way.
async fn commit_alone(db: Session<'_>, mut alone: Vec<Box<dyn Queued>>, first: DbError) {
    let mut error = first;
    for _ in 0..CONFLICTS {
        if !matches!(error, DbError::Conflict(_)) {
            break;
        }
        match attempt(db, &mut alone).await {
            Ok(()) => return finish(alone, || Ok(())),
            Err(Failed::Before(again) | Failed::InCommit(again)) => error = again,
        }
    }
    fail(alone, &error);
}

enum Failed {
    /// Nothing was committed.
    Before(DbError),
    /// On PostgreSQL it is not known whether it was committed.
    InCommit(DbError),
}

async fn attempt(db: Session<'_>, batch: &mut [Box<dyn Queued>]) -> Result<(), Failed> {
    db.begin().await.map_err(Failed::Before)?;
    // On PostgreSQL the statements of all operations travel together; on SQLite they run in turn.
    let results = join_all(batch.iter_mut().map(|operation| operation.run(db))).await;
    if let Some(error) = results.into_iter().find_map(Result::err) {
        db.rollback().await;
        return Err(Failed::Before(error));
    }
    db.commit().await.map_err(Failed::InCommit)
}

async fn commit_on_postgres(
    database: &Postgres,
    session: &mut Option<PostgresSession>,
    batch: Vec<Box<dyn Queued>>,
) {
    if session.as_ref().is_none_or(PostgresSession::is_closed) {
        match database.connect().await {
            Ok(fresh) => *session = Some(fresh),
            Err(error) => return fail(batch, &error),
        }
    }
    let Some(open) = session.as_ref() else {
        return;
    };
    let mut batch = batch;
    match attempt(Session::Postgres(open), &mut batch).await {
        Ok(()) => finish(batch, || Ok(())),
        Err(Failed::InCommit(error)) => {
            tracing::warn!(%error, "the database was lost while committing; reading back");
            *session = None;
            recall(database, batch, &error).await;
        }
        Err(Failed::Before(error)) if open.is_closed() => fail(batch, &error),
        Err(Failed::Before(_)) => commit(Session::Postgres(open), batch).await,
    }
}

/// Finds out by our own ids what a lost COMMIT did.
async fn recall(database: &Postgres, batch: Vec<Box<dyn Queued>>, error: &DbError) {
    let mut fresh = None;
    for _ in 0..RECALL_S {
        match database.connect().await {
            Ok(session) => {
                fresh = Some(session);
                break;
            }
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
    let Some(session) = fresh else {
        return fail(batch, error);
    };
    for mut operation in batch {
        match operation.recall(Session::Postgres(&session)).await {
            Ok(true) => operation.finish(Ok(())),
            Ok(false) => operation.finish(Err(StoreError::Unavailable(error.to_string()))),
            Err(error) => operation.finish(Err(StoreError::Unavailable(error.to_string()))),
        }
    }
}

fn finish(batch: Vec<Box<dyn Queued>>, result: impl Fn() -> Result<(), StoreError>) {
    for operation in batch {
        operation.finish(result());
    }
}

fn fail(batch: Vec<Box<dyn Queued>>, error: &DbError) {
    finish(batch, || Err(StoreError::from(error)));
}
