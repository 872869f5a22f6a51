//! The notifier (RFC 6665 section 4.2): subscriptions, and the NOTIFYs that keep them true.
//!
//! At most one NOTIFY of a subscription is in flight. While it waits, newer state only marks the subscription dirty,
//! and the newest is sent next: a state storm costs as many messages as there are watchers. What the protocol
//! requires (the answer to a SUBSCRIBE, the last NOTIFY) never waits. One dead watcher delays nobody.

use crate::engine::{Engine, Request};
use crate::host::Host;
use crate::identifier::{Branch, Tag};
use crate::reply::{Detail, Reply, parse_ip};
use crate::server::Key;
use crate::subscription::{BadHead, Delivery, Head, InFlight, Reason, State, Subscription, contact, entity};
use crate::wire::{Event, MediaRange, Name, NameAddr, Uri};
use lamplighter_model::config::{Listener, Profiles};
use lamplighter_model::explain::WatcherExplanation;
use lamplighter_model::hash::Map;
use lamplighter_model::package::{PackageId, Rendering, View};
use lamplighter_model::wheel::Wheel;
use lamplighter_model::{
    Config, Counter, Decision, Flow, Outbox, Output, Profile, ProfileId, Record, ResourceId, Seed, Slot, Time,
    Transport,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How many CSeq numbers one record for the store covers.
const RESERVE: u32 = 1000;

/// How long an answer to a question for the resolver is waited for.
const LOOK_UP: Duration = Duration::from_secs(32);

/// All subscriptions of a shard, and who has something to send.
pub(crate) struct Notifier {
    subscriptions: Vec<Option<Box<Subscription>>>,
    free: Vec<u32>,
    /// By number of the resource.
    watchers: Vec<Vec<u32>>,
    devices: Map<u128, u32>,
    /// Subscriptions whose NOTIFYs go down a stream.
    streams: Map<Stream, Vec<u32>>,
    /// The newest stream of a device, by the fingerprint of its contact and address.
    open: Map<u64, Flow>,
    /// The devices of a stream in `open`, by connection.
    known: Map<u64, SmallVec<[u64; 1]>>,
    /// How many subscriptions each network address holds.
    sources: Map<IpAddr, u32>,
    ready: VecDeque<u32>,
    resolving: Map<u64, u32>,
    queries: u64,
    wheel: Wheel<u32>,
    seed: Seed,
    random: ChaCha8Rng,
    stop: Option<Stop>,
}

/// How many devices one stream is remembered for. A phone has a few accounts; proxies are in the route set.
const DEVICES: usize = 8;

/// Names a stream: by its connection, or (zero) by where we want one.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct Stream {
    connection: u64,
    wanted: Option<(u8, SocketAddr)>,
}

impl Stream {
    fn of(flow: Flow) -> Option<Self> {
        let wanted = (flow.connection == 0).then_some((flow.listener, flow.remote));
        flow.transport.is_stream().then_some(Self { connection: flow.connection, wanted })
    }
}

/// Telling everybody that we stop, paced.
struct Stop {
    next: u32,
    at: Time,
}

/// Where a NOTIFY goes.
enum Destination {
    Flow(Flow),
    Host { host: Box<str>, port: Option<u16>, transport: Option<Transport> },
}

impl Notifier {
    pub fn new(seed: Seed, secret: [u8; 32], now: Time) -> Self {
        Self {
            subscriptions: Vec::new(),
            free: Vec::new(),
            watchers: Vec::new(),
            devices: Map::with_hasher(seed),
            streams: Map::with_hasher(seed),
            open: Map::with_hasher(seed),
            known: Map::with_hasher(seed),
            sources: Map::with_hasher(seed),
            ready: VecDeque::new(),
            resolving: Map::with_hasher(seed),
            queries: 0,
            wheel: Wheel::new(now),
            seed,
            random: ChaCha8Rng::from_seed(secret),
            stop: None,
        }
    }

    pub fn len(&self) -> usize {
        self.subscriptions.len() - self.free.len()
    }

    pub fn backlog(&self) -> usize {
        self.ready.len()
    }

    pub fn deadline(&self) -> Option<Time> {
        if !self.ready.is_empty() {
            return Some(Time::default());
        }
        let stop = self.stop.as_ref().map(|stop| stop.at);
        match (self.wheel.deadline(), stop) {
            (Some(timer), Some(stop)) => Some(timer.min(stop)),
            (timer, stop) => timer.or(stop),
        }
    }

    /// Marks the watchers of a resource; how many of them merge it into a change that waited already.
    pub fn changed(&mut self, resource: ResourceId) -> u64 {
        let Some(watchers) = self.watchers.get(resource.0 as usize) else { return 0 };
        let mut merged = 0;
        for &index in watchers {
            let subscription = self.subscriptions[index as usize].as_mut().expect("watchers are subscriptions");
            if subscription.state != State::Active {
                continue;
            }
            if subscription.dirty {
                merged += 1;
            }
            subscription.dirty = true;
            if !subscription.queued && matches!(subscription.delivery, Delivery::Idle | Delivery::Dormant(Some(_))) {
                subscription.queued = true;
                self.ready.push_back(index);
            }
        }
        merged
    }

    fn queue(&mut self, index: u32) {
        if let Some(subscription) = &mut self.subscriptions[index as usize]
            && !subscription.queued
        {
            subscription.queued = true;
            self.ready.push_back(index);
        }
    }

    fn at(&mut self, index: u32) -> &mut Subscription {
        self.subscriptions[index as usize].as_mut().expect("the index of a live subscription")
    }

    /// Arms the timer of a subscription, if the one it has would be late.
    fn arm(&mut self, index: u32) {
        let subscription = self.subscriptions[index as usize].as_mut().expect("the index of a live subscription");
        let due = subscription.deadline();
        match subscription.timer {
            Some((at, _)) if at <= due => return,
            Some((_, timer)) => self.wheel.cancel(timer),
            None => {}
        }
        subscription.timer = Some((due, self.wheel.arm(due, index)));
    }

