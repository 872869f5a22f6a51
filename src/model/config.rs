//! What shards are told by configuration: one immutable value, replaced as a whole on reload.

use crate::access::Access;
use crate::address::Addresses;
use crate::io::Transport;
use crate::package::Packages;
use crate::record::Durabilities;
use std::net::SocketAddr;
use std::time::Duration;

/// Everything that a shard needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Counts reloads; goes into history.
    pub revision: u64,
    /// How many shards there are.
    pub shards: u8,
    /// The value of Server and User-Agent headers.
    pub server: Box<str>,
    /// What addresses mean.
    pub addresses: Addresses,
    /// Where we listen, and what we tell others about it.
    pub listeners: Vec<Listener>,
    /// Who may do what.
    pub access: Access,
    /// The event packages.
    pub packages: Packages,
    /// What devices need.
    pub profiles: Profiles,
    /// Timers of RFC 3261 section 17.
    pub timers: Timers,
    /// How NOTIFYs are sent.
    pub notify: Notify,
    /// Bounds.
    pub limits: Limits,
    /// When new requests are refused.
    pub overload: Overload,
    /// How safe records must be; `None`: there is no store, and none are wanted.
    pub store: Option<Durabilities>,
}

/// A socket as others see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// How bytes travel.
    pub transport: Transport,
    /// The address it is bound to.
    pub address: SocketAddr,
    /// `host:port` for Via and Contact. An IPv6 host has its brackets.
    pub advertise: Box<str>,
}

impl Listener {
    /// Whether nothing better than the wildcard address is known to tell others, so that each flow's own local
    /// address is told.
    pub fn advertise_is_wildcard(&self) -> bool {
        self.address.ip().is_unspecified()
            && (self.advertise.starts_with("0.0.0.0:") || self.advertise.starts_with("[::]:"))
    }
}

/// Timers of RFC 3261 section 17.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timers {
    /// The round trip estimate.
    pub t1: Duration,
    /// The longest time between retransmissions.
    pub t2: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4) }
    }
}

/// How NOTIFYs are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Notify {
    /// How many NOTIFYs in a row may stay unanswered (or be answered 408) before the subscription ends; 1 is what
    /// RFC 6665 section 4.2.2 asks for.
    pub failures: u8,
    /// The pause before a suspect watcher is probed again, doubled each time.
    pub probe: Duration,
    /// The least time between two NOTIFYs of a subscription, the first change excepted.
    pub min_interval: Duration,
    /// Above this a NOTIFY leaves UDP when it can, bytes.
    pub max_udp: usize,
    /// How many NOTIFYs one turn of a shard writes before others get theirs.
    pub burst: usize,
    /// How many NOTIFYs a second the watchers of a stopping gateway are told with.
    pub stop_rate: u32,
    /// How many NOTIFYs a second the watchers are told with after a restart.
    pub restart_rate: u32,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            failures: 3,
            probe: Duration::from_secs(30),
            min_interval: Duration::ZERO,
            max_udp: 1300,
            burst: 256,
            restart_rate: 2000,
            stop_rate: 5000,
        }
    }
}

/// Bounds of one shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The longest head of a message, bytes; beyond: 513.
    pub head: usize,
    /// The most header lines; beyond: 400.
    pub headers: usize,
    /// The longest body, bytes; beyond: 413.
    pub body: usize,
    /// Live publications of one presentity and package; beyond: 503.
    pub publications: usize,
    /// Of these, from one network address that is not trusted; beyond: 503.
    pub publications_per_source: usize,
    /// Presentities with a publication or a watcher; beyond: 503.
    pub resources: usize,
    /// Subscriptions; beyond: 503.
    pub subscriptions: usize,
    /// Subscriptions from one network address that is not trusted; beyond: 503.
    pub subscriptions_per_source: usize,
    /// Server transactions remembered; beyond, new requests get 503.
    pub transactions: usize,
    /// Answers that wait for the store; beyond, requests get 503.
    pub held: usize,
    /// History entries of one presentity and package; the oldest leaves.
    pub history: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 16 * 1024,
            headers: 128,
            body: 256 * 1024,
            publications: 64,
            publications_per_source: 8,
            resources: 1_000_000,
            subscriptions: 1_000_000,
            subscriptions_per_source: 2_000,
            transactions: 1_000_000,
            held: 16_384,
            history: 16,
        }
    }
}

