//! What shards and the store's thread share, and the shard's end of it.

use crate::codec;
use crate::keeper::Clock;
use lamplighter_model::{Durability, Record, Time};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// So many records may wait for the thread of one shard; beyond, older versions of a key are dropped first.
const WAITING: usize = 1 << 16;
/// A disk that has not answered for so long is one that fails.
const STUCK: Duration = Duration::from_secs(2);

/// A record on its way.
pub(crate) struct Saved {
    pub(crate) number: u64,
    pub(crate) record: Record,
    pub(crate) durability: Durability,
}

/// One shard's part. Apart from the others in memory, so that shards do not slow each other.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Lane {
    pub(crate) handed: Mutex<Handed>,
    pub(crate) written: AtomicU64,
    pub(crate) committed: AtomicU64,
}

#[derive(Default)]
pub(crate) struct Handed {
    pub(crate) records: Vec<Saved>,
    /// Beyond so many, older versions are dropped.
    most: usize,
}

impl Lane {
    pub(crate) fn has_anything(&self) -> bool {
        !self.handed.lock().unwrap_or_else(PoisonError::into_inner).records.is_empty()
    }
}

impl Handed {
    /// Takes everything out of `records`; bounded by twice the number of keys.
    fn add(&mut self, records: &mut Vec<Saved>) {
        if self.records.is_empty() {
            std::mem::swap(&mut self.records, records);
            self.most = WAITING;
            return;
        }
        self.records.append(records);
        if self.records.len() > self.most {
            self.keep_newest();
            self.most = WAITING.max(self.records.len() * 2);
        }
    }

    /// Drops versions of a key that a later one makes superfluous; the later one takes over the promise.
    fn keep_newest(&mut self) {
        let mut newest: HashMap<Vec<u8>, usize> = HashMap::with_capacity(self.records.len());
        let mut drop = vec![false; self.records.len()];
        for index in 0..self.records.len() {
            let mut key = Vec::with_capacity(64);
            codec::write_key(&self.records[index].record, &mut key);
            if let Some(older) = newest.insert(key, index) {
                drop[older] = true;
                self.records[index].durability = self.records[index].durability.max(self.records[older].durability);
            }
        }
        let mut drop = drop.into_iter();
        self.records.retain(|_| !drop.next().unwrap_or(false));
    }
}

/// Everything shared.
#[derive(Default)]
pub(crate) struct Shared {
    /// Where the store is.
    path: PathBuf,
    pub(crate) lanes: Box<[Lane]>,
    pub(crate) failing: AtomicBool,
    pub(crate) sleeping: AtomicBool,
    pub(crate) stopping: AtomicBool,
    /// Since when the disk is being waited for, microseconds of the gateway's clock; zero: it is not.
    pub(crate) busy_since: AtomicU64,
    pub(crate) thread: OnceLock<Thread>,
    pub(crate) trouble: Mutex<Option<String>>,
    pub(crate) counts: Counts,
}

impl Shared {
    pub(crate) fn new(path: PathBuf, shards: usize) -> Self {
        Self { path, lanes: (0..shards).map(|_| Lane::default()).collect(), ..Self::default() }
    }

    pub(crate) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// What is wrong if the disk has been waited for too long.
    pub(crate) fn stuck(&self, now: Time) -> Option<String> {
        let since = self.busy_since.load(Relaxed);
        let waiting = now.since(Time::from_micros(since));
        let says = || format!("{}: the disk has not answered for {} seconds", self.path.display(), waiting.as_secs());
        (since != 0 && waiting > STUCK).then(says)
    }

    /// The store no longer works: says so once.
    pub(crate) fn begin_to_fail(&self, trouble: &str) {
        if !self.failing.swap(true, AcqRel) {
            relaxed(&self.counts.failures, 1);
            tracing::error!(
                "the store fails, new state is refused until it works again; nothing acknowledged is lost: {trouble}"
            );
        }
    }
}

/// How far the store is with the records of a shard.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Everything up to this number is as safe as [`Durability::Written`] says.
    pub written: u64,
    /// Everything up to this number is as safe as [`Durability::Commit`] says.
    pub committed: u64,
    /// The store does not work at the moment. What it was given it keeps, and stores when it can.
    pub failing: bool,
}

