//! Who a user agent is, how patient it is, and what somebody wants it to keep.

use super::compose::Extra;
use crate::auth::Credentials;
use lamplighter_model::Transport;
use lamplighter_model::config::Timers;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// One way in which others reach us and we reach them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Local {
    /// How bytes travel.
    pub transport: Transport,
    /// Which listener or socket: becomes [`lamplighter_model::Flow::listener`].
    pub listener: u8,
    /// Host and port for Via: `127.0.0.1:40001`. IPv6 hosts have brackets.
    pub sent_by: Box<str>,
    /// The URI at which NOTIFYs reach us: `sip:gate@127.0.0.1:40001;transport=tcp`.
    pub contact: Box<str>,
}

impl Local {
    /// Whether a target can be reached from here: same transport, and same family where Via names an address.
    pub fn reaches(&self, target: Target) -> bool {
        let family = match self.sent_by.as_bytes() {
            [b'[', ..] => target.address.is_ipv6(),
            _ if self.sent_by.parse::<std::net::SocketAddrV4>().is_ok() => target.address.is_ipv4(),
            _ => true,
        };
        self.transport == target.transport && family
    }
}

/// Where a request can be sent.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Target {
    /// How.
    pub transport: Transport,
    /// Where to.
    pub address: SocketAddr,
}

/// How patient a user agent is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// The lease to ask for where nobody says another (`default_expiration`, `default_expires`).
    pub default_expires: Duration,
    /// The shortest lease to ask for, whatever somebody says (`min_expires`).
    pub min_expires: Duration,
    /// A subscription that failed is tried again after so long, an eighth more or less (`on_error_retry_time`).
    /// Publications begin with four seconds, doubled each time.
    pub retry: Duration,
    /// Leases are renewed so long before they end (`resubscribe_delta`). 64 s let two whole transactions fail.
    pub ahead: Duration,
    /// Leases are not renewed sooner than after so long (`min_resubscribe_time`), unless they would end by then.
    pub least: Duration,
    /// How long the last NOTIFY is waited for (`wait_for_term_notify`).
    pub farewell: Duration,
    /// First SUBSCRIBEs are spread evenly over so long; zero: at once (`max_subscribe_delay`).
    pub spread: Duration,
    /// What a restart has found is given up if nobody wants it within so long.
    pub claim: Duration,
    /// The most requests that one server owes us an answer to; more wait.
    pub in_flight: usize,
    /// A server that does not answer, or cannot be connected to, is left alone for so long.
    pub shun: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            default_expires: seconds(3600),
            min_expires: Duration::ZERO,
            retry: seconds(120),
            ahead: seconds(64),
            least: seconds(30),
            farewell: seconds(30),
            spread: Duration::ZERO,
            claim: seconds(60),
            in_flight: 256,
            shun: seconds(60),
        }
    }
}

impl Pace {
    /// The lease to ask for.
    pub fn lease(&self, asked: Option<Duration>) -> Duration {
        asked.unwrap_or(self.default_expires).max(self.min_expires).max(Duration::from_secs(1))
    }

    /// How long after `now` a lease of this length is to be renewed.
    ///
    /// It is `lease - ahead`, but not sooner than `least`; if the lease would end by then or within an eighth of it,
    /// it is half the lease. No server makes us come more often than once a second, so that a lease below two seconds
    /// may lapse.
    pub fn renew_after(&self, lease: Duration) -> Duration {
        let after = match lease.saturating_sub(self.ahead) {
            after if after >= self.least && !after.is_zero() => after,
            _ if self.least <= lease - lease / 8 => self.least,
            _ => lease / 2,
        };
        after.max(Duration::from_secs(1))
    }
}

/// Who a user agent is and whom it talks to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its address of record, the URI of From where nobody says another: `sip:101@office.example`.
    pub address: Box<str>,
    /// The display name that goes with this address; empty for none.
    pub display: Box<str>,
    /// The value of User-Agent.
    pub user_agent: Box<str>,
    /// Where it can be reached, in order of preference. Without any, nothing is ever sent.
    pub locals: Vec<Local>,
    /// The outbound proxy, a SIP URI. Requests go there unless a dialog has a route set of its own.
    pub proxy: Option<Box<str>>,
    /// Outbound proxies of single packages, which win over `proxy`. The name is that of Event without parameters.
    pub proxies: BTreeMap<Box<str>, Box<str>>,
    /// Who we are to those who ask.
    pub credentials: Credentials,
    /// The most subscriptions and publications together.
    pub most: usize,
    /// Whether [`super::Output::Save`] is wanted.
    pub store: bool,
    /// Timers of RFC 3261 section 17.
    pub timers: Timers,
    /// How patient it is.
    pub pace: Pace,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: Box::default(),
            display: Box::default(),
            user_agent: Box::default(),
            locals: Vec::new(),
            proxy: None,
            proxies: BTreeMap::new(),
            credentials: Credentials::default(),
            most: 1 << 20,
            store: false,
            timers: Timers::default(),
            pace: Pace::default(),
        }
    }
}

