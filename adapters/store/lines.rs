//! A store as lines of JSON, one record a line, and back.
//!
//! Times are microseconds since the epoch, as the wall clock that the store goes by counts them; `"never"` is no time.
//! Bytes are base64. The first line says which store it was. A line has everything, so what comes back is the same.

use crate::backend::{Backend as _, Put};
use crate::disk::Disk;
use crate::disk::home::{Found, Home, Identity};
use crate::error::OpenError;
use crate::{Config, Loaded, Store, codec, era};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use lamplighter_model::explain::HistoryEntry;
use lamplighter_model::record::{PublicationRecord, ResidueRecord, ResourceRecord, SubscriptionRecord};
use lamplighter_model::{EntityTag, Record, Stamp, Time, Transport};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// The format of the lines.
const FORMAT: u64 = 1;
/// Records are written in batches of this many.
const BATCH: usize = 1000;
/// The era of everything that is imported.
const ERA: u64 = 1;

/// Writes all records to `out`. The store must not be open.
pub fn export(path: &Path, wall: Duration, out: &mut dyn Write) -> Result<Loaded, OpenError> {
    let disk = Disk::open_existing(path)?;
    let seed = disk.identity().seed;
    let mut store = Store::of(Some(Box::new(disk)), path, seed, false, &Config::default(), wall)?;
    let head = Line::Store {
        format: FORMAT,
        seed: Hex(u128::from(seed.0) << 64 | u128::from(seed.1)),
        clock: store.start_time().into(),
    };
    let mut write = |line: &Line| {
        serde_json::to_writer(&mut *out, line)?;
        out.write_all(b"\n")
    };
    let mut result = write(&head);
    let loaded = store.load(|record| {
        if result.is_ok() {
            result = Line::of(record).map_or(Ok(()), |line| write(&line));
        }
    })?;
    result.and_then(|()| out.flush()).map_err(OpenError::Stream)?;
    Ok(loaded)
}

/// Makes a new store in `path` of what [`export`] wrote. Nothing is left of it if a line is wrong.
pub fn import(path: &Path, input: &mut dyn BufRead) -> Result<Loaded, OpenError> {
    if fs::read_dir(path).is_ok_and(|mut names| names.next().is_some())
        || fs::metadata(path).is_ok_and(|it| !it.is_dir())
    {
        return Err(OpenError::Exists { path: path.to_owned() });
    }
    let was_there = path.exists();
    let result = fill(path, input);
    if result.is_err() {
        let _ = if was_there { empty(path) } else { fs::remove_dir_all(path) };
    }
    result
}

fn empty(path: &Path) -> std::io::Result<()> {
    fs::read_dir(path)?.try_for_each(|entry| fs::remove_file(entry?.path()))
}

fn fill(path: &Path, input: &mut dyn BufRead) -> Result<Loaded, OpenError> {
    let mut lines = Lines { input, number: 0, text: Vec::new() };
    let Some(Line::Store { format, seed: Hex(seed), clock }) = lines.next()? else {
        return Err(lines.wrong("an export begins with a line of the kind \"store\""));
    };
    if format > FORMAT {
        return Err(lines.wrong(format!("this is format {format}, and this Lamplighter knows formats up to {FORMAT}")));
    }
    let (home, Found::Nothing) = Home::take(path, true)? else {
        return Err(OpenError::Exists { path: path.to_owned() });
    };
    let identity = Identity { seed: ((seed >> 64) as u64, seed as u64), ..Identity::random()? };
    let mut disk = Disk::create(home, identity)?;
    let clock = Time::from(clock);
    let mut batch = vec![era::note(ERA, clock, clock.since(Time::default()), 0)];
    let mut loaded = Loaded::default();
    let mut keys = HashSet::new();
    while let Some(line) = lines.next()? {
        let Some(record) = line.record().map_err(|what| lines.wrong(what))? else {
            return Err(lines.wrong("there is one line of the kind \"store\", the first"));
        };
        loaded.records += 1;
        match &record {
            Record::Publication(_) => loaded.publications += 1,
            Record::Resource(_) => loaded.resources += 1,
            Record::Standing { .. } => loaded.standings += 1,
            _ => loaded.subscriptions += 1,
        }
        let (mut key, mut value) = (BytesMut::new(), BytesMut::new());
        codec::write_key(&record, &mut key);
        codec::write_value(&record, ERA, &mut value);
        let key = key.freeze();
        if !keys.insert(key.clone()) {
            return Err(lines.wrong("an earlier line is about the same"));
        }
        batch.push(Put { key, value: Some(value.freeze()) });
        if batch.len() >= BATCH {
            disk.write(&batch)?;
            batch.clear();
        }
    }
    disk.write(&batch)?;
    disk.sync()?;
    disk.mark(true)?;
    Ok(loaded)
}

