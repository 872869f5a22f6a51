//! The engine with a disk: fjall, a log-structured store, with what it lacks around it.
//!
//! - `LOCK` is locked while the store is open, `STORE` says which store and format it is, `SAFE` how far it is safe, and
//!   `data` is fjall's.
//! - Every batch carries its number, and `SAFE` names the last one that was synced. fjall cuts off whatever it
//!   cannot read at the end of its journal; so the journals are read before it sees them, and it is not let near one
//!   that is broken before that point. Tables are verified block by block.
//! - Syncs go past fjall, which would write nothing meanwhile.
//! - fjall's own thread is given its turn: a writer that never pauses would starve it, and memory and journals
//!   would grow without a bound.

pub(crate) mod home;
pub(crate) mod journal;
pub(crate) mod table;

use crate::backend::{Backend, Each, Put, Syncing, Usage};
use crate::codec::kind;
use crate::error::{Damage, Fault, OpenError};
use bytes::Bytes;
use fjall::AbstractTree as _;
use fjall::compaction::Leveled;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use home::{Found, Home, Identity, SAFE, Safe};
use journal::{Journal, Next, journals};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Under this key stands the number of the last batch.
pub(crate) const NUMBER: &[u8] = b"\0";
/// fjall's own keyspace, and that of the records.
const KEYSPACES: [&str; 2] = ["0", "1"];
/// The keyspace of the records, as fjall numbers it.
pub(crate) const RECORDS: u64 = 1;
/// So much is written to memory before it becomes a table.
const MEMTABLE: u64 = 4 << 20;
/// So much while somebody waits for each sync, which making tables would hold up; most bursts are over by then.
const BURST: u64 = 16 << 20;
/// fjall begins another journal when one has 64 MB. From this many bytes on ours is emptied in a quiet moment, so that it
/// is no multiple of a small store: that takes a while, in which nothing is written.
const JOURNAL: u64 = 32 << 20;
/// So many of these may wait for fjall's thread.
const WAITING: usize = 2;
/// After a fault there must be so much room before anything is promised again: for a table, and some journal. Else a
/// disk that is nearly full would fail again at once, and again.
const ROOM: usize = 20 << 20;
/// How long a write may wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The store's files, open.
pub(crate) struct Disk {
    home: Home,
    identity: Identity,
    safe_file: File,
    safe: Safe,
    /// Nothing after a fault, until it is open again.
    open: Option<Open>,
    /// The number of the last batch.
    batch: u64,
    /// Bytes written since the last memtable became a table.
    since_rotation: u64,
    /// Whether the last batch was synced before another came, as it is when somebody waits.
    in_burst: bool,
    /// Bytes written since the journal was emptied.
    in_journal: u64,
}

struct Open {
    // Handles go before the database does.
    records: Keyspace,
    database: Database,
}

