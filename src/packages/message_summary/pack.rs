//! Summaries as the store keeps them: protobuf messages to which fields are only ever added.

use super::{Class, Counts, Summary};
use crate::each;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct PackedSummary {
    #[prost(bool, tag = "1")]
    waiting: bool,
    #[prost(string, optional, tag = "2")]
    account: Option<String>,
    #[prost(message, repeated, tag = "3")]
    classes: Vec<PackedClass>,
}

#[derive(Clone, PartialEq, Message)]
struct PackedClass {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    new: u32,
    #[prost(uint32, tag = "3")]
    old: u32,
    #[prost(uint32, tag = "4")]
    urgent_new: u32,
    #[prost(uint32, tag = "5")]
    urgent_old: u32,
}

pub(super) fn pack(summary: &Summary, out: &mut Vec<u8>) {
    let class = |(class, counts): &(Class, Counts)| PackedClass {
        name: class.name.as_ref().to_owned(),
        new: counts.new,
        old: counts.old,
        urgent_new: counts.urgent_new,
        urgent_old: counts.urgent_old,
    };
    let packed = PackedSummary {
        waiting: summary.waiting,
        account: summary.account.as_deref().map(str::to_owned),
        classes: summary.classes.iter().map(class).collect(),
    };
    packed.encode(out).expect("a vector takes every byte");
}

pub(super) fn unpack(bytes: &[u8]) -> Option<Summary> {
    let PackedSummary { waiting, account, classes } = Message::decode(bytes).ok()?;
    let class = |PackedClass { name, new, old, urgent_new, urgent_old }| {
        (Class::new(&name), Counts { new, old, urgent_new, urgent_old })
    };
    let mut classes: Vec<(Class, Counts)> = each(classes, class);
    // The order is that of this version.
    classes.sort_by(|(one, _), (other, _)| one.cmp(other));
    Some(Summary { waiting, account: account.map(Into::into), classes })
}
