//! Where requests go: next hops, the addresses they resolve to, and which of these work (RFC 3263).

use super::agent::Key;
use super::settings::Target;
use crate::wire::{Message, Name, NameAddr, Scheme, Uri};
use lamplighter_model::hash::Map;
use lamplighter_model::{Seed, Time, Transport};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Names are forgotten when there are more; servers that nobody waits for too.
const MOST: usize = 4096;
/// The most addresses of one name that are tried.
pub const MOST_TARGETS: usize = 16;
/// How long a name that does not resolve is not asked for again.
const UNRESOLVED: Duration = Duration::from_secs(30);
/// The longest that an answer about a name is waited for.
pub const RESOLVE_PATIENCE: Duration = Duration::from_secs(32);
/// The longest that a server is left alone because it said so.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Addresses in order of preference.
pub type Targets = SmallVec<[Target; 1]>;

/// The part of a URI that says where to send.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Hop {
    /// A name or address.
    pub host: Box<str>,
    /// The port, if the URI has one.
    pub port: Option<u16>,
    /// The transport, if the URI has one.
    pub transport: Option<Transport>,
}

impl Hop {
    /// From a SIP URI; `None` for what cannot be reached: other schemes, TLS, transports that we do not speak.
    pub fn read(uri: &[u8]) -> Option<Self> {
        let uri = Uri::read(uri).filter(|uri| uri.scheme == Scheme::Sip)?;
        let transport = match uri.params.get(b"transport") {
            None => None,
            Some(name) if name.eq_ignore_ascii_case(b"udp") => Some(Transport::Udp),
            Some(name) if name.eq_ignore_ascii_case(b"tcp") => Some(Transport::Tcp),
            Some(_) => return None,
        };
        let host = uri.params.get(b"maddr").filter(|maddr| !maddr.is_empty()).unwrap_or(uri.host);
        Some(Self { host: std::str::from_utf8(host).ok()?.to_ascii_lowercase().into(), port: uri.port, transport })
    }

    /// The address, if the host is one.
    pub fn literal(&self) -> Option<Target> {
        let inner = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host);
        let ip: IpAddr = inner.parse().ok()?;
        let address = SocketAddr::new(ip, self.port.unwrap_or(5060));
        Some(Target { transport: self.transport.unwrap_or_default(), address })
    }
}

/// Where a 3xx sends us: the Contact with the highest q, of those that are SIP URIs.
pub fn redirection(answer: Message<'_>) -> Option<Box<[u8]>> {
    let q = |contact: &NameAddr<'_>| {
        let q = contact.params.get(b"q").and_then(|q| std::str::from_utf8(q).ok()?.parse::<f32>().ok());
        (q.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u32
    };
    let all = answer.list(Name::Contact).take(32).filter_map(NameAddr::read);
    let usable = all.filter(|contact| Uri::read(contact.uri).is_some_and(|uri| uri.scheme == Scheme::Sip));
    // The first of equals wins.
    let best = usable.fold(None, |best: Option<NameAddr<'_>>, one| match best {
        Some(best) if q(&best) >= q(&one) => Some(best),
        _ => Some(one),
    })?;
    Some(best.uri.into())
}

#[derive(Debug)]
struct Host {
    targets: Targets,
    /// When the addresses are to be asked for again.
    until: Time,
    /// The question that is out.
    query: Option<u64>,
    waiting: Vec<Key>,
}

/// Names and their addresses.
#[derive(Debug)]
pub struct Hosts {
    all: Map<Hop, Host>,
    last_query: u64,
}

/// What is known about a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// Its addresses; none: it does not resolve.
    Known(Targets),
    /// Wait: the answer to a question that is out already will come.
    Waits,
    /// Wait: this question is to be asked.
    Ask(u64),
}

impl Hosts {
    /// Nothing is known yet.
    pub fn new(seed: Seed) -> Self {
        Self { all: Map::with_hasher(seed), last_query: 0 }
    }

