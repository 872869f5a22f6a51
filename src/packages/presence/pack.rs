//! Presence as the store keeps it: protobuf messages to which fields are only ever added.

use super::{Activities, Device, Doing, Extra, Note, Person, Presence, Show, Tuple, Value};
use crate::each;
use lamplighter_model::time::Time;
use prost::Message;
use std::sync::Arc;

#[derive(Clone, PartialEq, Message)]
struct PackedPresence {
    #[prost(bool, tag = "1")]
    derived: bool,
    #[prost(fixed64, tag = "2")]
    since: u64,
    #[prost(message, repeated, tag = "3")]
    tuples: Vec<PackedTuple>,
    #[prost(message, repeated, tag = "4")]
    persons: Vec<PackedPerson>,
    #[prost(message, repeated, tag = "5")]
    devices: Vec<PackedElement>,
    #[prost(message, repeated, tag = "6")]
    notes: Vec<PackedNote>,
    #[prost(bytes = "vec", tag = "7")]
    extra: Vec<u8>,
    #[prost(message, repeated, tag = "8")]
    values: Vec<PackedValue>,
}

#[derive(Clone, PartialEq, Message)]
struct PackedValue {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    json: String,
}

#[derive(Clone, PartialEq, Message)]
struct PackedTuple {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bool, optional, tag = "2")]
    open: Option<bool>,
    /// See [`SHOWS`].
    #[prost(uint32, tag = "3")]
    show: u32,
    #[prost(string, optional, tag = "4")]
    name: Option<String>,
    #[prost(string, optional, tag = "5")]
    contact: Option<String>,
    /// In thousandths.
    #[prost(uint32, optional, tag = "6")]
    priority: Option<u32>,
    #[prost(message, repeated, tag = "7")]
    notes: Vec<PackedNote>,
    #[prost(string, optional, tag = "8")]
    timestamp: Option<String>,
    #[prost(bytes = "vec", tag = "9")]
    status_extra: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    extra: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PackedNote {
    #[prost(string, optional, tag = "1")]
    lang: Option<String>,
    #[prost(string, tag = "2")]
    text: String,
}

#[derive(Clone, PartialEq, Message)]
struct PackedPerson {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    doing: Option<PackedDoing>,
    #[prost(message, repeated, tag = "3")]
    extras: Vec<PackedElement>,
    #[prost(message, repeated, tag = "4")]
    notes: Vec<PackedNote>,
    #[prost(string, optional, tag = "5")]
    timestamp: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct PackedDoing {
    /// The bits of [`Activities`].
    #[prost(fixed32, tag = "1")]
    activities: u32,
    #[prost(bool, tag = "2")]
    dnd: bool,
    #[prost(message, repeated, tag = "3")]
    notes: Vec<PackedNote>,
    #[prost(bytes = "vec", tag = "4")]
    extra: Vec<u8>,
}

/// An element of another namespace with what names it: namespace and name, or its id alone.
#[derive(Clone, PartialEq, Message)]
struct PackedElement {
    #[prost(string, tag = "1")]
    ns: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(bytes = "vec", tag = "3")]
    xml: Vec<u8>,
}

/// What the numbers from 1 stand for; new ones are added at the end.
const SHOWS: [Show; 5] = [Show::Chat, Show::Away, Show::Xa, Show::Dnd, Show::OnThePhone];

