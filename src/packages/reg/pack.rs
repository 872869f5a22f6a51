//! Registrations as the store keeps them: protobuf messages to which fields are only ever added.

use super::{Bindings, Contact};
use crate::each;
use lamplighter_model::time::Time;
use prost::Message;
use std::sync::Arc;

#[derive(Clone, PartialEq, Message)]
struct PackedBindings {
    #[prost(bool, tag = "1")]
    partial: bool,
    #[prost(fixed64, tag = "2")]
    at: u64,
    #[prost(message, repeated, tag = "3")]
    all: Vec<PackedContact>,
}

#[derive(Clone, PartialEq, Message)]
struct PackedContact {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    uri: String,
    #[prost(string, optional, tag = "3")]
    name: Option<String>,
    #[prost(string, tag = "4")]
    event: String,
    #[prost(fixed64, optional, tag = "5")]
    until: Option<u64>,
    #[prost(fixed64, tag = "6")]
    since: u64,
    #[prost(fixed64, optional, tag = "7")]
    ended: Option<u64>,
    /// In thousandths.
    #[prost(uint32, optional, tag = "8")]
    q: Option<u32>,
    #[prost(string, optional, tag = "9")]
    call_id: Option<String>,
    #[prost(uint32, optional, tag = "10")]
    cseq: Option<u32>,
    #[prost(string, optional, tag = "11")]
    user_agent: Option<String>,
    #[prost(string, optional, tag = "12")]
    received: Option<String>,
    #[prost(message, repeated, tag = "13")]
    params: Vec<PackedParam>,
    #[prost(bytes = "vec", tag = "14")]
    extra: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PackedParam {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

pub(super) fn pack(bindings: &Bindings, out: &mut Vec<u8>) {
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let param = |(name, value): &(Box<str>, Box<str>)| PackedParam {
        name: name.as_ref().to_owned(),
        value: value.as_ref().to_owned(),
    };
    let contact = |contact: &Arc<Contact>| PackedContact {
        id: contact.id.as_ref().to_owned(),
        uri: contact.uri.as_ref().to_owned(),
        name: text(&contact.name),
        event: contact.event.to_owned(),
        until: contact.until.map(Time::as_micros),
        since: contact.since.as_micros(),
        ended: contact.ended.map(Time::as_micros),
        q: contact.q.map(u32::from),
        call_id: text(&contact.call_id),
        cseq: contact.cseq,
        user_agent: text(&contact.user_agent),
        received: text(&contact.received),
        params: contact.params.iter().map(param).collect(),
        extra: contact.extra.to_vec(),
    };
    let all = bindings.all.iter().map(contact).collect();
    let packed = PackedBindings { partial: !bindings.full, at: bindings.at.as_micros(), all };
    packed.encode(out).expect("a vector takes every byte");
}

pub(super) fn unpack(bytes: &[u8]) -> Option<Bindings> {
    let PackedBindings { partial, at, all } = Message::decode(bytes).ok()?;
    let all = each(all, |packed| contact(packed).map(Arc::new)).into_iter().collect::<Option<_>>()?;
    Some(Bindings { full: !partial, at: Time::from_micros(at), all })
}

fn contact(packed: PackedContact) -> Option<Contact> {
    Some(Contact {
        id: packed.id.into(),
        uri: packed.uri.into(),
        name: packed.name.map(Into::into),
        event: super::read::event(&packed.event)?,
        until: packed.until.map(Time::from_micros),
        since: Time::from_micros(packed.since),
        ended: packed.ended.map(Time::from_micros),
        q: packed.q.filter(|q| *q <= 1000).map(|q| q as u16),
        call_id: packed.call_id.map(Into::into),
        cseq: packed.cseq,
        user_agent: packed.user_agent.map(Into::into),
        received: packed.received.map(Into::into),
        params: each(packed.params, |param| (param.name.into(), param.value.into())),
        extra: packed.extra.into(),
    })
}
