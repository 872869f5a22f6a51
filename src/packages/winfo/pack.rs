//! Watchers as the store keeps them: protobuf messages to which fields are only ever added.

use super::{Status, Watcher, Watchers};
use lamplighter_model::time::Time;
use prost::Message;
use std::sync::Arc;

#[derive(Clone, PartialEq, Message)]
struct PackedWatchers {
    #[prost(bool, tag = "1")]
    partial: bool,
    #[prost(message, repeated, tag = "2")]
    all: Vec<PackedWatcher>,
}

#[derive(Clone, PartialEq, Message)]
struct PackedWatcher {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    uri: String,
    #[prost(string, optional, tag = "3")]
    name: Option<String>,
    #[prost(string, tag = "4")]
    status: String,
    #[prost(string, tag = "5")]
    event: String,
    #[prost(fixed64, tag = "6")]
    since: u64,
}

pub(super) fn pack(watchers: &Watchers, out: &mut Vec<u8>) {
    let one = |watcher: &Arc<Watcher>| PackedWatcher {
        id: watcher.id.as_ref().to_owned(),
        uri: watcher.uri.as_ref().to_owned(),
        name: watcher.name.as_deref().map(str::to_owned),
        status: watcher.status.name().to_owned(),
        event: watcher.event.to_owned(),
        since: watcher.since.as_micros(),
    };
    let packed = PackedWatchers { partial: !watchers.full, all: watchers.all.iter().map(one).collect() };
    packed.encode(out).expect("a vector takes every byte");
}

pub(super) fn unpack(bytes: &[u8]) -> Option<Watchers> {
    let PackedWatchers { partial, all } = Message::decode(bytes).ok()?;
    let one = |packed: PackedWatcher| {
        Some(Arc::new(Watcher {
            id: packed.id.into(),
            uri: packed.uri.into(),
            name: packed.name.map(Into::into),
            status: Status::read(&packed.status)?,
            event: super::read::event(&packed.event)?,
            since: Time::from_micros(packed.since),
        }))
    };
    Some(Watchers { full: !partial, all: all.into_iter().map(one).collect::<Option<_>>()? })
}
