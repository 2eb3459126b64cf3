//! Payments and mails: the whole gateway, on SQLite and on PostgreSQL, with a server beside it that
//! behaves as Stripe documents.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and starts what it needs itself"
)]

#[path = "../api/client.rs"]
#[expect(dead_code, reason = "not every suite asks for everything")]
mod client;
#[path = "../store/fixture.rs"]
#[expect(dead_code, reason = "not every suite asks for everything")]
mod fixture;
#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod log;
mod receipts;
mod smtp;
mod stripe;
mod topup;
mod wishes;
mod world;
