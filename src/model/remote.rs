//! What adapters ask the machine that talks to other servers, and what it answers.

use crate::package::{AnyState, BadBody, PackageId};
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
    /// The types to ask for, of those that the package has; empty: all of them.
    pub accept: Vec<Box<str>>,
    /// Whether the resource may be a list (RFC 4662), whose members are told apart.
    pub list: bool,
    /// Whose subscription it is: the name of a principal, or of the entry in the configuration.
    pub owner: Box<str>,
}

/// A document that somebody inside wants to have published at another server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteRecord {
    /// Whose state: a SIP URI.
    pub resource: Box<str>,
    /// Who publishes: a SIP URI. `None`: the presentity itself.
    pub publisher: Option<Box<str>>,
    /// Which state.
    pub package: PackageId,
    /// The owner's own name for it: the same resource, publisher, package and id again are the same publication.
    /// `None`: it is a new one.
    pub id: Option<Box<str>>,
    /// What it says.
    pub content: RemoteContent,
    /// The Request-URI, where it is not the resource.
    pub target: Option<Box<str>>,
    /// A SIP URI.
    pub outbound_proxy: Option<Box<str>>,
    /// Headers of the user's own: name and value.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// The lease to ask for; `None`: as configured.
    pub expires: Option<Duration>,
    /// Whose publication it is: the name of a principal.
    pub owner: Box<str>,
}

/// What a publication at another server says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RemoteContent {
    /// A document, sent as it is.
    Document {
        /// The value of Content-Type.
        content_type: Box<str>,
        /// The document.
        body: Bytes,
    },
    /// The state as JSON, which the package writes in its first format, with a version that rises.
    State(Bytes),
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
    /// Asks for another lease from now on, and renews at once. All who share a dialog share its lease.
    Renew {
        /// Which.
        id: u64,
        /// The lease to ask for.
        expires: Duration,
    },
    /// Ends a subscription.
    Remove(u64),
    /// Publishes a document elsewhere, or replaces what its owner published under the same name.
    Publish(Box<RemoteRecord>),
    /// Changes what a publication says, or renews its lease if it says nothing new.
    Modify {
        /// Which.
        number: u64,
        /// What it says now; `None`: the same.
        content: Option<RemoteContent>,
        /// The lease to ask for from now on; `None`: as before.
        expires: Option<Duration>,
    },
    /// Removes a publication. How that went is remembered for a minute.
    Withdraw(u64),
    /// One publication that somebody inside has asked for.
    Publication(u64),
    /// What is published to other servers, first what somebody inside has asked for: from this place on, at most so many.
    Publications {
        /// The first.
        from: u64,
        /// At most so many.
        most: usize,
    },
    /// Everything that is counted.
    Totals,
    /// The same for somebody who listens: what is begun so ends with them, and they are told what becomes of it. Whoever
    /// asks for one subscription or publication is told of that from now on.
    For {
        /// The listener.
        listener: u64,
        /// What they want.
        command: Box<RemoteCommand>,
    },
    /// A listener leaves. The number, if there is one: this subscription or publication alone does not matter to them
    /// any more; else all that they have begun ends.
    Leave {
        /// The listener.
        listener: u64,
        /// One thing.
        only: Option<RemoteThing>,
    },
}

/// A subscription or a publication, by its number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RemoteThing {
    /// A subscription.
    Subscription(u64),
    /// A publication.
    Publication(u64),
}

/// What a listener is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteNews {
    /// The listener.
    pub listener: u64,
    /// What it is about.
    pub thing: RemoteThing,
    /// What is new.
    pub told: RemoteTold,
}

/// How it stands now. Of several the newest counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RemoteTold {
    /// A subscription.
    Subscription {
        /// All of it.
        row: Box<RemoteRow>,
        /// There are new documents.
        fresh: bool,
    },
    /// A publication.
    Publication(Box<RemotePublication>),
    /// Somebody else has ended it.
    Ended,
}

impl RemoteTold {
    /// This one, after `older` of the same thing.
    #[must_use]
    pub fn after(mut self, older: &Self) -> Self {
        if let (Self::Subscription { fresh, .. }, Self::Subscription { fresh: true, .. }) = (&mut self, older) {
            *fresh = true;
        }
        self
    }
}