/// A shard's way into the store. Lives on the shard's thread and never waits for a disk.
pub struct StorePort {
    pub(crate) end: End,
    pub(crate) buffer: Vec<Saved>,
}

pub(crate) enum End {
    /// There is no store: everything is as safe as it will ever be.
    Nowhere { last: u64 },
    /// The store's thread.
    Thread { shared: Arc<Shared>, shard: usize, now: Clock<Time> },
}

impl StorePort {
    /// Takes a record; `number` rises by one each time. It goes nowhere before [`Self::flush`].
    pub fn save(&mut self, number: u64, record: Record, durability: Durability) {
        match &mut self.end {
            End::Nowhere { last } => *last = number,
            End::Thread { .. } => self.buffer.push(Saved { number, record, durability }),
        }
    }

    /// Hands over what was saved, at the end of the shard's turn.
    pub fn flush(&mut self) {
        let End::Thread { shared, shard, .. } = &self.end else { return };
        if self.buffer.is_empty() {
            return;
        }
        shared.lanes[*shard].handed.lock().unwrap_or_else(PoisonError::into_inner).add(&mut self.buffer);
        // One of those who see it asleep wakes it.
        if shared.sleeping.load(Acquire) && shared.sleeping.swap(false, AcqRel) {
            shared.wake();
        }
    }

    /// How far the store is. The shard's bell rings when something that it waits for has become safe, and when
    /// `failing` changes; what nobody waits for moves silently.
    pub fn progress(&self) -> Progress {
        match &self.end {
            End::Nowhere { last } => Progress { written: *last, committed: *last, failing: false },
            End::Thread { shared, shard, now } => {
                if shared.busy_since.load(Relaxed) != 0
                    && !shared.failing.load(Relaxed)
                    && let Some(trouble) = shared.stuck(now())
                {
                    shared.begin_to_fail(&trouble);
                }
                let lane = &shared.lanes[*shard];
                Progress {
                    written: lane.written.load(Acquire),
                    committed: lane.committed.load(Acquire),
                    failing: shared.failing.load(Acquire),
                }
            }
        }
    }
}

/// What the metrics page shows.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) records: AtomicU64,
    pub(crate) puts: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_micros: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) forgotten: AtomicU64,
    pub(crate) kept: AtomicU64,
    pub(crate) keys: AtomicU64,
    pub(crate) live_bytes: AtomicU64,
    pub(crate) disk_bytes: AtomicU64,
}

pub(crate) fn relaxed(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}

impl Counts {
    /// Appends all of them in the text format of Prometheus.
    pub(crate) fn write(&self, failing: bool, out: &mut String) {
        let mut add = |kind: &str, name: &str, help: &str, value: &dyn std::fmt::Display| {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        };
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let seconds = get(&self.sync_micros) as f64 / 1e6;
        add("gauge", "store_failing", "Whether the store fails: 1, or 0.", &u8::from(failing));
        add("counter", "store_failures_total", "Times that the store began to fail.", &get(&self.failures));
        add("counter", "store_records_total", "Records that shards handed over.", &get(&self.records));
        add("counter", "store_puts_total", "Records written, the newest of each key.", &get(&self.puts));
        add("counter", "store_batches_total", "Batches written.", &get(&self.batches));
        add("counter", "store_syncs_total", "Times that the disk was made safe.", &get(&self.syncs));
        add("counter", "store_sync_seconds_total", "Time that this took.", &seconds);
        add("gauge", "store_kept_records", "Records kept in memory until the disk has them.", &get(&self.kept));
        let forgotten = "Records of which only the end could be kept while the store failed.";
        add("counter", "store_forgotten_total", forgotten, &get(&self.forgotten));
        add("gauge", "store_keys", "Records in the store, about.", &get(&self.keys));
        add("gauge", "store_live_bytes", "Bytes of these records, about.", &get(&self.live_bytes));
        add("gauge", "store_disk_bytes", "Bytes that the store takes on the disk.", &get(&self.disk_bytes));
    }
}
