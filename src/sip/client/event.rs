//! What a user agent is told, and what it says.

use super::hop::Shunned;
use super::notification::Notification;
use super::settings::Target;
use super::standing::Standing;
use super::table::Place;
use bytes::Bytes;
use lamplighter_model::{Flow, Time, Transport};
use std::collections::BTreeMap;
use std::time::Duration;

/// Names a subscription of an agent.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SubscriptionId(pub(super) Place);

/// Names a publication of an agent.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicationId(pub(super) Place);

/// A subscription or a publication.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Usage {
    /// A subscription.
    Subscription(SubscriptionId),
    /// A publication.
    Publication(PublicationId),
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A datagram, or one framed message of a stream.
    Message {
        /// Where it came from.
        flow: Flow,
        /// All of it.
        bytes: &'a [u8],
    },
    /// A stream has ended or could not be connected, or an ICMP message said that nobody is there.
    Closed(Flow),
    /// The answer to [`Output::Resolve`]; at most 16 addresses count. Empty: it does not resolve.
    Resolved {
        /// The number of the question.
        query: u64,
        /// Where it is reached, in order of preference (RFC 3263 section 4).
        targets: &'a [Target],
        /// How long this may be remembered.
        ttl: Duration,
    },
    /// Time has passed.
    Tick,
}

/// What must be done, and what was learned, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send these bytes. On a stream without a connection number: over any open stream to there, else connect.
    Send {
        /// Where to.
        flow: Flow,
        /// What.
        bytes: Bytes,
    },
    /// Look up a name by RFC 3263 and come back with [`Input::Resolved`]. Addresses are never asked for.
    Resolve {
        /// Names the question.
        query: u64,
        /// The name.
        host: Box<str>,
        /// The port, if the URI has one: then there are no SRV records to look for.
        port: Option<u16>,
        /// The transport, if the URI has one: then there are no NAPTR records to look for.
        transport: Option<Transport>,
    },
    /// Keep this for a restart in place of what was kept under this number; `None`: forget that.
    Save {
        /// The number.
        key: u32,
        /// What to keep.
        standing: Option<Box<Standing>>,
    },
    /// Something that the user wants to know.
    Event(Event),
}

/// How a subscription stands, in the words of the API.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum State {
    /// Not granted yet: nobody has answered, or somebody has yet to decide.
    #[default]
    Pending,
    /// Granted.
    Active,
    /// Failed, to be tried again.
    Retrying,
    /// Refused for good.
    Rejected,
    /// Ended for good: there is nothing to watch, or nothing that will change.
    Terminated,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Active, Self::Retrying, Self::Rejected, Self::Terminated];

    /// As the API says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Retrying => "retrying",
            Self::Rejected => "rejected",
            Self::Terminated => "terminated",
        }
    }
}

/// What a user agent has learned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A subscription was granted or renewed.
    Subscribed {
        /// Which.
        id: SubscriptionId,
        /// For how long.
        lease: Duration,
    },
    /// A NOTIFY of a subscription was accepted.
    Notified {
        /// Which.
        id: SubscriptionId,
        /// Zero for the subscription's own dialog; forks (RFC 6665 section 4.4.1) have other numbers, and each has a
        /// state of its own.
        fork: u32,
        /// What it said.
        notification: Notification,
    },
    /// A fork of a subscription has ended: what it said holds no more.
    ForkEnded {
        /// The subscription.
        id: SubscriptionId,
        /// Which fork.
        fork: u32,
    },
    /// There is no subscription any more, or none has come about.
    SubscriptionLost {
        /// Which.
        id: SubscriptionId,
        /// `Retrying`, `Rejected` or `Terminated`.
        state: State,
        /// Why.
        cause: Cause,
        /// When it will be tried again; `None`: not by itself.
        again: Option<Time>,
    },
    /// A refresh was refused or not answered, but the lease still runs.
    RefreshFailed {
        /// Which.
        id: SubscriptionId,
        /// Why.
        cause: Cause,
        /// When it will be tried again.
        again: Time,
    },
    /// A subscription has ended as its user wished. Its id means nothing any more.
    Unsubscribed {
        /// Which.
        id: SubscriptionId,
    },
    /// A PUBLISH was accepted.
    Published {
        /// Which.
        id: PublicationId,
        /// For how long.
        lease: Duration,
        /// It was published before, and nothing has changed.
        refreshed: bool,
    },
    /// A PUBLISH was refused; the newest state will be published again.
    PublicationLost {
        /// Which.
        id: PublicationId,
        /// Why.
        cause: Cause,
        /// When it will be tried again.
        again: Time,
    },
    /// A publication has been removed, or had not got to the server. Its id means nothing any more.
    Withdrawn {
        /// Which.
        id: PublicationId,
    },
    /// A request got its final answer.
    Answered {
        /// On whose behalf it was sent.
        usage: Usage,
        /// The status; 408 if no answer came, 503 if it could not be sent (RFC 3261 section 8.1.3.1).
        status: u16,
    },
    /// A NOTIFY was refused.
    Refused {
        /// With 400, 415, 481, 489 or 500.
        status: u16,
    },
}

