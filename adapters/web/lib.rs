//! The browser's side of the gateway: the JSON feed over WebSocket, the HTTP API, and the panel.
//!
//! A feed connection is a cursor over the hub's mirror, a compiled scope and a view; there is no queue for it. What
//! has changed since the cursor is encoded once for all connections with the same scope and cursor. Everything read
//! here comes from the mirror; a shard is asked only to explain itself.

mod app;
mod auth;
mod command;
mod config;
mod explain;
mod guard;
mod http;
mod lane;
mod metrics;
mod panel;
mod problem;
mod serve;
mod session;

pub use app::Admin;
pub use config::{Config, Limits, check};
pub use serve::{Error, serve};

#[cfg(test)]
mod tests;
