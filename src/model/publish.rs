//! The words in which protocols publish: what is asked, what is answered.

use crate::package::{BadBody, PackageId};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A (presentity, package) while somebody publishes or watches it. Numbers are used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ResourceId(pub u32);

/// Names one version of a publication (RFC 3903 section 2); 16 lower-case hexadecimal digits on the wire. The first
/// twelve name the publication, the last four count its versions.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct EntityTag(pub u64);

impl EntityTag {
    /// Reads what [`std::fmt::Display`] writes; anything else is a tag that we never gave.
    pub fn read(text: &[u8]) -> Option<Self> {
        let plain = text.len() == 16 && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let text = std::str::from_utf8(text).ok().filter(|_| plain)?;
        u64::from_str_radix(text, 16).ok().map(Self)
    }

    /// Names the publication in all its versions.
    pub const fn publication(self) -> u64 {
        self.0 >> 16
    }

    /// The tag of the publication's next version.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 & !0xffff | (self.0 & 0xffff).wrapping_add(1) & 0xffff)
    }
}

impl std::fmt::Display for EntityTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a publisher asks.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// The canonical address.
    pub resource: &'a str,
    /// The package.
    pub package: PackageId,
    /// What to do.
    pub action: PublishAction<'a>,
    /// How long it shall hold; zero withdraws.
    pub expires: Duration,
    /// Where it came from.
    pub from: SocketAddr,
    /// Whether the caps on one network address do not apply.
    pub trusted: bool,
}

/// What a publication says, unread.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A document.
    Document {
        /// An index into the package's formats.
        format: u8,
        /// The document.
        body: &'a [u8],
    },
    /// The state as JSON, as the package defines it.
    Json(&'a [u8]),
}

/// The four operations of RFC 3903 section 4, and one for sources that name themselves.
#[derive(Clone, Copy, Debug)]
pub enum PublishAction<'a> {
    /// A new publication.
    Initial {
        /// What it says.
        content: Content<'a>,
    },
    /// A new body for a publication.
    Modify {
        /// The one that is meant.
        tag: EntityTag,
        /// What it says.
        content: Content<'a>,
    },
    /// A new lease for a publication; `expires` zero: withdraws it.
    Refresh {
        /// The one that is meant.
        tag: EntityTag,
    },
    /// Creates or replaces the one publication of a source that has a name of its own.
    Put {
        /// Such as `notify:192.0.2.7`.
        source: &'a str,
        /// What it says.
        content: Content<'a>,
    },
}

/// What a publisher is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Published {
    /// Names the publication from now on.
    pub tag: EntityTag,
    /// Whether there was none before.
    pub created: bool,
}

/// Why a publication was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PublishError {
    /// No publication has this entity-tag: SIP 412, HTTP 412.
    #[error("no publication has this entity-tag")]
    NoSuchTag,
    /// The body does not parse: SIP 400, HTTP 422.
    #[error(transparent)]
    BadBody(#[from] BadBody),
    /// A bound was met: SIP 503 with Retry-After, HTTP 429.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// The publisher would come back too often: SIP 423, HTTP 422.
    #[error("expires must be at least {least:?}")]
    IntervalTooBrief {
        /// The least that is allowed.
        least: Duration,
    },
    /// The store cannot keep it now: SIP 503, HTTP 503.
    #[error("the store does not work")]
    NotStored,
}

/// [`Content`] on its way from an adapter to a shard.
#[derive(Clone, Debug)]
pub enum OwnedContent {
    /// A document.
    Document {
        /// An index into the package's formats.
        format: u8,
        /// The document.
        body: Bytes,
    },
    /// The state as JSON, as the package defines it.
    Json(Bytes),
}

impl OwnedContent {
    /// For a shard.
    pub fn borrow(&self) -> Content<'_> {
        match self {
            Self::Document { format, body } => Content::Document { format: *format, body },
            Self::Json(body) => Content::Json(body),
        }
    }
}

/// [`PublishAction`] on its way from an adapter to a shard.
#[derive(Clone, Debug)]
pub enum OwnedAction {
    /// A new publication.
    Initial(OwnedContent),
    /// A new body for a publication.
    Modify(EntityTag, OwnedContent),
    /// A new lease for a publication.
    Refresh(EntityTag),
    /// Ends a publication.
    Withdraw(EntityTag),
    /// Creates or replaces the one publication of a source that has a name of its own, such as `api:crm/default`.
    Put(Arc<str>, OwnedContent),
}

/// What an adapter asks a shard to publish.
#[derive(Clone, Debug)]
pub struct PublishCommand {
    /// The canonical address.
    pub resource: Arc<str>,
    /// The package.
    pub package: PackageId,
    /// What to do.
    pub action: OwnedAction,
    /// How long it shall hold; `None`: the package's default. Longer than the package allows is shortened.
    pub expires: Option<Duration>,
    /// Where it came from.
    pub from: SocketAddr,
}

/// A lease that is to be renewed.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The canonical address.
    pub resource: Arc<str>,
    /// The package.
    pub package: PackageId,
    /// The publication.
    pub tag: EntityTag,
    /// How long it shall hold from now on.
    pub expires: Duration,
}

/// What an adapter is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PublishedLease {
    /// Names the publication from now on.
    pub tag: EntityTag,
    /// Whether there was none before.
    pub created: bool,
    /// How long it holds; zero: it has ended.
    pub expires: Duration,
}
