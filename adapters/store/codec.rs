//! Records as bytes: a key, and a value of one format number and a protobuf message.
//!
//! Fields are only ever added. A change that an older Lamplighter must not misread gets a new [`FORMAT`].

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lamplighter_model::explain::HistoryEntry;
use lamplighter_model::record::{PublicationRecord, ResidueRecord, ResourceRecord, SubscriptionRecord};
use lamplighter_model::{EntityTag, Record, Time, Transport};
use prost::Message;
use prost::encoding::{decode_varint, encode_varint};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

/// The newest format of values that is known here.
pub(crate) const FORMAT: u64 = 1;

/// The first byte of a key says what it is of.
pub(crate) mod kind {
    pub(crate) const ERA: u8 = b'e';
    pub(crate) const PUBLICATION: u8 = b'p';
    pub(crate) const RESOURCE: u8 = b'r';
    pub(crate) const SUBSCRIPTION: u8 = b's';
    pub(crate) const STANDING: u8 = b'o';
}

/// Why bytes are no record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Unreadable {
    /// The value has a format of the future.
    Newer(u64),
    /// They are not what was ever written.
    Bad(&'static str),
}

impl From<prost::DecodeError> for Unreadable {
    fn from(_: prost::DecodeError) -> Self {
        Self::Bad("a record does not parse")
    }
}

/// Appends the key of a record.
pub(crate) fn write_key(record: &Record, out: &mut impl BufMut) {
    match record {
        Record::Publication(it) => publication_key(&it.resource, &it.package, &it.source, out),
        Record::PublicationGone { resource, package, source } => publication_key(resource, package, source, out),
        Record::Resource(it) => resource_key(&it.resource, &it.package, out),
        Record::ResourceGone { resource, package } => resource_key(resource, package, out),
        Record::Subscription(it) => subscription_key(&it.local_tag, out),
        Record::SubscriptionGone { local_tag } => subscription_key(local_tag, out),
        Record::Standing { key, .. } | Record::StandingGone { key } => {
            out.put_u8(kind::STANDING);
            out.put_u32(*key);
        }
    }
}

fn publication_key(resource: &str, package: &str, source: &str, out: &mut impl BufMut) {
    out.put_u8(kind::PUBLICATION);
    put_text(resource, out);
    put_text(package, out);
    out.put_slice(source.as_bytes());
}

fn resource_key(resource: &str, package: &str, out: &mut impl BufMut) {
    out.put_u8(kind::RESOURCE);
    put_text(resource, out);
    out.put_slice(package.as_bytes());
}

fn subscription_key(local_tag: &str, out: &mut impl BufMut) {
    out.put_u8(kind::SUBSCRIPTION);
    out.put_slice(local_tag.as_bytes());
}

fn put_text(text: &str, out: &mut impl BufMut) {
    encode_varint(text.len() as u64, out);
    out.put_slice(text.as_bytes());
}

/// Appends the value of a record that was made in `era`; false: it has none, what it names is gone.
pub(crate) fn write_value(record: &Record, era: u64, out: &mut BytesMut) -> bool {
    match record {
        Record::Publication(it) => put(&publication(it, era), out),
        Record::Resource(it) => put(&resource(it, era), out),
        Record::Subscription(it) => put(&subscription(it, era), out),
        Record::Standing { until, bytes, .. } => {
            put(&v1::Standing { era, until: until.as_micros(), bytes: bytes.clone() }, out);
        }
        Record::PublicationGone { .. }
        | Record::ResourceGone { .. }
        | Record::SubscriptionGone { .. }
        | Record::StandingGone { .. } => return false,
    }
    true
}

/// Appends the format and the message.
pub(crate) fn put(message: &impl Message, out: &mut BytesMut) {
    encode_varint(FORMAT, out);
    // Only a buffer with an end can be too short, and this one grows.
    let written = message.encode(out);
    debug_assert!(written.is_ok(), "a buffer that grows was too short");
}

