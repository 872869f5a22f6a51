//! The words in which protocols publish: what is asked, what is answered.

use crate::package::{BadBody, PackageId};
use std::net::SocketAddr;
use std::time::Duration;

/// A (presentity, package) while somebody publishes or watches it. Numbers are used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ResourceId(pub u32);

/// Names one version of a publication (RFC 3903 section 2); 16 lower-case hexadecimal digits on the wire.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct EntityTag(pub u64);

impl EntityTag {
    /// Reads what [`std::fmt::Display`] writes; anything else is a tag that we never gave.
    pub fn read(text: &[u8]) -> Option<Self> {
        let plain = text.len() == 16 && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let text = std::str::from_utf8(text).ok().filter(|_| plain)?;
        u64::from_str_radix(text, 16).ok().map(Self)
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

/// The four operations of RFC 3903 section 4, and one for sources that name themselves.
#[derive(Clone, Copy, Debug)]
pub enum PublishAction<'a> {
    /// A new publication.
    Initial {
        /// An index into the package's formats.
        format: u8,
        /// The document.
        body: &'a [u8],
    },
    /// A new body for a publication.
    Modify {
        /// The one that is meant.
        tag: EntityTag,
        /// An index into the package's formats.
        format: u8,
        /// The document.
        body: &'a [u8],
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
        /// An index into the package's formats.
        format: u8,
        /// The document.
        body: &'a [u8],
    },
}

/// What a publisher is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Published {
    /// Names the publication from now on.
    pub tag: EntityTag,
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
}
