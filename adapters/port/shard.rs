//! The shard's end: never blocks, never drops the newest.

use crate::port::Shared;
use lamplighter_model::explain::Trace;
use lamplighter_model::{Answer, Change, Command, PackageId, RemoteNews};
use rtrb::{Producer, PushError};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::sync::mpsc::Receiver;

/// What travels from a shard to the hub.
pub(crate) enum Message {
    Change(Change),
    Answer(u64, Answer),
}

/// What waits for room in the ring: changes by their key, so that a newer state takes the place of an older one.
enum Waiting {
    Change(Arc<str>, PackageId),
    Answer(u64, Answer),
}

/// Lives on the shard's thread. Call [`Self::flush`] at the end of every turn of the driver's loop: it sends what was
/// waiting for room, and wakes the hub if that sleeps.
pub struct ShardPort {
    ring: Producer<Message>,
    inbox: Receiver<(u64, Command)>,
    shared: Arc<Shared>,
    shard: usize,
    /// Bounded by the shard's keys, and by the inbox.
    waiting: VecDeque<Waiting>,
    newest: HashMap<(Arc<str>, PackageId), Change>,
    pushed: bool,
    /// Somebody waits for an answer: worth a nap of the hub.
    answered: bool,
}

impl ShardPort {
    pub(crate) fn new(
        ring: Producer<Message>,
        inbox: Receiver<(u64, Command)>,
        shared: Arc<Shared>,
        shard: usize,
    ) -> Self {
        Self {
            ring,
            inbox,
            shared,
            shard,
            waiting: VecDeque::new(),
            newest: HashMap::new(),
            pushed: false,
            answered: false,
        }
    }

    /// Tells the world. When the ring is full the newest state of each (resource, package) is kept and sent when
    /// there is room; states between are skipped, which readers see as a jump of `seq`.
    pub fn change(&mut self, change: Change) {
        self.pushed = true;
        let change = if self.waiting.is_empty() {
            match self.ring.push(Message::Change(change)) {
                Ok(()) | Err(PushError::Full(Message::Answer(..))) => return,
                Err(PushError::Full(Message::Change(change))) => change,
            }
        } else {
            change
        };
        let (resource, package) = (Arc::clone(&change.resource), change.package);
        if self.newest.insert((Arc::clone(&resource), package), change).is_some() {
            self.shared.counts.conflated.fetch_add(1, Ordering::Relaxed);
        } else {
            self.waiting.push_back(Waiting::Change(resource, package));
        }
    }

    /// Answers a command. It arrives behind every change handed in before it, full ring or not.
    pub fn answer(&mut self, ticket: u64, answer: Answer) {
        self.answered = true;
        if self.waiting.is_empty() {
            match self.ring.push(Message::Answer(ticket, answer)) {
                Ok(()) | Err(PushError::Full(Message::Change(_))) => {}
                Err(PushError::Full(Message::Answer(ticket, answer))) => {
                    self.waiting.push_back(Waiting::Answer(ticket, answer));
                }
            }
        } else {
            self.waiting.push_back(Waiting::Answer(ticket, answer));
        }
    }

    /// Tells whoever follows a presentity. Rare enough for a lock.
    pub fn trace(&self, trace: Trace) {
        self.shared.traces.tell(trace);
    }

    /// Tells whoever listens to what becomes of things at other servers.
    pub fn news(&self, news: RemoteNews) {
        self.shared.ears.tell(news);
    }

    /// The end of a turn: sends what waited for room, and wakes the hub if it sleeps.
    pub fn flush(&mut self) {
        if !self.waiting.is_empty() {
            self.drain();
        }
        if std::mem::take(&mut self.answered) {
            self.pushed = false;
            self.shared.rouse_hub();
        } else if std::mem::take(&mut self.pushed) {
            // Pairs with the fence in `Hub::sleep`: either we see that it sleeps, or it sees what we pushed.
            fence(Ordering::SeqCst);
            self.shared.wake_hub();
        }
    }

    fn drain(&mut self) {
        while !self.ring.is_full()
            && let Some(waiting) = self.waiting.pop_front()
        {
            let message = match waiting {
                Waiting::Answer(ticket, answer) => Message::Answer(ticket, answer),
                Waiting::Change(resource, package) => match self.newest.remove(&(resource, package)) {
                    Some(change) => Message::Change(change),
                    None => continue,
                },
            };
            // There is room: only this thread pushes.
            let _ = self.ring.push(message);
        }
        // The hub rings when it has made room.
        self.shared.shards[self.shard].starved.store(!self.waiting.is_empty(), Ordering::Release);
        self.pushed = true;
    }

    /// The next question, if there is one.
    pub fn command(&mut self) -> Option<(u64, Command)> {
        self.inbox.try_recv().ok()
    }
}
