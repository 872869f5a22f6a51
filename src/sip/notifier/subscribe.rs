//! SUBSCRIBE (RFC 6665 section 4.2.1): subscriptions are made, refreshed, replaced and ended.

use super::Destination;
use super::deliver::RESERVE;
use crate::engine::{Engine, Request};
use crate::held::Promise;
use crate::host::Host;
use crate::identifier::{Branch, Tag};
use crate::reply::{Detail, Reply};
use crate::server::Key;
use crate::subscription::{BadHead, Delivery, Head, Reason, State, Subscription, contact, entity};
use crate::wire::{Event, MediaRange, Name, NameAddr, Uri};
use lamplighter_model::package::{PackageId, Rendering, View};
use lamplighter_model::{Counter, Decision, Durability, Outbox, Profile, ProfileId, Slot, Time};
use rand_chacha::rand_core::RngCore;
use std::time::Duration;

/// How far beyond a refreshed lease the store is told at most, so that the next refresh need not tell it again. Should
/// the gateway restart then, a watcher that has gone away is found out that much later.
const MOST_AHEAD: Duration = Duration::from_secs(3600);

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
        if let Some(tag) = self.sent_again(request, address) {
            return self.resubscribe(request, key, tag, host, out);
        }
        match self.try_subscribe(request, address, host) {
            Err(refusal) => self.conclude(request, key, refusal, out),
            Ok((index, reply)) => {
                self.counters.count(Counter::Subscribed);
                let one = self.notifier.at(index);
                if one.held {
                    let promise = Promise::Subscribed { index, tag: one.tag };
                    return self.conclude_later(request, key, reply, self.durability(), promise);
                }
                self.conclude(request, key, reply, out);
                self.deliver(request.now, index, host, out);
            }
        }
    }

    /// The subscription that this request, or one before it, has made before a restart, if its answer was lost: the
    /// sender does not know our tag.
    fn sent_again(&self, request: &Request<'_>, address: &str) -> Option<Tag> {
        let Request { now, message, essentials, .. } = *request;
        if now >= self.notifier.resumed {
            return None;
        }
        let package = self.package(request).ok()?;
        let profile = self.config.profiles.choose(message.first(Name::UserAgent).unwrap_or(b""));
        let format = self.accepted(request, package, self.config.profiles.get(profile)).ok()?;
        let (device, _) = self.device(request, package, format, address);
        let one = self.notifier.subscriptions[*self.notifier.devices.get(&device)? as usize].as_deref()?;
        let dialog = self.seed.fingerprint(&[essentials.call_id, essentials.from.tag()?]);
        (one.dialog == dialog && essentials.cseq > one.remote_cseq).then_some(one.tag)
    }

    /// How safe subscriptions must be.
    pub(super) fn durability(&self) -> Durability {
        self.config.store.map_or(Durability::Memory, |store| store.subscriptions)
    }

    pub(super) fn try_subscribe<H: Host>(
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
        let (stored, held) = (config.store.is_some() && !fetch, self.durability() != Durability::Memory && !fetch);
        let notifier = &mut self.notifier;
        // Replacing may have freed another place than the one that the tag names; that one is used all the same.
        match notifier.free.iter().rposition(|&free| free == index) {
            Some(position) => drop(notifier.free.swap_remove(position)),
            None => debug_assert_eq!(index as usize, notifier.subscriptions.len()),
        }
        *notifier.sources.entry(source).or_default() += 1;
        let how = Rendering { format, view: View::Full, profile: chosen.0 };
        notifier.add(
            index,
            Subscription {
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
                reserved: if stored { RESERVE } else { 0 },
                safe: if held { 0 } else { RESERVE },
                held,
                remote_cseq: essentials.cseq,
                version: 0,
                until: now + expires,
                stored: now + expires,
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
            },
        );
        if let Ok(Destination::Host { host, port, transport }) = destination {
            self.look_up(now, index, host, port, transport);
            self.notifier.arm(index);
        }
        if stored {
            let record = self.notifier.at(index).record(&config, host);
            host.save(record);
        }
        Ok((
            index,
            Reply { status: 200, tag: Some(tag), detail: Detail::Subscribed { expires: expires.as_secs() as u32 } },
        ))
    }

    /// What policy says about the sender.
    pub(super) fn allowed(&self, request: &Request<'_>) -> Result<State, Reply> {
        let domain = Uri::read(request.essentials.from.uri).map_or(&b""[..], |uri| uri.host);
        match self.config.access.watch(request.flow.remote.ip(), domain) {
            Decision::Allow => Ok(State::Active),
            Decision::Confirm => Ok(State::Pending),
            Decision::Deny => Err(Reply::status(403)),
        }
    }

    /// Which of the package's formats the watcher prefers (406 when it takes none).
    pub(super) fn accepted(&self, request: &Request<'_>, package: PackageId, profile: &Profile) -> Result<u8, Reply> {
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
    pub(super) fn device(&self, request: &Request<'_>, package: PackageId, format: u8, address: &str) -> (u128, u64) {
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
    pub(super) fn replace<H: Host>(&mut self, now: Time, device: u128, host: &mut H) {
        let Some(&old) = self.notifier.devices.get(&device) else { return };
        let resource = self.notifier.at(old).resource;
        self.counters.count(Counter::SubscriptionReplaced);
        let who = self.who(old);
        host.note(now, resource, "subscription replaced by a new one of the same device", &who);
        self.forget(now, old, host);
    }

    pub(super) fn who(&mut self, index: u32) -> String {
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
        let before = host.unsaved();
        let Some(index) = self.notifier.find(tag) else {
            return self.conclude(request, key, Reply::status(481), out);
        };
        match self.try_resubscribe(request, index, tag, host) {
            Err(refusal) => self.conclude(request, key, refusal, out),
            Ok(reply) => {
                self.counters.count(Counter::Subscribed);
                let durability = self.durability();
                // While the store fails, refreshes are answered from memory: lamps go on, and after a crash the phone
                // subscribes anew.
                if durability == Durability::Memory || host.unsaved() == before || self.held.failing {
                    self.conclude(request, key, reply, out);
                    if self.notifier.get(index, tag).is_some() {
                        self.deliver(request.now, index, host, out);
                    }
                    return;
                }
                self.conclude_later(request, key, reply, durability, Promise::Refreshed { index, tag });
            }
        }
    }

    pub(super) fn try_resubscribe<H: Host>(
        &mut self,
        request: &Request<'_>,
        index: u32,
        tag: Tag,
        host: &mut H,
    ) -> Result<Reply, Reply> {
        let Request { now, flow, message, essentials, .. } = *request;
        let gone = Reply::status(481);
        let dialog = self.seed.fingerprint(&[essentials.call_id, essentials.from.tag().ok_or(gone)?]);
        let existing = self.notifier.get(index, tag);
        let subscription = existing.filter(|one| one.dialog == dialog && one.is_live()).ok_or(gone)?;
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
        let destination = self.destination(request, Some(index))?;
        let new_flow = match &destination {
            Destination::Flow(flow) => *flow,
            Destination::Host { .. } => flow,
        };
        let subscription = self.notifier.at(index);
        let old_flow = subscription.flow;
        let was = (subscription.how.format, old_flow, subscription.device, subscription.state);
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
        if expires.is_zero() && !config.profiles.get(profile).final_notify {
            self.forget(now, index, host); // what these devices cannot bear
        } else if !self.notifier.at(index).is_live() {
            self.unrecord(index, host);
        } else if config.store.is_some() {
            let one = self.notifier.at(index);
            let now_is = (one.how.format, one.flow, one.device, one.state);
            if was != now_is || moved || one.until > one.stored {
                one.stored = one.until + expires.min(MOST_AHEAD);
                let record = one.record(&config, host);
                host.save(record);
            }
        }
        let detail = Detail::Subscribed { expires: expires.as_secs() as u32 };
        Ok(Reply { status: 200, tag: Some(tag), detail })
    }
}
