//! The adapters' end: reading the mirror, and asking shards.

use crate::hub::{Settings, Wake};
use crate::item::Item;
use crate::listening::Ears;
use crate::mirror::{Cursor, Mirror};
use crate::scope::Scope;
use crate::tracing::{Traces, Tracing};
use lamplighter_model::explain::{Explanation, WatcherRow};
use lamplighter_model::{
    Addresses, Answer, Command, PackageId, Packages, PublishCommand, PublishError, PublishedLease, RemoteAnswer,
    RemoteCommand, Slot,
};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::Thread;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same where the disk may have a part in it.
const STORING: Duration = Duration::from_secs(10);

/// Why a shard did not answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Busy {
    /// Too many questions are under way to it.
    #[error("the shard's inbox is full")]
    Full,
    /// It did not answer in 250 ms, or where the disk has a part in it, in 10 s.
    #[error("the shard did not answer in time")]
    Late,
    /// It has ended, or there is none of that number.
    #[error("the shard is not running")]
    Gone,
}

/// What shards, hub and adapters share.
pub(crate) struct Shared {
    mirror: RwLock<Mirror>,
    pub head: watch::Sender<u64>,
    /// Shards, then what is beside them.
    pub shards: Vec<Asked>,
    /// How many of them are shards.
    owners: usize,
    pub asleep: AtomicBool,
    pub counts: Counts,
    hub: OnceLock<Thread>,
    stop: AtomicBool,
    questions: Mutex<HashMap<u64, Question>>,
    ticket: AtomicU64,
    pub traces: Traces,
    pub ears: Ears,
}

/// What is shared about one shard.
pub(crate) struct Asked {
    /// It holds back changes or answers because its ring was full.
    pub starved: AtomicBool,
    wake: Wake,
    inbox: SyncSender<(u64, Command)>,
    room: Arc<Semaphore>,
}

struct Question {
    reply: oneshot::Sender<Answer>,
    /// Given back when the shard has answered, not when the asker has lost patience: it bounds what is under way.
    _room: OwnedSemaphorePermit,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub batches: AtomicU64,
    pub conflated: AtomicU64,
    wakes: AtomicU64,
    busy: AtomicU64,
}