/// When new requests are refused with 503.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Overload {
    /// A request that waited longer than this to be read, if that has gone on for as long again.
    pub age: Duration,
    /// More NOTIFYs than this waiting to be written.
    pub backlog: usize,
    /// The value of Retry-After.
    pub retry_after: Duration,
}

impl Default for Overload {
    fn default() -> Self {
        Self { age: Duration::from_millis(200), backlog: 200_000, retry_after: Duration::from_secs(5) }
    }
}

/// What an idle dialog document looks like (DI-13).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Idle {
    /// An empty `<dialog-info>`.
    #[default]
    Empty,
    /// One terminated `<dialog>` with an id.
    Terminated,
}

/// What a kind of device needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// Show one dialog only, the most urgent (DI-06).
    pub single_dialog: bool,
    /// The idle document.
    pub idle: Idle,
    /// The id of the dialog in an idle document.
    pub idle_id: Box<str>,
    /// Echo the address that the watcher asked for in `entity`, instead of the canonical one.
    pub entity_as_subscribed: bool,
    /// Send a voicemail body even when nothing is known (MW-03).
    pub first_body: bool,
    /// Send the NOTIFY that ends an unsubscription.
    pub final_notify: bool,
    /// 481 instead of 500 for a SUBSCRIBE whose CSeq goes back.
    pub stale_is_481: bool,
    /// Answer a SUBSCRIBE whose Accept names nothing of ours as if it named the default.
    pub ignore_accept: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: "rfc".into(),
            single_dialog: false,
            idle: Idle::Empty,
            idle_id: "0".into(),
            entity_as_subscribed: true,
            first_body: true,
            final_notify: true,
            stale_is_481: false,
            ignore_accept: false,
        }
    }
}

/// A profile's place in [`Profiles`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProfileId(pub u16);

/// All profiles: the default one first, then those chosen by User-Agent, in order.
#[derive(Clone, Debug)]
pub struct Profiles {
    all: Vec<Profile>,
    patterns: regex::bytes::RegexSet,
}

impl Default for Profiles {
    fn default() -> Self {
        Self { all: vec![Profile::default()], patterns: regex::bytes::RegexSet::empty() }
    }
}

impl Profiles {
    /// `by_user_agent` holds (regular expression, profile); the first that matches is chosen.
    pub fn new(default: Profile, by_user_agent: Vec<(String, Profile)>) -> Result<Self, regex::Error> {
        let patterns = regex::bytes::RegexSet::new(by_user_agent.iter().map(|(pattern, _)| pattern))?;
        let mut all = vec![default];
        all.extend(by_user_agent.into_iter().map(|(_, profile)| profile));
        Ok(Self { all, patterns })
    }

    /// The profile for a User-Agent header.
    pub fn choose(&self, user_agent: &[u8]) -> ProfileId {
        if self.patterns.is_empty() {
            return ProfileId(0);
        }
        ProfileId(self.patterns.matches(user_agent).iter().next().map_or(0, |index| index as u16 + 1))
    }

    /// The profile of this name.
    pub fn find(&self, name: &str) -> Option<ProfileId> {
        self.all.iter().position(|one| *one.name == *name).map(|index| ProfileId(index as u16))
    }

    /// The profile itself; the default one when the number is of an older configuration.
    pub fn get(&self, id: ProfileId) -> &Profile {
        self.all.get(usize::from(id.0)).unwrap_or(&self.all[0])
    }
}