/// The message of a value.
pub(crate) fn message(value: &mut Bytes) -> Result<(), Unreadable> {
    match decode_varint(value)? {
        FORMAT => Ok(()),
        0 => Err(Unreadable::Bad("a record has no format")),
        newer => Err(Unreadable::Newer(newer)),
    }
}

/// Reads records; texts that come again and again are kept once.
#[derive(Default)]
pub(crate) struct Reader {
    packages: Vec<Arc<str>>,
    resource: Option<Arc<str>>,
}

impl Reader {
    /// Reads a record as it was written, and its era. What is of no kind known here is a mistake: kinds come with formats.
    pub(crate) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(Record, u64), Unreadable> {
        let mut value = Bytes::copy_from_slice(value);
        message(&mut value)?;
        let (&kind, mut rest) = key.split_first().ok_or(Unreadable::Bad("a record has no key"))?;
        match kind {
            kind::PUBLICATION => {
                let resource = take_text(&mut rest)?;
                let package = take_text(&mut rest)?;
                let it = v1::Publication::decode(value)?;
                let record = PublicationRecord {
                    resource: self.resource(resource),
                    package: self.package(package),
                    source: text(rest)?.into(),
                    entity_tag: EntityTag(it.entity_tag),
                    stamp: it.stamp.unwrap_or_default().read()?,
                    until: Time::from_micros(it.until),
                    fact: it.fact,
                    from: read_socket(&it.from)?,
                };
                Ok((Record::Publication(record.into()), it.era))
            }
            kind::RESOURCE => {
                let resource = take_text(&mut rest)?;
                let it = v1::Resource::decode(value)?;
                let record = ResourceRecord {
                    resource: self.resource(resource),
                    package: self.package(text(rest)?),
                    seq: it.seq,
                    residues: it.residues.into_iter().map(v1::Residue::read).collect::<Result<_, _>>()?,
                    history: it.history.into_iter().map(v1::History::read).collect(),
                };
                Ok((Record::Resource(record.into()), it.era))
            }
            kind::SUBSCRIPTION => {
                let it = v1::Subscription::decode(value)?;
                let record = SubscriptionRecord {
                    local_tag: text(rest)?.into(),
                    resource: self.resource(&it.resource),
                    package: self.package(&it.package),
                    active: it.active,
                    until: Time::from_micros(it.until),
                    reserved: it.reserved,
                    remote_cseq: it.remote_cseq,
                    target: it.target,
                    routes: it.routes,
                    local: it.local,
                    watcher: it.watcher,
                    call_id: it.call_id,
                    event: it.event,
                    entity: it.entity.map(Into::into),
                    content_type: it.content_type.into(),
                    profile: it.profile.into(),
                    device: u128::from(it.device_high) << 64 | u128::from(it.device_low),
                    contact: it.contact,
                    transport: read_transport(it.transport)?,
                    remote: read_socket(&it.remote)?,
                    local_ip: it.local_ip.as_deref().map(read_ip).transpose()?,
                    listener: read_socket(&it.listener)?,
                    source: read_ip(&it.source)?,
                };
                Ok((Record::Subscription(record.into()), it.era))
            }
            kind::STANDING => {
                let it = v1::Standing::decode(value)?;
                let (key, until) = (standing_key(rest)?, Time::from_micros(it.until));
                Ok((Record::Standing { key, until, bytes: it.bytes }, it.era))
            }
            _ => Err(Unreadable::Bad("a record is of no known kind")),
        }
    }

    /// There are few packages.
    fn package(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.packages.iter().find(|known| ***known == *name) {
            return known.clone();
        }
        let new: Arc<str> = name.into();
        if self.packages.len() < 32 {
            self.packages.push(new.clone());
        }
        new
    }

    /// What belongs to one address was often written at once.
    fn resource(&mut self, address: &str) -> Arc<str> {
        if let Some(known) = self.resource.as_ref().filter(|known| ***known == *address) {
            return known.clone();
        }
        let new: Arc<str> = address.into();
        self.resource = Some(new.clone());
        new
    }
}