impl Shared {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Mirror> {
        self.mirror.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Mirror> {
        self.mirror.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hub_is(&self, thread: Thread) {
        let _ = self.hub.set(thread);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Wakes the hub if it sleeps.
    pub(crate) fn wake_hub(&self) {
        if self.asleep.load(Ordering::Relaxed)
            && self.asleep.swap(false, Ordering::AcqRel)
            && let Some(hub) = self.hub.get()
        {
            self.counts.wakes.fetch_add(1, Ordering::Relaxed);
            hub.unpark();
        }
    }

    /// Wakes the hub from sleep or nap.
    pub(crate) fn rouse_hub(&self) {
        if let Some(hub) = self.hub.get() {
            hub.unpark();
        }
    }

    /// Tells a shard that has held something back that there is room.
    pub(crate) fn feed(&self, shard: usize) {
        let shard = &self.shards[shard];
        if shard.starved.load(Ordering::Acquire) && shard.starved.swap(false, Ordering::AcqRel) {
            (shard.wake)();
        }
    }

    pub(crate) fn anyone_starved(&self) -> bool {
        self.shards.iter().any(|shard| shard.starved.load(Ordering::Acquire))
    }

    pub(crate) fn answer(&self, ticket: u64, answer: Answer) {
        let question = self.questions.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
        if let Some(question) = question {
            // Whoever asked may have lost patience.
            let _ = question.reply.send(answer);
        }
    }
}

/// What an adapter is handed; cheap to clone.
#[derive(Clone)]
pub struct Port {
    shared: Arc<Shared>,
    packages: Packages,
    epoch: Arc<str>,
    addresses: Arc<RwLock<Arc<Addresses>>>,
}

impl Port {
    pub(crate) fn new(
        packages: Packages,
        addresses: Arc<Addresses>,
        epoch: &str,
        settings: Settings,
        outboxes: Vec<SyncSender<(u64, Command)>>,
        wakes: Vec<Wake>,
    ) -> (Self, Arc<Shared>) {
        let inbox = settings.inbox.max(1);
        let owners = outboxes.len().saturating_sub(settings.beside);
        let shards = outboxes.into_iter().zip(wakes).map(|(outbox, wake)| Asked {
            starved: AtomicBool::new(false),
            wake,
            inbox: outbox,
            room: Arc::new(Semaphore::new(inbox)),
        });
        let shared = Arc::new(Shared {
            mirror: RwLock::default(),
            head: watch::Sender::new(0),
            shards: shards.collect(),
            owners,
            asleep: AtomicBool::new(false),
            counts: Counts::default(),
            hub: OnceLock::new(),
            stop: AtomicBool::new(false),
            questions: Mutex::default(),
            ticket: AtomicU64::new(1),
            traces: Traces::default(),
            ears: Ears::default(),
        });
        let addresses = Arc::new(RwLock::new(addresses));
        (Self { shared: Arc::clone(&shared), packages, epoch: epoch.into(), addresses }, shared)
    }

    /// Asks a shard. The answer comes behind the changes that the command caused: whoever reads the mirror after it
    /// sees them.
    pub async fn ask(&self, shard: usize, command: Command) -> Result<Answer, Busy> {
        let answer = self.try_ask(shard, command).await;
        if answer.is_err() {
            self.shared.counts.busy.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// Whether the mirror has everything that the shards got back from the store. Before that readers would take what
    /// is not there yet for nothing.
    pub async fn restored(&self) -> Result<bool, Busy> {
        for shard in 0..self.shards() {
            match self.ask(shard, Command::Restored).await? {
                Answer::Restored(true) => {}
                Answer::Restored(false) => return Ok(false),
                _ => return Err(Busy::Gone),
            }
        }
        Ok(true)
    }

    /// Why the lamp of a canonical address is lit.
    pub async fn explain(&self, resource: &str) -> Result<Explanation, Busy> {
        match self.ask(self.owner(resource), Command::Explain { resource: resource.into() }).await? {
            Answer::Explain(explanation) => Ok(*explanation),
            _ => Err(Busy::Gone),
        }
    }

    /// Publishes; answered once the publication is as safe as configured.
    pub async fn publish(&self, command: PublishCommand) -> Result<Result<PublishedLease, PublishError>, Busy> {
        let shard = self.owner(&command.resource);
        match self.ask(shard, Command::Publish(Box::new(command))).await? {
            Answer::Published(published) => Ok(published),
            _ => Err(Busy::Gone),
        }
    }

    /// Owes every SIP watcher of a canonical address a NOTIFY with the whole state; how many they are.
    pub async fn refresh(&self, resource: &str) -> Result<usize, Busy> {
        match self.ask(self.owner(resource), Command::Refresh { resource: resource.into() }).await? {
            Answer::Refreshed(watchers) => Ok(watchers),
            _ => Err(Busy::Gone),
        }
    }

    /// At most `most` SIP subscriptions to a canonical address, or of one shard from place `from` on; and the place to
    /// go on from, if there may be more.
    pub async fn watchers(
        &self,
        shard: usize,
        resource: Option<&str>,
        from: u32,
        most: usize,
    ) -> Result<(Vec<WatcherRow>, Option<u32>), Busy> {
        let shard = resource.map_or(shard, |resource| self.owner(resource));
        match self.ask(shard, Command::Watchers { resource: resource.map(Into::into), from, most }).await? {
            Answer::Watchers { rows, next } => Ok((rows, next)),
            _ => Err(Busy::Gone),
        }
    }

    /// Follows what happens to a canonical address from now on. `None`: too many are being followed.
    pub async fn trace(&self, resource: &str) -> Result<Option<Tracing>, Busy> {
        let Some((events, first)) = self.shared.traces.follow(resource) else { return Ok(None) };
        let tracing = Tracing { port: self.clone(), resource: resource.into(), events };
        if first {
            self.ask(self.owner(resource), Command::Trace { resource: resource.into(), on: true }).await?;
        }
        Ok(Some(tracing))
    }

    async fn try_ask(&self, shard: usize, command: Command) -> Result<Answer, Busy> {
        let patience = if matches!(command, Command::Publish(_)) { STORING } else { PATIENCE };
        let answer = self.send(shard, command)?;
        tokio::time::timeout(patience, answer).await.map_err(|_| Busy::Late)?.map_err(|_| Busy::Gone)
    }

    /// Hands a question to a shard.
    fn send(&self, shard: usize, command: Command) -> Result<oneshot::Receiver<Answer>, Busy> {
        let shard = self.shared.shards.get(shard).ok_or(Busy::Gone)?;
        let room = Arc::clone(&shard.room).try_acquire_owned().map_err(|_| Busy::Full)?;
        let ticket = self.shared.ticket.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let lock = || self.shared.questions.lock().unwrap_or_else(PoisonError::into_inner);
        lock().insert(ticket, Question { reply, _room: room });
        if let Err(refused) = shard.inbox.try_send((ticket, command)) {
            lock().remove(&ticket);
            return Err(match refused {
                TrySendError::Full(_) => Busy::Full,
                TrySendError::Disconnected(_) => Busy::Gone,
            });
        }
        (shard.wake)();
        Ok(answer)
    }

    /// Nobody follows `resource` any more.
    pub(crate) fn untrace(&self, resource: &str) {
        if self.shared.traces.leave(resource) {
            // The answer is of no interest; a shard that is too busy goes on tracing to nobody until it is told again.
            drop(self.send(self.owner(resource), Command::Trace { resource: resource.into(), on: false }));
        }
    }

    /// How many shards there are; they are numbered from zero.
    pub fn shards(&self) -> usize {
        self.shared.owners
    }

    /// Asks the machine that talks to other servers. `None`: there is none.
    pub async fn remote(&self, command: RemoteCommand) -> Option<Result<RemoteAnswer, Busy>> {
        if !self.has_remote() {
            return None;
        }
        Some(match self.ask(self.shared.owners, Command::Remote(command)).await {
            Ok(Answer::Remote(answer)) => Ok(answer),
            Ok(_) => Err(Busy::Gone),
            Err(busy) => Err(busy),
        })
    }

    /// Whether there is a machine that talks to other servers.
    pub fn has_remote(&self) -> bool {
        self.shared.shards.len() > self.shared.owners
    }

    /// Returns when that machine can be asked again after it was [`Busy::Full`]; others may come first.
    pub(crate) async fn remote_has_room(&self) {
        if let Some(machine) = self.shared.shards.get(self.shared.owners) {
            let _ = machine.room.acquire().await; // it is never closed
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The shard that owns this canonical address.
    pub fn owner(&self, resource: &str) -> usize {
        usize::from(Slot::of(resource).shard(self.shared.owners as u8))
    }

    /// The newest revision; changes at most once a batch.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.shared.head.subscribe()
    }

    /// Appends what has changed in `scope` after `rev`, tombstones included, oldest first, at most `max` items. A key
    /// appears once, in its newest state. Looks at a bounded number of entries: while [`Cursor::more`], ask again.
    pub fn since(&self, rev: u64, scope: &Scope, max: usize, out: &mut Vec<Arc<Item>>) -> Cursor {
        self.shared.read().since(rev, u64::MAX, scope, max, out)
    }

    /// The same up to revision `upto`: what has changed again later is left for later.
    pub fn between(&self, rev: u64, upto: u64, scope: &Scope, max: usize, out: &mut Vec<Arc<Item>>) -> Cursor {
        self.shared.read().since(rev, upto, scope, max, out)
    }

    /// Keeps every state from now on, not only the newest, for whoever holds it.
    pub fn tap(&self) -> Tap {
        self.shared.write().tap();
        Tap(Arc::clone(&self.shared))
    }

    /// Everything that has a state in `scope`, at most `max` items, appended; and the revision from where to go on.
    /// [`Cursor::more`]: there was more than `max`.
    pub fn snapshot(&self, scope: &Scope, max: usize, out: &mut Vec<Arc<Item>>) -> Cursor {
        let (start, mut rev) = (out.len(), 0);
        loop {
            let from = out.len();
            let cursor = self.since(rev, scope, 1024, out);
            let mut index = 0;
            out.retain(|item| {
                index += 1;
                index <= from || item.state.is_some()
            });
            rev = cursor.rev;
            if out.len() - start > max {
                out.truncate(start + max);
                return Cursor { rev, more: true };
            }
            if !cursor.more {
                return cursor;
            }
        }
    }

    /// The latest state; `None` when there is none or it is gone.
    pub fn get(&self, resource: &str, package: PackageId) -> Option<Arc<Item>> {
        self.shared.read().get(resource, package).filter(|item| item.state.is_some()).cloned()
    }

    /// The latest items of all packages of this canonical address, tombstones included, by package.
    pub fn of(&self, resource: &str) -> Vec<Arc<Item>> {
        let mut items: Vec<_> = self.shared.read().of(resource).to_vec();
        items.sort_unstable_by_key(|item| item.package);
        items
    }

    /// Whether a reader who has seen everything up to `rev` of `epoch` can go on from there: nothing that is gone has
    /// been forgotten since.
    pub fn can_resume(&self, epoch: &str, rev: u64) -> bool {
        let mirror = self.shared.read();
        *epoch == *self.epoch && rev >= mirror.horizon() && rev <= mirror.head()
    }

    /// How many items in `scope` have a state, counted up to `max`.
    pub fn count(&self, scope: &Scope, max: usize) -> usize {
        let (mut items, mut rev, mut count) = (Vec::new(), 0, 0);
        loop {
            let cursor = self.since(rev, scope, 1024, &mut items);
            count += items.drain(..).filter(|item| item.state.is_some()).count();
            rev = cursor.rev;
            if !cursor.more || count >= max {
                return count.min(max);
            }
        }
    }

    /// Names the life of the revisions.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The packages.
    pub fn packages(&self) -> &Packages {
        &self.packages
    }

    /// What addresses mean now.
    pub fn addresses(&self) -> Arc<Addresses> {
        Arc::clone(&self.addresses.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new configuration.
    pub fn set_addresses(&self, addresses: Arc<Addresses>) {
        *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Ends the hub: it takes in what is in the rings and returns from [`crate::Hub::run`].
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.rouse_hub();
    }

    /// Appends metrics in the text format of Prometheus.
    pub fn metrics(&self, out: &mut String) {
        let (head, live, graves) = {
            let mirror = self.shared.read();
            (mirror.head(), mirror.live() as u64, mirror.graves() as u64)
        };
        let counts = &self.shared.counts;
        let rows = [
            ("hub_changes_total", "counter", "State changes taken in from all shards.", head),
            (
                "hub_batches_total",
                "counter",
                "Turns in which there was something.",
                counts.batches.load(Ordering::Relaxed),
            ),
            ("hub_wakes_total", "counter", "Times a shard had to wake the hub.", counts.wakes.load(Ordering::Relaxed)),
            (
                "hub_conflated_total",
                "counter",
                "States skipped in favour of a newer one because a ring was full.",
                counts.conflated.load(Ordering::Relaxed),
            ),
            (
                "hub_busy_total",
                "counter",
                "Questions that a shard did not answer.",
                counts.busy.load(Ordering::Relaxed),
            ),
            ("hub_states", "gauge", "States of a resource and package.", live),
            ("hub_tombstones", "gauge", "States that are gone and still remembered.", graves),
        ];
        for (name, kind, help, value) in rows {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    }
}

/// While it is held, states that have been superseded can still be read, as far back as the hub's log of some thousand
/// changes of the node reaches, and no further than to when this was made.
pub struct Tap(Arc<Shared>);

impl Tap {
    /// Appends every state in `scope` after `rev` and up to `upto`, oldest first, at most `max` items. `None`: one is
    /// missing, because the log does not reach back that far or because a shard's ring had no room for it.
    pub fn every(&self, rev: u64, upto: u64, scope: &Scope, max: usize, out: &mut Vec<Arc<Item>>) -> Option<Cursor> {
        self.0.read().every(rev, upto, scope, max, out)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.0.write().untap();
    }
}
