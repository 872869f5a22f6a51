//! The hub: one thread that drains the rings into the mirror.
//!
//! It sleeps until a shard wakes it. After a batch it naps instead, a millisecond and then longer while there is always
//! something, during which shards need not wake it but for an answer: under load it runs two hundred times a second
//! whatever the number of changes (a nap costs as much as a hundred changes), and the first change after quiet goes
//! out at once.

use crate::mirror::Keep;
use crate::port::{Port, Shared};
use crate::shard::{Message, ShardPort};
use lamplighter_model::{Addresses, Answer, Packages};
use rtrb::{Consumer, RingBuffer};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Called, from any thread, when a shard has something to look at: its inbox, or room in its ring.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Changes and answers that a shard's ring holds; beyond, the newest of each key waits in the shard.
    pub ring: usize,
    /// Questions under way to one shard; beyond, [`crate::Busy::Full`].
    pub inbox: usize,
    /// How long a tombstone is kept.
    pub tombstone_age: Duration,
    /// How many of the machines are no shards: the last ones, which own no addresses. One at most: the machine that talks
    /// to other servers.
    pub beside: usize,
    /// How many tombstones are kept; beyond, the oldest leave and readers behind them start afresh.
    pub tombstones: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ring: 4096, inbox: 256, tombstone_age: Duration::from_secs(600), tombstones: 100_000, beside: 0 }
    }
}

/// How long the hub naps after the first batch, and at most.
const NAP: Duration = Duration::from_millis(1);
const LONG_NAP: Duration = Duration::from_millis(5);
/// How often it looks for tombstones that are due.
const SWEEP: Duration = Duration::from_secs(5);
/// How many messages it takes from one ring, and how many changes it makes, before others get their turn.
const BATCH: usize = 256;

/// Makes a node's hub with one shard for each of `wakes`. `epoch` names the life of its revisions: pick a new one at
/// each start.
pub fn hub(
    packages: Packages,
    addresses: Arc<Addresses>,
    settings: Settings,
    epoch: &str,
    wakes: Vec<Wake>,
) -> (Hub, Vec<ShardPort>, Port) {
    let (mut rings, mut producers, mut inboxes, mut outboxes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in &wakes {
        let (producer, consumer) = RingBuffer::new(settings.ring.max(1));
        let (sender, receiver) = mpsc::sync_channel(settings.inbox.max(1));
        rings.push(consumer);
        producers.push(producer);
        outboxes.push(sender);
        inboxes.push(receiver);
    }
    let keep = Keep { age: settings.tombstone_age, most: settings.tombstones };
    let (port, shared) = Port::new(packages, addresses, epoch, settings, outboxes, wakes);
    let ports = producers.into_iter().zip(inboxes).enumerate();
    let ports = ports.map(|(shard, (ring, inbox))| ShardPort::new(ring, inbox, Arc::clone(&shared), shard)).collect();
    (Hub { rings, shared, keep, batch: Vec::with_capacity(BATCH), answers: Vec::new() }, ports, port)
}

/// Drains the rings; give it a thread of its own.
pub struct Hub {
    rings: Vec<Consumer<Message>>,
    shared: Arc<Shared>,
    keep: Keep,
    batch: Vec<lamplighter_model::Change>,
    answers: Vec<(u64, Answer)>,
}

impl Hub {
    /// Works until [`Port::stop`], then takes in what is left in the rings and returns.
    #[expect(clippy::disallowed_methods, reason = "the hub is a driver: it ages tombstones")]
    pub fn run(mut self) {
        self.shared.hub_is(thread::current());
        let start = Instant::now();
        let (mut swept, mut nap) = (Duration::ZERO, NAP);
        loop {
            let now = start.elapsed();
            let stopping = self.shared.stopping();
            let busy = self.turn(now);
            if now.saturating_sub(swept) >= SWEEP {
                swept = now;
                self.shared.write().expire(now, self.keep);
            }
            match busy {
                true if !stopping => {
                    thread::park_timeout(nap);
                    nap = (nap * 2).min(LONG_NAP);
                }
                true => {}
                false if stopping => return,
                false => {
                    nap = NAP;
                    self.sleep();
                }
            }
        }
    }

    /// One pass over all rings, each until it is empty or has been read once around. Says whether there was anything.
    fn turn(&mut self, now: Duration) -> bool {
        let mut busy = false;
        for shard in 0..self.rings.len() {
            let mut left = self.rings[shard].slots();
            busy |= left > 0;
            while left > 0 {
                for _ in 0..left.min(BATCH) {
                    match self.rings[shard].pop() {
                        Ok(Message::Change(change)) => self.batch.push(change),
                        Ok(Message::Answer(ticket, answer)) => self.answers.push((ticket, answer)),
                        Err(_) => break,
                    }
                }
                left = left.saturating_sub(BATCH);
                self.apply(now);
            }
            self.shared.feed(shard);
        }
        if busy {
            self.shared.counts.batches.fetch_add(1, Ordering::Relaxed);
        }
        busy
    }

    fn apply(&mut self, now: Duration) {
        if !self.batch.is_empty() {
            let mut mirror = self.shared.write();
            for change in self.batch.drain(..) {
                mirror.apply(change, now);
            }
            if mirror.graves() > self.keep.most {
                mirror.expire(now, self.keep);
            }
            let head = mirror.head();
            drop(mirror);
            self.shared.head.send_replace(head);
        }
        for (ticket, answer) in self.answers.drain(..) {
            self.shared.answer(ticket, answer);
        }
    }

    /// Sleeps until a shard pushes something. See `ShardPort::flush` for the other half.
    fn sleep(&self) {
        self.shared.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let nothing = self.rings.iter().all(Consumer::is_empty) && !self.shared.anyone_starved();
        if nothing && !self.shared.stopping() {
            // Wakes by itself only to bury tombstones. It does not sleep with the mirror in its hands.
            let graves = self.shared.read().graves();
            match graves {
                0 => thread::park(),
                _ => thread::park_timeout(SWEEP),
            }
        }
        self.shared.asleep.store(false, Ordering::Relaxed);
    }
}
