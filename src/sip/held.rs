//! Answers that wait until the store has what they promise.
//!
//! An answer is written at once and kept as bytes; its transaction absorbs retransmissions meanwhile. When the store
//! says that the records of its request are safe, it leaves. When the store fails, or takes longer than [`PATIENCE`],
//! it becomes a 503 and what it promised is undone. NOTIFYs do not wait, except the first of a subscription, which
//! follows its answer, and one whose CSeq the store has not been told yet: that could be sent again after a restart.

use crate::engine::{Engine, Request};
use crate::host::Host;
use crate::identifier::Tag;
use crate::reply::{Detail, Reply, write_reply};
use crate::server::Key;
use crate::wire::write;
use lamplighter_model::{Counter, Durability, EntityTag, Flow, Outbox, PackageId, Time, Transport};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long the store may take; shorter than a client's patience (RFC 3261 Timer F, 32 s).
const PATIENCE: Duration = Duration::from_secs(4);

/// What waits for the store, in the order in which it was asked for.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    /// By durability: written, committed.
    queues: [VecDeque<Held>; 2],
    /// Entries at the ends of the queues do not know their number yet.
    unsealed: bool,
    /// The store does not work.
    pub failing: bool,
}

#[derive(Debug)]
struct Held {
    /// The number of the last record that it waits for.
    number: u64,
    until: Time,
    what: What,
}

#[derive(Debug)]
enum What {
    Answer(Box<HeldAnswer>),
    /// CSeq numbers of a subscription up to this one may be sent then.
    Reserved {
        index: u32,
        tag: Tag,
        reserved: u32,
    },
}

#[derive(Debug)]
struct HeldAnswer {
    flow: Flow,
    bytes: Box<[u8]>,
    key: Option<Key>,
    promise: Promise,
}

/// What an answer promises, to be kept or undone.
#[derive(Debug)]
pub(crate) enum Promise {
    /// A publication.
    Published { address: Arc<str>, package: PackageId, tag: EntityTag, created: bool },
    /// A new subscription.
    Subscribed { index: u32, tag: Tag },
    /// A refreshed or ended subscription: its NOTIFY follows the answer in any case.
    Refreshed { index: u32, tag: Tag },
}

impl HeldBack {
    pub fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    fn push(&mut self, durability: Durability, until: Time, what: What) {
        let queue = usize::from(durability == Durability::Commit);
        self.queues[queue].push_back(Held { number: u64::MAX, until, what });
        self.unsealed = true;
    }

    /// When the store has taken too long.
    pub fn deadline(&self) -> Option<Time> {
        self.queues.iter().filter_map(|queue| queue.front()).map(|held| held.until).min()
    }
}

impl Engine {
    /// Everything that has been held back since the last call waits for this record.
    pub fn seal(&mut self, number: u64) {
        if std::mem::take(&mut self.held.unsealed) {
            for queue in &mut self.held.queues {
                for held in queue.iter_mut().rev().take_while(|held| held.number == u64::MAX) {
                    held.number = number;
                }
            }
        }
    }

    /// Answers once the store has what the answer promises.
    pub(crate) fn conclude_later(
        &mut self,
        request: &Request<'_>,
        key: Key,
        reply: Reply,
        durability: Durability,
        promise: Promise,
    ) {
        let mut bytes = Vec::with_capacity(512);
        let written = write_reply(&self.config, self.seed, request.flow, request.message, &reply, &mut bytes);
        let Some(flow) = written else { return self.counters.count(Counter::Dropped) };
        let remembered = request.flow.transport == Transport::Udp;
        if remembered {
            self.transactions.waiting(request.now, self.config.timers.t1 * 64, key, reply);
        }
        let held = HeldAnswer { flow, bytes: bytes.into(), key: remembered.then_some(key), promise };
        self.held.push(durability, request.now + PATIENCE, What::Answer(Box::new(held)));
    }

    /// A NOTIFY waits until the store knows its CSeq.
    pub(crate) fn reserve_later(&mut self, now: Time, durability: Durability, index: u32, tag: Tag, reserved: u32) {
        self.held.push(durability, now + PATIENCE, What::Reserved { index, tag, reserved });
    }

    /// Records up to these numbers are safe.
    pub fn saved<H: Host>(&mut self, now: Time, written: u64, committed: u64, host: &mut H, out: &mut Outbox) {
        for (queue, upto) in [(0, written), (1, committed)] {
            while self.held.queues[queue].front().is_some_and(|held| held.number <= upto) {
                if let Some(held) = self.held.queues[queue].pop_front() {
                    self.keep(now, held.what, host, out);
                }
            }
        }
    }

