//! One subscription: its dialog, what it watches, and the NOTIFY in flight (RFC 6665 section 4.2).

use crate::host::Host;
use crate::identifier::{BRANCH_LEN, Branch, COOKIE, Tag, hex_at};
use crate::reply::{escape_xml, write_contact, write_host};
use crate::wire::{Essentials, Event, Message, Name, NameAddr, Uri, write};
use bytes::Bytes;
use lamplighter_model::package::{PackageId, Rendered, Rendering};
use lamplighter_model::record::SubscriptionRecord;
use lamplighter_model::wheel::Timer;
use lamplighter_model::{Config, Flow, Record, ResourceId, Time, Transport};
use std::ops::Range;
use std::sync::Arc;

/// The longest head of a NOTIFY that we keep: what a watcher's route set and addresses may come to, bytes.
pub const MOST_HEAD: usize = 4096;

/// A watcher's subscription.
#[derive(Debug)]
pub struct Subscription {
    /// Our tag, which also names its place.
    pub tag: Tag,
    /// Makes branches unguessable.
    pub key: u32,
    /// Fingerprint of Call-ID and the watcher's tag.
    pub dialog: u128,
    /// Fingerprint of what makes a new subscription of the same device replace this one.
    pub device: u128,
    /// Fingerprint of the device's contact alone, to find an open stream of it.
    pub contact: u64,
    /// What it watches.
    pub resource: ResourceId,
    /// Its place among the watchers of the resource.
    pub position: u32,
    /// The package.
    pub package: PackageId,
    /// How it wants to see it.
    pub how: Rendering,
    /// The entity attribute, escaped, where it differs from the canonical address.
    pub entity: Option<Box<str>>,
    /// Everything of a NOTIFY that stays the same.
    pub head: Head,
    /// The newest CSeq that we sent.
    pub cseq: u32,
    /// CSeq numbers up to this one are covered by the record that was handed over to the store; zero: there is none.
    pub reserved: u32,
    /// CSeq numbers up to this one are covered by what the store has.
    pub safe: u32,
    /// Its 200 waits for the store: no NOTIFY before it.
    pub held: bool,
    /// The newest CSeq that the watcher sent.
    pub remote_cseq: u32,
    /// How many documents have been sent: the next version.
    pub version: u32,
    /// When it ends.
    pub until: Time,
    /// When it ends by what the store knows: not before `until`.
    pub stored: Time,
    /// Where NOTIFYs go.
    pub flow: Flow,
    /// Its place among the subscriptions of that flow, if it is a stream.
    pub berth: u32,
    /// Where it came from.
    pub source: std::net::IpAddr,
    /// What it has come to.
    pub state: State,
    /// Policy lets it see the state; also its last NOTIFY tells nothing otherwise.
    pub told: bool,
    /// What the NOTIFY in flight is waiting for.
    pub delivery: Delivery,
    /// The state has changed since the last NOTIFY.
    pub dirty: bool,
    /// A NOTIFY is due whatever is in flight.
    pub owed: bool,
    /// It waits in the queue of those with something to send.
    pub queued: bool,
    /// NOTIFYs in a row that nobody answered.
    pub failures: u8,
    /// The answer to the last NOTIFY: zero while waiting, 1 for silence.
    pub answer: u16,
    /// When the last NOTIFY was sent; [`Time::default`] before the first.
    pub notified: Time,
    /// Its timer in the wheel.
    pub timer: Option<(Time, Timer)>,
}

/// What a subscription has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Is told everything.
    Active,
    /// Waits for permission and is told nothing.
    Pending,
    /// Has ended; a last NOTIFY says so.
    Ending(Reason),
}

/// Why a subscription has ended (RFC 6665 section 4.1.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// It was not refreshed, or was given up by the watcher.
    Timeout,
    /// Policy has changed.
    Rejected,
    /// It ended before anybody gave permission.
    GiveUp,
    /// We stop; come again elsewhere.
    Deactivated,
}

impl Reason {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Timeout => b"timeout",
            Self::Rejected => b"rejected",
            Self::GiveUp => b"giveup",
            Self::Deactivated => b"deactivated",
        }
    }
}

/// What is under way towards the watcher.
#[derive(Debug)]
pub enum Delivery {
    /// Nothing.
    Idle,
    /// A NOTIFY that has not been answered.
    InFlight(InFlight),
    /// Nothing before this moment: the watcher asked for it, or is suspect.
    Waiting(Time),
    /// The address of the watcher is being looked up.
    Resolving {
        /// The question; an answer to any other is not for this subscription.
        query: u64,
        /// When no answer is as good as a bad one.
        until: Time,
    },
    /// It could not be found out; when to ask again.
    Unresolved(Time),
    /// Its stream is gone; once, a new one may be tried to this address.
    Dormant(Option<Flow>),
}

