//! Server transactions (RFC 3261 section 17.2.2): a retransmitted request gets the same answer and no second effect.
//!
//! An answer follows from the request, which the peer sends again, and from a few facts. So a transaction keeps these
//! facts and no copy of the answer: about a hundred bytes for 32 seconds. Over streams nothing is sent again
//! (Timer J is zero), so nothing is kept.

use crate::reply::Reply;
use crate::wire::Message;
use crate::wire::{Essentials, Name};
use lamplighter_model::{Seed, Time};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

/// What a request is to us.
pub enum Seen {
    /// Nothing like it before.
    New(Key),
    /// A retransmission: this was the answer.
    Again(Reply),
    /// A retransmission of what has not been answered yet.
    Early,
    /// The same request by another way (RFC 3261 section 8.2.2.2).
    Merged,
}

/// Names a transaction until it is answered.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    request: u128,
    branch: u64,
}

/// The server transactions of one shard.
pub struct Transactions {
    map: HashMap<u128, Entry, BuildHasherDefault<Fold>>,
    /// In the order in which they end, because all last equally long.
    queue: VecDeque<(Time, u128)>,
    seed: Seed,
}

struct Entry {
    branch: u64,
    reply: Reply,
    /// The reply waits for the store.
    waits: bool,
}

/// Keys are keyed fingerprints already.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Transactions {
    pub fn new(seed: Seed) -> Self {
        Self { map: HashMap::default(), queue: VecDeque::new(), seed }
    }

    /// Looks a request up. Outside a dialog the branch does not belong to its name, so that the same request by two
    /// ways is recognised; inside, it does.
    pub fn look_up(&self, message: Message<'_>, essentials: &Essentials<'_>) -> Seen {
        let via = &essentials.via;
        let port = via.port.unwrap_or(0).to_be_bytes();
        let top = self.seed.fingerprint(&[via.branch().unwrap_or(b""), via.host, &port]) as u64;
        let from_tag = essentials.from.tag().unwrap_or(b"");
        let to_tag = essentials.to.tag();
        let cseq = essentials.cseq.to_be_bytes();
        let own_branch = if to_tag.is_some() { top } else { 0 };
        let request = self.seed.fingerprint(&[
            essentials.call_id,
            from_tag,
            &cseq,
            essentials.cseq_method,
            to_tag.unwrap_or(b""),
            &own_branch.to_be_bytes(),
        ]);
        debug_assert!(message.first(Name::CSeq).is_some());
        match self.map.get(&request) {
            None => Seen::New(Key { request, branch: top }),
            Some(entry) if entry.branch == top && entry.waits => Seen::Early,
            Some(entry) if entry.branch == top => Seen::Again(entry.reply),
            Some(_) => Seen::Merged,
        }
    }

    /// Remembers what was answered. A refusal because there is no such dialog needs no memory: it stays the same, and
    /// costs nothing to whoever makes such requests up.
    pub fn answered(&mut self, now: Time, lasts: Duration, key: Key, reply: Reply) {
        if reply.status == 481 {
            return;
        }
        self.map.insert(key.request, Entry { branch: key.branch, reply, waits: false });
        self.queue.push_back((now + lasts, key.request));
    }

    /// Remembers what will be answered.
    pub fn waiting(&mut self, now: Time, lasts: Duration, key: Key, reply: Reply) {
        self.map.insert(key.request, Entry { branch: key.branch, reply, waits: true });
        self.queue.push_back((now + lasts, key.request));
    }

    /// What waited has been answered as planned, or with `other`.
    pub fn settle(&mut self, key: Key, other: Option<Reply>) {
        if let Some(entry) = self.map.get_mut(&key.request) {
            entry.waits = false;
            entry.reply = other.unwrap_or(entry.reply);
        }
    }

    /// Forgets what has ended.
    pub fn advance(&mut self, now: Time) {
        while let Some(&(end, request)) = self.queue.front() {
            if end > now {
                break;
            }
            self.queue.pop_front();
            self.map.remove(&request);
        }
        if self.map.is_empty() && self.map.capacity() > 4096 {
            (self.map, self.queue) = (HashMap::default(), VecDeque::new()); // a burst has passed: give the memory back
        }
    }

    /// When [`Self::advance`] has something to do; a second late, so that many end together.
    pub fn deadline(&self) -> Option<Time> {
        self.queue.front().map(|&(end, _)| end + Duration::from_secs(1))
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }
}