    fn keep<H: Host>(&mut self, now: Time, what: What, host: &mut H, out: &mut Outbox) {
        let (index, tag) = match what {
            What::Answer(held) => {
                let from = out.bytes.len();
                out.bytes.extend_from_slice(&held.bytes);
                out.send(held.flow, from);
                if let Some(key) = held.key {
                    self.transactions.settle(key, None);
                }
                match held.promise {
                    Promise::Published { .. } => return,
                    Promise::Subscribed { index, tag } => {
                        let Some(one) = self.notifier.get(index, tag) else { return };
                        one.safe = one.reserved;
                        one.held = false;
                        (index, tag)
                    }
                    Promise::Refreshed { index, tag } => (index, tag),
                }
            }
            What::Reserved { index, tag, reserved } => {
                let Some(one) = self.notifier.get(index, tag) else { return };
                one.safe = one.safe.max(reserved);
                (index, tag)
            }
        };
        if self.notifier.get(index, tag).is_some() {
            self.deliver(now, index, host, out);
        }
    }

    /// The store works again, or no longer does.
    pub fn store_failing<H: Host>(&mut self, now: Time, failing: bool, host: &mut H, out: &mut Outbox) {
        self.held.failing = failing;
        if failing {
            self.break_promises(now, u64::MAX, Time::NEVER, host, out);
        }
    }

    /// Gives up what the store has taken too long for.
    pub(crate) fn advance_held<H: Host>(&mut self, now: Time, host: &mut H, out: &mut Outbox) {
        if self.held.deadline().is_some_and(|due| due <= now) {
            self.break_promises(now, u64::MAX - 1, now, host, out);
        }
    }

    fn break_promises<H: Host>(&mut self, now: Time, upto: u64, due: Time, host: &mut H, out: &mut Outbox) {
        for queue in 0..2 {
            while self.held.queues[queue].front().is_some_and(|held| held.number <= upto && held.until <= due) {
                let Some(held) = self.held.queues[queue].pop_front() else { break };
                match held.what {
                    What::Answer(held) => self.break_promise(now, *held, host, out),
                    // Lamps matter more than a CSeq that might be seen twice.
                    reserved @ What::Reserved { .. } => self.keep(now, reserved, host, out),
                }
            }
        }
    }

    fn break_promise<H: Host>(&mut self, now: Time, held: HeldAnswer, host: &mut H, out: &mut Outbox) {
        let HeldAnswer { flow, bytes, key, promise } = held;
        let pause = self.config.overload.retry_after.as_secs() as u32;
        let tag = match promise {
            Promise::Published { .. } => None,
            Promise::Subscribed { tag, .. } | Promise::Refreshed { tag, .. } => Some(tag),
        };
        let reply = Reply { status: 503, tag, detail: Detail::RetryAfter(pause) };
        let from = out.bytes.len();
        write::status_line(&mut out.bytes, reply.status);
        out.bytes.extend_from_slice(echoed(&bytes));
        out.bytes.extend_from_slice(b"Retry-After: ");
        write::number(&mut out.bytes, u64::from(pause));
        out.bytes.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
        out.send(flow, from);
        self.counters.count(Counter::Refused);
        self.counters.count(Counter::Unsaved);
        if let Some(key) = key {
            self.transactions.settle(key, Some(reply));
        }
        match promise {
            Promise::Published { address, package, tag, created } => host.undo(now, &address, package, tag, created),
            Promise::Subscribed { index, tag } => {
                if self.notifier.get(index, tag).is_some() {
                    self.forget(now, index, host);
                }
            }
            Promise::Refreshed { index, tag } => {
                if self.notifier.get(index, tag).is_some() {
                    self.deliver(now, index, host, out);
                }
            }
        }
    }
}

/// The header lines of an answer that any answer to its request has: up to CSeq, which [`write_reply`] writes last of
/// them.
fn echoed(answer: &[u8]) -> &[u8] {
    let line = |from: usize| answer[from..].windows(2).position(|two| two == b"\r\n").map(|at| from + at + 2);
    let Some(start) = line(0) else { return &[] };
    let mut at = start;
    while let Some(next) = line(at) {
        if answer[at..].starts_with(b"CSeq: ") {
            return &answer[start..next];
        }
        at = next;
    }
    &[]
}
