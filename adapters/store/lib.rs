//! State on disk: what shards need after a restart, safe before it is acknowledged.
//!
//! Shards hold the truth in memory and hand records over as they change; one thread keeps the newest of each key,
//! writes them in batches and says how far it is. Nothing is ever looked up here while the gateway runs. At start
//! everything is read once, before the sockets open.
//!
//! - [`open`] finds out whether the store is whole, [`Store::load`] hands over what it holds, [`Store::start`] starts
//!   the thread. Each shard has a [`StorePort`], the gateway the [`Keeper`].
//! - What is written goes into fjall, see `disk`.
//! - [`check`], [`salvage`], [`export`] and [`import`] are for people; they refuse while a gateway runs.

mod backend;
mod check;
mod codec;
mod config;
mod disk;
mod era;
mod error;
mod keeper;
mod lines;

mod memory;
mod shared;
mod syncer;
#[cfg(test)]
mod tests;

pub use check::{Checked, Salvaged, check, salvage};
pub use config::{Config, Durability};
pub use error::{Damage, Fault, OpenError};
pub use lines::{export, import};
pub use memory::Memory;
pub use shared::{Progress, StorePort};

use backend::Backend;
use codec::Unreadable;
use disk::Disk;
use era::Eras;
use keeper::{Bell, Clock, Keeping, Worker};
use lamplighter_model::{Record, Time};
use shared::{End, Shared};
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use syncer::Syncer;

/// Records are decoded on a thread of their own and handed over in batches of this many.
const BATCH: usize = 512;

/// How many records a store held.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Loaded {
    /// All of them.
    pub records: u64,
    /// Live publications.
    pub publications: u64,
    /// What outlives publications.
    pub resources: u64,
    /// Live subscriptions.
    pub subscriptions: u64,
    /// Subscriptions and publications of ours at other servers.
    pub standings: u64,
}

/// An open store of which nothing runs yet.
pub struct Store {
    /// Nothing: whatever is saved goes nowhere.
    backend: Option<Box<dyn Backend>>,
    path: PathBuf,
    eras: Eras,
    seed: (u64, u64),
    clean: bool,
    all_read: bool,
    sync_within: Duration,
    kept_bytes: usize,
}

/// Opens the store at `config.path`, or makes one there. Everything in it is verified; nothing in it is changed but
/// that a tail is cut off which was never safe. `wall` is the wall clock now, since the epoch.
pub fn open(config: &Config, wall: Duration) -> Result<Store, OpenError> {
    let Some(path) = &config.path else {
        return Store::of(None, Path::new(""), random(), false, config, wall);
    };
    let disk = Disk::open(path)?;
    let (seed, clean) = (disk.identity().seed, disk.was_clean());
    Store::of(Some(Box::new(disk)), path, seed, clean, config, wall)
}

/// Unguessable enough for a store that nobody keeps.
fn random() -> (u64, u64) {
    let one = || RandomState::new().hash_one(());
    (one(), one())
}

impl Store {
    /// A store without a disk: it ends with the process, but behaves like one with a disk until then.
    pub fn in_memory(wall: Duration) -> Self {
        Self::over(&Memory::default(), wall)
    }

    /// A store whose disk is `memory`; opened again over a clone, it has what was written. Only one may be open.
    pub fn over(memory: &Memory, wall: Duration) -> Self {
        let (seed, clean) = (memory.seed(random), memory.is_clean());
        Self::of(Some(Box::new(memory.clone())), Path::new("memory"), seed, clean, &Config::default(), wall)
            .expect("memory does not decay")
    }

    fn of(
        mut backend: Option<Box<dyn Backend>>,
        path: &Path,
        seed: (u64, u64),
        clean: bool,
        config: &Config,
        wall: Duration,
    ) -> Result<Self, OpenError> {
        let pairs = backend.as_mut().map_or(Ok(Vec::new()), |backend| backend.eras())?;
        let eras = Eras::read(&pairs, wall).map_err(|error| unreadable(path, error))?;
        let (sync_within, kept_bytes) = (config.sync_within, config.kept_bytes);
        Ok(Self { backend, path: path.to_owned(), eras, seed, clean, all_read: false, sync_within, kept_bytes })
    }

    /// Random numbers, made with the store and kept in it: the key of fingerprints that must survive a restart.
    pub fn seed(&self) -> (u64, u64) {
        self.seed
    }

    /// Where the gateway's clock starts: the wall time, or the last that the store saw if that was later.
    pub fn start_time(&self) -> Time {
        self.eras.start
    }