/// Puts a key into words: `publication 100@example.com dialog pub:7f3a`.
pub(crate) fn describe(key: &[u8]) -> Option<String> {
    let (&kind, mut rest) = key.split_first()?;
    match kind {
        kind::PUBLICATION => {
            let resource = take_text(&mut rest).ok()?;
            let package = take_text(&mut rest).ok()?;
            Some(format!("publication {resource} {package} {}", text(rest).ok()?))
        }
        kind::RESOURCE => {
            let resource = take_text(&mut rest).ok()?;
            Some(format!("history {resource} {}", text(rest).ok()?))
        }
        kind::SUBSCRIPTION => Some(format!("subscription {}", text(rest).ok()?)),
        kind::STANDING => Some(format!("at another server {}", standing_key(rest).ok()?)),
        kind::ERA => Some("clock".into()),
        _ => None,
    }
}

fn standing_key(rest: &[u8]) -> Result<u32, Unreadable> {
    rest.try_into().map(u32::from_be_bytes).map_err(|_| Unreadable::Bad("a key is no number"))
}

fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| Unreadable::Bad("a key is no text"))
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Unreadable> {
    let length = usize::try_from(decode_varint(rest)?).ok();
    let (taken, left) =
        length.and_then(|length| rest.split_at_checked(length)).ok_or(Unreadable::Bad("a key is cut short"))?;
    *rest = left;
    text(taken)
}

/// A moment of another era, in the domain in which this era's clock runs `ahead` microseconds later.
pub(crate) fn shift(time: &mut Time, ahead: i128) {
    if *time != Time::NEVER {
        let moved = (i128::from(time.as_micros()) + ahead).clamp(0, i128::from(u64::MAX - 1));
        *time = Time::from_micros(moved as u64);
    }
}

/// Moves all moments of a record.
pub(crate) fn shift_record(record: &mut Record, ahead: i128) {
    match record {
        Record::Publication(it) => {
            shift(&mut it.stamp.at, ahead);
            shift(&mut it.until, ahead);
        }
        Record::Resource(it) => {
            for residue in &mut it.residues {
                shift(&mut residue.stamp.at, ahead);
                shift(&mut residue.until, ahead);
            }
            for entry in &mut it.history {
                shift(&mut entry.at, ahead);
            }
        }
        Record::Subscription(it) => shift(&mut it.until, ahead),
        Record::Standing { until, .. } => shift(until, ahead),
        Record::PublicationGone { .. }
        | Record::ResourceGone { .. }
        | Record::SubscriptionGone { .. }
        | Record::StandingGone { .. } => {}
    }
}

fn publication(it: &PublicationRecord, era: u64) -> v1::Publication {
    v1::Publication {
        era,
        entity_tag: it.entity_tag.0,
        stamp: Some(v1::Stamp::new(it.stamp)),
        until: it.until.as_micros(),
        fact: it.fact.clone(),
        from: write_socket(it.from),
    }
}

fn resource(it: &ResourceRecord, era: u64) -> v1::Resource {
    let residue = |it: &ResidueRecord| v1::Residue {
        source: it.source.as_ref().into(),
        stamp: Some(v1::Stamp::new(it.stamp)),
        until: it.until.as_micros(),
        fact: it.fact.clone(),
    };
    let entry = |it: &HistoryEntry| v1::History {
        at: it.at.as_micros(),
        what: it.what.as_ref().into(),
        who: it.who.as_ref().into(),
    };
    v1::Resource {
        era,
        seq: it.seq,
        residues: it.residues.iter().map(residue).collect(),
        history: it.history.iter().map(entry).collect(),
    }
}

