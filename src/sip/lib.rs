//! The SIP engine: what goes in are received messages and the time, what comes out are messages to send. It has no
//! socket, no clock and no task.
//!
//! - [`wire`] reads, frames and writes messages.
//! - [`route`] finds out whose message it is.
//! - [`Engine`] is the server side of one shard: server transactions (RFC 3261), the publication service (RFC 3903)
//!   and the notifier (RFC 6665).
//! - [`auth`] answers Digest challenges (RFC 7616).
//! - [`client`] is the user agent side: client transactions, subscriptions and publications of our own.

pub mod auth;
pub mod client;
mod engine;
mod held;
mod host;
mod identifier;
mod notifier;
mod publication;
mod reply;
pub mod route;
mod server;
mod subscription;
pub mod wire;

pub use engine::Engine;
pub use host::Host;
