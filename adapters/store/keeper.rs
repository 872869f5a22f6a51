//! The store's own thread: takes what shards hand over, keeps the newest of each key, writes it, says how far it is.

use crate::backend::{Backend, Put, Syncing};
use crate::error::Fault;
use crate::shared::{Lane, Saved, Shared, relaxed};
use crate::syncer::Syncer;
use crate::{codec, era};
use bytes::{Bytes, BytesMut};
use lamplighter_model::{Durability, Record, Time};
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// While there is always something to write, batches begin this far apart: fewer, larger ones cost less.
const GATHER: Duration = Duration::from_millis(2);
/// After so long without anything to do there is time to tidy up.
const QUIET: Duration = Duration::from_millis(250);
/// How long a store that fails is left alone, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a store that fails may hold up the end of the gateway.
const LAST_TRIES: Duration = Duration::from_secs(5);
/// Keys and values are put into chunks of this many bytes.
const CHUNK: usize = 64 << 10;
/// No more than this is kept while the store fails, whatever the configuration says.
const MOST_KEPT: usize = 1 << 30;

pub(crate) type Clock<T> = Arc<dyn Fn() -> T + Send + Sync>;
pub(crate) type Bell = Arc<dyn Fn() + Send + Sync>;

/// What the thread is made of.
pub(crate) struct Keeping {
    pub(crate) shared: Arc<Shared>,
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) syncer: Syncer,
    pub(crate) now: Clock<Time>,
    pub(crate) wall: Clock<Duration>,
    pub(crate) wakes: Vec<Bell>,
    pub(crate) era: u64,
    pub(crate) sync_within: Duration,
    pub(crate) kept_bytes: usize,
}

/// The thread at work.
pub(crate) struct Worker {
    it: Keeping,
    /// What shard `i` waits for, and how far it has been taken.
    lanes: Vec<Taken>,
    taken: Vec<Saved>,
    /// The newest of each key that is not written yet.
    batch: HashMap<Bytes, Record>,
    chunk: BytesMut,
    puts: Vec<Put>,
    /// What would be lost if the disk forgot everything since the last sync began: the newest of each key.
    unsynced: HashMap<Bytes, Option<Bytes>>,
    unsynced_bytes: usize,
    /// When the oldest of it was written.
    written_at: Option<Instant>,
    /// A sync is under way: what the engine calls it.
    syncing: Option<u64>,
    /// What would be lost if it failed.
    being_synced: HashMap<Bytes, Option<Bytes>>,
    counted_at: Option<Instant>,
    /// When there was something to do last.
    busy_at: Instant,
}

#[derive(Clone, Copy, Default)]
struct Taken {
    upto: u64,
    wants_written: bool,
    wants_committed: bool,
    /// How far the sync that is under way goes.
    being_synced: u64,
}

impl Worker {
    pub(crate) fn new(mut it: Keeping) -> Self {
        // All of it is written as one batch.
        it.kept_bytes = it.kept_bytes.min(MOST_KEPT);
        let lanes = vec![Taken::default(); it.wakes.len()];
        Self {
            it,
            lanes,
            taken: Vec::new(),
            batch: HashMap::new(),
            chunk: BytesMut::new(),
            puts: Vec::new(),
            unsynced: HashMap::new(),
            unsynced_bytes: 0,
            written_at: None,
            syncing: None,
            being_synced: HashMap::new(),
            counted_at: None,
            busy_at: clock(),
        }
    }

    /// Works until the gateway stops and everything is written.
    pub(crate) fn run(mut self) {
        let _alarm = Alarm { shared: self.it.shared.clone(), wakes: self.it.wakes.clone() };
        let _ = self.it.shared.thread.set(thread::current());
        loop {
            // What was handed over before the stop is seen below.
            let stopping = self.it.shared.stopping.load(Acquire);
            let began = clock();
            self.take();
            match self.turn(stopping, began) {
                Ok(true) => {}
                Ok(false) if stopping => {
                    if let Err(fault) = self.it.backend.mark(true) {
                        tracing::error!("the store was not marked as stopped in order: {fault}");
                    }
                    return;
                }
                Ok(false) => self.sleep(),
                Err(fault) => {
                    if !self.recover(fault) {
                        return;
                    }
                }
            }
        }
    }

