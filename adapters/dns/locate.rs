//! From the host of a SIP URI to where requests go (RFC 3263 section 4).
//!
//! What the RFC leaves open, and our choice:
//!
//! - NAPTR records that name nothing we speak are as good as none: SRV records are asked for.
//! - All transports that a domain offers are used, in its order of preference; without NAPTR records UDP comes first.
//! - IPv4 comes before IPv6.
//! - A question that nobody answers is no proof that there are no records. What is found in spite of it counts, but for
//!   [`LEAST`] only, so that it is soon asked for again.

use crate::order::{Srv, order};
use futures_util::future::{join, join_all};
use lamplighter_model::Transport;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The shortest time that an answer is remembered.
pub const LEAST: Duration = Duration::from_secs(5);
/// The longest time that an answer is remembered.
pub const MOST: Duration = Duration::from_secs(3600);
/// The most places that are tried for one name.
pub const TARGETS: usize = 16;

/// The most NAPTR records of a domain, and SRV records of a service, that are followed; others are left out.
const FOLLOWED: usize = 8;
/// The most addresses of one server that are tried, where a service has several servers.
const ADDRESSES: usize = 4;
const PORT: u16 = 5060;

/// What a SIP URI says about where it leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// The host: a name or an address.
    pub host: Box<str>,
    /// The port, if there is one.
    pub port: Option<u16>,
    /// The transport, if it says one.
    pub transport: Option<Transport>,
}

/// Where requests go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Located {
    /// In order of preference; empty: nowhere.
    pub targets: Vec<(Transport, SocketAddr)>,
    /// How long this may be remembered, [`LEAST`] to [`MOST`].
    pub ttl: Duration,
}

/// A NAPTR record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Naptr {
    /// Lower ones come first.
    pub order: u16,
    /// Lower ones come first among those of equal order.
    pub preference: u16,
    /// `s`: what follows is the name of SRV records.
    pub flags: String,
    /// Such as `SIP+D2U`.
    pub services: String,
    /// Not used for SIP, and empty.
    pub regexp: String,
    /// The name to go on with.
    pub replacement: String,
}

/// What the DNS says to one question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer<T> {
    /// The records. Empty: the name or its records do not exist.
    pub records: Vec<T>,
    /// How long they hold.
    pub ttl: Duration,
}

/// Nobody has answered, or with an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Failed;

/// What an answer is or would be.
pub type Told<T> = Result<Answer<T>, Failed>;

/// The DNS.
pub trait Records: Sync {
    /// The addresses that this machine's own table has for a name.
    fn own(&self, name: &str) -> Vec<IpAddr>;
    /// NAPTR records.
    fn naptr(&self, name: &str) -> impl Future<Output = Told<Naptr>> + Send;
    /// SRV records.
    fn srv(&self, name: &str) -> impl Future<Output = Told<Srv>> + Send;
    /// A records.
    fn v4(&self, name: &str) -> impl Future<Output = Told<IpAddr>> + Send;
    /// AAAA records.
    fn v6(&self, name: &str) -> impl Future<Output = Told<IpAddr>> + Send;
}

/// Follows a name to where it leads. `chance` draws a number from zero to what it is told, both included.
pub async fn locate(
    records: &impl Records,
    question: &Question,
    chance: &mut (impl FnMut(u32) -> u32 + Send),
) -> Located {
    let Question { host, port, transport } = question;
    let mut search = Search { records, located: Located { targets: Vec::new(), ttl: MOST } };
    let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let usual = (transport.unwrap_or_default(), port.unwrap_or(PORT));
    if let Ok(address) = plain.parse() {
        search.add(usual, &[address]);
        return search.located;
    }
    let own = records.own(host);
    if !own.is_empty() {
        // What this machine's table says is meant as it stands.
        search.located.ttl = LEAST;
        search.add(usual, &own);
        return search.located;
    }
    if port.is_some() || !search.services(host, *transport, chance).await {
        let (addresses, ttl) = addresses(records, host).await;
        search.add(usual, &addresses);
        search.shorten(ttl);
    }
    search.located
}