/// Why something ended or was not granted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The server answered with this status.
    Status(u16),
    /// The server did not answer.
    Timeout,
    /// The server's name does not resolve, or it cannot be connected to.
    Unreachable,
    /// The server wants to be left alone (`Some(503)`) or did not answer others (`Some(408)`).
    Shunned(u16),
    /// The server accepted but never sent a NOTIFY.
    NoNotify,
    /// The server accepted a PUBLISH without giving an entity-tag.
    NoEntityTag,
    /// The lease ran out.
    Expired,
    /// The server's NOTIFYs make no sense: one after the other was refused.
    Confused,
    /// A NOTIFY said so, with this reason (empty: none).
    Terminated(Box<str>),
}

impl Cause {
    /// A status that stands for it.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Status(status) | Self::Shunned(status) => *status,
            Self::Timeout | Self::NoNotify => 408,
            Self::Unreachable => 503,
            Self::NoEntityTag | Self::Confused => 500,
            Self::Expired => 481,
            Self::Terminated(_) => 200,
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status} {}", crate::wire::write::phrase(*status)),
            Self::Timeout => f.write_str("no answer"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Shunned(503) => f.write_str("the server asked for patience"),
            Self::Shunned(_) => f.write_str("the server is silent"),
            Self::NoNotify => f.write_str("no NOTIFY"),
            Self::NoEntityTag => f.write_str("no entity-tag"),
            Self::Expired => f.write_str("expired"),
            Self::Confused => f.write_str("NOTIFYs out of order"),
            Self::Terminated(reason) if reason.is_empty() => f.write_str("terminated"),
            Self::Terminated(reason) => write!(f, "terminated: {reason}"),
        }
    }
}

/// A subscription or publication as the API lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// Which.
    pub usage: Usage,
    /// Whose state.
    pub resource: Box<str>,
    /// The subscriber or publisher.
    pub from: Box<str>,
    /// The value of Event.
    pub event: Box<str>,
    /// How it stands. A publication is active while the server holds it.
    pub state: State,
    /// Why it is not active.
    pub cause: Option<Cause>,
    /// The last final status, as [`Event::Answered`] has it; zero before the first.
    pub last_status: u16,
    /// When the lease ends, if there is one.
    pub until: Option<Time>,
    /// When something is done next without being told.
    pub next: Option<Time>,
    /// Where requests go: the Request-URI.
    pub target: Box<[u8]>,
    /// Call-ID.
    pub call_id: Box<str>,
    /// Our tag.
    pub local_tag: Box<str>,
    /// Their tag, of a subscription with a dialog.
    pub remote_tag: Option<Box<[u8]>>,
    /// Our last CSeq.
    pub cseq: u32,
    /// The entity-tag, of a publication that the server holds.
    pub entity_tag: Option<Box<[u8]>>,
    /// How many use it.
    pub users: u32,
    /// Requests sent in its life, without retransmissions.
    pub sent: u64,
    /// NOTIFYs accepted in its life.
    pub notified: u64,
}

/// An agent in numbers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Subscriptions that were begun, forks included.
    pub subscriptions_begun: u64,
    /// Those that have ended.
    pub subscriptions_ended: u64,
    /// Publications that were begun.
    pub publications_begun: u64,
    /// Those that have ended.
    pub publications_ended: u64,
    /// Requests that were sent, without retransmissions.
    pub sent: u64,
    /// Those of them that were PUBLISH requests.
    pub publishes: u64,
    /// Retransmissions.
    pub resent: u64,
    /// Final answers by their first digit, 2 to 6.
    pub answers: [u64; 5],
    /// Requests without an answer when their time was over.
    pub timeouts: u64,
    /// Requests that went to another server after one failed.
    pub failed_over: u64,
    /// NOTIFYs that were accepted.
    pub notified: u64,
    /// NOTIFYs that were refused.
    pub refused: u64,
    /// Messages that cannot be read, and answers that nobody waits for.
    pub dropped: u64,
    /// Subscriptions, forks and publications that are kept.
    pub kept: usize,
    /// Names of servers whose addresses are remembered or asked for.
    pub hosts: usize,
    /// Servers that are known by address.
    pub servers: usize,
    /// The same by the status of the answer.
    pub refused_with: BTreeMap<u16, u64>,
    /// Subscriptions by how they stand, as [`State::ALL`] has them; forks are not among them.
    pub subscriptions: [usize; 5],
    /// Publications by how they stand.
    pub publications: [usize; 5],
    /// Dialogs, forks included.
    pub dialogs: usize,
    /// Requests without an answer yet.
    pub in_flight: usize,
    /// Requests that wait for those.
    pub waiting: usize,
    /// Servers that are left alone, until when, and the status that stands for why.
    pub shunned: Vec<(Target, Time, u16)>,
}

impl Totals {
    pub(super) fn shun(&mut self, all: Vec<(Target, Shunned)>) {
        self.shunned = all.into_iter().map(|(target, shunned)| (target, shunned.until, shunned.status)).collect();
    }
}
