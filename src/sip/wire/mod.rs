//! SIP on the wire: reading without copying, framing of streams, and the primitives of writing.
//!
//! Everything borrows from the bytes that came in. A message is indexed once, line by line; what a header means is
//! read when somebody asks. Octets stay octets: nothing here requires UTF-8, and nothing is repaired on the way
//! through. All readers are linear in their input, take blanks and folds where RFC 3261 section 25.1 allows them,
//! and answer `None` (never panic) to what they cannot read.

mod address;
mod event;
pub mod frame;
mod gate;
mod index;
mod lex;
pub mod multipart;
mod name;
mod params;
mod uri;
mod via;
pub mod write;

#[cfg(test)]
mod tests;

pub use address::NameAddr;
pub use event::{Event, MediaRange, SubscriptionState, media_type, seconds, subscription_state};
pub use gate::Essentials;
pub use index::{Index, Message, Reject, Start};
pub use lex::text;
pub use name::Name;
pub use params::Params;
pub use uri::{Scheme, Uri};
pub use via::Via;

/// How much of a message is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The longest start line and headers together, bytes; beyond: 513.
    pub head: usize,
    /// The most header lines; beyond: 400.
    pub headers: usize,
    /// The longest body, bytes; beyond: 413.
    pub body: usize,
}

impl From<&lamplighter_model::config::Limits> for Limits {
    fn from(limits: &lamplighter_model::config::Limits) -> Self {
        Self { head: limits.head, headers: limits.headers, body: limits.body }
    }
}

/// Whether a datagram holds nothing but what keeps a NAT binding open: CR, LF, NUL and blanks, or nothing at all.
pub fn keep_alive(raw: &[u8]) -> bool {
    raw.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0 | b' ' | b'\t'))
}
