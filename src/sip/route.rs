//! Whose message is it? A request outside a dialog belongs to the slot of its presentity; To-tags and branches that
//! we made carry the slot themselves (RFC 3261 leaves both to their maker).

use crate::identifier::{Branch, Tag};
use crate::wire::{Message, Name, NameAddr, Scheme, Start, Uri, Via};
use lamplighter_model::{Addresses, NotLocal, Slot};

/// Where a message belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Routed {
    /// To the subscription that our To-tag names.
    InDialog(Tag),
    /// To the NOTIFY that our branch names.
    Response(Branch),
    /// To the presentity that the Request-URI names, now in canonical form.
    Presentity(Slot),
    /// To nobody in particular: any shard may answer it.
    Anyone(Anyone),
}

/// Why nobody in particular must answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Anyone {
    /// The Request-URI has a scheme that means nothing here (416).
    UnknownScheme,
    /// The Request-URI cannot be read (400).
    BadUri,
    /// The address is not one of ours (404), or it names no user.
    NotLocal(NotLocal),
    /// A request inside a dialog that is not ours (481).
    ForeignDialog,
    /// A response to nothing that we sent (dropped).
    StrayResponse,
}

impl Routed {
    /// The slot that must handle it, if it matters.
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Self::InDialog(tag) => Some(tag.slot),
            Self::Response(branch) => Some(branch.slot),
            Self::Presentity(slot) => Some(*slot),
            Self::Anyone(_) => None,
        }
    }

    /// Whether it belongs to something that we have accepted before.
    pub fn is_in_dialog(&self) -> bool {
        matches!(self, Self::InDialog(_) | Self::Response(_))
    }
}

/// Finds out whose message it is. For [`Routed::Presentity`], `address` holds the canonical address.
pub fn route(message: Message<'_>, addresses: &Addresses, address: &mut String) -> Routed {
    match message.start() {
        Start::Response { .. } => {
            let via = message.list(Name::Via).next().and_then(Via::read);
            let branch = via.and_then(|via| via.branch()).and_then(Branch::read);
            branch.map_or(Routed::Anyone(Anyone::StrayResponse), Routed::Response)
        }
        Start::Request { uri, .. } => {
            let to = message.first(Name::To).and_then(NameAddr::read);
            if let Some(tag) = to.and_then(|to| to.tag()) {
                return Tag::read(tag).map_or(Routed::Anyone(Anyone::ForeignDialog), Routed::InDialog);
            }
            match canonical(uri, addresses, address) {
                Ok(()) => Routed::Presentity(Slot::of(address)),
                Err(why) => Routed::Anyone(why),
            }
        }
    }
}

/// The canonical form of a URI as a peer wrote it.
pub fn canonical(uri: &[u8], addresses: &Addresses, out: &mut String) -> Result<(), Anyone> {
    let uri = Uri::read(uri).ok_or(Anyone::BadUri)?;
    let host = match uri.scheme {
        Scheme::Sip | Scheme::Sips | Scheme::Pres | Scheme::Im => uri.host,
        Scheme::Tel => addresses.domains().first().map_or(&b""[..], |domain| domain.as_bytes()),
        Scheme::Urn | Scheme::Other => return Err(Anyone::UnknownScheme),
    };
    addresses.canonical(uri.user, host, out).map_err(Anyone::NotLocal)
}
