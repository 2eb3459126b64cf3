//! A place for one reading connection.
//!
//! Invariant: of all who find it lost, one connects; the others take what came of that.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::DbError;
use super::session::PostgresSession;

#[derive(Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    /// Held by whoever connects.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    session: Option<Arc<PostgresSession>>,
    /// How often it was tried to connect.
    attempts: u64,
    /// Why the last attempt failed.
    failure: String,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, if it is not lost.
    pub(super) fn live(&self) -> Option<Arc<PostgresSession>> {
        let state = self.state();
        let session = state.session.as_ref();
        session.filter(|session| !session.is_closed()).cloned()
    }

    /// The connection, made by `connect` if need be.
    pub(super) async fn connected(
        &self,
        connect: impl Future<Output = Result<PostgresSession, DbError>>,
    ) -> Result<Arc<PostgresSession>, DbError> {
        let seen = self.state().attempts;
        let _turn = self.connecting.lock().await;
        if let Some(session) = self.live() {
            return Ok(session);
        }
        let (attempts, failure) = {
            let state = self.state();
            (state.attempts, state.failure.clone())
        };
        // Each trying again in turn would make the last wait for all the others.
        if attempts != seen {
            return Err(DbError::Unavailable(failure));
        }
        let connected = connect.await.map(Arc::new);
        let mut state = self.state();
        state.attempts = attempts.wrapping_add(1);
        state.session = connected.as_ref().ok().cloned();
        state.failure = match &connected {
            Ok(_) => "the connection was lost at once".to_owned(),
            Err(error) => error.to_string(),
        };
        connected
    }
}