fn subscription(it: &SubscriptionRecord, era: u64) -> v1::Subscription {
    v1::Subscription {
        era,
        resource: it.resource.as_ref().into(),
        package: it.package.as_ref().into(),
        active: it.active,
        until: it.until.as_micros(),
        reserved: it.reserved,
        remote_cseq: it.remote_cseq,
        target: it.target.clone(),
        routes: it.routes.clone(),
        local: it.local.clone(),
        watcher: it.watcher.clone(),
        call_id: it.call_id.clone(),
        event: it.event.clone(),
        entity: it.entity.as_deref().map(Into::into),
        content_type: it.content_type.as_ref().into(),
        profile: it.profile.as_ref().into(),
        device_high: (it.device >> 64) as u64,
        device_low: it.device as u64,
        contact: it.contact,
        transport: write_transport(it.transport),
        remote: write_socket(it.remote),
        local_ip: it.local_ip.map(write_ip),
        listener: write_socket(it.listener),
        source: write_ip(it.source),
    }
}

fn write_transport(transport: Transport) -> u32 {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
    }
}

fn read_transport(number: u32) -> Result<Transport, Unreadable> {
    match number {
        0 => Ok(Transport::Udp),
        1 => Ok(Transport::Tcp),
        _ => Err(Unreadable::Bad("a subscription has an unknown transport")),
    }
}

fn write_ip(ip: IpAddr) -> Bytes {
    match ip {
        IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    }
}

fn read_ip(bytes: &[u8]) -> Result<IpAddr, Unreadable> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(octets.into());
    }
    <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|_| Unreadable::Bad("an address is neither IPv4 nor IPv6"))
}

/// The address, the port, and for IPv6 its scope and flow where there are any.
fn write_socket(socket: SocketAddr) -> Bytes {
    let mut out = [0; 26];
    let mut left = &mut out[..];
    match socket {
        SocketAddr::V4(it) => {
            left.put_slice(&it.ip().octets());
            left.put_u16(it.port());
        }
        SocketAddr::V6(it) => {
            left.put_slice(&it.ip().octets());
            left.put_u16(it.port());
            if it.scope_id() != 0 || it.flowinfo() != 0 {
                left.put_u32(it.scope_id());
                left.put_u32(it.flowinfo());
            }
        }
    }
    let length = 26 - left.len();
    Bytes::copy_from_slice(&out[..length])
}

fn read_socket(bytes: &[u8]) -> Result<SocketAddr, Unreadable> {
    let mut rest = match bytes.len() {
        6 => &bytes[4..],
        18 | 26 => &bytes[16..],
        _ => return Err(Unreadable::Bad("an address with a port is neither IPv4 nor IPv6")),
    };
    let ip = read_ip(&bytes[..bytes.len() - rest.len()])?;
    let port = rest.get_u16();
    Ok(match ip {
        IpAddr::V6(ip) if rest.len() == 8 => {
            let scope = rest.get_u32();
            SocketAddrV6::new(ip, port, rest.get_u32(), scope).into()
        }
        ip => SocketAddr::new(ip, port),
    })
}

/// The messages. Numbers are forever.
pub(crate) mod v1 {
    use super::Unreadable;
    use bytes::Bytes;
    use lamplighter_model::{self as m, Time};