/// A NOTIFY that has not been answered (RFC 3261 section 17.1.2). It is written again from the same facts.
#[derive(Debug)]
pub struct InFlight {
    /// What it carries.
    pub body: Option<Arc<Rendered>>,
    /// When it was sent first.
    pub sent: Time,
    /// Timer E, or F when there is nothing to send again.
    pub next: Time,
    /// How often it was sent.
    pub tries: u8,
}

/// Everything of a NOTIFY that stays the same, written once: request line, Via, Route, From, To, Call-ID, Contact,
/// Event, and the name of CSeq.
#[derive(Clone, Debug, Default)]
pub struct Head {
    text: Box<[u8]>,
    target: u16,
    /// Where the three letters of the transport in the Via stand.
    via: u16,
    /// Where the eight digits of the CSeq in the branch stand.
    branch: u16,
    routes: (u16, u16),
    local: (u16, u16),
    watcher: (u16, u16),
    call_id: (u16, u16),
    event: (u16, u16),
}

/// What a head is made of, besides us.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The Request-URI.
    pub target: &'a [u8],
    /// The Route header lines.
    pub routes: &'a [u8],
    /// From, with our tag.
    pub local: &'a [u8],
    /// To, with the watcher's tag.
    pub watcher: &'a [u8],
    /// Call-ID.
    pub call_id: &'a [u8],
    /// Event.
    pub event: &'a [u8],
}

/// A head that would be too long, or a Contact that names nobody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadHead {
    /// 400.
    Contact,
    /// 513.
    TooLarge,
}

impl Head {
    /// From the SUBSCRIBE that makes or refreshes the dialog. `routes` are the Route header lines of an older head.
    pub fn new(
        config: &Config,
        flow: Flow,
        request: Message<'_>,
        essentials: &Essentials<'_>,
        branch: Branch,
        tag: Tag,
        routes: Option<&Self>,
    ) -> Result<Self, BadHead> {
        let contact = contact(request).ok_or(BadHead::Contact)?;
        let mut routing = Vec::new();
        let mut target = contact.uri;
        match routes {
            Some(old) => {
                routing.extend_from_slice(old.routes());
                if old.target() != contact.uri && old.is_strict() {
                    target = old.target();
                }
            }
            None => {
                let mut set = request.list(Name::RecordRoute).peekable();
                let first = set.peek().copied().and_then(NameAddr::read);
                let loose =
                    first.is_none_or(|first| Uri::read(first.uri).is_some_and(|uri| uri.params.get(b"lr").is_some()));
                if !loose && let Some(first) = first {
                    target = first.uri; // RFC 3261 section 12.2.1.1: a strict router wants itself in the Request-URI
                    set.next();
                }
                for route in set {
                    write::header(&mut routing, "Route", route);
                }
                if !loose {
                    routing.extend_from_slice(b"Route: <");
                    write::value(&mut routing, contact.uri);
                    routing.extend_from_slice(b">\r\n");
                }
            }
        }
        let mut local = essentials.to.raw.to_vec();
        if essentials.to.tag().is_none() {
            local.extend_from_slice(b";tag=");
            tag.write(&mut local);
        }
        let parts = Parts {
            target,
            routes: &routing,
            local: &local,
            watcher: essentials.from.raw,
            call_id: essentials.call_id,
            event: request.first(Name::Event).unwrap_or(b""),
        };
        Self::write(config, flow, branch, &parts)
    }

