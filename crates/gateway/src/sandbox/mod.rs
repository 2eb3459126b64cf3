//! The built-in provider's other side: real files without any model, and scripted outcomes.
//!
//! Invariant: remembers nothing and reaches nothing. Everything follows from the request, the
//! order in it and the time the caller names, so work survives any restart.

mod chat;
pub mod render;
#[cfg(test)]
mod tests;
mod upstream;
mod work;

pub use upstream::{Answered, Upstream};