    pub fn stop(&mut self, now: Time) {
        self.stop = Some(Stop { next: 0, at: now });
    }

    /// Adds a subscription at the place that its tag names.
    fn add(&mut self, subscription: Subscription) {
        let index = subscription.tag.index;
        let resource = subscription.resource.0 as usize;
        if self.watchers.len() <= resource {
            self.watchers.resize_with(resource + 1, Vec::new);
        }
        self.watchers[resource].push(index);
        if subscription.is_live() {
            self.devices.insert(subscription.device, index);
        }
        let place = index as usize;
        if self.subscriptions.len() <= place {
            self.subscriptions.resize_with(place + 1, || None);
        }
        let position = self.watchers[resource].len() as u32 - 1;
        self.subscriptions[place] = Some(Box::new(Subscription { position, ..subscription }));
        self.attach(index);
    }

    /// Enters a subscription under its stream, if it has one.
    fn attach(&mut self, index: u32) {
        let Some(stream) = Stream::of(self.at(index).flow) else { return };
        let attached = self.streams.entry(stream).or_default();
        attached.push(index);
        let berth = attached.len() as u32 - 1;
        self.at(index).berth = berth;
    }

    /// The opposite; a stream that has ended holds nobody any more.
    fn detach(&mut self, index: u32) {
        let (flow, berth) = (self.at(index).flow, self.at(index).berth as usize);
        let Some(stream) = Stream::of(flow) else { return };
        let Some(attached) = self.streams.get_mut(&stream).filter(|all| all.get(berth) == Some(&index)) else { return };
        attached.swap_remove(berth);
        match attached.get(berth).copied() {
            Some(moved) => self.at(moved).berth = berth as u32,
            None if attached.is_empty() => drop(self.streams.remove(&stream)),
            None => {}
        }
    }

    /// NOTIFYs go another way from now on.
    fn redirect(&mut self, index: u32, flow: Flow) {
        if self.at(index).flow == flow {
            return;
        }
        self.detach(index);
        self.at(index).flow = flow;
        self.attach(index);
    }

    /// Takes a subscription out of everything.
    fn remove(&mut self, index: u32) -> Box<Subscription> {
        self.detach(index);
        let subscription = self.subscriptions[index as usize].take().expect("the index of a live subscription");
        self.free.push(index);
        self.leave(&subscription);
        if self.devices.get(&subscription.device) == Some(&index) {
            self.devices.remove(&subscription.device);
        }
        if let Some((_, timer)) = subscription.timer {
            self.wheel.cancel(timer);
        }
        if let Delivery::Resolving { query, .. } = subscription.delivery {
            self.resolving.remove(&query);
        }
        self.release(subscription.source);
        subscription
    }

    /// One subscription less from a network address.
    fn release(&mut self, source: IpAddr) {
        if let Some(count) = self.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
    }

    /// A device has moved: it is counted, and found again when it reboots, where it is now.
    fn relocate(&mut self, index: u32, source: IpAddr, device: u128, contact: u64) {
        let one = self.at(index);
        let (old_source, old_device) = (one.source, one.device);
        (one.source, one.device, one.contact) = (source, device, contact);
        if old_source != source {
            self.release(old_source);
            *self.sources.entry(source).or_default() += 1;
        }
        if old_device != device {
            if self.devices.get(&old_device) == Some(&index) {
                self.devices.remove(&old_device);
            }
            self.devices.insert(device, index);
        }
    }

    /// Takes a subscription out of the watchers of its resource; those that are ending stay until they have ended.
    fn leave(&mut self, subscription: &Subscription) {
        let watchers = &mut self.watchers[subscription.resource.0 as usize];
        watchers.swap_remove(subscription.position as usize);
        if let Some(&moved) = watchers.get(subscription.position as usize) {
            self.at(moved).position = subscription.position;
        } else if watchers.is_empty() {
            *watchers = Vec::new();
        }
    }

    /// The answer to a question; `false`: the watcher of this subscription cannot be reached now.
    pub fn resolved(
        &mut self,
        query: u64,
        targets: &[(Transport, SocketAddr)],
        listeners: &[Listener],
    ) -> Option<(u32, bool)> {
        let index = self.resolving.remove(&query)?;
        let subscription = self.subscriptions[index as usize].as_deref_mut()?;
        // Meanwhile it may have been refreshed with another Contact.
        if !matches!(subscription.delivery, Delivery::Resolving { query: asked, .. } if asked == query) {
            return None;
        }
        let mut targets = targets.iter();
        let target = targets.find_map(|&(transport, remote)| towards(listeners, subscription.flow, transport, remote));
        let Some(flow) = target else { return Some((index, false)) };
        subscription.delivery = Delivery::Idle;
        subscription.owed = true;
        self.redirect(index, flow);
        self.queue(index);
        Some((index, true))
    }

    /// The profiles have new numbers; one that is no more leaves its devices to the default.
    pub fn rename_profiles(&mut self, old: &Profiles, new: &Profiles) {
        for subscription in self.subscriptions.iter_mut().flatten() {
            let name = &old.get(ProfileId(subscription.how.profile)).name;
            subscription.how.profile = new.find(name).unwrap_or_default().0;
        }
    }

