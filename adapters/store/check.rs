//! Looking through a store that nobody has open, and keeping what is left of one that is damaged.

use crate::backend::{Backend as _, Put};
use crate::codec::{self, kind};
use crate::disk::home::{Found, Home, Identity, STORE, Safe, sync_directory};
use crate::disk::journal::{Journal, Next, journals};
use crate::disk::{Disk, NUMBER, RECORDS, number_of, table, verify};
use crate::error::{Damage, Fault, OpenError};
use crate::{Config, Loaded, Store};
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a look through a store has found.
#[derive(Debug, Default)]
pub struct Checked {
    /// What it holds, if it is whole.
    pub loaded: Loaded,
    /// Bytes in its journals and tables.
    pub bytes: u64,
    /// What is damaged; a store with any of it is not opened.
    pub damages: Vec<Damage>,
    /// A tail that was never safe: the next start cuts it off.
    pub tail: Option<Damage>,
}

/// What has become of a damaged store.
#[derive(Debug)]
pub struct Salvaged {
    /// What is kept.
    pub loaded: Loaded,
    /// What is damaged or missing.
    pub missing: Vec<Damage>,
    /// Where the damaged store is now.
    pub old: PathBuf,
}

/// Reads and verifies everything. If it is whole, it is also opened, as a start would. The store must not be open.
pub fn check(path: &Path, wall: Duration) -> Result<Checked, OpenError> {
    let (home, _) = Home::take(path, false)?;
    let mut checked = Checked::default();
    let identity = note(home.identity(), &mut checked.damages)?;
    let safe = match identity {
        Some(identity) => note(home.safe(identity.key), &mut checked.damages)?,
        None => None,
    };
    let data = home.data();
    let (damages, tail) = verify(&data, safe.unwrap_or_default())?;
    checked.damages.extend(damages);
    checked.tail = tail;
    let mut files = journals(&data)?;
    files.extend(table::tables(&data, &mut Vec::new())?.into_iter().map(|(_, path)| path));
    checked.bytes = files.iter().filter_map(|file| Some(used(&fs::metadata(file).ok()?))).sum();
    if checked.damages.is_empty() && checked.tail.is_none() {
        let loaded = Disk::recall(home).and_then(|disk| {
            let seed = disk.identity().seed;
            Store::of(Some(Box::new(disk)), path, seed, false, &Config::default(), wall)?.load(|_| ())
        });
        checked.loaded = note(loaded, &mut checked.damages)?.unwrap_or_default();
    }
    Ok(checked)
}

/// Bytes on the disk: journals are made with room that is not there yet.
fn used(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.blocks() * 512
}