/// Something counted, for the metrics page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteTotal {
    /// Its name, with labels. Those of one name stand together.
    pub name: String,
    /// What it means.
    pub help: &'static str,
    /// It only rises.
    pub counter: bool,
    /// How many.
    pub value: u64,
}

/// Its answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RemoteAnswer {
    /// To [`RemoteCommand::Subscribe`], [`RemoteCommand::Get`], [`RemoteCommand::Retry`] and [`RemoteCommand::Renew`].
    Subscription(Box<RemoteRow>),
    /// To [`RemoteCommand::List`], and where to go on, if there may be more.
    Subscriptions(Vec<RemoteRow>, Option<u64>),
    /// To [`RemoteCommand::Publications`], and where to go on, if there may be more.
    Publications(Vec<RemotePublication>, Option<u64>),
    /// To [`RemoteCommand::Publish`], [`RemoteCommand::Modify`], [`RemoteCommand::Withdraw`] and
    /// [`RemoteCommand::Publication`]. The flag: it is a new one.
    Publication(Box<RemotePublication>, bool),
    /// To [`RemoteCommand::Totals`].
    Totals(Vec<RemoteTotal>),
    /// To [`RemoteCommand::Remove`].
    Removed,
    /// There is no such subscription or publication.
    Unknown,
    /// There are as many as the configuration allows.
    Full,
    /// It is for another server, and the configuration has us talk to none.
    Off,
    /// A URI makes no sense, or a header; which.
    Invalid(&'static str),
    /// A state makes no sense.
    BadBody(BadBody),
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
    /// What they said of the members of a list; `None` in lists of subscriptions.
    pub list: Option<RemoteList>,
}

/// A list (RFC 4662), as its notifier tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteList {
    /// The list, as its notifier calls it.
    pub uri: Box<str>,
    /// What people call it.
    pub name: Option<Box<str>>,
    /// The version of the newest NOTIFY that was taken.
    pub version: Option<u32>,
    /// When the newest NOTIFY came.
    pub at: Time,
    /// Why it was not taken.
    pub problem: Option<String>,
    /// All members, those of lists inside of it included.
    pub members: Vec<RemoteMember>,
}

/// A member of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteMember {
    /// Its address.
    pub uri: Box<str>,
    /// What people call it.
    pub name: Option<Box<str>>,
    /// The canonical address under which its state is on the bus, if it is.
    pub local: Option<Arc<str>>,
    /// The subscriptions that the list's server has for it.
    pub instances: Vec<RemoteInstance>,
}

/// A subscription that the server of a list has for a member.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteInstance {
    /// As the server calls it.
    pub id: Box<str>,
    /// `active`, `pending`, `terminated`.
    pub standing: &'static str,
    /// Why it has ended.
    pub reason: Option<Box<str>>,
    /// When its document came; `None`: there is none.
    pub at: Option<Time>,
    /// The type of its document, without parameters.
    pub content_type: Box<str>,
    /// What is true by it, as the package writes it: JSON.
    pub state: Option<Bytes>,
    /// Why it could not be read.
    pub problem: Option<String>,
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
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RemotePublication {
    /// Names it, if somebody inside has asked for it; else a rule of the configuration did.
    pub number: Option<u64>,
    /// Who asked for it; empty: a rule.
    pub owner: Box<str>,
    /// The owner's own name for it.
    pub id: Option<Box<str>>,
    /// The canonical address, or what it is at the other server.
    pub resource: Arc<str>,
    /// Who publishes; `None`: the presentity itself.
    pub publisher: Option<Box<str>>,
    /// Which state.
    pub package: PackageId,
    /// The server, as the rule names it; or where requests go first, or the Request-URI.
    pub server: Box<str>,
    /// What it says, and the type of that; empty for rules.
    pub content_type: Box<str>,
    /// What the other server calls the version that it holds.
    pub entity_tag: Option<Box<[u8]>>,
    /// `pending`, `active`, `retrying`; `terminated`: it has been removed.
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
