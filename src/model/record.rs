//! What a restart needs: records leave the shard as outputs, the store keeps the newest of each key.
//!
//! Times are absolute and everything a record depends on is in it, so that any node can take it over.

use crate::explain::HistoryEntry;
use crate::io::Transport;
use crate::package::Stamp;
use crate::publish::EntityTag;
use crate::time::Time;
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A live publication. Key: resource, package, source.
    Publication(Box<PublicationRecord>),
    /// A publication has ended.
    PublicationGone {
        /// The canonical address.
        resource: Arc<str>,
        /// The package's name.
        package: Arc<str>,
        /// The source.
        source: Arc<str>,
    },
    /// What must outlive publications of a (presentity, package). Key: resource, package.
    Resource(Box<ResourceRecord>),
    /// There is nothing left of it.
    ResourceGone {
        /// The canonical address.
        resource: Arc<str>,
        /// The package's name.
        package: Arc<str>,
    },
    /// A live subscription. Key: our tag.
    Subscription(Box<SubscriptionRecord>),
    /// A subscription has ended.
    SubscriptionGone {
        /// Our tag.
        local_tag: Box<str>,
    },
    /// A subscription or publication of ours at another server. Key: its number.
    Standing {
        /// The number.
        key: u32,
        /// When its lease ends.
        until: Time,
        /// What it needs, in a form of its own. Times in it are as `until`.
        bytes: Bytes,
    },
    /// It has ended.
    StandingGone {
        /// The number.
        key: u32,
    },
}

impl Record {
    /// The canonical address that it is about; empty for the end of a subscription, which names
    /// only that, and for what belongs to no shard.
    pub fn resource(&self) -> &str {
        match self {
            Self::Publication(one) => &one.resource,
            Self::Resource(one) => &one.resource,
            Self::Subscription(one) => &one.resource,
            Self::PublicationGone { resource, .. } | Self::ResourceGone { resource, .. } => resource,
            Self::SubscriptionGone { .. } | Self::Standing { .. } | Self::StandingGone { .. } => "",
        }
    }
}

/// How safe a record must be before its request is answered.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Durability {
    /// Not at all: it is stored when there is time.
    Memory,
    /// Handed to the operating system: survives the end of the process, and within 50 ms that of the machine.
    #[default]
    Written,
    /// On the disk: survives the end of the machine.
    Commit,
}

/// How safe each kind of record must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Durabilities {
    /// Publications, and what outlives them.
    pub publications: Durability,
    /// Subscriptions.
    pub subscriptions: Durability,
}

impl Default for Durabilities {
    fn default() -> Self {
        Self { publications: Durability::Written, subscriptions: Durability::Commit }
    }
}

impl Durabilities {
    /// That of a record.
    pub const fn of(&self, record: &Record) -> Durability {
        match record {
            Record::Subscription(_)
            | Record::SubscriptionGone { .. }
            | Record::Standing { .. }
            | Record::StandingGone { .. } => self.subscriptions,
            Record::Publication(_)
            | Record::PublicationGone { .. }
            | Record::Resource(_)
            | Record::ResourceGone { .. } => self.publications,
        }
    }
}

/// A publication as acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicationRecord {
    /// The canonical address.
    pub resource: Arc<str>,
    /// The package's name.
    pub package: Arc<str>,
    /// The source.
    pub source: Arc<str>,
    /// The newest entity-tag of which the store knows; refreshes since may have handed out later ones.
    pub entity_tag: EntityTag,
    /// Its place among the others.
    pub stamp: Stamp,
    /// When the lease ends: as promised or later, so that a refresh need not be stored each time.
    pub until: Time,
    /// What it says, as [`crate::Package::pack`] wrote it.
    pub fact: Bytes,
    /// The network address of the publisher.
    pub from: SocketAddr,
}

/// What must outlive the publications of a (presentity, package).
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceRecord {
    /// The canonical address.
    pub resource: Arc<str>,
    /// The package's name.
    pub package: Arc<str>,
    /// How many changes there were.
    pub seq: u64,
    /// What keeps others from claiming that what has ended goes on.
    pub residues: Vec<ResidueRecord>,
    /// The latest happenings, oldest first.
    pub history: Vec<HistoryEntry>,
}

/// The residue of a publication that was replaced or has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ResidueRecord {
    /// The source of the publication.
    pub source: Arc<str>,
    /// The publication's.
    pub stamp: Stamp,
    /// When it is forgotten.
    pub until: Time,
    /// What it says, as [`crate::Package::pack`] wrote it.
    pub fact: Bytes,
}

/// A subscription with its dialog.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionRecord {
    /// Our tag, the key.
    pub local_tag: Box<str>,
    /// The canonical address watched.
    pub resource: Arc<str>,
    /// The package's name.
    pub package: Arc<str>,
    /// `active` (true) or `pending`.
    pub active: bool,
    /// When it ends: as promised or later, so that a refresh need not be stored each time.
    pub until: Time,
    /// CSeq numbers and document versions up to this one may have been sent.
    pub reserved: u32,
    /// The newest CSeq received.
    pub remote_cseq: u32,
    /// The Request-URI of its NOTIFYs.
    pub target: Bytes,
    /// The Route header lines of its NOTIFYs.
    pub routes: Bytes,
    /// The value of From of its NOTIFYs, with our tag.
    pub local: Bytes,
    /// The value of To of its NOTIFYs: the watcher, with its tag.
    pub watcher: Bytes,
    /// The Call-ID.
    pub call_id: Bytes,
    /// The value of Event.
    pub event: Bytes,
    /// The value of `entity`, escaped, where it differs from the canonical address.
    pub entity: Option<Box<str>>,
    /// The content type that was chosen.
    pub content_type: Box<str>,
    /// The name of its device profile.
    pub profile: Box<str>,
    /// Fingerprint of what makes a new subscription of the same device replace this one.
    pub device: u128,
    /// Fingerprint of the device's contact alone.
    pub contact: u64,
    /// How NOTIFYs travel.
    pub transport: Transport,
    /// Where they go.
    pub remote: SocketAddr,
    /// Our address as the other side knows it, where the listener is bound to a wildcard.
    pub local_ip: Option<IpAddr>,
    /// The address that the listener is bound to.
    pub listener: SocketAddr,
    /// The network address that the SUBSCRIBE came from.
    pub source: IpAddr,
}