/// Keeps a damage, passes on everything else.
fn note<T>(result: Result<T, OpenError>, damages: &mut Vec<Damage>) -> Result<Option<T>, OpenError> {
    match result {
        Ok(it) => Ok(Some(it)),
        Err(OpenError::Damaged(damage)) => {
            damages.push(damage);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Puts a store with everything that can still be read of the one in `path` in its place; the damaged one is kept
/// beside it. What may have had a newer state in a part that is lost is not brought back.
pub fn salvage(path: &Path, wall: Duration) -> Result<Salvaged, OpenError> {
    let (home, _) = Home::take(path, false)?;
    let path = fs::canonicalize(path).map_err(Fault::of(path, "look at"))?;
    let (new, old) = (free_name(&path, "salvaged"), free_name(&path, "damaged"));
    let mut missing = Vec::new();
    let identity = note(home.identity(), &mut missing)?;
    let safe = match identity {
        Some(identity) => note(home.safe(identity.key), &mut missing)?,
        None => {
            missing.push(Damage::new(
                &home.path.join(STORE),
                None,
                "lost: the fingerprints by which devices are known",
            ));
            None
        }
    };
    let left = Left::of(&home, safe.unwrap_or_default(), &mut missing)?;
    let (new_home, Found::Nothing) = Home::take(&new, true)? else { return Err(OpenError::Exists { path: new }) };
    let random = Identity::random()?;
    let identity = Identity { seed: identity.map_or(random.seed, |identity| identity.seed), ..random };
    let mut disk = Disk::create(new_home, identity)?;
    let mut batch = Vec::new();
    for (key, value) in left.records(&home.data(), &mut missing) {
        batch.push(Put { key: key.into(), value: Some(value) });
        if batch.len() == 1000 {
            disk.write(&batch)?;
            batch.clear();
        }
    }
    disk.write(&batch)?;
    disk.sync()?;
    let loaded = Store::of(Some(Box::new(disk)), &new, identity.seed, false, &Config::default(), wall)?.load(|_| ())?;
    fs::rename(&path, &old).map_err(Fault::of(&path, "move away"))?;
    fs::rename(&new, &path).map_err(Fault::of(&new, "move into place"))?;
    if let Some(parent) = path.parent() {
        sync_directory(parent)?;
    }
    Ok(Salvaged { loaded, missing, old })
}

/// `path.word`, or `path.word-2` and so on if that exists.
fn free_name(path: &Path, word: &str) -> PathBuf {
    let named = |suffix: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    (1..)
        .map(|number| named(if number == 1 { format!(".{word}") } else { format!(".{word}-{number}") }))
        .find(|name| fs::symlink_metadata(name).is_err())
        .expect("some number is free")
}

/// What is left of a store: the newest version of each key, and what nobody can vouch for.
#[derive(Default)]
struct Left {
    newest: BTreeMap<Vec<u8>, (u64, Option<Bytes>)>,
    /// Keys that had a version in a part that is lost.
    doubtful: HashSet<Vec<u8>>,
    gaps: Vec<Gap>,
}

/// Between these keys, versions up to a sequence number are lost.
struct Gap {
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    sequence: u64,
}

impl Left {
    fn of(home: &Home, safe: Safe, missing: &mut Vec<Damage>) -> Result<Self, OpenError> {
        let mut left = Self::default();
        let data = home.data();
        for (keyspace, path) in table::tables(&data, missing)? {
            if keyspace == RECORDS {
                left.table(&path, missing)?;
            } else {
                // Of no use to us: the new store has its own.
                table::read(&path, missing, None)?;
            }
        }
        let paths = journals(&data)?;
        for (index, path) in paths.iter().enumerate() {
            left.journal(&Journal::read(path)?, index + 1 == paths.len(), safe, missing);
        }
        Ok(left)
    }

    fn table(&mut self, path: &Path, missing: &mut Vec<Damage>) -> Result<(), Fault> {
        let (mut last, mut gap, mut newest) = (Vec::new(), false, 0);
        let first_gap = self.gaps.len();
        table::read(
            path,
            missing,
            Some(&mut |piece| {
                match piece {
                    table::Piece::Lost => gap = true,
                    table::Piece::Item { key, sequence, value } => {
                        if std::mem::take(&mut gap) {
                            self.gaps.push(Gap { from: last.clone(), to: Some(key.clone()), sequence: 0 });
                        }
                        newest = newest.max(sequence);
                        last.clone_from(&key);
                        self.add(key, sequence, value);
                    }
                }
                true
            }),
        )?;
        if gap {
            self.gaps.push(Gap { from: last, to: None, sequence: 0 });
        }
        // A table is of its time: what is younger than all that can be read of it is not affected.
        for gap in &mut self.gaps[first_gap..] {
            gap.sequence = newest;
        }
        Ok(())
    }

    fn journal(&mut self, journal: &Journal, is_last: bool, safe: Safe, missing: &mut Vec<Damage>) {
        let (mut at, mut number, mut sequence) = (0, None, None);
        loop {
            match journal.next(at, sequence) {
                Next::End => return,
                Next::Batch(batch) => {
                    number = number_of(journal, &batch.items).or(number);
                    for item in batch.items.iter().filter(|item| item.keyspace == RECORDS) {
                        let value = item.value.clone().map(|value| &journal.bytes[value]);
                        self.add(journal.bytes[item.key.clone()].to_vec(), batch.sequence, value);
                    }
                    (at, sequence) = (batch.end, Some(batch.sequence));
                }
                Next::Broken { at: wrong, what } => {
                    let next = journal.resume(at);
                    if is_last && next.is_none() && !safe.clean && number.is_none_or(|number| number >= safe.batch) {
                        return;
                    }
                    let end = next.unwrap_or(journal.bytes.len());
                    missing.push(journal.damage(wrong, what));
                    for item in journal.items(at, end) {
                        let key = &journal.bytes[item.key];
                        let name = codec::describe(key).filter(|_| key.first() != Some(&kind::ERA));
                        if let Some(name) = name {
                            missing.push(journal.damage(at, format!("lost: {name}")));
                            self.doubtful.insert(key.to_vec());
                        }
                    }
                    let Some(next) = next else { return };
                    (at, sequence) = (next, None);
                }
            }
        }
    }

    fn add(&mut self, key: Vec<u8>, sequence: u64, value: Option<&[u8]>) {
        let place = self.newest.entry(key).or_insert((0, None));
        if sequence >= place.0 {
            *place = (sequence, value.map(Bytes::copy_from_slice));
        }
    }

    /// What can be served again; what cannot is added to the list.
    fn records(mut self, data: &Path, missing: &mut Vec<Damage>) -> Vec<(Vec<u8>, Bytes)> {
        self.newest.remove(NUMBER);
        let gaps = std::mem::take(&mut self.gaps);
        let in_a_gap = |key: &[u8], sequence: u64| {
            gaps.iter().any(|gap| {
                sequence <= gap.sequence
                    && gap.from.as_slice() < key
                    && gap.to.as_ref().is_none_or(|to| key < to.as_slice())
            })
        };
        let eras: HashSet<u64> = self
            .newest
            .iter()
            .filter(|(key, (_, value))| key.first() == Some(&kind::ERA) && value.is_some())
            .filter_map(|(key, _)| Some(u64::from_be_bytes(<[u8; 8]>::try_from(&key[1..]).ok()?)))
            .collect();
        let mut reader = codec::Reader::default();
        let mut records = Vec::new();
        for (key, (sequence, value)) in self.newest {
            let Some(value) = value else { continue };
            if key.first() == Some(&kind::ERA) {
                records.push((key, value));
                continue;
            }
            let name = || codec::describe(&key).unwrap_or_else(|| "a record".into());
            if self.doubtful.contains(&key) || in_a_gap(&key, sequence) {
                missing.push(Damage::new(data, None, format!("lost: {}, which may have changed since", name())));
            } else if !reader.record(&key, &value).is_ok_and(|(_, era)| eras.contains(&era)) {
                missing.push(Damage::new(data, None, format!("lost: {}, which makes no sense any more", name())));
            } else {
                records.push((key, value));
            }
        }
        records
    }
}
