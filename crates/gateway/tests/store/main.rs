//! The store's behaviour, each on SQLite and on PostgreSQL.

#![expect(
    clippy::unwrap_used,
    reason = "whoever prepares a test panics as the test does"
)]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod admin_accounts;
mod alerts;
mod audit;
mod cancel;
mod claims;
mod commits;
mod faults;
mod files;
mod fixture;
mod group_commit;
mod key_changes;
mod keyring;
mod keys;
mod ledger;
mod limits;
mod migrations;
mod notices;
mod oracle;
mod own_server;
mod patience;
mod proxy;
mod reads;
mod statements;
mod submit;
mod switches;
mod tls;
mod transactions;
mod uploads;
mod waiting;
mod webhooks;
