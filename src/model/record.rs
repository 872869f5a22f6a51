//! What a restart needs: records leave the shard as outputs, the store keeps the newest of each key.
//!
//! Times are absolute and everything a record depends on is in it, so that any node can take it over.

use crate::io::Flow;
use crate::package::Stamp;
use crate::time::Time;
use bytes::Bytes;
use std::sync::Arc;

/// One record. The key is (resource, package, source) for publications, the To-tag for subscriptions.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A live publication.
    Publication(Box<PublicationRecord>),
    /// A publication has ended.
    PublicationGone {
        /// The canonical address.
        resource: Arc<str>,
        /// The package's name.
        package: Box<str>,
        /// The source.
        source: Arc<str>,
    },
    /// A live subscription.
    Subscription(Box<SubscriptionRecord>),
    /// A subscription has ended.
    SubscriptionGone {
        /// Our tag.
        local_tag: Box<str>,
    },
}

/// A publication as acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicationRecord {
    /// The canonical address.
    pub resource: Arc<str>,
    /// The package's name.
    pub package: Box<str>,
    /// The source.
    pub source: Arc<str>,
    /// The entity-tag that was handed out.
    pub entity_tag: Box<str>,
    /// Its place among the others.
    pub stamp: Stamp,
    /// When the lease ends.
    pub until: Time,
    /// The format, a MIME type.
    pub content_type: Box<str>,
    /// The body as received; `None`: unchanged since the last record (a refresh).
    pub body: Option<Bytes>,
    /// The network address of the publisher.
    pub from: std::net::SocketAddr,
}

/// A subscription with its dialog.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionRecord {
    /// Our tag, the key.
    pub local_tag: Box<str>,
    /// The canonical address watched.
    pub resource: Arc<str>,
    /// The package's name.
    pub package: Box<str>,
    /// `active` (true) or `pending`.
    pub active: bool,
    /// When it ends.
    pub until: Time,
    /// The newest CSeq sent.
    pub cseq: u32,
    /// The newest CSeq received.
    pub remote_cseq: u32,
    /// The next document version.
    pub version: u32,
    /// The pre-serialised head of its NOTIFYs: target, route set, From, To, Call-ID, Contact, Event.
    pub head: Bytes,
    /// The content type that was chosen.
    pub content_type: Box<str>,
    /// The name of its device profile.
    pub profile: Box<str>,
    /// Where NOTIFYs go.
    pub flow: Flow,
}