struct Lines<'a> {
    input: &'a mut dyn BufRead,
    number: usize,
    text: Vec<u8>,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<Line>, OpenError> {
        self.number += 1;
        self.text.clear();
        if self.input.read_until(b'\n', &mut self.text).map_err(OpenError::Stream)? == 0 {
            return Ok(None);
        }
        serde_json::from_slice(&self.text).map(Some).map_err(|error| self.wrong(error))
    }

    fn wrong(&self, what: impl std::fmt::Display) -> OpenError {
        OpenError::Line { line: self.number, what: what.to_string() }
    }
}

/// One line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Line {
    Store {
        format: u64,
        seed: Hex,
        clock: Moment,
    },
    Publication {
        resource: String,
        package: String,
        source: String,
        entity_tag: String,
        stamp: StampText,
        until: Moment,
        fact: Base64,
        from: SocketAddr,
    },
    Resource {
        resource: String,
        package: String,
        seq: u64,
        residues: Vec<Residue>,
        history: Vec<History>,
    },
    Subscription {
        local_tag: String,
        resource: String,
        package: String,
        active: bool,
        until: Moment,
        reserved: u32,
        remote_cseq: u32,
        target: Base64,
        routes: Base64,
        local: Base64,
        watcher: Base64,
        call_id: Base64,
        event: Base64,
        entity: Option<String>,
        content_type: String,
        profile: String,
        device: Hex,
        contact: Hex,
        transport: TransportName,
        remote: SocketAddr,
        local_ip: Option<IpAddr>,
        listener: SocketAddr,
        source: IpAddr,
    },
    /// Of ours at another server.
    Standing {
        key: u32,
        until: Moment,
        bytes: Base64,
    },
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StampText {
    at: Moment,
    counter: u64,
    node: u16,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Residue {
    source: String,
    stamp: StampText,
    until: Moment,
    fact: Base64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct History {
    at: Moment,
    what: String,
    who: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum TransportName {
    Udp,
    Tcp,
}

/// Microseconds since the epoch, or `never`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Moment {
    At(u64),
    Never(Never),
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Never {
    Never,
}

impl From<Time> for Moment {
    fn from(time: Time) -> Self {
        if time == Time::NEVER { Self::Never(Never::Never) } else { Self::At(time.as_micros()) }
    }
}

impl From<Moment> for Time {
    fn from(moment: Moment) -> Self {
        match moment {
            Moment::At(micros) => Self::from_micros(micros),
            Moment::Never(Never::Never) => Self::NEVER,
        }
    }
}

/// Hexadecimal digits: numbers that JSON readers would round.
#[derive(Clone, Copy, Debug)]
struct Hex(u128);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

#[derive(Clone, Debug)]
struct Base64(Bytes);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map(|bytes| Self(bytes.into())).map_err(serde::de::Error::custom)
    }
}

impl From<Stamp> for StampText {
    fn from(Stamp { at, counter, node }: Stamp) -> Self {
        Self { at: at.into(), counter, node }
    }
}

impl From<StampText> for Stamp {
    fn from(StampText { at, counter, node }: StampText) -> Self {
        Self { at: at.into(), counter, node }
    }
}

impl Line {
    /// The line of a record; what is gone has none.
    fn of(record: Record) -> Option<Self> {
        Some(match record {
            Record::Publication(it) => {
                let PublicationRecord { resource, package, source, entity_tag, stamp, until, fact, from } = *it;
                Self::Publication {
                    resource: resource.as_ref().into(),
                    package: package.as_ref().into(),
                    source: source.as_ref().into(),
                    entity_tag: entity_tag.to_string(),
                    stamp: stamp.into(),
                    until: until.into(),
                    fact: Base64(fact),
                    from,
                }
            }
            Record::Resource(it) => {
                let ResourceRecord { resource, package, seq, residues, history } = *it;
                let residue = |ResidueRecord { source, stamp, until, fact }| Residue {
                    source: source.as_ref().into(),
                    stamp: stamp.into(),
                    until: until.into(),
                    fact: Base64(fact),
                };
                let entry = |HistoryEntry { at, what, who }| History {
                    at: at.into(),
                    what: what.into_owned(),
                    who: who.as_ref().into(),
                };
                Self::Resource {
                    resource: resource.as_ref().into(),
                    package: package.as_ref().into(),
                    seq,
                    residues: residues.into_iter().map(residue).collect(),
                    history: history.into_iter().map(entry).collect(),
                }
            }
            Record::Subscription(it) => {
                let it = *it;
                Self::Subscription {
                    local_tag: it.local_tag.into(),
                    resource: it.resource.as_ref().into(),
                    package: it.package.as_ref().into(),
                    active: it.active,
                    until: it.until.into(),
                    reserved: it.reserved,
                    remote_cseq: it.remote_cseq,
                    target: Base64(it.target),
                    routes: Base64(it.routes),
                    local: Base64(it.local),
                    watcher: Base64(it.watcher),
                    call_id: Base64(it.call_id),
                    event: Base64(it.event),
                    entity: it.entity.map(Into::into),
                    content_type: it.content_type.into(),
                    profile: it.profile.into(),
                    device: Hex(it.device),
                    contact: Hex(it.contact.into()),
                    transport: match it.transport {
                        Transport::Udp => TransportName::Udp,
                        Transport::Tcp => TransportName::Tcp,
                    },
                    remote: it.remote,
                    local_ip: it.local_ip,
                    listener: it.listener,
                    source: it.source,
                }
            }
            Record::Standing { key, until, bytes } => Self::Standing { key, until: until.into(), bytes: Base64(bytes) },
            Record::PublicationGone { .. }
            | Record::ResourceGone { .. }
            | Record::SubscriptionGone { .. }
            | Record::StandingGone { .. } => return None,
        })
    }

    /// The record of a line; the first line has none.
    fn record(self) -> Result<Option<Record>, &'static str> {
        Ok(Some(match self {
            Self::Store { .. } => return Ok(None),
            Self::Standing { key, until, bytes } => Record::Standing { key, until: until.into(), bytes: bytes.0 },
            Self::Publication { resource, package, source, entity_tag, stamp, until, fact, from } => {
                let record = PublicationRecord {
                    resource: resource.into(),
                    package: package.into(),
                    source: source.into(),
                    entity_tag: EntityTag::read(entity_tag.as_bytes()).ok_or("this is no entity-tag of ours")?,
                    stamp: stamp.into(),
                    until: until.into(),
                    fact: fact.0,
                    from,
                };
                Record::Publication(record.into())
            }
            Self::Resource { resource, package, seq, residues, history } => {
                let residue = |it: Residue| ResidueRecord {
                    source: it.source.into(),
                    stamp: it.stamp.into(),
                    until: it.until.into(),
                    fact: it.fact.0,
                };
                let entry = |it: History| HistoryEntry { at: it.at.into(), what: it.what.into(), who: it.who.into() };
                let record = ResourceRecord {
                    resource: resource.into(),
                    package: package.into(),
                    seq,
                    residues: residues.into_iter().map(residue).collect(),
                    history: history.into_iter().map(entry).collect(),
                };
                Record::Resource(record.into())
            }
            Self::Subscription {
                local_tag,
                resource,
                package,
                active,
                until,
                reserved,
                remote_cseq,
                target,
                routes,
                local,
                watcher,
                call_id,
                event,
                entity,
                content_type,
                profile,
                device,
                contact,
                transport,
                remote,
                local_ip,
                listener,
                source,
            } => {
                let record = SubscriptionRecord {
                    local_tag: local_tag.into(),
                    resource: resource.into(),
                    package: package.into(),
                    active,
                    until: until.into(),
                    reserved,
                    remote_cseq,
                    target: target.0,
                    routes: routes.0,
                    local: local.0,
                    watcher: watcher.0,
                    call_id: call_id.0,
                    event: event.0,
                    entity: entity.map(Into::into),
                    content_type: content_type.into(),
                    profile: profile.into(),
                    device: device.0,
                    contact: contact.0.try_into().map_err(|_| "the contact's fingerprint has too many digits")?,
                    transport: match transport {
                        TransportName::Udp => Transport::Udp,
                        TransportName::Tcp => Transport::Tcp,
                    },
                    remote,
                    local_ip,
                    listener,
                    source,
                };
                Record::Subscription(record.into())
            }
        }))
    }
}