    pub fn explain(&self, config: &Config, resource: ResourceId) -> Vec<WatcherExplanation> {
        let watchers = self.watchers.get(resource.0 as usize).map_or(&[][..], |watchers| watchers);
        let explain = |&index: &u32| {
            let one = self.subscriptions[index as usize].as_ref()?;
            let waiting = matches!(one.delivery, Delivery::InFlight(_));
            let shown =
                config.packages.get(one.package).formats()[usize::from(one.how.format)].content_type.contains("xml");
            Some(WatcherExplanation {
                watcher: NameAddr::read(one.head.watcher())
                    .map_or_else(String::new, |to| String::from_utf8_lossy(to.uri).into_owned()),
                state: match (&one.delivery, one.state) {
                    (_, State::Ending(_)) => "ending",
                    (Delivery::Dormant(_), _) => "dormant",
                    (_, State::Pending) => "pending",
                    _ => "active",
                },
                flow: format!("{} {}", one.flow.transport.via(), one.flow.remote),
                until: one.until,
                notified: (one.notified != Time::default()).then_some(one.notified),
                version: shown.then(|| one.version.checked_sub(1)).flatten(),
                answer: match one.answer {
                    0 if waiting => "waiting".into(),
                    0 => String::new(),
                    1 => "timeout".into(),
                    status => status.to_string(),
                },
            })
        };
        watchers.iter().filter_map(explain).collect()
    }
}

/// A flow to `remote` from one of our sockets, the one of `from` if it fits.
fn towards(listeners: &[Listener], from: Flow, transport: Transport, remote: SocketAddr) -> Option<Flow> {
    let fits = |listener: &&Listener| listener.transport == transport && listener.address.is_ipv4() == remote.is_ipv4();
    let same = listeners.get(usize::from(from.listener)).filter(fits).map(|_| from.listener);
    let listener = same.or_else(|| listeners.iter().position(|one| fits(&one)).map(|index| index as u8))?;
    let local = if from.listener == listener { from.local } else { None };
    Some(Flow { transport, listener, connection: 0, remote, local })
}

impl Engine {
    /// A SUBSCRIBE outside a dialog.
    pub(crate) fn subscribe<H: Host>(
        &mut self,
        request: &Request<'_>,
        key: Key,
        address: &str,
        host: &mut H,
        out: &mut Outbox,
    ) {
        match self.try_subscribe(request, address, host) {
            Err(refusal) => self.conclude(request, key, refusal, out),
            Ok((index, reply)) => {
                self.counters.count(Counter::Subscribed);
                self.conclude(request, key, reply, out);
                self.deliver(request.now, index, host, out);
            }
        }
    }

    fn try_subscribe<H: Host>(
        &mut self,
        request: &Request<'_>,
        address: &str,
        host: &mut H,
    ) -> Result<(u32, Reply), Reply> {
        let Request { now, flow, message, essentials, uri } = *request;
        let package = self.package(request)?;
        let chosen = self.config.profiles.choose(message.first(Name::UserAgent).unwrap_or(b""));
        let config = self.config.clone();
        let profile = config.profiles.get(chosen);
        let format = self.accepted(request, package, profile)?;
        let expires = self.expires(request, package)?;
        let from_tag = essentials.from.tag().ok_or(Reply::status(400))?;
        let state = self.allowed(request)?;
        let source = flow.remote.ip();
        let trusted = config.access.is_trusted(source);
        let held = self.notifier.sources.get(&source).copied().unwrap_or(0) as usize;
        let fetch = expires.is_zero();
        let (device, contact_print) = self.device(request, package, format, address);
        // A fetch takes nobody's place, and who takes a place needs no room.
        let replaces = !fetch && self.notifier.devices.contains_key(&device);
        let full = self.notifier.len() >= config.limits.subscriptions
            || (!trusted && held >= config.limits.subscriptions_per_source);
        if full && !replaces {
            return Err(self.busy());
        }
        let slot = Slot::of(address);
        let notifier = &mut self.notifier;
        let index = notifier.free.last().copied().unwrap_or(notifier.subscriptions.len() as u32);
        let tag = Tag { slot, index, random: notifier.random.next_u64() };
        let branch_key = notifier.random.next_u32();
        let branch = Branch { slot, index, cseq: 0, key: branch_key };
        let destination = self.destination(request, None);
        let (flow, delivery) = match &destination {
            Ok(Destination::Flow(flow)) => (*flow, Delivery::Idle),
            Ok(Destination::Host { .. }) => (flow, Delivery::Idle),
            Err(refusal) => return Err(*refusal),
        };
        let head = Head::new(&config, flow, message, essentials, branch, tag, None).map_err(|error| match error {
            BadHead::Contact => Reply::status(400),
            BadHead::TooLarge => Reply::status(513),
        })?;
        let resource = host.resource(address, package).map_err(|_| self.busy())?;
        host.pin(resource); // before the old subscription lets go of it
        if replaces {
            self.replace(now, device, host);
        }
        let notifier = &mut self.notifier;
        // Replacing may have freed another place than the one that the tag names; that one is used all the same.
        match notifier.free.iter().rposition(|&free| free == index) {
            Some(position) => drop(notifier.free.swap_remove(position)),
            None => debug_assert_eq!(index as usize, notifier.subscriptions.len()),
        }
        *notifier.sources.entry(source).or_default() += 1;
        let how = Rendering { format, view: View::Full, profile: chosen.0 };
        notifier.add(Subscription {
            tag,
            key: branch_key,
            dialog: notifier.seed.fingerprint(&[essentials.call_id, from_tag]),
            device,
            contact: contact_print,
            resource,
            position: 0,
            package,
            how,
            entity: if profile.entity_as_subscribed { entity(uri, address) } else { None },
            head,
            cseq: 0,
            reserved: 0,
            remote_cseq: essentials.cseq,
            version: 0,
            until: now + expires,
            flow,
            berth: 0,
            source,
            state: match state {
                State::Active if fetch => State::Ending(Reason::Timeout),
                State::Pending if fetch => State::Ending(Reason::GiveUp),
                _ => state,
            },
            told: state == State::Active,
            delivery,
            dirty: false,
            owed: true,
            queued: false,
            failures: 0,
            answer: 0,
            notified: Time::default(),
            timer: None,
        });
        if let Ok(Destination::Host { host, port, transport }) = destination {
            self.look_up(now, index, host, port, transport);
            self.notifier.arm(index);
        }
        Ok((
            index,
            Reply { status: 200, tag: Some(tag), detail: Detail::Subscribed { expires: expires.as_secs() as u32 } },
        ))
    }