struct Search<'a, R> {
    records: &'a R,
    located: Located,
}

/// A service that a domain may have: the name of its SRV records.
type Service = (Transport, String);

impl<R: Records> Search<'_, R> {
    fn shorten(&mut self, ttl: Duration) {
        self.located.ttl = self.located.ttl.min(ttl).max(LEAST);
    }

    fn add(&mut self, (transport, port): (Transport, u16), addresses: &[IpAddr]) {
        for &address in addresses {
            let target = (transport, SocketAddr::new(address, port));
            if self.located.targets.len() < TARGETS && !self.located.targets.contains(&target) {
                self.located.targets.push(target);
            }
        }
    }

    /// Looks for SRV records. False: there are none.
    async fn services(
        &mut self,
        host: &str,
        transport: Option<Transport>,
        chance: &mut (impl FnMut(u32) -> u32 + Send),
    ) -> bool {
        let usual = |transport| match transport {
            Transport::Udp => (transport, format!("_sip._udp.{host}")),
            Transport::Tcp => (transport, format!("_sip._tcp.{host}")),
        };
        let services = match transport {
            Some(transport) => vec![usual(transport)],
            None => match self.offered(host).await {
                named if !named.is_empty() => named,
                _ => vec![usual(Transport::Udp), usual(Transport::Tcp)],
            },
        };
        let told = join_all(services.iter().map(|(_, name)| self.records.srv(name))).await;
        let mut exist = false;
        for ((transport, _), told) in services.into_iter().zip(told) {
            match told {
                Ok(Answer { records, .. }) if records.is_empty() => {}
                Ok(Answer { mut records, ttl }) => {
                    exist = true;
                    self.shorten(ttl);
                    records.retain(|one| !one.target.is_empty());
                    order(&mut records, chance);
                    records.truncate(FOLLOWED);
                    let servers = records.iter().map(|one| addresses(self.records, &one.target));
                    for (one, (found, ttl)) in records.iter().zip(join_all(servers).await) {
                        self.add((transport, one.port), &found[..found.len().min(ADDRESSES)]);
                        self.shorten(ttl);
                    }
                }
                Err(Failed) => self.shorten(LEAST),
            }
        }
        exist
    }

    /// The services that NAPTR records name and that we speak, in the domain's order of preference.
    async fn offered(&mut self, host: &str) -> Vec<Service> {
        let Ok(Answer { mut records, ttl }) = self.records.naptr(host).await else {
            self.shorten(LEAST);
            return Vec::new();
        };
        records.sort_by_key(|one| (one.order, one.preference));
        let service = |one: Naptr| {
            let transport = match &*one.services.to_ascii_uppercase() {
                "SIP+D2U" => Transport::Udp,
                "SIP+D2T" => Transport::Tcp,
                _ => return None,
            };
            let leads_to_srv = one.flags.eq_ignore_ascii_case("s") && one.regexp.is_empty();
            (leads_to_srv && !one.replacement.is_empty()).then_some((transport, one.replacement))
        };
        let named: Vec<Service> = records.into_iter().filter_map(service).take(FOLLOWED).collect();
        if !named.is_empty() {
            self.shorten(ttl);
        }
        named
    }
}

/// The addresses of a host, and how long they hold.
async fn addresses(records: &impl Records, host: &str) -> (Vec<IpAddr>, Duration) {
    let own = records.own(host);
    if !own.is_empty() {
        return (own, LEAST);
    }
    let (four, six) = join(records.v4(host), records.v6(host)).await;
    let (mut found, mut ttl) = (Vec::new(), MOST);
    for told in [four, six] {
        match told {
            Ok(Answer { records, .. }) if records.is_empty() => {}
            Ok(answer) => {
                found.extend(answer.records);
                ttl = ttl.min(answer.ttl);
            }
            Err(Failed) => ttl = LEAST,
        }
    }
    (found, ttl)
}

#[cfg(test)]
mod tests;