    /// How many names are known or asked for.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The addresses of a name, as far as they are known.
    pub fn known(&self, now: Time, hop: &Hop) -> Targets {
        let known = self.all.get(hop).filter(|host| host.until > now);
        hop.literal().map_or_else(
            || known.map(|host| host.targets.clone()).unwrap_or_default(),
            |one| [one].into_iter().collect(),
        )
    }

    /// The addresses of a name, for somebody who waits if they are not known.
    pub fn find(&mut self, now: Time, hop: &Hop, key: Key) -> Lookup {
        if let Some(target) = hop.literal() {
            return Lookup::Known([target].into_iter().collect());
        }
        if let Some(host) = self.all.get_mut(hop) {
            if host.query.is_some() {
                host.waiting.push(key);
                return Lookup::Waits;
            }
            if now < host.until {
                return Lookup::Known(host.targets.clone());
            }
        } else if self.all.len() >= MOST {
            self.all.retain(|_, host| host.query.is_some() || host.until > now);
            if self.all.len() >= MOST {
                return Lookup::Known(Targets::new());
            }
        }
        self.last_query += 1;
        let host = Host { targets: Targets::new(), until: now, query: Some(self.last_query), waiting: vec![key] };
        self.all.insert(hop.clone(), host);
        Lookup::Ask(self.last_query)
    }

    /// A question has been answered (or given up, with no addresses). Gives those who waited.
    pub fn resolved(&mut self, now: Time, query: u64, targets: Targets, ttl: Duration) -> Vec<Key> {
        let Some(host) = self.all.values_mut().find(|host| host.query == Some(query)) else { return Vec::new() };
        host.query = None;
        host.until = now + if targets.is_empty() { UNRESOLVED } else { ttl.max(Duration::from_secs(1)) };
        host.targets = targets;
        std::mem::take(&mut host.waiting)
    }
}

/// Why a server is left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shunned {
    /// Until then.
    pub until: Time,
    /// The status that stands for why: 503 (it said so, or could not be connected to) or 408 (silence).
    pub status: u16,
    /// It said so.
    pub asked: bool,
}

/// One server.
#[derive(Debug, Default)]
pub struct Server {
    shunned: Option<Shunned>,
    in_flight: usize,
    heard: Time,
    waiting: VecDeque<Key>,
    /// A wake-up is on its way.
    pub armed: bool,
}

/// Which addresses work, and who waits for them.
#[derive(Debug)]
pub struct Servers {
    all: Map<Target, Server>,
}

/// What to do with a request to a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Send it.
    Go,
    /// The server owes us too many answers.
    Busy,
    /// The server is left alone.
    Shunned(Shunned),
}