    /// Does what there is to do; false: nothing.
    fn turn(&mut self, stopping: bool, began: Instant) -> Result<bool, Fault> {
        let worked = self.keep(stopping, began)?;
        if worked {
            self.busy_at = began;
            self.count();
            self.pause(began + GATHER);
        } else if self.tidies_at().is_some_and(|at| began >= at) {
            self.busy_at = began;
            self.asks();
            self.it.backend.tidy()?;
            self.works();
        }
        Ok(worked)
    }

    /// When to tidy up, if nothing comes.
    fn tidies_at(&self) -> Option<Instant> {
        let everything_is_safe = self.syncing.is_none() && self.written_at.is_none();
        (everything_is_safe && self.it.backend.is_untidy()).then_some(self.busy_at + QUIET)
    }

    /// Takes what has been handed over.
    fn take(&mut self) {
        for index in 0..self.lanes.len() {
            let lane = &self.it.shared.lanes[index];
            std::mem::swap(&mut self.taken, &mut lane.handed.lock().unwrap_or_else(PoisonError::into_inner).records);
            let state = &mut self.lanes[index];
            relaxed(&self.it.shared.counts.records, self.taken.len() as u64);
            for Saved { number, record, durability } in self.taken.drain(..) {
                state.upto = number;
                state.wants_written |= durability >= Durability::Written;
                state.wants_committed |= durability >= Durability::Commit;
                if self.chunk.capacity() < 256 {
                    self.chunk = BytesMut::with_capacity(CHUNK);
                }
                codec::write_key(&record, &mut self.chunk);
                self.batch.insert(self.chunk.split().freeze(), record);
            }
        }
    }

    /// Writes what has been taken, and makes it safe if somebody waits for that; if it is merely due, another thread does,
    /// and nobody waits for the disk. False: there was nothing to do.
    fn keep(&mut self, stopping: bool, now: Instant) -> Result<bool, Fault> {
        self.end_sync(stopping)?;
        if self.syncing.is_none() {
            self.asks();
        }
        let mut worked = !self.batch.is_empty();
        if worked {
            self.write()?;
        }
        let is_due = self.written_at.is_some_and(|at| stopping || now >= at + self.it.sync_within);
        let is_waited_for = stopping && is_due || self.lanes.iter().any(|taken| taken.wants_committed);
        if is_waited_for {
            self.end_sync(true)?;
            self.asks();
            self.sync()?;
            worked = true;
        } else {
            self.unsynced.extend(self.puts.drain(..).map(|put| (put.key, put.value)));
            if is_due && self.syncing.is_none() {
                self.begin_sync()?;
                worked = true;
            }
        }
        if self.syncing.is_none() {
            self.works();
        }
        Ok(worked)
    }

    /// From now on the disk is waited for.
    fn asks(&self) {
        self.it.shared.busy_since.store((self.it.now)().as_micros().max(1), Relaxed);
    }

    /// The disk has answered all that it was asked.
    fn works(&mut self) {
        self.it.shared.busy_since.store(0, Relaxed);
        if self.it.shared.failing.swap(false, AcqRel) {
            tracing::info!("the store works again");
            self.ring(|_| true);
        }
    }

    fn write(&mut self) -> Result<(), Fault> {
        self.encode();
        self.it.backend.write(&self.puts)?;
        relaxed(&self.it.shared.counts.batches, 1);
        relaxed(&self.it.shared.counts.puts, self.puts.len() as u64);
        self.written_at.get_or_insert_with(clock);
        self.report(|lane| &lane.written, |taken| taken.upto);
        self.ring(|taken| std::mem::take(&mut taken.wants_written));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        let began = clock();
        self.it.backend.sync()?;
        self.written_at = None;
        self.puts.clear();
        self.unsynced.clear();
        self.synced(began.elapsed(), |taken| taken.upto);
        self.ring(|taken| std::mem::take(&mut taken.wants_committed));
        Ok(())
    }

