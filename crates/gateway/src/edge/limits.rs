//! How many connections there may be.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts connections.
pub(super) struct Connections {
    slots: Arc<Semaphore>,
    per_ip_max: Option<usize>,
    by_ip: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place among those of its address, until it is dropped.
pub(super) struct Place {
    address: Option<IpAddr>,
    by_ip: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Connections {
    pub(super) fn new(max: usize, per_ip_max: Option<usize>) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            per_ip_max,
            by_ip: Arc::default(),
        }
    }

    /// Waits for a slot.
    pub(super) async fn slot(&self) -> OwnedSemaphorePermit {
        let slots = Arc::clone(&self.slots);
        slots.acquire_owned().await.expect("it is never closed")
    }

    /// A place for a connection from an address; `None` when it has too many.
    pub(super) fn place(&self, address: IpAddr, is_proxy: bool) -> Option<Place> {
        let by_ip = Arc::clone(&self.by_ip);
        let Some(max) = self.per_ip_max.filter(|_| !is_proxy) else {
            return Some(Place {
                address: None,
                by_ip,
            });
        };
        let address = address.to_canonical();
        let mut counts = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place {
            address: Some(address),
            by_ip,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let mut counts = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}
