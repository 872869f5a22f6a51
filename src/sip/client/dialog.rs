//! The dialog of a subscription: its numbers, and what is known of the other side (RFC 3261 section 12).

use super::agent::Turn;
use super::event::SubscriptionId;
use super::transaction::number;
use crate::wire::{Message, Name, NameAddr};
use lamplighter_model::Time;

/// The longest route set that a dialog can have.
const LONGEST_ROUTE: usize = 16;
/// CSeq numbers are reserved in the store so many at a time.
pub const BLOCK: u32 = 32;
/// The first character of our tags, by which they are told from those of the server side.
const MARK: char = 'c';

/// The other side of the dialog.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its tag.
    pub tag: Box<[u8]>,
    /// Its newest Contact.
    pub target: Box<[u8]>,
    /// The route set.
    pub routes: Vec<Box<[u8]>>,
}

/// The dialog of one attempt.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: Box<str>,
    /// Our tag.
    pub tag: Box<str>,
    /// The CSeq of our newest request.
    pub cseq: u32,
    /// CSeq numbers up to this one are known to the store as used.
    pub reserved: u32,
    /// When it was begun.
    pub since: Time,
    /// Known from the first 2xx or NOTIFY on.
    pub remote: Option<Remote>,
    /// The CSeq of the newest NOTIFY, and a fingerprint of its transaction.
    pub notified: Option<(u32, u128)>,
    /// The version of its document.
    pub version: Option<u32>,
}

impl Dialog {
    /// One that nobody else knows of yet.
    pub fn new(id: SubscriptionId, turn: &mut Turn<'_>) -> Self {
        Self {
            call_id: format!("{:016x}{:016x}", turn.number(), turn.number()).into(),
            tag: format!("{MARK}{:08x}{:016x}", id.0.index, turn.number()).into(),
            cseq: 0,
            reserved: BLOCK,
            since: turn.now,
            remote: None,
            notified: None,
            version: None,
        }
    }

    /// The place in the table that a tag of ours names; the dialog there may be another one by now.
    pub fn place_in_tag(tag: &[u8]) -> Option<u32> {
        let digits = tag.strip_prefix(&[MARK as u8]).filter(|digits| digits.len() == 24)?;
        number(digits)?;
        number(&digits[..8]).map(|index| index as u32)
    }

    /// Counts another request. Gives whether numbers have been reserved, of which the store should know.
    pub fn count(&mut self) -> bool {
        self.cseq += 1;
        let reserves = self.cseq > self.reserved;
        if reserves {
            self.reserved = self.cseq + BLOCK;
        }
        reserves && self.remote.is_some()
    }

    /// Takes tag, target and route set from a message of the other side. An answer has its routes in reverse; where it
    /// has no Contact, the target is `otherwise`. Gives whether anything is new.
    pub fn learn(
        &mut self,
        message: Message<'_>,
        theirs: Option<&[u8]>,
        reversed: bool,
        otherwise: Option<Box<[u8]>>,
    ) -> bool {
        let contact = message.list(Name::Contact).next().and_then(NameAddr::read).map(|contact| contact.uri);
        let Some(tag) = theirs.and_then(NameAddr::read).and_then(|theirs| theirs.tag()) else { return false };
        if let Some(remote) = &mut self.remote {
            // Target refresh; the route set stays (RFC 3261 section 12.2.1.2). What another fork says is not for us.
            let Some(contact) = contact.filter(|it| **it != *remote.target && *remote.tag == *tag) else {
                return false;
            };
            remote.target = contact.into();
            return true;
        }
        let mut routes: Vec<Box<[u8]>> = message.list(Name::RecordRoute).take(LONGEST_ROUTE).map(Box::from).collect();
        if reversed {
            routes.reverse();
        }
        let Some(target) = contact.map(Box::from).or(otherwise) else { return false };
        self.remote = Some(Remote { tag: tag.into(), target, routes });
        true
    }
}
