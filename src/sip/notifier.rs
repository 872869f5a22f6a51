//! The notifier (RFC 6665 section 4.2): subscriptions, and the NOTIFYs that keep them true.
//!
//! At most one NOTIFY of a subscription is in flight. While it waits, newer state only marks the subscription dirty,
//! and the newest is sent next: a state storm costs as many messages as there are watchers. What the protocol
//! requires (the answer to a SUBSCRIBE, the last NOTIFY) never waits. One dead watcher delays nobody.

mod deliver;
mod restart;
mod subscribe;
mod target;

use crate::identifier::{Branch, Tag};
use crate::subscription::{Delivery, State, Subscription};
use crate::wire::NameAddr;
use lamplighter_model::config::{Listener, Profiles};
use lamplighter_model::explain::WatcherExplanation;
use lamplighter_model::hash::Map;
use lamplighter_model::package::PackageId;
use lamplighter_model::wheel::Wheel;
use lamplighter_model::{Config, Flow, ProfileId, ResourceId, Seed, Time, Transport};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

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
    /// The places of subscriptions that came back from the store when the place that their tag names was taken.
    moved: Map<Tag, u32>,
    /// Until then requests may come that were sent first before the restart.
    resumed: Time,
    stop: Option<Stop>,
    restart: Option<Restart>,
}

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

/// Telling everybody that came back from the store what is true, paced.
struct Restart {
    /// Those who must be told, the most urgent last.
    waiting: Vec<u32>,
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
            moved: Map::with_hasher(seed),
            resumed: Time::default(),
            stop: None,
            restart: None,
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
        let restart = self.restart.as_ref().map(|restart| restart.at);
        [self.wheel.deadline(), stop, restart].into_iter().flatten().min()
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

    /// Owes every watcher of a resource a NOTIFY; how many they are. Those that cannot be reached get it later.
    pub fn refresh(&mut self, resource: ResourceId) -> usize {
        let watchers = self.watchers_of(resource).to_vec();
        for &index in &watchers {
            let one = self.at(index);
            if !one.is_live() {
                continue;
            }
            match one.delivery {
                Delivery::Idle | Delivery::InFlight(_) => one.owed = true,
                _ => one.dirty = true,
            }
            self.queue(index);
        }
        watchers.len()
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
        subscription.timer = (due != Time::NEVER).then(|| (due, self.wheel.arm(due, index)));
    }

    pub fn stop(&mut self, now: Time) {
        self.stop = Some(Stop { next: 0, at: now });
    }

    /// The place of the subscription with this tag, which names it unless it came back from another shard.
    fn find(&self, tag: Tag) -> Option<u32> {
        let fits = |index: &u32| matches!(self.subscriptions.get(*index as usize), Some(Some(one)) if one.tag == tag);
        Some(tag.index).filter(fits).or_else(|| self.moved.get(&tag).copied())
    }

    /// What the subscription with this tag watches.
    pub fn resource(&self, tag: Tag) -> Option<ResourceId> {
        let index = self.find(tag)?;
        self.subscriptions[index as usize].as_ref().map(|one| one.resource)
    }

    /// The place of the subscription with this branch, which always names it.
    fn find_branch(&self, branch: Branch) -> Option<u32> {
        let one = self.subscriptions.get(branch.index as usize)?.as_deref()?;
        (one.key == branch.key && one.tag.slot == branch.slot).then_some(branch.index)
    }

    /// The subscription at a place, if it is still this one.
    pub fn get(&mut self, index: u32, tag: Tag) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(index as usize)?.as_deref_mut().filter(|one| one.tag == tag)
    }

    /// Adds a subscription at this place.
    fn add(&mut self, index: u32, subscription: Subscription) {
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
        if subscription.tag.index != index {
            self.moved.remove(&subscription.tag);
        }
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
        self.watchers_of(resource).iter().filter_map(|&index| self.explain_one(config, index)).collect()
    }

    /// The places of a resource's watchers.
    pub fn watchers_of(&self, resource: ResourceId) -> &[u32] {
        self.watchers.get(resource.0 as usize).map_or(&[][..], |watchers| watchers)
    }

    /// Up to `most` subscriptions from place `from` on, with their resources, and the place to go on from.
    pub fn list(
        &self,
        config: &Config,
        from: u32,
        most: usize,
    ) -> (Vec<(ResourceId, PackageId, WatcherExplanation)>, Option<u32>) {
        let mut rows = Vec::new();
        for index in from..self.subscriptions.len() as u32 {
            if rows.len() >= most {
                return (rows, Some(index));
            }
            if let Some(one) = &self.subscriptions[index as usize]
                && let Some(row) = self.explain_one(config, index)
            {
                rows.push((one.resource, one.package, row));
            }
        }
        (rows, None)
    }

    fn explain_one(&self, config: &Config, index: u32) -> Option<WatcherExplanation> {
        let one = self.subscriptions.get(index as usize)?.as_ref()?;
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