impl Disk {
    /// Opens the store in `path`, or makes one.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let (home, found) = Home::take(path, true)?;
        match found {
            Found::Store => Self::recall(home),
            Found::Nothing => Self::create(home, Identity::random()?),
        }
    }

    /// Opens the store in `path` if there is one.
    pub(crate) fn open_existing(path: &Path) -> Result<Self, OpenError> {
        Self::recall(Home::take(path, false)?.0)
    }

    /// Makes a store with an identity.
    pub(crate) fn create(home: Home, identity: Identity) -> Result<Self, OpenError> {
        let safe_file = home.open_safe()?;
        home.write_safe(&safe_file, identity.key, Safe::default())?;
        safe_file.sync_all().map_err(Fault::of(&home.path.join(SAFE), "sync"))?;
        home.found(&identity)?;
        // The name of the directory itself.
        if let Some(parent) = home.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            home::sync_directory(parent)?;
        }
        Self::recall(home)
    }

    /// Reads and verifies everything, cuts off what was never safe, and lets fjall open the rest.
    pub(crate) fn recall(home: Home) -> Result<Self, OpenError> {
        let identity = home.identity()?;
        let safe = home.safe(identity.key)?;
        let data = home.data();
        if !data.join("version").exists() {
            if safe.batch > 0 {
                return Err(Damage::new(&data.join("version"), None, "the file is missing").into());
            }
            // The start that was to make it did not come far.
            if data.exists() {
                fs::remove_dir_all(&data).map_err(Fault::of(&data, "remove"))?;
            }
        }
        if !data.exists() {
            // fjall's own files are as others are; the directory around them is not.
            DirBuilder::new().mode(0o700).create(&data).map_err(Fault::of(&data, "create"))?;
        }
        let (damages, tail) = verify(&data, safe)?;
        if let Some(damage) = damages.into_iter().next() {
            return Err(damage.into());
        }
        let safe_file = home.open_safe()?;
        if let Some(tail) = tail {
            tracing::info!("{}: a batch that was never safe is cut off", tail.file.display());
            cut(&tail.file, tail.offset.unwrap_or(0))?;
        }
        home.end_probe();
        let open = open(&data)?;
        let batch = open.number().map_err(|error| broken(&data, error))?;
        if batch < safe.batch {
            let what = format!("batch {} was safe, and the last one there is {batch}", safe.batch);
            return Err(Damage::new(&data, None, what).into());
        }
        // What the last life wrote and did not sync counts from now on.
        open.database.persist(PersistMode::SyncAll).map_err(|error| fault(&data, "sync", error))?;
        let safe = Safe { batch, ..safe };
        Ok(Self {
            home,
            identity,
            safe_file,
            safe,
            open: Some(open),
            batch,
            since_rotation: 0,
            in_burst: false,
            in_journal: JOURNAL / 2,
        })
    }

    /// Makes a table of everything so far, and waits for it.
    #[cfg(test)]
    pub(crate) fn make_table(&mut self) {
        let open = self.open.as_ref().expect("it is open");
        open.records.rotate_memtable_and_wait().expect("the disk works");
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether the last stop was in order.
    pub(crate) fn was_clean(&self) -> bool {
        self.safe.clean
    }

    fn opened(&self) -> Result<&Open, Fault> {
        let closed = || io::Error::other("it is closed after a fault");
        self.open.as_ref().ok_or_else(|| Fault::of(&self.home.data(), "write")(closed()))
    }

    fn rotate(&mut self) -> Result<(), Fault> {
        self.opened()?.rotate().map_err(|error| fault(&self.home.data(), "write", error))?;
        self.since_rotation = 0;
        Ok(())
    }

    /// Makes tables of everything, and empties the journal, of which nothing is needed then. If fjall takes too long,
    /// it is left for later.
    fn empty_journal(&mut self) -> Result<(), Fault> {
        let began = crate::keeper::clock();
        let data = self.home.data();
        self.in_journal = JOURNAL / 2;
        let open = self.opened()?;
        open.rotate().map_err(|error| fault(&data, "write", error))?;
        open.wait(|records| records.sealed_memtable_count() > 0).map_err(|error| fault(&data, "write", error))?;
        self.since_rotation = 0;
        let flushed = began.elapsed();
        // Only what tables say counts: they and the list of them are synced when they are made.
        let tree = &self.opened()?.records.tree;
        let all_in_tables = tree.get_highest_memtable_seqno().is_none() && tree.get_highest_persisted_seqno().is_some();
        if !all_in_tables || journals(&data)?.len() != 1 {
            return Ok(());
        }
        self.open = None;
        if let Some(path) = journals(&data)?.pop() {
            cut(&path, 0)?;
        }
        let closed = began.elapsed();
        self.reopen()?;
        self.in_journal = 0;
        tracing::debug!(?flushed, ?closed, took = ?began.elapsed(), "the journal is empty");
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        let data = self.home.data();
        self.open = Some(open(&data).map_err(|error| match error {
            OpenError::Io { fault } => fault,
            error => Fault::of(&data, "open")(io::Error::other(error.to_string())),
        })?);
        let found = self.opened()?.number().map_err(|error| fault(&data, "read", error))?;
        if found < self.safe.batch {
            let error =
                io::Error::other(format!("batch {} was safe, and the last one there is {found}", self.safe.batch));
            return Err(Fault::of(&data, "open")(error));
        }
        self.batch = found;
        Ok(())
    }

    fn write_safe(&mut self, safe: Safe) -> Result<(), Fault> {
        self.home.write_safe(&self.safe_file, self.identity.key, safe)?;
        self.safe = safe;
        Ok(())
    }
}