impl Servers {
    /// All work so far.
    pub fn new(seed: Seed) -> Self {
        Self { all: Map::with_hasher(seed) }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a request may be sent now.
    pub fn admission(&self, now: Time, target: Target, most: usize) -> Admission {
        let Some(server) = self.all.get(&target) else { return Admission::Go };
        match server.shunned.filter(|shunned| now < shunned.until) {
            Some(shunned) => Admission::Shunned(shunned),
            None if server.in_flight >= most.max(1) => Admission::Busy,
            None => Admission::Go,
        }
    }

    /// A request is being sent.
    pub fn sent(&mut self, now: Time, target: Target) {
        if self.all.len() >= MOST {
            self.all.retain(|_, server| {
                server.in_flight > 0 || !server.waiting.is_empty() || server.shunned.is_some_and(|it| it.until > now)
            });
        }
        self.all.entry(target).or_default().in_flight += 1;
    }

    /// Somebody waits for the answers to others.
    pub fn wait(&mut self, target: Target, key: Key) {
        self.all.entry(target).or_default().waiting.push_back(key);
    }

    /// A request has come to its end. Gives whether somebody waits.
    pub fn done(&mut self, target: Target) -> bool {
        let Some(server) = self.all.get_mut(&target) else { return false };
        server.in_flight = server.in_flight.saturating_sub(1);
        !server.waiting.is_empty()
    }

    /// Something came from there: it is no longer silent.
    pub fn heard(&mut self, now: Time, target: Target) {
        if let Some(server) = self.all.get_mut(&target) {
            server.heard = now;
            server.shunned = server.shunned.filter(|shunned| shunned.asked && shunned.until > now);
        }
    }

    /// It may be bothered again, unless it asked for rest.
    pub fn forgive(&mut self, target: Target) {
        if let Some(server) = self.all.get_mut(&target) {
            server.shunned = server.shunned.filter(|shunned| shunned.asked);
        }
    }

    /// The server asks to be left alone.
    pub fn asked_for_rest(&mut self, now: Time, target: Target, rest: Duration) {
        let until = now + rest.min(LONGEST_RETRY_AFTER);
        self.all.entry(target).or_default().shunned = Some(Shunned { until, status: 503, asked: true });
    }

    /// A request sent at `started` got no answer, or could not be delivered. If nothing at all has come from there
    /// since, the server is left alone; else only this request has been ignored.
    pub fn failed(&mut self, now: Time, target: Target, started: Time, status: u16, rest: Duration) {
        let server = self.all.entry(target).or_default();
        if status != 408 || server.heard <= started {
            server.shunned = Some(Shunned { until: now + rest, status, asked: false });
        }
    }

    /// Takes some of those who wait; gives whether more do.
    pub fn next(&mut self, target: Target, most: usize, out: &mut Vec<Key>) -> bool {
        let Some(server) = self.all.get_mut(&target) else { return false };
        let count = server.waiting.len().min(most);
        out.extend(server.waiting.drain(..count));
        !server.waiting.is_empty()
    }

    /// The server, for its `armed`.
    pub fn get_mut(&mut self, target: Target) -> Option<&mut Server> {
        self.all.get_mut(&target)
    }

    /// Servers that are left alone, by address, for the API.
    pub fn shunned(&self, now: Time) -> Vec<(Target, Shunned)> {
        let all = self.all.iter().filter_map(|(target, server)| Some((*target, server.shunned?)));
        let mut all: Vec<_> = all.filter(|(_, shunned)| shunned.until > now).collect();
        all.sort_unstable_by_key(|(target, _)| *target);
        all
    }

    /// How many requests are out and how many wait.
    pub fn load(&self) -> (usize, usize) {
        self.all.values().fold((0, 0), |(out, wait), one| (out + one.in_flight, wait + one.waiting.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, expected: Option<(&str, Option<u16>, Option<Transport>)>) {
        let hop = Hop::read(uri.as_bytes());
        let hop = hop.as_ref().map(|hop| (&*hop.host, hop.port, hop.transport));
        assert_eq!(hop, expected, "{uri}");
    }

    #[test]
    fn next_hops_are_read_from_uris() {
        check("sip:a@Proxy.Example", Some(("proxy.example", None, None)));
        check("sip:proxy.example:5070;lr;transport=TCP", Some(("proxy.example", Some(5070), Some(Transport::Tcp))));
        check("sip:a@[::1]:5080;transport=udp", Some(("[::1]", Some(5080), Some(Transport::Udp))));
        check("sip:a@b.example;maddr=192.0.2.1", Some(("192.0.2.1", None, None)));
        for unreachable in ["sips:a@b", "sip:a@b;transport=ws", "sip:a@b;transport=tls", "tel:+49", "pres:a@b", "x", ""]
        {
            check(unreachable, None);
        }
    }

    #[test]
    fn addresses_need_no_resolver() {
        let literal =
            |uri: &str| Hop::read(uri.as_bytes()).and_then(|hop| hop.literal()).map(|it| it.address.to_string());
        assert_eq!(literal("sip:a@[::1]:5080").as_deref(), Some("[::1]:5080"));
        assert_eq!(literal("sip:192.0.2.1").as_deref(), Some("192.0.2.1:5060"));
        assert_eq!(literal("sip:proxy.example"), None);
    }
}
