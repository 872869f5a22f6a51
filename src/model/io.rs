//! What goes into a shard and what comes out, without the words of any protocol.

use crate::explain::{Explanation, Trace, WatcherRow};
use crate::package::{AnyState, PackageId};
use crate::publish::{PublishCommand, PublishError, PublishedLease, Renewal};
use crate::record::Record;
use crate::remote::{Heard, OwnState, RemoteAnswer, RemoteCommand, RemoteNews};
use crate::time::Time;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How bytes travel.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// A stream with message framing by Content-Length.
    Tcp,
}

impl Transport {
    /// Whether bytes arrive in order or not at all, so that nothing needs to be sent again.
    pub const fn is_stream(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Its name in a Via header.
    pub const fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// Where bytes came from and where an answer goes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Flow {
    /// How they travel.
    pub transport: Transport,
    /// Which of `Config::listeners` received them or is to send them.
    pub listener: u8,
    /// The connection; zero for datagrams, and for "any open stream to `remote`, else connect within a second".
    pub connection: u64,
    /// The other side.
    pub remote: SocketAddr,
    /// Our address as the other side knows it, where the listener is bound to a wildcard.
    pub local: Option<IpAddr>,
}

impl Flow {
    /// A datagram flow.
    pub const fn udp(listener: u8, remote: SocketAddr) -> Self {
        Self { transport: Transport::Udp, listener, connection: 0, remote, local: None }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram, or one framed message of a stream.
    Datagram {
        /// Where it came from.
        flow: Flow,
        /// All of it.
        bytes: &'a [u8],
        /// How long it has waited since the kernel took it in.
        age: Duration,
    },
    /// A stream has ended, or could not be connected; or datagrams to there go in vain.
    Closed(Flow),
    /// A host that the shard asked for, as addresses in order of preference; empty: it does not resolve.
    Resolved {
        /// The number that [`Output::Resolve`] gave.
        query: u64,
        /// With which transport to reach it where.
        targets: &'a [(Transport, SocketAddr)],
        /// How long this may be remembered.
        ttl: Duration,
    },
    /// A question from outside.
    Command {
        /// Comes back with the answer.
        ticket: u64,
        /// The question.
        command: Command,
    },
    /// Records up to these numbers are safe.
    Saved {
        /// As safe as [`crate::Durability::Written`] says.
        written: u64,
        /// As safe as [`crate::Durability::Commit`] says.
        committed: u64,
    },
    /// The store has stopped working (true), or works again (false). It keeps what it has been given.
    StoreFailing(bool),
    /// A new configuration, already checked as a whole.
    Config(Arc<crate::Config>),
    /// The answer to [`Output::Ask`]; `None`: the shard was too busy to be asked, or to answer in time.
    Asked {
        /// The question's number.
        number: u64,
        /// The answer.
        answer: Option<Answer>,
    },
    /// States of our own have changed that other servers may want. For the machine beside the shards.
    Heard(&'a [Heard]),
    /// The gateway is about to stop: watchers are told `terminated;reason=deactivated` and nothing new is accepted.
    Stop,
    /// Time has passed; or there was room to go on with a large fan-out.
    Tick,
}

/// A question that adapters ask a shard.
#[derive(Clone, Debug)]
pub enum Command {
    /// Why the lamp of this canonical address is lit.
    Explain {
        /// The canonical address.
        resource: Arc<str>,
    },
    /// Publishes. The answer comes once the publication is as safe as configured.
    Publish(Box<PublishCommand>),
    /// Renews the leases of many publications of one shard. Who asks will ask again: the store learns of it, and nothing
    /// waits for that.
    Renew(Vec<Renewal>),
    /// Lists subscriptions.
    Watchers {
        /// To this canonical address only.
        resource: Option<Arc<str>>,
        /// Go on from here; zero: from the start.
        from: u32,
        /// At most so many.
        most: usize,
    },
    /// Sends every watcher of this canonical address a NOTIFY with the whole state.
    Refresh {
        /// The canonical address.
        resource: Arc<str>,
    },
    /// Starts or ends [`Output::Trace`] of this canonical address.
    Trace {
        /// The canonical address.
        resource: Arc<str>,
        /// Starts.
        on: bool,
    },
    /// What our own sources say of this canonical address: without `remote:` sources, and without those that
    /// published from one of these networks.
    Own {
        /// The canonical address.
        resource: Arc<str>,
        /// The package.
        package: PackageId,
        /// Whose publications are left out.
        except: Arc<[IpNet]>,
    },
    /// Whether everything that came back from the store has been told.
    Restored,
    /// For the machine that talks to other servers; shards have no answer.
    Remote(RemoteCommand),
}

/// What a shard answers.
#[derive(Debug)]
pub enum Answer {
    /// To [`Command::Explain`].
    Explain(Box<Explanation>),
    /// To [`Command::Publish`].
    Published(Result<PublishedLease, PublishError>),
    /// To [`Command::Renew`], in its order.
    Renewed(Vec<Result<PublishedLease, PublishError>>),
    /// To [`Command::Watchers`].
    Watchers {
        /// The subscriptions.
        rows: Vec<WatcherRow>,
        /// Where to go on, if there may be more.
        next: Option<u32>,
    },
    /// To [`Command::Refresh`]: how many watchers there are.
    Refreshed(usize),
    /// To [`Command::Trace`].
    Traced,
    /// To [`Command::Own`].
    Own(OwnState),
    /// To [`Command::Restored`].
    Restored(bool),
    /// To [`Command::Remote`].
    Remote(RemoteAnswer),
}

/// What must be done.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes of [`Outbox::bytes`].
    Send {
        /// Where to.
        flow: Flow,
        /// Which bytes.
        at: Range<u32>,
    },
    /// The datagram just handled belongs to this shard: hand it on.
    Forward {
        /// The owner.
        shard: u8,
        /// Whether it belongs to a dialog or transaction of ours, for which rings keep room.
        in_dialog: bool,
    },
    /// A state has changed.
    Change(Change),
    /// Something that a later restart needs.
    Save {
        /// Counts the records of this shard, from 1; [`Input::Saved`] names it.
        number: u64,
        /// The record.
        record: Record,
    },
    /// Something has happened to a presentity that is being traced.
    Trace(Trace),
    /// Somebody listens to what becomes of something at another server. Of the machine beside the shards.
    News(Box<RemoteNews>),
    /// Look up a host (RFC 3263) and come back with [`Input::Resolved`].
    Resolve {
        /// Names the question.
        query: u64,
        /// The host name.
        host: Box<str>,
        /// The port, if the URI has one.
        port: Option<u16>,
        /// The transport, if the URI has one.
        transport: Option<Transport>,
    },
    /// Ask the owner of a canonical address and come back with [`Input::Asked`]. From the machine beside the shards.
    Ask {
        /// The question's number.
        number: u64,
        /// The canonical address.
        resource: Arc<str>,
        /// The question.
        command: Box<Command>,
    },
    /// Close this stream: what it sent cannot be framed.
    Close(Flow),
    /// The answer to a command.
    Answer {
        /// The command's.
        ticket: u64,
        /// The answer.
        answer: Answer,
    },
}

/// A new state of one presentity and package, for readers outside the shard.
#[derive(Clone)]
pub struct Change {
    /// The canonical address.
    pub resource: Arc<str>,
    /// The package.
    pub package: PackageId,
    /// Counts the changes of this (resource, package), from 1.
    pub seq: u64,
    /// When.
    pub at: Time,
    /// The source whose word changed it, such as `pub:7f3a`.
    pub source: Arc<str>,
    /// Why, in a word: `published`, `withdrawn`, `expired`, `derived`, `lingered`.
    pub reason: &'static str,
    /// The state; `None`: nobody says anything any more.
    pub state: Option<AnyState>,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resource, package, seq, reason, state, .. } = self;
        write!(f, "Change({resource} {package:?} #{seq} {reason}, {})", if state.is_some() { "state" } else { "gone" })
    }
}

/// What a shard wants done: a byte buffer, and a list of outputs that point into it.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The bytes of all [`Output::Send`].
    pub bytes: Vec<u8>,
    /// What to do, in order.
    pub outputs: Vec<Output>,
}

impl Outbox {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.outputs.clear();
    }

    /// Sends what has been written to `bytes` since it was `from` long.
    pub fn send(&mut self, flow: Flow, from: usize) {
        let at = from as u32..self.bytes.len() as u32;
        self.outputs.push(Output::Send { flow, at });
    }

    /// The bytes of a [`Output::Send`].
    pub fn slice(&self, at: &Range<u32>) -> &[u8] {
        &self.bytes[at.start as usize..at.end as usize]
    }
}