impl Open {
    fn number(&self) -> fjall::Result<u64> {
        let bytes = self.records.get(NUMBER)?;
        Ok(bytes.and_then(|bytes| <[u8; 8]>::try_from(&bytes[..]).ok()).map_or(0, u64::from_be_bytes))
    }

    /// Turns the memtable into a table, when fjall's thread has caught up.
    fn rotate(&self) -> fjall::Result<()> {
        self.wait(|records| records.sealed_memtable_count() > WAITING || records.l0_table_count() > 12)?;
        self.records.rotate_memtable().map(drop)
    }

    /// Gives fjall's thread time, within bounds.
    fn wait(&self, is_behind: impl Fn(&Keyspace) -> bool) -> fjall::Result<()> {
        let since = crate::keeper::clock();
        while is_behind(&self.records) && crate::keeper::clock() < since + PATIENCE {
            // Says whether its thread has failed.
            self.database.persist(PersistMode::Buffer)?;
            thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Lets fjall open its directory.
fn open(data: &Path) -> Result<Open, OpenError> {
    let config = || {
        KeyspaceCreateOptions::default()
            // We do that ourselves, and earlier.
            .max_memtable_size(BURST * 2)
            .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(MEMTABLE * 2).with_l0_threshold(2)))
    };
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = Database::builder(data)
            .cache_size(1 << 20)
            .max_cached_files(Some(64))
            .max_journaling_size(64 << 20)
            // With two, one of them spins while the other one compacts.
            .worker_threads(1)
            .manual_journal_persist(true)
            .open()?;
        let records = database.keyspace("records", config)?;
        Ok(Open { records, database })
    }));
    match opened {
        Ok(opened) => opened.map_err(|error| broken(data, error)),
        Err(_) => Err(Damage::new(data, None, "fjall cannot make sense of it").into()),
    }
}

/// What fjall says while it opens or reads.
fn broken(data: &Path, error: fjall::Error) -> OpenError {
    use io::ErrorKind::{AlreadyExists, InvalidData, NotFound, UnexpectedEof};
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(lsm_tree::Error::Io(error))
            if !matches!(error.kind(), NotFound | AlreadyExists | UnexpectedEof | InvalidData) =>
        {
            Fault::of(data, "open")(error).into()
        }
        error => Damage::new(data, None, format!("fjall cannot make sense of it: {error:?}")).into(),
    }
}

/// What fjall says while it writes.
fn fault(data: &Path, doing: &'static str, error: fjall::Error) -> Fault {
    let error = match error {
        fjall::Error::Io(error) | fjall::Error::Storage(lsm_tree::Error::Io(error)) => error,
        fjall::Error::Poisoned => io::Error::other("an earlier write has failed, perhaps for want of room"),
        error => io::Error::other(format!("{error:?}")),
    };
    Fault::of(data, doing)(error)
}