impl Settings {
    /// The outbound proxy: that of the record, else of the package, else of everything.
    pub fn proxy_for<'a>(&'a self, own: Option<&'a str>, event: &str) -> Option<&'a str> {
        let package = event.split(';').next().unwrap_or_default().trim();
        own.or_else(|| self.proxies.get(package).map(|one| &**one)).or(self.proxy.as_deref())
    }
}

/// What to subscribe to. Two that differ in nothing but route, proxy, contact, headers, lease and forks are one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Watch {
    /// Whose state: To, and the Request-URI.
    pub resource: Box<str>,
    /// Who asks: From, so that the other side's policy decides. `None`: the agent's own address.
    pub subscriber: Option<Box<str>>,
    /// The value of Event, such as `dialog` or `dialog;id=7`.
    pub event: Box<str>,
    /// The value of Accept.
    pub accept: Box<str>,
    /// The lease to ask for.
    pub expires: Option<Duration>,
    /// The Request-URI, where it is not the resource.
    pub target: Option<Box<str>>,
    /// Our Contact, where it is not that of the settings.
    pub contact: Option<Box<str>>,
    /// The outbound proxy of this subscription, a SIP URI.
    pub proxy: Option<Box<str>>,
    /// Route headers of the first SUBSCRIBE, such as `<sip:edge.example;lr>`.
    pub routes: Vec<Box<str>>,
    /// Headers of the user's own, in every SUBSCRIBE.
    pub headers: Vec<Extra>,
    /// Whether the package lets a subscription fork, its states to be merged: yes for `dialog` (RFC 4235 section 3.9)
    /// and `message-summary` (RFC 3842 section 3.9), no for `presence` (RFC 3856 section 6.9) and `reg`.
    pub forks: bool,
}

/// What to publish. Two with equal resource, publisher, event and key are one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Record {
    /// Tells records of one resource and event apart; the user's own.
    pub key: Box<str>,
    /// Whose state: the Request-URI and To.
    pub resource: Box<str>,
    /// Who publishes: From. `None`: the agent's own address.
    pub publisher: Option<Box<str>>,
    /// The Request-URI, where it is not the resource.
    pub target: Option<Box<str>>,
    /// The value of Event.
    pub event: Box<str>,
    /// The value of Content-Type.
    pub content_type: Box<str>,
    /// The lease to ask for.
    pub expires: Option<Duration>,
    /// The outbound proxy of this record, a SIP URI.
    pub proxy: Option<Box<str>>,
    /// Headers of the user's own, in every PUBLISH.
    pub headers: Vec<Extra>,
    /// The state.
    pub body: super::Body,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lease: u64, renewed: u64) {
        let pace = Pace { ahead: Duration::from_secs(30), least: Duration::from_secs(30), ..Pace::default() };
        assert_eq!(pace.renew_after(Duration::from_secs(lease)).as_secs(), renewed, "{lease}");
    }

    /// QS-07
    #[test]
    fn leases_are_renewed_ahead_of_their_end_and_never_after_it() {
        for (lease, renewed) in [(3600, 3570), (600, 570), (61, 31), (60, 30), (40, 30), (33, 16), (20, 10), (4, 2)] {
            check(lease, renewed);
        }
        // Once a second, whatever a server says.
        check(1, 1);
        check(0, 1);
    }

    /// PU-07
    #[test]
    fn the_nearest_proxy_wins() {
        let mut settings = Settings { proxy: Some("sip:global".into()), ..Settings::default() };
        settings.proxies.insert("dialog".into(), "sip:package".into());
        assert_eq!(settings.proxy_for(Some("sip:record"), "dialog;id=7"), Some("sip:record"));
        assert_eq!(settings.proxy_for(None, "dialog;id=7"), Some("sip:package"));
        assert_eq!(settings.proxy_for(None, "presence"), Some("sip:global"));
        assert_eq!(Settings::default().proxy_for(None, "presence"), None);
    }

    /// PU-03
    #[test]
    fn the_lease_is_the_default_or_at_least_the_least() {
        let pace = Pace { min_expires: Duration::from_secs(300), ..Pace::default() };
        assert_eq!(pace.lease(None), Duration::from_secs(3600));
        assert_eq!(pace.lease(Some(Duration::from_secs(60))), Duration::from_secs(300));
        assert_eq!(pace.lease(Some(Duration::from_secs(600))), Duration::from_secs(600));
    }

    #[test]
    fn a_door_reaches_its_own_family() {
        let local = |sent_by: &str| Local {
            transport: Transport::Tcp,
            listener: 1,
            sent_by: sent_by.into(),
            contact: "".into(),
        };
        let target = |address: &str| Target { transport: Transport::Tcp, address: address.parse().unwrap() };
        let (four, six) = (target("127.0.0.1:5060"), target("[::1]:5060"));
        assert!(local("127.0.0.1:5060").reaches(four) && !local("127.0.0.1:5060").reaches(six));
        assert!(!local("[::1]:5060").reaches(four) && local("[::1]:5060").reaches(six));
        assert!(local("gate.example:5060").reaches(four) && local("gate.example").reaches(six));
        assert!(!local("[::1]:5060").reaches(Target { transport: Transport::Udp, ..six }));
    }
}
