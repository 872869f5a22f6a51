//! The browser's side of the gateway: the JSON feed over WebSocket, the HTTP API, and the panel.
//!
//! A feed connection is a cursor over the hub's mirror, a compiled scope and a view; there is no queue for it. What
//! has changed since the cursor is encoded once for all connections with the same scope and cursor. Everything read
//! here comes from the mirror; a shard is asked only to explain itself.

mod admin;
mod app;
mod auth;
mod bucket;
mod command;
mod config;
mod desk;
mod directory;
mod explain;
mod exports;
mod feed;
mod guard;
mod http;
mod lane;
mod metrics;
mod openapi;
mod pace;
mod panel;
mod problem;
mod publications;
mod rates;
mod replies;
mod schema;
mod serve;
mod session;
mod sse;
mod state;
mod subscriptions;
mod watch;
mod ws;

pub use app::Admin;
pub use auth::{Algorithm, Audience, Auth, Grant, Jwt, Key, Session, View, mint, new_key};
pub use config::{Config, Limits, check};
pub use serve::{Error, serve};

#[cfg(test)]
mod api_tests;
#[cfg(test)]
mod tests;