/// Looks through all journals and tables: what is damaged, and where a tail begins that was never safe.
pub(crate) fn verify(data: &Path, safe: Safe) -> Result<(Vec<Damage>, Option<Damage>), Fault> {
    let (mut damages, mut tail) = (Vec::new(), None);
    let paths = journals(data)?;
    let (mut last_number, mut sequence) = (None, None);
    for (keyspace, path) in table::tables(data, &mut damages)? {
        // The number of the batch that was the last when the table was made is the first thing in it.
        let mut first = |piece: table::Piece<'_>| {
            if let table::Piece::Item { key, value: Some(value), .. } = piece {
                let number = <[u8; 8]>::try_from(value).ok().filter(|_| keyspace == RECORDS && key == NUMBER);
                last_number = last_number.max(number.map(u64::from_be_bytes));
            }
            false
        };
        table::read(&path, &mut damages, Some(&mut first))?;
    }
    for (index, path) in paths.iter().enumerate() {
        let journal = Journal::read(path)?;
        let mut at = 0;
        loop {
            match journal.next(at, sequence) {
                Next::Batch(batch) => {
                    sequence = Some(batch.sequence);
                    last_number = last_number.max(number_of(&journal, &batch.items));
                    at = batch.end;
                }
                Next::End => break,
                Next::Broken { at: wrong, what } => {
                    let is_last = index + 1 == paths.len();
                    let was_safe = last_number.unwrap_or(0) < safe.batch || safe.clean;
                    if is_last && !was_safe && damages.is_empty() {
                        tail = Some(journal.damage(at, what));
                        break;
                    }
                    damages.push(journal.damage(wrong, what));
                    let Some(next) = journal.resume(at) else { break };
                    (at, sequence) = (next, None);
                }
            }
        }
        let end = journal.bytes.len() as u64;
        if index + 1 == paths.len() && damages.is_empty() && last_number.unwrap_or(0) < safe.batch {
            let what = format!("the file ends here, but batch {} was safe", safe.batch);
            damages.push(Damage::new(path, end, what));
        }
    }
    // Without this fjall takes a keyspace for one that was never finished, and removes it.
    for keyspace in KEYSPACES.iter().filter(|_| safe.batch > 0) {
        let path = data.join("keyspaces").join(keyspace).join("current");
        if !path.exists() {
            damages.push(Damage::new(&path, None, "the file is missing"));
        }
    }
    Ok((damages, tail))
}

/// The number of a batch.
pub(crate) fn number_of(journal: &Journal, items: &[journal::Item]) -> Option<u64> {
    let item = items.iter().rev().find(|item| journal.bytes[item.key.clone()] == *NUMBER)?;
    <[u8; 8]>::try_from(&journal.bytes[item.value.clone()?]).ok().map(u64::from_be_bytes)
}

fn cut(path: &Path, length: u64) -> Result<(), Fault> {
    let file = OpenOptions::new().write(true).open(path).map_err(Fault::of(path, "open for writing"))?;
    file.set_len(length).map_err(Fault::of(path, "cut"))?;
    file.sync_all().map_err(Fault::of(path, "sync"))
}

/// Where the first batch behind `number` starts in the last journal.
fn behind(data: &Path, number: u64) -> Result<Option<(PathBuf, u64)>, Fault> {
    let Some(path) = journals(data)?.pop() else { return Ok(None) };
    let journal = Journal::read(&path)?;
    let mut at = 0;
    let mut sequence = None;
    while let Next::Batch(batch) = journal.next(at, sequence) {
        sequence = Some(batch.sequence);
        if number_of(&journal, &batch.items).is_some_and(|found| found > number) {
            break;
        }
        at = batch.end;
    }
    Ok(Some((path, at as u64)))
}

impl Backend for Disk {
    fn load(&mut self, each: Each<'_>) -> Result<(), OpenError> {
        let data = self.home.data();
        for pair in self.opened()?.records.iter() {
            let (key, value) = pair.into_inner().map_err(|error| broken(&data, error))?;
            if key != NUMBER {
                each(&key, &value)?;
            }
        }
        Ok(())
    }

    fn eras(&mut self) -> Result<Vec<(Bytes, Bytes)>, OpenError> {
        let data = self.home.data();
        let pairs = self.opened()?.records.prefix([kind::ERA]);
        let pairs = pairs.map(|pair| pair.into_inner().map(|(key, value)| (key.into(), value.into())));
        pairs.collect::<Result<_, _>>().map_err(|error| broken(&data, error))
    }

