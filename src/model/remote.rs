//! What adapters ask the machine that talks to other servers, and what it answers.

use crate::package::{AnyState, PackageId};
use crate::time::Time;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A subscription that somebody inside wants: to watch `resource` as `subscriber`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteWish {
    /// Whose state: a SIP URI. One of ours, in canonical form, is served from here unless `target` or `outbound_proxy`
    /// says otherwise.
    pub resource: Box<str>,
    /// Who asks: a SIP URI. `None`: the gateway itself, and then what is learned is for everyone.
    pub subscriber: Option<Box<str>>,
    /// Which state.
    pub package: PackageId,
    /// The `id` of Event.
    pub event_id: Option<Box<str>>,
    /// The Request-URI, where it is not the resource.
    pub target: Option<Box<str>>,
    /// Our Contact, where it is not that of the configuration.
    pub contact: Option<Box<str>>,
    /// A SIP URI.
    pub outbound_proxy: Option<Box<str>>,
    /// Headers of the user's own: name and value.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// The lease to ask for; `None`: as configured.
    pub expires: Option<Duration>,
    /// Whose subscription it is: the name of a principal, or of the entry in the configuration.
    pub owner: Box<str>,
}

/// A question to the machine that talks to other servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RemoteCommand {
    /// Subscribes.
    Subscribe(Box<RemoteWish>),
    /// One subscription, with its documents.
    Get(u64),
    /// Subscriptions without their documents: from this number on, at most so many.
    List {
        /// The first.
        from: u64,
        /// At most so many.
        most: usize,
    },
    /// Tries once more now, even where there was a refusal for good.
    Retry(u64),
    /// Ends a subscription.
    Remove(u64),
    /// What is published to other servers: from this place on, at most so many.
    Publications {
        /// The first.
        from: u64,
        /// At most so many.
        most: usize,
    },
}

/// Its answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RemoteAnswer {
    /// To [`RemoteCommand::Subscribe`], [`RemoteCommand::Get`] and [`RemoteCommand::Retry`].
    Subscription(Box<RemoteRow>),
    /// To [`RemoteCommand::List`], and where to go on, if there may be more.
    Subscriptions(Vec<RemoteRow>, Option<u64>),
    /// To [`RemoteCommand::Publications`], and where to go on, if there may be more.
    Publications(Vec<RemotePublication>, Option<u64>),
    /// To [`RemoteCommand::Remove`].
    Removed,
    /// There is no such subscription.
    Unknown,
    /// There are as many as the configuration allows.
    Full,
    /// A URI makes no sense, or a header; which.
    Invalid(&'static str),
    /// The subscription belongs to the configuration, and ends there.
    Configured,
}

/// A subscription as it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteRow {
    /// Names it; never used again in this life of the gateway.
    pub id: u64,
    /// What was asked for.
    pub wish: RemoteWish,
    /// Whether it is an entry of the configuration.
    pub configured: bool,
    /// The canonical address under which its state is on the bus, if it is.
    pub local: Option<Arc<str>>,
    /// Whether it is served from here, without SIP.
    pub internal: bool,
    /// `pending`, `active`, `retrying`, `rejected`, `terminated`.
    pub state: &'static str,
    /// Why it is not active.
    pub reason: Option<String>,
    /// The last final status; zero before the first.
    pub status: u16,
    /// When the lease ends, if there is one.
    pub until: Option<Time>,
    /// When something is done next without being told.
    pub next: Option<Time>,
    /// NOTIFYs accepted in the life of its dialogs.
    pub notified: u64,
    /// Requests sent in the life of its dialogs.
    pub sent: u64,
    /// How many subscriptions share its dialog, itself included.
    pub shared: usize,
    /// The Call-ID of its dialog; empty when it needs none.
    pub call_id: Box<str>,
    /// What NOTIFYs said, the newest of each notifier; empty in lists.
    pub documents: Vec<RemoteDocument>,
}

/// The newest document of one notifier.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteDocument {
    /// Zero, or the number of the fork.
    pub fork: u32,
    /// When it came.
    pub at: Time,
    /// Its type, without parameters.
    pub content_type: Box<str>,
    /// The document as it came.
    pub body: Bytes,
    /// What it says, as the package writes it: JSON.
    pub state: Option<Bytes>,
    /// Why it could not be read.
    pub problem: Option<String>,
}

/// A state that is published to another server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemotePublication {
    /// The canonical address.
    pub resource: Arc<str>,
    /// Which state.
    pub package: PackageId,
    /// The server, as the rule names it.
    pub server: Box<str>,
    /// `pending`, `active`, `retrying`.
    pub state: &'static str,
    /// Why it is not active.
    pub reason: Option<String>,
    /// The last final status; zero before the first.
    pub status: u16,
    /// When the lease ends, if there is one.
    pub until: Option<Time>,
    /// When something is done next without being told.
    pub next: Option<Time>,
    /// Requests sent in its life.
    pub sent: u64,
}

/// Something that rules may want to publish to other servers has changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heard {
    /// The rules, a bit each.
    pub rules: u64,
    /// The canonical address.
    pub resource: Arc<str>,
    /// The package.
    pub package: PackageId,
}

/// What our own sources compose, without what other servers said; `None`: nobody says anything.
#[derive(Clone)]
pub struct OwnState(pub Option<AnyState>);

impl std::fmt::Debug for OwnState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "OwnState" } else { "OwnState(nothing)" })
    }
}