    /// What policy says about the sender.
    fn allowed(&self, request: &Request<'_>) -> Result<State, Reply> {
        let domain = Uri::read(request.essentials.from.uri).map_or(&b""[..], |uri| uri.host);
        match self.config.access.watch(request.flow.remote.ip(), domain) {
            Decision::Allow => Ok(State::Active),
            Decision::Confirm => Ok(State::Pending),
            Decision::Deny => Err(Reply::status(403)),
        }
    }

    /// Which of the package's formats the watcher prefers (406 when it takes none).
    fn accepted(&self, request: &Request<'_>, package: PackageId, profile: &Profile) -> Result<u8, Reply> {
        let formats = self.config.packages.get(package).formats();
        let mut any = false;
        let mut best: Option<(u16, usize)> = None;
        for range in request.message.list(Name::Accept).filter_map(MediaRange::read) {
            any = true;
            let matching = formats.iter().position(|format| range.matches(&format.content_type));
            if let Some(format) = matching.filter(|_| range.q > 0)
                && best.is_none_or(|(q, _)| range.q > q)
            {
                best = Some((range.q, format));
            }
        }
        match best {
            Some((_, format)) => Ok(format as u8),
            None if !any || profile.ignore_accept => Ok(0),
            None => Err(Reply::with(406, Detail::Accept(package))),
        }
    }

    /// Fingerprints of the device: for what it watches, and of its contact alone.
    ///
    /// A subscription replaces another when From address, package, Event id, format and resource are equal, and either
    /// the `+sip.instance` is the same or, without one, the Contact URI and the packet's source. Never by user alone:
    /// the members of a shared line look alike.
    fn device(&self, request: &Request<'_>, package: PackageId, format: u8, address: &str) -> (u128, u64) {
        let Request { message, essentials, flow, .. } = request;
        let contact = contact(*message);
        let instance = contact.and_then(|contact| contact.params.get(b"+sip.instance")).unwrap_or(b"");
        let uri = contact.map_or(&b""[..], |contact| contact.uri);
        let ip = flow.remote.ip().to_canonical().to_string();
        let port = flow.remote.port().to_be_bytes();
        let place: [&[u8]; 3] = match (instance.is_empty(), flow.transport.is_stream()) {
            (false, _) => [instance, b"", b""],
            (true, false) => [uri, ip.as_bytes(), &port],
            (true, true) => [uri, ip.as_bytes(), b""], // a new connection has another port
        };
        let event = message.first(Name::Event).and_then(Event::read);
        let id = event.and_then(|event| event.id()).unwrap_or(b"");
        let numbers = [package.0, format];
        let seed = self.seed;
        let device =
            seed.fingerprint(&[essentials.from.uri, &numbers, id, address.as_bytes(), place[0], place[1], place[2]]);
        let user_and_host = Uri::read(uri).map_or((&b""[..], &b""[..]), |uri| (uri.user, uri.host));
        // Never without the address: nobody else's stream may pass for this device's.
        let alone = match instance.is_empty() {
            true => [user_and_host.0, user_and_host.1, ip.as_bytes()],
            false => [instance, b"", ip.as_bytes()],
        };
        (device, seed.fingerprint(&alone) as u64)
    }

    /// The old subscription of a device goes without a NOTIFY.
    fn replace<H: Host>(&mut self, now: Time, device: u128, host: &mut H) {
        let Some(&old) = self.notifier.devices.get(&device) else { return };
        let resource = self.notifier.at(old).resource;
        self.counters.count(Counter::SubscriptionReplaced);
        let who = self.who(old);
        host.note(now, resource, "subscription replaced by a new one of the same device", &who);
        self.forget(now, old, host);
    }

    fn who(&mut self, index: u32) -> String {
        let to = NameAddr::read(self.notifier.at(index).head.watcher());
        to.map_or_else(String::new, |to| String::from_utf8_lossy(to.uri).into_owned())
    }

    /// A SUBSCRIBE inside a dialog: refresh or end.
    pub(crate) fn resubscribe<H: Host>(
        &mut self,
        request: &Request<'_>,
        key: Key,
        tag: Tag,
        host: &mut H,
        out: &mut Outbox,
    ) {
        match self.try_resubscribe(request, tag, host) {
            Err(refusal) => self.conclude(request, key, refusal, out),
            Ok(reply) => {
                self.counters.count(Counter::Subscribed);
                self.conclude(request, key, reply, out);
                self.deliver(request.now, tag.index, host, out);
            }
        }
    }

