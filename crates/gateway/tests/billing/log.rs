//! What is logged, kept for each thread.
//!
//! Invariant: the subscriber is the whole process's and there before the first world. One of a single
//! thread would not do: a place in the code that another thread logs from first, without a subscriber,
//! is passed over ever after.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged from now on.
pub fn keep() {
    static KEPT: Once = Once::new();
    KEPT.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(|| Log)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// What this thread has logged since it was asked last.
pub fn taken() -> String {
    String::from_utf8(LOGGED.take()).unwrap()
}