    /// What the clocks of one start said when it wrote last.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Era {
        #[prost(uint64, tag = "1")]
        pub(crate) time: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) wall: u64,
        /// Microseconds by which moments of this era are moved into the newest one.
        #[prost(sint64, tag = "3")]
        pub(crate) ahead: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Standing {
        #[prost(uint64, tag = "1")]
        pub(crate) era: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) until: u64,
        #[prost(bytes = "bytes", tag = "3")]
        pub(crate) bytes: Bytes,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Publication {
        #[prost(uint64, tag = "1")]
        pub(crate) era: u64,
        #[prost(fixed64, tag = "2")]
        pub(crate) entity_tag: u64,
        #[prost(message, optional, tag = "3")]
        pub(crate) stamp: Option<Stamp>,
        #[prost(uint64, tag = "4")]
        pub(crate) until: u64,
        #[prost(bytes = "bytes", tag = "5")]
        pub(crate) fact: Bytes,
        #[prost(bytes = "bytes", tag = "6")]
        pub(crate) from: Bytes,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Stamp {
        #[prost(uint64, tag = "1")]
        at: u64,
        #[prost(uint64, tag = "2")]
        counter: u64,
        #[prost(uint32, tag = "3")]
        node: u32,
    }

    impl Stamp {
        pub(crate) fn new(it: m::Stamp) -> Self {
            Self { at: it.at.as_micros(), counter: it.counter, node: it.node.into() }
        }

        pub(crate) fn read(self) -> Result<m::Stamp, Unreadable> {
            let node = self.node.try_into().map_err(|_| Unreadable::Bad("a stamp has too large a node"))?;
            Ok(m::Stamp { at: Time::from_micros(self.at), counter: self.counter, node })
        }
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Resource {
        #[prost(uint64, tag = "1")]
        pub(crate) era: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) seq: u64,
        #[prost(message, repeated, tag = "3")]
        pub(crate) residues: Vec<Residue>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) history: Vec<History>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Residue {
        #[prost(string, tag = "1")]
        pub(crate) source: String,
        #[prost(message, optional, tag = "2")]
        pub(crate) stamp: Option<Stamp>,
        #[prost(uint64, tag = "3")]
        pub(crate) until: u64,
        #[prost(bytes = "bytes", tag = "4")]
        pub(crate) fact: Bytes,
    }

    impl Residue {
        pub(crate) fn read(self) -> Result<m::record::ResidueRecord, Unreadable> {
            Ok(m::record::ResidueRecord {
                source: self.source.into(),
                stamp: self.stamp.unwrap_or_default().read()?,
                until: Time::from_micros(self.until),
                fact: self.fact,
            })
        }
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct History {
        #[prost(uint64, tag = "1")]
        pub(crate) at: u64,
        #[prost(string, tag = "2")]
        pub(crate) what: String,
        #[prost(string, tag = "3")]
        pub(crate) who: String,
    }

    impl History {
        pub(crate) fn read(self) -> m::explain::HistoryEntry {
            let at = Time::from_micros(self.at);
            m::explain::HistoryEntry { at, what: self.what.into(), who: self.who.into() }
        }
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Subscription {
        #[prost(uint64, tag = "1")]
        pub(crate) era: u64,
        #[prost(string, tag = "2")]
        pub(crate) resource: String,
        #[prost(string, tag = "3")]
        pub(crate) package: String,
        #[prost(bool, tag = "4")]
        pub(crate) active: bool,
        #[prost(uint64, tag = "5")]
        pub(crate) until: u64,
        #[prost(uint32, tag = "6")]
        pub(crate) reserved: u32,
        #[prost(uint32, tag = "7")]
        pub(crate) remote_cseq: u32,
        #[prost(bytes = "bytes", tag = "8")]
        pub(crate) target: Bytes,
        #[prost(bytes = "bytes", tag = "9")]
        pub(crate) routes: Bytes,
        #[prost(bytes = "bytes", tag = "10")]
        pub(crate) local: Bytes,
        #[prost(bytes = "bytes", tag = "11")]
        pub(crate) watcher: Bytes,
        #[prost(bytes = "bytes", tag = "12")]
        pub(crate) call_id: Bytes,
        #[prost(bytes = "bytes", tag = "13")]
        pub(crate) event: Bytes,
        #[prost(string, optional, tag = "14")]
        pub(crate) entity: Option<String>,
        #[prost(string, tag = "15")]
        pub(crate) content_type: String,
        #[prost(string, tag = "16")]
        pub(crate) profile: String,
        #[prost(fixed64, tag = "17")]
        pub(crate) device_high: u64,
        #[prost(fixed64, tag = "18")]
        pub(crate) device_low: u64,
        #[prost(fixed64, tag = "19")]
        pub(crate) contact: u64,
        #[prost(uint32, tag = "20")]
        pub(crate) transport: u32,
        #[prost(bytes = "bytes", tag = "21")]
        pub(crate) remote: Bytes,
        #[prost(bytes = "bytes", optional, tag = "22")]
        pub(crate) local_ip: Option<Bytes>,
        #[prost(bytes = "bytes", tag = "23")]
        pub(crate) listener: Bytes,
        #[prost(bytes = "bytes", tag = "24")]
        pub(crate) source: Bytes,
    }
}