    /// Whether the last stop was in order, with everything written.
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// Hands over every record once, in no order, its times in the domain of [`Self::start_time`].
    pub fn load(&mut self, mut each: impl FnMut(Record)) -> Result<Loaded, OpenError> {
        let Self { backend: Some(backend), eras, path, .. } = self else { return Ok(Loaded::default()) };
        let path: &Path = path;
        let mut loaded = Loaded::default();
        thread::scope(|scope| -> Result<(), OpenError> {
            let (full, batches) = sync_channel::<Vec<Record>>(4);
            let decoding = thread::Builder::new().name("store load".into()).spawn_scoped(scope, move || {
                let mut reader = codec::Reader::default();
                let mut batch = Vec::with_capacity(BATCH);
                backend.load(&mut |key, value| {
                    if key.first() == Some(&codec::kind::ERA) {
                        return Ok(());
                    }
                    let mut read = || {
                        let (mut record, era) = reader.record(key, value)?;
                        codec::shift_record(&mut record, eras.ahead(era)?);
                        Ok(record)
                    };
                    batch.push(read().map_err(|error| unreadable(path, error))?);
                    if batch.len() == BATCH {
                        // Nobody listens only when the caller has panicked.
                        let _ = full.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
                    }
                    Ok(())
                })?;
                let _ = full.send(batch);
                Ok::<(), OpenError>(())
            });
            let decoding = decoding.map_err(Fault::of(path, "start a thread to read"))?;
            for record in batches.into_iter().flatten() {
                loaded.records += 1;
                match record {
                    Record::Publication(_) => loaded.publications += 1,
                    Record::Resource(_) => loaded.resources += 1,
                    Record::Subscription(_) => loaded.subscriptions += 1,
                    Record::Standing { .. } => loaded.standings += 1,
                    Record::PublicationGone { .. }
                    | Record::ResourceGone { .. }
                    | Record::SubscriptionGone { .. }
                    | Record::StandingGone { .. } => {}
                }
                each(record);
            }
            decoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        self.all_read = true;
        Ok(loaded)
    }

    /// Starts the store's thread. `now` is the gateway's clock, which began at [`Self::start_time`]; `wall` the wall
    /// clock; `wakes[i]` rings the bell of shard `i`. It writes at once, so that a disk that cannot be written
    /// fails here.
    pub fn start(
        self,
        shards: usize,
        now: Clock<Time>,
        wall: Clock<Duration>,
        wakes: Vec<Bell>,
    ) -> Result<(Keeper, Vec<StorePort>), OpenError> {
        assert_eq!(shards, wakes.len(), "each shard has a bell");
        let port = |end| StorePort { end, buffer: Vec::new() };
        let Some(mut backend) = self.backend else {
            return Ok((Keeper { at_work: None }, (0..shards).map(|_| port(End::Nowhere { last: 0 })).collect()));
        };
        backend.mark(false)?;
        backend.write(&self.eras.begin(self.all_read, now(), wall()))?;
        backend.sync()?;
        let shared = Arc::new(Shared::new(self.path.clone(), shards));
        let syncer = Syncer::start(shared.clone()).map_err(Fault::of(&self.path, "start a thread to sync"))?;
        let worker = Worker::new(Keeping {
            shared: shared.clone(),
            backend,
            syncer,
            now: now.clone(),
            wall,
            wakes,
            era: self.eras.current,
            sync_within: self.sync_within,
            kept_bytes: self.kept_bytes,
        });
        let thread = thread::Builder::new().name("store".into()).spawn(move || worker.run());
        let thread = thread.map_err(Fault::of(&self.path, "start a thread to write"))?;
        let ports = (0..shards).map(|shard| port(End::Thread { shared: shared.clone(), shard, now: now.clone() }));
        let ports = ports.collect();
        let monitor = Monitor { at_work: Some((shared, now)) };
        Ok((Keeper { at_work: Some(AtWork { monitor, thread }) }, ports))
    }
}

fn unreadable(path: &Path, error: Unreadable) -> OpenError {
    match error {
        Unreadable::Newer(found) => OpenError::Newer { file: path.to_owned(), found, known: codec::FORMAT },
        Unreadable::Bad(what) => Damage::new(path, None, what).into(),
    }
}

/// A store at work.
pub struct Keeper {
    at_work: Option<AtWork>,
}

struct AtWork {
    monitor: Monitor,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Ends the thread, after all shards have ended: writes everything, makes it safe, and notes that the stop was in
    /// order. A store that fails is given a few seconds more.
    pub fn stop(self) {
        let Some(AtWork { monitor: Monitor { at_work: Some((shared, _)) }, thread }) = self.at_work else { return };
        shared.stopping.store(true, Release);
        thread.thread().unpark();
        if thread.join().is_err() {
            tracing::error!("the store's thread has panicked");
        }
    }

    /// See [`Monitor::status`].
    pub fn status(&self) -> Result<(), String> {
        self.monitor().status()
    }

    /// See [`Monitor::metrics`].
    pub fn metrics(&self, out: &mut String) {
        self.monitor().metrics(out);
    }

    /// What tells others how the store is.
    pub fn monitor(&self) -> Monitor {
        self.at_work.as_ref().map_or_else(Monitor::default, |at_work| at_work.monitor.clone())
    }
}

/// Tells how the store is. Without a store all is well.
#[derive(Clone, Default)]
pub struct Monitor {
    at_work: Option<(Arc<Shared>, Clock<Time>)>,
}

impl Monitor {
    /// Whether the store works; if not, what is wrong with it, in one line.
    pub fn status(&self) -> Result<(), String> {
        let Some((shared, now)) = &self.at_work else { return Ok(()) };
        if let Some(trouble) = &*shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(trouble.clone());
        }
        shared.stuck(now()).map_or(Ok(()), Err)
    }

    /// Appends what there is to count, in the text format of Prometheus; nothing without a store.
    pub fn metrics(&self, out: &mut String) {
        if let Some((shared, now)) = &self.at_work {
            shared.counts.write(shared.failing.load(Acquire) || shared.stuck(now()).is_some(), out);
        }
    }
}