    /// From its parts.
    pub fn write(config: &Config, flow: Flow, branch: Branch, parts: &Parts<'_>) -> Result<Self, BadHead> {
        let mut text = Vec::with_capacity(512 + parts.routes.len());
        text.extend_from_slice(b"NOTIFY ");
        write::value(&mut text, parts.target);
        let target = text.len();
        text.extend_from_slice(b" SIP/2.0\r\nVia: SIP/2.0/");
        let via = text.len();
        text.extend_from_slice(flow.transport.via().as_bytes());
        text.push(b' ');
        write_host(config, flow, &mut text);
        text.extend_from_slice(b";branch=");
        let branch_at = text.len() + COOKIE.len() + 3 + 8;
        branch.write(&mut text);
        debug_assert_eq!(text.len(), branch_at + BRANCH_LEN - COOKIE.len() - 3 - 8);
        text.extend_from_slice(b";rport\r\n");
        let routes = text.len();
        text.extend_from_slice(parts.routes);
        let routes = (routes, text.len());
        text.extend_from_slice(b"Max-Forwards: 70\r\nFrom: ");
        let local = text.len();
        write::value(&mut text, parts.local);
        let local = (local, text.len());
        text.extend_from_slice(b"\r\nTo: ");
        let watcher = text.len();
        write::value(&mut text, parts.watcher);
        let watcher = (watcher, text.len());
        text.extend_from_slice(b"\r\nCall-ID: ");
        let call_id = text.len();
        write::value(&mut text, parts.call_id);
        let call_id = (call_id, text.len());
        text.extend_from_slice(b"\r\nContact: ");
        write_contact(config, flow, &mut text);
        text.extend_from_slice(b"\r\nEvent: ");
        let event = text.len();
        write::value(&mut text, parts.event);
        let event = (event, text.len());
        text.extend_from_slice(b"\r\nCSeq: ");
        if text.len() > MOST_HEAD {
            return Err(BadHead::TooLarge);
        }
        let short = |(from, to): (usize, usize)| (from as u16, to as u16);
        Ok(Self {
            text: text.into(),
            target: target as u16,
            via: via as u16,
            branch: branch_at as u16,
            routes: short(routes),
            local: short(local),
            watcher: short(watcher),
            call_id: short(call_id),
            event: short(event),
        })
    }

    /// The Request-URI.
    pub fn target(&self) -> &[u8] {
        &self.text[b"NOTIFY ".len()..usize::from(self.target)]
    }

    /// The Route header lines.
    pub fn routes(&self) -> &[u8] {
        self.part(self.routes)
    }

    /// Who watches: the To header.
    pub fn watcher(&self) -> &[u8] {
        self.part(self.watcher)
    }

