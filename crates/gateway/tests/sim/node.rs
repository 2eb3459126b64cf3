//! A node: one worker that can be stopped, frozen and killed at any await.
//!
//! Invariant: everything the worker started lives in one future. Frozen, none of it moves; dropped,
//! all of it is gone, like the memory of a process.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use gateway::worker::Worker;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Which node is moving just now, by its number. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Moving(Arc<AtomicU64>);

impl Moving {
    pub(crate) fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A running node.
pub(crate) struct Node {
    pub(crate) number: u64,
    stop: CancellationToken,
    ice: Arc<Ice>,
    /// How far its clock is behind.
    behind_ms: Arc<AtomicI64>,
    /// Since when its machine is frozen.
    frozen_at: Mutex<Option<Instant>>,
    life: AbortHandle,
}

#[derive(Default)]
struct Ice {
    // Whether it is frozen, and whom to wake afterwards.
    state: Mutex<(bool, Option<Waker>)>,
}

impl Node {
    /// Starts a worker.
    pub(crate) fn start(
        number: u64,
        worker: Worker,
        behind_ms: Arc<AtomicI64>,
        moving: Moving,
        nodes: &mut JoinSet<()>,
    ) -> Self {
        let (send, steps) = unbounded_channel();
        let worker = worker.spawning(Arc::new(move |step| drop(send.send(step))));
        let stop = CancellationToken::new();
        let ice = Arc::<Ice>::default();
        let life = Freezing {
            number,
            moving,
            ice: Arc::clone(&ice),
            inner: Box::pin(live(Arc::new(worker), stop.clone(), steps)),
        };
        let life = nodes.spawn(life);
        Self {
            number,
            stop,
            ice,
            behind_ms,
            frozen_at: Mutex::default(),
            life,
        }
    }

    /// Kills it.
    pub(crate) fn crash(&self) {
        self.life.abort();
    }

    /// Asks it to finish what it is at.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn freeze(&self) {
        self.ice.state.lock().unwrap().0 = true;
    }

    /// Freezes the whole machine: its clock will not know how long it was.
    pub(crate) fn freeze_with_machine(&self) {
        self.freeze();
        *self.frozen_at.lock().unwrap() = Some(Instant::now());
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.ice.state.lock().unwrap().0
    }

    pub(crate) fn thaw(&self) {
        if let Some(at) = self.frozen_at.lock().unwrap().take() {
            let frozen_ms = i64::try_from(at.elapsed().as_millis()).unwrap();
            self.behind_ms.fetch_add(frozen_ms, Ordering::Relaxed);
        }
        let waker = {
            let mut state = self.ice.state.lock().unwrap();
            state.0 = false;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.life.is_finished()
    }
}

async fn live(
    worker: Arc<Worker>,
    stop: CancellationToken,
    mut steps: UnboundedReceiver<BoxFuture<'static, ()>>,
) {
    let mut run = pin!(worker.run(stop));
    let mut under_way = FuturesUnordered::new();
    poll_fn(|cx| {
        while let Poll::Ready(Some(step)) = steps.poll_recv(cx) {
            under_way.push(step);
        }
        while let Poll::Ready(Some(())) = under_way.poll_next_unpin(cx) {}
        run.as_mut().poll(cx)
    })
    .await;
}

struct Freezing {
    number: u64,
    moving: Moving,
    ice: Arc<Ice>,
    inner: BoxFuture<'static, ()>,
}

impl Future for Freezing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.ice.state.lock().unwrap();
            if state.0 {
                state.1 = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.moving.0.store(self.number, Ordering::Relaxed);
        self.inner.as_mut().poll(cx)
    }
}