    fn try_resubscribe<H: Host>(&mut self, request: &Request<'_>, tag: Tag, host: &mut H) -> Result<Reply, Reply> {
        let Request { now, flow, message, essentials, .. } = *request;
        let gone = Reply::status(481);
        let dialog = self.seed.fingerprint(&[essentials.call_id, essentials.from.tag().ok_or(gone)?]);
        let existing = self.notifier.subscriptions.get_mut(tag.index as usize).and_then(Option::as_deref_mut);
        let subscription =
            existing.filter(|one| one.tag == tag && one.dialog == dialog && one.is_live()).ok_or(gone)?;
        let (package, profile) = (subscription.package, ProfileId(subscription.how.profile));
        if essentials.cseq <= subscription.remote_cseq {
            let stale = if self.config.profiles.get(profile).stale_is_481 { 481 } else { 500 };
            return Err(Reply::status(stale));
        }
        subscription.remote_cseq = essentials.cseq;
        let same_id = message.first(Name::Event).and_then(Event::read).and_then(|event| event.id())
            == subscription.head.event_id();
        if self.package(request)? != package || !same_id {
            return Err(gone); // RFC 6665 section 4.5.2: another subscription in the same dialog; there is none
        }
        let config = self.config.clone();
        let expires = self.expires(request, package)?;
        let allowed = self.allowed(request);
        let format = match message.first(Name::Accept) {
            Some(_) => Some(self.accepted(request, package, config.profiles.get(profile))?),
            None => None,
        };
        let index = tag.index;
        let destination = self.destination(request, Some(index))?;
        let new_flow = match &destination {
            Destination::Flow(flow) => *flow,
            Destination::Host { .. } => flow,
        };
        let subscription = self.notifier.at(index);
        let old_flow = subscription.flow;
        let moved = contact(message).is_some_and(|contact| contact.uri != subscription.head.target())
            || old_flow.transport != new_flow.transport
            || old_flow.listener != new_flow.listener
            || old_flow.local != new_flow.local;
        if moved && contact(message).is_some() {
            let branch = Branch { slot: tag.slot, index, cseq: 0, key: subscription.key };
            let head = Head::new(&config, new_flow, message, essentials, branch, tag, Some(&subscription.head));
            subscription.head = head.map_err(|error| match error {
                BadHead::Contact => Reply::status(400),
                BadHead::TooLarge => Reply::status(513),
            })?;
        }
        if let Some(format) = format {
            subscription.how.format = format;
        }
        let superseded = std::mem::replace(&mut subscription.delivery, Delivery::Idle); // whatever was in flight
        subscription.failures = 0;
        subscription.owed = true;
        subscription.until = now + expires;
        subscription.state = match allowed {
            Ok(state) if !expires.is_zero() => state,
            Ok(State::Pending) => State::Ending(Reason::GiveUp),
            Ok(_) => State::Ending(Reason::Timeout),
            Err(_) => State::Ending(Reason::Rejected),
        };
        subscription.told = allowed == Ok(State::Active);
        if let Delivery::Resolving { query, .. } = superseded {
            self.notifier.resolving.remove(&query);
        }
        // A stream that has ended holds nobody, not even who comes back by its number.
        self.notifier.detach(index);
        self.notifier.at(index).flow = new_flow;
        self.notifier.attach(index);
        if let Destination::Host { host, port, transport } = destination {
            self.look_up(now, index, host, port, transport);
        }
        if contact(message).is_some() {
            let one = self.notifier.at(index);
            let (resource, format) = (one.resource, one.how.format);
            let (device, contact) = self.device(request, package, format, &host.address(resource));
            self.notifier.relocate(index, flow.remote.ip(), device, contact);
        }
        self.notifier.arm(index);
        // One that was never told anything has no record yet.
        if expires.is_zero() && !config.profiles.get(profile).final_notify {
            self.forget(now, index, host); // what these devices cannot bear
        } else if config.records && self.notifier.at(index).is_live() && self.notifier.at(index).reserved > 0 {
            let record = self.notifier.at(index).record(&config, host);
            host.save(record);
        }
        let detail = Detail::Subscribed { expires: expires.as_secs() as u32 };
        Ok(Reply { status: 200, tag: Some(tag), detail })
    }

    /// Where NOTIFYs of the sender of this SUBSCRIBE go: its route set, its flow, or its Contact.
    fn destination(&mut self, request: &Request<'_>, refreshed: Option<u32>) -> Result<Destination, Reply> {
        let Request { flow, message, essentials, .. } = *request;
        let contact = match (contact(message), refreshed) {
            (Some(contact), _) => contact.uri.to_vec(),
            (None, Some(index)) => self.notifier.at(index).head.target().to_vec(),
            (None, None) => return Err(Reply::status(400)),
        };
        let route = match refreshed {
            Some(index) => self.notifier.at(index).head.first_route().map(<[u8]>::to_vec),
            None => message.list(Name::RecordRoute).next().and_then(NameAddr::read).map(|route| route.uri.to_vec()),
        };
        if route.is_none() && message.count(Name::Via) == 1 && message.list(Name::Via).nth(1).is_none() {
            let uri = Uri::read(&contact).ok_or(Reply::status(400))?;
            let private = parse_ip(uri.host).is_some_and(is_private) && !is_private(flow.remote.ip());
            let invalid = uri.host.to_ascii_lowercase().ends_with(b".invalid");
            let outbound = uri.params.get(b"ob").is_some();
            if flow.transport.is_stream() || outbound || invalid || essentials.via.rport() || private {
                return Ok(Destination::Flow(flow));
            }
        }
        let next = route.as_deref().unwrap_or(&contact);
        self.next_hop(flow, next).ok_or(Reply::status(400))
    }

    /// Where a request to this URI goes (RFC 3263), for a watcher that was heard of by `flow`.
    fn next_hop(&self, flow: Flow, uri: &[u8]) -> Option<Destination> {
        let uri = Uri::read(uri)?;
        let transport = match uri.params.get(b"transport") {
            Some(name) if name.eq_ignore_ascii_case(b"tcp") => Some(Transport::Tcp),
            Some(name) if name.eq_ignore_ascii_case(b"udp") => Some(Transport::Udp),
            _ => None,
        };
        if let Some(ip) = parse_ip(uri.host) {
            let remote = SocketAddr::new(ip, uri.port.unwrap_or(5060));
            let wanted = transport.unwrap_or(Transport::Udp);
            // A proxy on the same stream that asked is reached by it.
            if flow.transport == wanted && wanted.is_stream() && flow.remote == remote {
                return Some(Destination::Flow(flow));
            }
            let target = towards(&self.config.listeners, flow, wanted, remote);
            return Some(Destination::Flow(target.unwrap_or(flow)));
        }
        let host = String::from_utf8(uri.host.to_vec()).ok()?;
        Some(Destination::Host { host: host.into(), port: uri.port, transport })
    }

