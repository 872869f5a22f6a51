//! What stands between shards and adapters: rings in, one mirror out, and an inbox for questions.
//!
//! ```text
//!  shard 0 ── ring ──┐                       ┌── since(cursor) ── feed, HTTP, XMPP
//!  shard 1 ── ring ──┼── hub ── the mirror ──┤
//!  shard n ── ring ──┘                       └── ask ── inbox of a shard, and back through its ring
//! ```
//!
//! A shard never waits: its ring is its own, and when that is full the newest state of each key waits in the
//! shard's [`ShardPort`]. The hub gives each change the node's next revision and keeps the latest [`Item`] of each
//! (resource, package). Adapters read the mirror by cursor; nobody asks a shard to read.

mod hub;
mod item;
mod listening;
mod mirror;
mod port;
mod scope;
mod shard;
mod tracing;

pub use hub::{Hub, Settings, Wake, hub};
pub use item::{Item, push_json_string};
pub use listening::Listening;
pub use mirror::Cursor;
pub use port::{Busy, Port, Tap};
pub use scope::{BadSelector, Kinds, Scope, Selector};
pub use shard::ShardPort;
pub use tracing::{Traced, Tracing};

#[cfg(test)]
mod tests;