    fn write(&mut self, puts: &[Put]) -> Result<(), Fault> {
        let data = self.home.data();
        let most = if std::mem::take(&mut self.in_burst) { BURST } else { MEMTABLE };
        if self.since_rotation >= most {
            self.rotate()?;
        }
        let open = self.opened()?;
        let mut batch = open.database.batch().durability(Some(PersistMode::Buffer));
        let mut bytes = 0;
        for Put { key, value } in puts {
            bytes += key.len() + 64;
            match value {
                Some(value) => {
                    bytes += value.len();
                    batch.insert(&open.records, key.clone(), value.clone());
                }
                None => batch.remove(&open.records, key.clone()),
            }
        }
        let number = self.batch + 1;
        batch.insert(&open.records, NUMBER, number.to_be_bytes());
        batch.commit().map_err(|error| fault(&data, "write", error))?;
        self.batch = number;
        self.since_rotation += bytes as u64;
        self.in_journal += bytes as u64;
        Ok(())
    }

    /// fjall would hold up all writes while it syncs; so the journal is synced past it. What left the journal is in tables,
    /// which fjall has synced.
    fn begin_sync(&mut self) -> Result<Syncing, Fault> {
        let data = self.home.data();
        // Says whether fjall's thread has failed.
        let database = &self.opened()?.database;
        database.persist(PersistMode::Buffer).map_err(|error| fault(&data, "sync", error))?;
        let mut files = Vec::with_capacity(1);
        for path in journals(&data)? {
            match OpenOptions::new().write(true).open(&path) {
                Ok(file) => files.push((path, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Fault::of(&path, "open for writing")(error)),
            }
        }
        let flush =
            || files.into_iter().try_for_each(|(path, file)| file.sync_data().map_err(Fault::of(&path, "sync")));
        Ok(Syncing { upto: self.batch, flush: Box::new(flush) })
    }

    fn end_sync(&mut self, upto: u64) -> Result<(), Fault> {
        self.in_burst = upto == self.batch;
        self.write_safe(Safe { batch: upto, clean: false })
    }

    fn is_untidy(&self) -> bool {
        self.in_journal >= JOURNAL || self.since_rotation >= MEMTABLE
    }

    fn tidy(&mut self) -> Result<(), Fault> {
        if self.since_rotation >= MEMTABLE {
            return self.rotate();
        }
        let Open { records, database } = self.opened()?;
        let is_busy = records.sealed_memtable_count() > 0 || database.active_compactions() > 0;
        if is_busy { Ok(()) } else { self.empty_journal() }
    }

    fn recover(&mut self) -> Result<(), Fault> {
        self.open = None;
        let data = self.home.data();
        // What a failed sync leaves in the system's memory is not believed: it is cut off, and written once more.
        if let Some((path, length)) = behind(&data, self.safe.batch)? {
            cut(&path, length)?;
        }
        self.home.probe(ROOM)?;
        self.safe_file = self.home.open_safe()?;
        self.write_safe(self.safe)?;
        self.safe_file.sync_data().map_err(Fault::of(&self.home.path.join(SAFE), "sync"))?;
        self.reopen()?;
        self.since_rotation = MEMTABLE;
        Ok(())
    }

    fn mark(&mut self, clean: bool) -> Result<(), Fault> {
        let path = self.home.path.join(SAFE);
        if clean && self.in_journal > MEMTABLE {
            self.empty_journal()?;
        }
        self.write_safe(Safe { clean, ..self.safe })?;
        self.safe_file.sync_data().map_err(Fault::of(&path, "sync"))
    }

    fn usage(&self) -> Usage {
        let Some(Open { records, .. }) = &self.open else { return Usage::default() };
        let live_bytes = records.disk_space();
        // Journals are made with room that is not on the disk yet.
        let journals = journals(&self.home.data()).unwrap_or_default();
        let journals: u64 = journals.iter().filter_map(|path| Some(fs::metadata(path).ok()?.blocks() * 512)).sum();
        Usage { keys: records.approximate_len() as u64, live_bytes, disk_bytes: live_bytes + journals }
    }
}