    fn look_up(&mut self, now: Time, index: u32, host: Box<str>, port: Option<u16>, transport: Option<Transport>) {
        self.notifier.queries += 1;
        let query = self.notifier.queries;
        self.notifier.resolving.insert(query, index);
        self.notifier.at(index).delivery = Delivery::Resolving { query, until: now + LOOK_UP };
        self.lookups.push(Output::Resolve { query, host, port, transport });
    }

    /// Asks once more where the watcher is.
    fn look_up_again(&mut self, now: Time, index: u32) {
        let one = self.notifier.at(index);
        let flow = one.flow;
        let uri = one.head.first_route().unwrap_or(one.head.target()).to_vec();
        match self.next_hop(flow, &uri) {
            Some(Destination::Host { host, port, transport }) => self.look_up(now, index, host, port, transport),
            _ => self.notifier.at(index).delivery = Delivery::Idle,
        }
        self.notifier.arm(index);
    }

    /// A host has been looked up. A watcher that cannot be found is as good as one that does not answer.
    pub(crate) fn found<H: Host>(&mut self, now: Time, query: u64, targets: &[(Transport, SocketAddr)], host: &mut H) {
        let config = self.config.clone();
        if let Some((index, false)) = self.notifier.resolved(query, targets, &config.listeners) {
            self.unreachable(now, index, host);
        }
    }

    fn unreachable<H: Host>(&mut self, now: Time, index: u32, host: &mut H) {
        self.counters.count(Counter::NotifyFailed);
        self.failed(now, index, host);
        if let Some(one) = self.notifier.subscriptions[index as usize].as_deref_mut()
            && let Delivery::Waiting(until) = one.delivery
        {
            one.owed = true;
            one.delivery = Delivery::Unresolved(until);
        }
    }

    /// Writes the NOTIFY that is due, unless something forbids it now.
    fn deliver<H: Host>(&mut self, now: Time, index: u32, host: &mut H, out: &mut Outbox) {
        out.outputs.append(&mut self.lookups);
        let config = self.config.clone();
        let Some(subscription) = self.notifier.subscriptions[index as usize].as_deref_mut() else { return };
        match &subscription.delivery {
            Delivery::Idle => {}
            Delivery::InFlight(_) | Delivery::Waiting(_) if subscription.owed => {}
            Delivery::Dormant(Some(again)) if subscription.is_live() => {
                let again = *again;
                self.notifier.redirect(index, again);
            }
            Delivery::Dormant(_) if !subscription.is_live() => return self.forget(now, index, host),
            _ => return,
        }
        let subscription = self.notifier.at(index);
        if !(subscription.owed || subscription.dirty) {
            return;
        }
        (subscription.owed, subscription.dirty) = (false, false);
        let body = subscription.told.then(|| host.body(now, subscription.resource, subscription.how));
        if let Some(body) = &body
            && !body.bytes.is_empty()
        {
            subscription.version = subscription.version.wrapping_add(1);
        }
        subscription.cseq += 1;
        subscription.notified = now;
        subscription.answer = 0;
        let flight = InFlight { body, sent: now, next: now, tries: 0 };
        if config.records && subscription.cseq > subscription.reserved && subscription.is_live() {
            subscription.reserved = subscription.cseq + RESERVE;
            let record = subscription.record(&config, host);
            host.save(record);
        }
        self.counters.count(Counter::Notified);
        self.transmit(now, index, flight, &config, out);
    }

    /// Sends a NOTIFY for the first time or again, and arms Timer E or F (RFC 3261 section 17.1.2.2).
    fn transmit(&mut self, now: Time, index: u32, mut flight: InFlight, config: &Config, out: &mut Outbox) {
        let notifier = &mut self.notifier;
        let subscription = notifier.subscriptions[index as usize].as_deref_mut().expect("the caller has just used it");
        let (from, mut flow) = (out.bytes.len(), subscription.flow);
        subscription.write(config, &flight, flow.transport, &mut out.bytes);
        if flow.transport == Transport::Udp && out.bytes.len() - from > config.notify.max_udp {
            match notifier.open.get(&subscription.contact) {
                // Once: if the stream is dead without our knowing, the next attempt goes where it always went.
                Some(stream) if flight.tries == 0 => {
                    flow = *stream;
                    out.bytes.truncate(from);
                    subscription.write(config, &flight, flow.transport, &mut out.bytes);
                }
                _ => self.counters.count(Counter::NotifyFragmented),
            }
        }
        out.send(flow, from);
        let last = flight.sent + config.timers.t1 * 64;
        flight.next = if subscription.flow.transport.is_stream() {
            last
        } else if flow.transport.is_stream() {
            (now + config.timers.t1 * 2).min(last)
        } else {
            let pause = config.timers.t1 * 2_u32.pow(u32::from(flight.tries.min(16)));
            (now + pause.min(config.timers.t2)).min(last)
        };
        flight.tries = flight.tries.saturating_add(1);
        subscription.delivery = Delivery::InFlight(flight);
        notifier.arm(index);
    }