    /// Who is watched, with our tag: the From header.
    pub fn local(&self) -> &[u8] {
        self.part(self.local)
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &[u8] {
        self.part(self.call_id)
    }

    /// The Event header.
    pub fn event(&self) -> &[u8] {
        self.part(self.event)
    }

    fn part(&self, (from, to): (u16, u16)) -> &[u8] {
        &self.text[usize::from(from)..usize::from(to)]
    }

    /// The `id` of the Event header, which tells subscriptions of one dialog apart.
    pub fn event_id(&self) -> Option<&[u8]> {
        Event::read(self.event())?.id()
    }

    /// The URI of the first Route, if there is a route set.
    pub fn first_route(&self) -> Option<&[u8]> {
        let line = self.routes().strip_prefix(b"Route: ")?;
        let end = line.windows(2).position(|two| two == b"\r\n")?;
        NameAddr::read(&line[..end]).map(|route| route.uri)
    }

    fn is_strict(&self) -> bool {
        self.first_route().is_some_and(|uri| Uri::read(uri).is_some_and(|uri| uri.params.get(b"lr").is_none()))
    }
}

/// The first Contact of a request, if it is one that a request can be sent to.
pub fn contact(request: Message<'_>) -> Option<NameAddr<'_>> {
    use crate::wire::Scheme;
    let contact = request.list(Name::Contact).next().and_then(NameAddr::read)?;
    let uri = Uri::read(contact.uri)?;
    (matches!(uri.scheme, Scheme::Sip | Scheme::Sips) && !uri.host.is_empty()).then_some(contact)
}

/// The `entity` for a watcher that asked in other words than the canonical address, escaped for XML.
pub fn entity(uri: &[u8], canonical: &str) -> Option<Box<str>> {
    let uri = Uri::read(uri)?;
    let scheme = uri.raw.split(|&byte| byte == b':').next()?;
    let text = [scheme, b":", uri.user, b"@", uri.host].concat();
    let text = String::from_utf8(text).ok()?;
    if text == canonical || uri.host.is_empty() {
        return None;
    }
    let mut escaped = String::with_capacity(text.len());
    escape_xml(&text, &mut escaped);
    Some(escaped.into())
}

impl Subscription {
    /// Whether it still belongs to the watchers of its resource.
    pub fn is_live(&self) -> bool {
        !matches!(self.state, State::Ending(_))
    }

    /// When something must be done about it without any message.
    pub fn deadline(&self) -> Time {
        match (&self.delivery, self.state) {
            (Delivery::InFlight(flight), State::Ending(_)) => flight.next,
            (Delivery::InFlight(flight), _) => flight.next.min(self.until),
            // What has ended waits for nothing but its last NOTIFY.
            (Delivery::Waiting(until) | Delivery::Resolving { until, .. } | Delivery::Unresolved(until), state) => {
                if matches!(state, State::Ending(_)) { *until } else { (*until).min(self.until) }
            }
            (_, State::Ending(_)) => Time::NEVER, // its last NOTIFY follows an answer that waits for the store
            _ => self.until,
        }
    }

    /// Appends the NOTIFY in flight (or about to be): the same bytes for each retransmission by the same transport.
    pub fn write(&self, config: &Config, flight: &InFlight, transport: Transport, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.head.text);
        let via = start + usize::from(self.head.via);
        out[via..via + 3].copy_from_slice(transport.via().as_bytes());
        let branch = start + usize::from(self.head.branch);
        hex_at(&mut out[branch..branch + 8], self.cseq);
        write::number(out, u64::from(self.cseq));
        out.extend_from_slice(b" NOTIFY\r\nSubscription-State: ");
        match self.state {
            State::Active | State::Pending => {
                let state: &[u8] = if self.state == State::Active { b"active;expires=" } else { b"pending;expires=" };
                out.extend_from_slice(state);
                write::number(out, u64::from(self.until.seconds_from(flight.sent)));
            }
            State::Ending(reason) => {
                out.extend_from_slice(b"terminated;reason=");
                out.extend_from_slice(reason.name());
            }
        }
        let Some(body) = flight.body.as_deref().filter(|body| !body.bytes.is_empty()) else {
            out.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
            return;
        };
        let format = &config.packages.get(self.package).formats()[usize::from(self.how.format)];
        out.extend_from_slice(b"\r\nContent-Type: ");
        out.extend_from_slice(format.content_type.as_bytes());
        out.extend_from_slice(b"\r\nContent-Length: ");
        let version = body.cuts.version.map(|at| (at as usize, self.version.saturating_sub(1)));
        let entity = self.entity.as_deref().zip(body.cuts.entity.clone());
        let mut length = body.bytes.len();
        if let Some((_, version)) = version {
            length += digits(version) - 1;
        }
        if let Some((entity, Range { start, end })) = &entity {
            length = length + entity.len() - (end - start) as usize;
        }
        write::number(out, length as u64);
        out.extend_from_slice(b"\r\n\r\n");
        let mut from = 0;
        if let Some((at, version)) = version {
            out.extend_from_slice(&body.bytes[..at]);
            write::number(out, u64::from(version));
            from = at + 1;
        }
        if let Some((entity, at)) = &entity {
            out.extend_from_slice(&body.bytes[from..at.start as usize]);
            out.extend_from_slice(entity.as_bytes());
            from = at.end as usize;
        }
        out.extend_from_slice(&body.bytes[from..]);
    }

    /// Who and where the watcher is, after `what`.
    pub fn trace(&self, what: &str) -> String {
        let watcher = NameAddr::read(self.head.watcher()).map_or(&b""[..], |to| to.uri);
        let watcher = String::from_utf8_lossy(watcher);
        format!("{what} {watcher} by {} {}", self.flow.transport.via(), self.flow.remote)
    }

    /// The record of it for the store.
    pub fn record<H: Host>(&self, config: &Config, host: &H) -> Record {
        let package = config.packages.get(self.package);
        let mut tag = Vec::new();
        self.tag.write(&mut tag);
        let copy = Bytes::copy_from_slice;
        Record::Subscription(Box::new(SubscriptionRecord {
            local_tag: String::from_utf8_lossy(&tag).into(),
            resource: host.address(self.resource),
            package: package.name().into(),
            active: self.state == State::Active,
            until: self.stored,
            reserved: self.reserved,
            remote_cseq: self.remote_cseq,
            target: copy(self.head.target()),
            routes: copy(self.head.routes()),
            local: copy(self.head.local()),
            watcher: copy(self.head.watcher()),
            call_id: copy(self.head.call_id()),
            event: copy(self.head.event()),
            entity: self.entity.clone(),
            content_type: package.formats()[usize::from(self.how.format)].content_type.clone(),
            profile: config.profiles.get(lamplighter_model::ProfileId(self.how.profile)).name.clone(),
            device: self.device,
            contact: self.contact,
            transport: self.flow.transport,
            remote: self.flow.remote,
            local_ip: self.flow.local,
            listener: config.listeners.get(usize::from(self.flow.listener)).map_or(self.flow.remote, |one| one.address),
            source: self.source,
        }))
    }
}

fn digits(number: u32) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}
