//! The sockets under the SIP engine. What a message means is decided elsewhere: here bytes come in with the flow that
//! they came by, and go out by the flow that they are given.
//!
//! Datagrams ([`Udp`]) are received and sent on the shard's own thread. Streams ([`Streams`]) are read on the tokio
//! runtime; whole messages go to the [`Sink`], and shards write to connections directly.

mod bind;
mod streams;
mod udp;

pub use bind::BindError;
pub use streams::{Counts, Listener, Settings, Sink, Streams, Writer};
pub use udp::{BUFFER, Buffer, Datagram, Outgoing, Sent, Udp};