pub(super) fn pack(presence: &Presence, out: &mut Vec<u8>) {
    let element = |ns: &str, name: &str, xml: &[u8]| PackedElement {
        ns: ns.to_owned(),
        name: name.to_owned(),
        xml: xml.to_vec(),
    };
    let person = |person: &Arc<Person>| PackedPerson {
        id: person.id.as_ref().to_owned(),
        doing: person.doing.as_ref().map(|doing| PackedDoing {
            activities: doing.activities.0,
            dnd: doing.dnd,
            notes: notes(&doing.notes),
            extra: doing.extra.to_vec(),
        }),
        extras: person.extras.iter().map(|extra| element(&extra.ns, &extra.name, &extra.xml)).collect(),
        notes: notes(&person.notes),
        timestamp: text(&person.timestamp),
    };
    let value =
        |value: &Value| PackedValue { name: value.name.as_ref().to_owned(), json: value.json.as_ref().to_owned() };
    let packed = PackedPresence {
        derived: presence.derived,
        since: presence.since.as_micros(),
        tuples: presence.tuples.iter().map(|one| tuple(one)).collect(),
        persons: presence.persons.iter().map(person).collect(),
        devices: presence.devices.iter().map(|device| element("", &device.id, &device.xml)).collect(),
        notes: notes(&presence.notes),
        extra: presence.extra.to_vec(),
        values: presence.values.iter().map(value).collect(),
    };
    packed.encode(out).expect("a vector takes every byte");
}

fn tuple(tuple: &Tuple) -> PackedTuple {
    let show = |show| SHOWS.iter().position(|known| *known == show).map_or(0, |index| index as u32 + 1);
    PackedTuple {
        id: tuple.id.as_ref().to_owned(),
        open: tuple.open,
        show: tuple.show.map_or(0, show),
        name: text(&tuple.name),
        contact: text(&tuple.contact),
        priority: tuple.priority.map(u32::from),
        notes: notes(&tuple.notes),
        timestamp: text(&tuple.timestamp),
        status_extra: tuple.status_extra.to_vec(),
        extra: tuple.extra.to_vec(),
    }
}

fn text(text: &Option<Box<str>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

fn notes(notes: &[Note]) -> Vec<PackedNote> {
    notes.iter().map(|note| PackedNote { lang: text(&note.lang), text: note.text.as_ref().to_owned() }).collect()
}

pub(super) fn unpack(bytes: &[u8]) -> Option<Presence> {
    let packed = PackedPresence::decode(bytes).ok()?;
    let device = |device: PackedElement| Arc::new(Device { id: device.name.into(), xml: device.xml.into() });
    // It is shown as it stands.
    let value = |PackedValue { name, json }| {
        serde_json::from_str::<serde_json::Value>(&json).ok()?;
        Some(Value { name: name.into(), json: json.into() })
    };
    Some(Presence {
        derived: packed.derived,
        since: Time::from_micros(packed.since),
        tuples: each(packed.tuples, |one| Arc::new(unpacked_tuple(one))),
        persons: each(packed.persons, |one| Arc::new(unpacked_person(one))),
        devices: each(packed.devices, device),
        notes: unpacked_notes(packed.notes),
        extra: packed.extra.into(),
        values: each(packed.values, value).into_iter().collect::<Option<_>>()?,
    })
}

fn unpacked_tuple(packed: PackedTuple) -> Tuple {
    Tuple {
        id: packed.id.into(),
        open: packed.open,
        show: (packed.show as usize).checked_sub(1).and_then(|index| SHOWS.get(index).copied()),
        name: packed.name.map(Into::into),
        contact: packed.contact.map(Into::into),
        priority: packed.priority.filter(|priority| *priority <= 1000).map(|priority| priority as u16),
        notes: unpacked_notes(packed.notes),
        timestamp: packed.timestamp.map(Into::into),
        status_extra: packed.status_extra.into(),
        extra: packed.extra.into(),
    }
}

fn unpacked_person(packed: PackedPerson) -> Person {
    let extra = |extra: PackedElement| Extra { ns: extra.ns.into(), name: extra.name.into(), xml: extra.xml.into() };
    Person {
        id: packed.id.into(),
        doing: packed.doing.map(|doing| Doing {
            activities: Activities(doing.activities & Activities::ALL),
            dnd: doing.dnd,
            notes: unpacked_notes(doing.notes),
            extra: doing.extra.into(),
        }),
        extras: each(packed.extras, extra),
        notes: unpacked_notes(packed.notes),
        timestamp: packed.timestamp.map(Into::into),
    }
}

fn unpacked_notes(packed: Vec<PackedNote>) -> Vec<Note> {
    each(packed, |note| Note { lang: note.lang.map(Into::into), text: note.text.into() })
}
