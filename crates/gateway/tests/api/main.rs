//! The public API, from the outside: over HTTP, with a real store.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and starts what it needs itself"
)]

mod client;
mod document;
mod errors;
mod submit;
mod world;