    fn begin_sync(&mut self) -> Result<(), Fault> {
        let Syncing { upto, flush } = self.it.backend.begin_sync()?;
        self.syncing = Some(upto);
        self.written_at = None;
        std::mem::swap(&mut self.unsynced, &mut self.being_synced);
        for taken in &mut self.lanes {
            taken.being_synced = taken.upto;
        }
        self.it.syncer.begin(flush);
        Ok(())
    }

    /// If the sync that is under way is over, or when it is, says so.
    fn end_sync(&mut self, wait: bool) -> Result<(), Fault> {
        let Some(upto) = self.syncing else { return Ok(()) };
        let ended = if wait { Some(self.it.syncer.end()) } else { self.it.syncer.ended() };
        let Some((result, took)) = ended else { return Ok(()) };
        self.syncing = None;
        result.and_then(|()| self.it.backend.end_sync(upto))?;
        self.being_synced.clear();
        self.synced(took, |taken| taken.being_synced);
        self.works();
        Ok(())
    }

    fn synced(&mut self, took: Duration, upto: impl Fn(&Taken) -> u64) {
        let counts = &self.it.shared.counts;
        relaxed(&counts.syncs, 1);
        relaxed(&counts.sync_micros, took.as_micros() as u64);
        counts.kept.store(self.unsynced.len() as u64, Relaxed);
        self.report(|lane| &lane.committed, upto);
    }

    /// Turns the batch into bytes, with what the clocks say now.
    fn encode(&mut self) {
        for (key, record) in self.batch.drain() {
            if self.chunk.capacity() < 1024 {
                self.chunk = BytesMut::with_capacity(CHUNK);
            }
            let value = codec::write_value(&record, self.it.era, &mut self.chunk).then(|| self.chunk.split().freeze());
            self.puts.push(Put { key, value });
        }
        self.puts.push(era::note(self.it.era, (self.it.now)(), (self.it.wall)(), 0));
    }

    fn report(&self, which: impl Fn(&Lane) -> &AtomicU64, upto: impl Fn(&Taken) -> u64) {
        for (lane, taken) in self.it.shared.lanes.iter().zip(&self.lanes) {
            which(lane).store(upto(taken), Release);
        }
    }

    fn ring(&mut self, who: impl Fn(&mut Taken) -> bool) {
        for (taken, wake) in self.lanes.iter_mut().zip(&self.it.wakes) {
            if who(taken) {
                wake();
            }
        }
    }