    /// The answer to a NOTIFY.
    pub(crate) fn answered<H: Host>(
        &mut self,
        now: Time,
        status: u16,
        retry_after: Option<u32>,
        branch: Branch,
        host: &mut H,
    ) {
        let config = self.config.clone();
        let existing = self.notifier.subscriptions.get_mut(branch.index as usize).and_then(Option::as_deref_mut);
        let ours = existing.filter(|one| one.key == branch.key && one.tag.slot == branch.slot);
        let Some(subscription) = ours else { return self.counters.count(Counter::StrayResponse) };
        if subscription.cseq != branch.cseq || !matches!(subscription.delivery, Delivery::InFlight(_)) {
            return; // to a NOTIFY that a newer one has superseded
        }
        if status < 200 {
            // RFC 3261 section 17.1.2.2: from now on retransmissions come every T2.
            if let Delivery::InFlight(flight) = &mut subscription.delivery {
                flight.tries = flight.tries.max(4);
            }
            return;
        }
        subscription.answer = status;
        let index = branch.index;
        match status {
            200..300 => {
                subscription.failures = 0;
                if !subscription.is_live() {
                    return self.forget(now, index, host);
                }
                let min_interval = config.notify.min_interval;
                subscription.delivery = if min_interval.is_zero() {
                    Delivery::Idle
                } else {
                    Delivery::Waiting(subscription.notified + min_interval)
                };
                if subscription.dirty {
                    self.notifier.queue(index);
                }
                if !min_interval.is_zero() {
                    self.notifier.arm(index);
                }
            }
            408 => self.failed(now, index, host),
            // RFC 5057 section 5.1: these end the usage.
            481 => {
                self.counters.count(Counter::NotifyFailed);
                self.lose(now, index, "watcher refused a NOTIFY", host);
            }
            404 | 405 | 410 | 416 | 480 | 482..=485 | 489 | 501 | 502 | 604 if retry_after.is_none() => {
                self.counters.count(Counter::NotifyFailed);
                self.lose(now, index, "watcher refused a NOTIFY", host);
            }
            _ => match retry_after {
                Some(pause) => {
                    self.counters.count(Counter::NotifyFailed);
                    if !subscription.is_live() {
                        return self.forget(now, index, host);
                    }
                    let pause = Duration::from_secs(u64::from(pause.clamp(1, 3600)));
                    subscription.delivery = Delivery::Waiting(now + pause);
                    subscription.dirty = true;
                    self.notifier.arm(index);
                }
                None => {
                    self.counters.count(Counter::NotifyFailed);
                    self.failed(now, index, host);
                }
            },
        }
    }

    /// Nobody has answered a NOTIFY, or not in earnest: the watcher is suspect, and lost after some such.
    fn failed<H: Host>(&mut self, now: Time, index: u32, host: &mut H) {
        let notify = self.config.notify;
        let subscription = self.notifier.at(index);
        subscription.failures = subscription.failures.saturating_add(1);
        if !subscription.is_live() {
            return self.forget(now, index, host);
        }
        if subscription.failures >= notify.failures {
            return self.lose(now, index, "watcher does not answer", host);
        }
        let pause = notify.probe * 2_u32.pow(u32::from(subscription.failures - 1).min(10));
        subscription.delivery = Delivery::Waiting(now + pause);
        subscription.dirty = true;
        self.notifier.arm(index);
    }

    /// Ends a subscription whose watcher is gone.
    fn lose<H: Host>(&mut self, now: Time, index: u32, why: &'static str, host: &mut H) {
        self.counters.count(Counter::SubscriptionLost);
        let (resource, who) = (self.notifier.at(index).resource, self.who(index));
        host.note(now, resource, why, &who);
        self.forget(now, index, host);
    }

    fn forget<H: Host>(&mut self, now: Time, index: u32, host: &mut H) {
        let gone = self.notifier.remove(index);
        if self.config.records && gone.reserved > 0 {
            let mut tag = Vec::new();
            gone.tag.write(&mut tag);
            host.save(Record::SubscriptionGone { local_tag: String::from_utf8_lossy(&tag).into() });
        }
        host.unpin(now, gone.resource);
    }

    /// Fires the timers that are due.
    pub(crate) fn advance<H: Host>(&mut self, now: Time, host: &mut H, out: &mut Outbox) {
        let mut due = std::mem::take(&mut self.due);
        self.notifier.wheel.advance(now, |index| due.push(index));
        for &index in &due {
            if let Some(one) = self.notifier.subscriptions[index as usize].as_deref_mut() {
                one.timer = None;
            }
        }
        for index in due.drain(..) {
            self.fire(now, index, host, out);
        }
        self.due = due;
        self.advance_stop(now);
    }

    fn fire<H: Host>(&mut self, now: Time, index: u32, host: &mut H, out: &mut Outbox) {
        let config = self.config.clone();
        let Some(subscription) = self.notifier.subscriptions[index as usize].as_deref_mut() else { return };
        if subscription.is_live() && subscription.until <= now {
            let unreachable = matches!(
                subscription.delivery,
                Delivery::Dormant(_) | Delivery::Resolving { .. } | Delivery::Unresolved(_)
            );
            if unreachable {
                return self.forget(now, index, host);
            }
            let given_up = subscription.state == State::Pending;
            subscription.state = State::Ending(if given_up { Reason::GiveUp } else { Reason::Timeout });
            subscription.owed = true;
            return self.deliver(now, index, host, out);
        }
        match &mut subscription.delivery {
            Delivery::InFlight(flight) if flight.next <= now => {
                if now >= flight.sent + config.timers.t1 * 64 {
                    subscription.answer = 1;
                    self.counters.count(Counter::NotifyTimeout);
                    self.failed(now, index, host);
                } else {
                    let InFlight { body, sent, next, tries } = flight;
                    let flight = InFlight { body: body.take(), sent: *sent, next: *next, tries: *tries };
                    self.counters.count(Counter::NotifyRetransmitted);
                    self.transmit(now, index, flight, &config, out);
                }
            }
            Delivery::Waiting(until) if *until <= now => {
                subscription.delivery = Delivery::Idle;
                self.deliver(now, index, host, out);
                if let Some(one) = &self.notifier.subscriptions[index as usize]
                    && one.timer.is_none()
                {
                    self.notifier.arm(index);
                }
            }
            Delivery::Resolving { until, query } if *until <= now => {
                let query = *query;
                self.notifier.resolving.remove(&query);
                self.unreachable(now, index, host);
            }
            Delivery::Unresolved(until) if *until <= now => {
                self.look_up_again(now, index);
                out.outputs.append(&mut self.lookups);
            }
            _ => self.notifier.arm(index),
        }
    }

