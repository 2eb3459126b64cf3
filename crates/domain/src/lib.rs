//! The rules of the gateway.
//!
//! Invariant: pure. No input or output, no clock, no randomness; instants and random bytes are
//! arguments.

pub mod catalogue;
pub mod credits;
pub mod ids;
pub mod key;
pub mod ledger;
pub mod limits;
pub mod mapping;
pub mod network;
pub mod order;
pub mod parameter;
pub mod price;
pub mod signing;
pub mod stripe;
pub mod switches;
pub mod task;
pub mod upstream;
pub mod webhook;
