//! The public API, from the outside: over HTTP, with a real store.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and starts what it needs itself"
)]

mod admin;
mod callbacks;
mod client;
mod document;
mod errors;
mod fields;
mod files;
mod hooks;
mod idempotency;
mod inline;
mod key_changes;
mod keys;
mod limits;
mod models;
mod place;
mod scopes;
mod stream;
mod submit;
mod tasks;
mod transactions;
mod waiting;
mod whitelist;
mod world;
