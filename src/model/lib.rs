//! The words that everything else is written in: presentities, packages, publications, time, and what
//! shards, drivers and adapters hand each other. Nothing here reads a socket, a clock or a protocol.

pub mod access;
pub mod address;
pub mod config;
pub mod counters;
pub mod explain;
pub mod hash;
pub mod io;
pub mod package;
pub mod publish;
pub mod record;
pub mod remote;
pub mod time;
pub mod wheel;

pub use access::{Access, Decision};
pub use address::{Addresses, NotLocal, Slot};
pub use config::{Config, Idle, Profile, ProfileId, Profiles};
pub use counters::{Counter, Counters};
pub use hash::Seed;
pub use io::{Answer, Change, Command, Flow, Input, Outbox, Output, Transport};
pub use package::{
    AnyFact, AnyState, BadBody, Composed, Cuts, Expires, Format, Package, PackageId, Packages, Reading, Rendered,
    Rendering, Sourced, Stamp, View,
};
pub use publish::{
    Content, EntityTag, OwnedAction, OwnedContent, Publish, PublishAction, PublishCommand, PublishError, Published,
    PublishedLease, Renewal, ResourceId,
};
pub use record::{Durabilities, Durability, Record};
pub use remote::{
    Heard, OwnState, RemoteAnswer, RemoteCommand, RemoteContent, RemoteNews, RemoteRecord, RemoteThing, RemoteTold,
    RemoteWish,
};
pub use time::Time;
