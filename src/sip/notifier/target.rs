//! Where NOTIFYs go (RFC 3261 section 12.2.1.1, RFC 5626): route set, flow or Contact; and what becomes of a
//! subscription whose flow has ended.

use super::{Destination, Stream, towards};
use crate::engine::{Engine, Request};
use crate::host::Host;
use crate::reply::{Reply, parse_ip};
use crate::subscription::{Delivery, contact};
use crate::wire::{Name, NameAddr, Uri};
use lamplighter_model::config::Listener;
use lamplighter_model::package::PackageId;
use lamplighter_model::{Counter, Flow, Output, Time, Transport};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long an answer to a question for the resolver is waited for.
const LOOK_UP: Duration = Duration::from_secs(32);

/// How many devices one stream is remembered for. A phone has a few accounts; proxies are in the route set.
const DEVICES: usize = 8;

impl Engine {
    /// Where NOTIFYs of the sender of this SUBSCRIBE go: its route set, its flow, or its Contact.
    pub(super) fn destination(&mut self, request: &Request<'_>, refreshed: Option<u32>) -> Result<Destination, Reply> {
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
    pub(super) fn next_hop(&self, flow: Flow, uri: &[u8]) -> Option<Destination> {
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

    pub(super) fn look_up(
        &mut self,
        now: Time,
        index: u32,
        host: Box<str>,
        port: Option<u16>,
        transport: Option<Transport>,
    ) {
        self.notifier.queries += 1;
        let query = self.notifier.queries;
        self.notifier.resolving.insert(query, index);
        self.notifier.at(index).delivery = Delivery::Resolving { query, until: now + LOOK_UP };
        self.lookups.push(Output::Resolve { query, host, port, transport });
    }

    /// Asks once more where the watcher is.
    pub(super) fn look_up_again(&mut self, now: Time, index: u32) {
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

    pub(super) fn unreachable<H: Host>(&mut self, now: Time, index: u32, host: &mut H) {
        self.counters.count(Counter::NotifyFailed);
        self.failed(now, index, host);
        if let Some(one) = self.notifier.subscriptions[index as usize].as_deref_mut()
            && let Delivery::Waiting(until) = one.delivery
        {
            one.owed = true;
            one.delivery = Delivery::Unresolved(until);
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
            let again = again(one.head.target(), one.source, flow, &self.config.listeners);
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

/// The stream by which a Contact can be reached from here, if it names the address that it came from.
pub(super) fn again(target: &[u8], source: IpAddr, flow: Flow, listeners: &[Listener]) -> Option<Flow> {
    let uri = Uri::read(target)?;
    let stream = uri.params.get(b"transport").is_some_and(|name| name.eq_ignore_ascii_case(b"tcp"));
    let ip = parse_ip(uri.host).filter(|ip| *ip == source.to_canonical() && stream)?;
    let remote = SocketAddr::new(ip, uri.port.unwrap_or(5060));
    towards(listeners, flow, Transport::Tcp, remote)
}

fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64,
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}
