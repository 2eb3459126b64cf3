//! The gateway: everything that touches the world.

pub mod alerts;
pub mod api;
pub mod app;
pub mod callbacks;
pub mod client_ip;
pub mod clock;
pub mod config;
pub mod edge;
pub mod entropy;
pub mod hooks;
pub mod media;
pub mod metrics;
pub mod net;
pub mod sandbox;
pub mod spawn;
pub mod store;
pub mod stripe;
pub mod traffic;
mod typeset;
pub mod view;
pub mod worker;