    /// Tells the next of those who must be told that we stop.
    fn advance_stop(&mut self, now: Time) {
        let Some(stop) = &mut self.notifier.stop else { return };
        if stop.at > now {
            return;
        }
        let (first, total) = (stop.next, self.notifier.subscriptions.len() as u32);
        let last = first.saturating_add((self.config.notify.stop_rate / 100).max(1)).min(total);
        (stop.next, stop.at) = (last, now + Duration::from_millis(10));
        if last == total {
            self.notifier.stop = None;
        }
        for index in first..last {
            if let Some(one) = self.notifier.subscriptions[index as usize].as_deref_mut()
                && one.is_live()
            {
                one.state = State::Ending(Reason::Deactivated);
                one.owed = true;
                self.notifier.queue(index);
            }
        }
    }

    /// Writes up to one burst of the NOTIFYs that wait.
    pub(crate) fn deliver_ready<H: Host>(&mut self, now: Time, host: &mut H, out: &mut Outbox) {
        for _ in 0..self.config.notify.burst {
            let Some(index) = self.notifier.ready.pop_front() else { break };
            if let Some(subscription) = self.notifier.subscriptions[index as usize].as_deref_mut() {
                subscription.queued = false;
                self.deliver(now, index, host, out);
            }
        }
    }

    /// Asks policy again about every subscription, after a change of the rules.
    pub(crate) fn authorize_again<H: Host>(&mut self, now: Time, host: &mut H) {
        let config = self.config.clone();
        for index in 0..self.notifier.subscriptions.len() as u32 {
            let Some(subscription) = self.notifier.subscriptions[index as usize].as_deref_mut() else { continue };
            let watcher = NameAddr::read(subscription.head.watcher()).and_then(|to| Uri::read(to.uri));
            let domain = watcher.map_or(&b""[..], |uri| uri.host);
            let state = match config.access.watch(subscription.source, domain) {
                Decision::Allow => State::Active,
                Decision::Confirm => State::Pending,
                Decision::Deny => State::Ending(Reason::Rejected),
            };
            if !subscription.is_live() || subscription.state == state {
                continue;
            }
            (subscription.state, subscription.told) = (state, state == State::Active);
            subscription.owed = true;
            let resource = subscription.resource;
            let record = (config.records && subscription.is_live() && subscription.reserved > 0)
                .then(|| subscription.record(&config, host));
            if let Some(record) = record {
                host.save(record);
            }
            host.note(now, resource, "policy has changed for a watcher", "configuration");
            self.notifier.queue(index);
        }
    }

    /// A stream has ended or could not be opened: what went down it is dormant until the phone comes back.
    pub(crate) fn flow_closed<H: Host>(&mut self, now: Time, flow: Flow, host: &mut H) {
        let waiting = Stream::of(flow).and_then(|stream| self.notifier.streams.remove(&stream)).unwrap_or_default();
        if flow.connection == 0 {
            // A stream that we wanted to open.
            for index in waiting {
                let Some(one) = self.notifier.subscriptions[index as usize].as_deref_mut() else { continue };
                let tried = matches!(one.delivery, Delivery::InFlight(_));
                let udp = towards(&self.config.listeners, flow, Transport::Udp, flow.remote);
                match udp.filter(|_| tried && one.failures == 0 && one.is_live()) {
                    Some(udp) => {
                        // RFC 3261 section 18.1.1: what cannot go by TCP goes by UDP.
                        (one.owed, one.delivery, one.failures) = (true, Delivery::Idle, 1);
                        self.notifier.redirect(index, udp);
                        self.notifier.queue(index);
                    }
                    None if one.is_live() => one.delivery = Delivery::Dormant(None),
                    None => self.forget(now, index, host),
                }
            }
            return;
        }
        for device in self.notifier.known.remove(&flow.connection).unwrap_or_default() {
            self.notifier.open.remove(&device);
        }
        for index in waiting {
            let Some(one) = self.notifier.subscriptions[index as usize].as_deref_mut() else { continue };
            if matches!(one.delivery, Delivery::Resolving { .. } | Delivery::Unresolved(_)) {
                continue; // it is not this stream that it waits for
            }
            if !one.is_live() {
                self.forget(now, index, host);
                continue;
            }
            // A Contact that can be reached from here gets one attempt, at the next change.
            let again = Uri::read(one.head.target()).and_then(|uri| {
                let stream = uri.params.get(b"transport").is_some_and(|name| name.eq_ignore_ascii_case(b"tcp"));
                let ip = parse_ip(uri.host).filter(|ip| *ip == one.source.to_canonical() && stream)?;
                let remote = SocketAddr::new(ip, uri.port.unwrap_or(5060));
                towards(&self.config.listeners, flow, Transport::Tcp, remote)
            });
            if matches!(one.delivery, Delivery::InFlight(_)) {
                one.dirty = true;
            }
            one.delivery = Delivery::Dormant(again);
            let (dirty, resource) = (one.dirty && again.is_some(), one.resource);
            host.note(now, resource, "subscription dormant: its connection has ended", "network");
            if dirty {
                self.notifier.queue(index);
            }
        }
    }

    /// Remembers the stream of a device, for NOTIFYs that are too large for a datagram.
    pub(crate) fn remember_stream(&mut self, request: &Request<'_>) {
        if !request.flow.transport.is_stream() || request.flow.connection == 0 {
            return;
        }
        if contact(request.message).is_none() {
            return;
        }
        let (_, device) = self.device(request, PackageId(0), 0, "");
        let notifier = &mut self.notifier;
        let before = notifier.open.get(&device).map(|open| open.connection);
        if before == Some(request.flow.connection) || notifier.open.len() >= self.config.limits.subscriptions {
            return;
        }
        let known = notifier.known.entry(request.flow.connection).or_default();
        if known.len() >= DEVICES {
            return;
        }
        known.push(device);
        notifier.open.insert(device, request.flow);
        if let Some(before) = before
            && let Some(known) = notifier.known.get_mut(&before)
        {
            known.retain(|one| *one != device);
            if known.is_empty() {
                notifier.known.remove(&before);
            }
        }
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64,
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}