    /// Goes on trying until the store works again; false: the gateway stops, and it still does not.
    fn recover(&mut self, fault: Fault) -> bool {
        let shared = self.it.shared.clone();
        *shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault.to_string());
        if shared.failing.load(Acquire) {
            tracing::error!("the disk answers again, and the store fails nevertheless: {fault}");
        }
        shared.begin_to_fail(&fault.to_string());
        self.ring(|_| true);
        if self.syncing.take().is_some() {
            // However it ends, what it was to make safe is written once more.
            let _ = self.it.syncer.end();
        }
        shared.busy_since.store(0, Relaxed);
        // The chunks that these are cut from would stay whole for the sake of a few.
        let old = [std::mem::take(&mut self.being_synced), std::mem::take(&mut self.unsynced)];
        self.unsynced_bytes = 0;
        for (key, value) in old.into_iter().flatten() {
            self.remember(&key, value.as_ref());
        }
        let mut wait = BACK_OFF.0;
        let mut give_up: Option<Instant> = None;
        loop {
            self.remember_puts();
            self.count();
            if shared.stopping.load(Acquire) {
                let until = *give_up.get_or_insert_with(|| clock() + LAST_TRIES);
                if clock() >= until {
                    tracing::error!("the gateway stops with {} records that could not be stored", self.unsynced.len());
                    return false;
                }
                wait = BACK_OFF.0;
            }
            let until = clock() + wait;
            if give_up.is_some() {
                thread::park_timeout(wait);
            }
            self.pause(until);
            self.take();
            if !self.batch.is_empty() {
                self.encode();
            }
            self.remember_puts();
            let fault = match self.submit_again() {
                Ok(()) => break,
                Err(fault) => fault,
            };
            tracing::debug!("the store still fails: {fault}");
            *shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault.to_string());
            wait = (wait * 2).min(BACK_OFF.1);
        }
        tracing::info!("the store works again");
        self.unsynced = HashMap::new();
        self.unsynced_bytes = 0;
        self.puts = Vec::new();
        self.count();
        self.report(|lane| &lane.written, |taken| taken.upto);
        *shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        shared.failing.store(false, Release);
        // Last, so that whoever sees it sees the rest.
        self.report(|lane| &lane.committed, |taken| taken.upto);
        for taken in &mut self.lanes {
            (taken.wants_written, taken.wants_committed) = (false, false);
        }
        self.ring(|_| true);
        true
    }

    fn submit_again(&mut self) -> Result<(), Fault> {
        self.it.backend.recover()?;
        self.puts.extend(self.unsynced.iter().map(|(key, value)| Put { key: key.clone(), value: value.clone() }));
        let result = self.it.backend.write(&self.puts).and_then(|()| self.it.backend.sync());
        self.puts.clear();
        self.written_at = None;
        result
    }

    /// Keeps in memory what could not be written.
    fn remember_puts(&mut self) {
        let mut puts = std::mem::take(&mut self.puts);
        for Put { key, value } in puts.drain(..) {
            self.remember(&key, value.as_ref());
        }
        self.puts = puts;
    }

    fn remember(&mut self, key: &Bytes, value: Option<&Bytes>) {
        let before = self.unsynced.get(key).map(|old| key.len() + old.as_ref().map_or(0, Bytes::len));
        self.unsynced_bytes -= before.unwrap_or(0);
        let fits = self.unsynced_bytes + key.len() + value.map_or(0, Bytes::len) <= self.it.kept_bytes;
        // The clocks are always kept: without them no record has a time.
        let is_clock = key.first() == Some(&codec::kind::ERA);
        let value = value.filter(|_| fits || is_clock).map(|value| Bytes::copy_from_slice(value));
        if !fits && value.is_none() {
            relaxed(&self.it.shared.counts.forgotten, 1);
        }
        self.unsynced_bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        if let Some(place) = self.unsynced.get_mut(key) {
            *place = value;
        } else {
            self.unsynced.insert(Bytes::copy_from_slice(key), value);
        }
    }

    /// Waits for something to be handed over, for the end of a sync, for the next one, or for a quiet moment.
    fn sleep(&self) {
        let shared = &self.it.shared;
        shared.sleeping.store(true, Release);
        // Whoever hands over after this look sees that we sleep: both sides go through the lane's lock.
        let anything = shared.lanes.iter().any(Lane::has_anything) || shared.stopping.load(Acquire);
        if !anything {
            let sync = self.written_at.filter(|_| self.syncing.is_none()).map(|at| at + self.it.sync_within);
            match sync.or_else(|| self.tidies_at()) {
                Some(at) => thread::park_timeout(at.saturating_duration_since(clock())),
                None => thread::park(),
            }
        }
        shared.sleeping.store(false, Release);
    }

    /// Waits until `until` whatever is handed over meanwhile; a gateway that stops does not wait.
    fn pause(&self, until: Instant) {
        while !self.it.shared.stopping.load(Acquire) {
            let left = until.saturating_duration_since(clock());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// Tells the metrics what there is, now and then.
    fn count(&mut self) {
        let now = clock();
        let failing = self.it.shared.failing.load(Relaxed);
        if failing || self.counted_at.is_none_or(|at| now >= at + Duration::from_secs(1)) {
            self.counted_at = Some(now);
            let counts = &self.it.shared.counts;
            let usage = self.it.backend.usage();
            counts.keys.store(usage.keys, Relaxed);
            counts.live_bytes.store(usage.live_bytes, Relaxed);
            counts.disk_bytes.store(usage.disk_bytes, Relaxed);
            counts.kept.store((self.unsynced.len() + self.being_synced.len()) as u64, Relaxed);
        }
    }
}

/// The thread must not end unheard.
struct Alarm {
    shared: Arc<Shared>,
    wakes: Vec<Bell>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            let trouble = "the store's thread has panicked; restart the gateway".to_owned();
            *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
            self.shared.failing.store(true, Release);
            self.wakes.iter().for_each(|wake| wake());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this thread is a driver: it waits for real time to pass")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}
