//! Looking through fjall's journals before fjall does: it cuts off whatever it cannot read, we only what was never safe.
//!
//! A journal is a row of batches: a start (1, number of items, sequence number), items (2, kind, compression, keyspace,
//! length of the key, length of the value, its length on disk, key, value), an end (3, XXH3 of all items, `FJL3`). An
//! item of the kind 4 clears a keyspace. Behind the last batch there are only zeros, or the end of the file.

use crate::error::{Damage, Fault};
use bytes::Buf as _;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"FJL\x03";
/// So much is read at a time.
const BLOCK: usize = 64 << 10;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Sequence numbers that fjall may use for something else between two batches.
const MOST_SKIPPED: u64 = 1 << 20;

/// An item of a batch: which keyspace, which key, and its value, if it is not gone.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) keyspace: u64,
    pub(crate) key: Range<usize>,
    pub(crate) value: Option<Range<usize>>,
}

/// A whole batch.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) sequence: u64,
    pub(crate) items: Vec<Item>,
    /// Where the next one starts.
    pub(crate) end: usize,
}

/// A journal in memory.
pub(crate) struct Journal {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// What comes next.
pub(crate) enum Next {
    Batch(Batch),
    /// Nothing but zeros.
    End,
    /// Something that is no batch; where it is wrong.
    Broken {
        at: usize,
        what: &'static str,
    },
}

/// The journals of a store, oldest first.
pub(crate) fn journals(data: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Fault::of(data, "read")(error)),
    };
    for entry in entries {
        let path = entry.map_err(Fault::of(data, "read"))?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

impl Journal {
    pub(crate) fn read(path: &Path) -> Result<Self, Fault> {
        let mut file = File::open(path).map_err(Fault::of(path, "read"))?;
        let (mut bytes, mut block, mut zeros) = (Vec::new(), vec![0; BLOCK], 0);
        loop {
            let length = match file.read(&mut block) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::of(path, "read")(error)),
            };
            let read = &block[..length];
            // Journals are made with room to grow, tens of megabytes: only what is in use is looked at byte by byte.
            if *read == ZEROS[..length] {
                zeros += length;
            } else {
                bytes.resize(bytes.len() + std::mem::take(&mut zeros), 0);
                bytes.extend_from_slice(read);
            }
        }
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used);
        Ok(Self { path: path.to_owned(), bytes })
    }

    pub(crate) fn damage(&self, at: usize, what: impl Into<String>) -> Damage {
        Damage::new(&self.path, at as u64, what)
    }

    /// What starts at `at`, behind a batch with the sequence number `after`, if that is known.
    pub(crate) fn next(&self, at: usize, after: Option<u64>) -> Next {
        if at >= self.bytes.len() {
            return Next::End;
        }
        match self.batch(at) {
            // fjall's check leaves the sequence number out. They rise, with gaps now and then.
            Ok(batch)
                if after.is_some_and(|after| batch.sequence <= after || batch.sequence - after > MOST_SKIPPED) =>
            {
                Next::Broken { at, what: "the sequence number of a batch makes no sense" }
            }
            Ok(batch) => Next::Batch(batch),
            Err((at, what)) => Next::Broken { at, what },
        }
    }

    /// The next whole batch behind a broken one that starts at `from`.
    pub(crate) fn resume(&self, from: usize) -> Option<usize> {
        (from + 1..self.bytes.len()).find(|&at| self.bytes[at] == 1 && self.batch(at).is_ok())
    }

    /// The items of a broken batch as far as they make sense. Nobody vouches for what they say.
    pub(crate) fn items(&self, from: usize, end: usize) -> Vec<Item> {
        let (mut items, mut at) = (Vec::new(), from + 13);
        while let Some((item, next)) = self.item(at).filter(|(_, next)| *next <= end) {
            items.extend(item);
            at = next;
        }
        items
    }

    fn batch(&self, start: usize) -> Result<Batch, (usize, &'static str)> {
        let mut head = self.bytes.get(start..start + 13).ok_or((start, "the file ends in the head of a batch"))?;
        if head.get_u8() != 1 {
            return Err((start, "this is not the start of a batch"));
        }
        let (count, sequence) = (head.get_u32_le(), head.get_u64_le());
        let (mut items, mut at) = (Vec::new(), start + 13);
        for _ in 0..count {
            let (item, end) = self.item(at).ok_or((at, "this is no record, or the file ends in it"))?;
            items.extend(item);
            at = end;
        }
        let mut end = self.bytes.get(at..at + 13).ok_or((at, "the file ends in the end of a batch"))?;
        if end.get_u8() != 3 {
            return Err((at, "this is not the end of a batch"));
        }
        let check = end.get_u64_le();
        if end != MAGIC || check != xxhash_rust::xxh3::xxh3_64(&self.bytes[start + 13..at]) {
            return Err((start, "the check of a batch fails"));
        }
        Ok(Batch { sequence, items, end: at + 13 })
    }

    /// An item and where it ends; one that clears is none.
    fn item(&self, at: usize) -> Option<(Option<Item>, usize)> {
        match self.bytes.get(at)? {
            2 => {
                let mut head = self.bytes.get(at + 1..at + 21)?;
                let kind = head.get_u8();
                if head.get_u8() != 0 {
                    return None;
                }
                let keyspace = head.get_u64_le();
                let (key, value, on_disk) = (head.get_u16_le(), head.get_u32_le(), head.get_u32_le());
                if value != on_disk {
                    return None;
                }
                let key = at + 21..at + 21 + usize::from(key);
                let value = key.end..key.end.checked_add(value as usize)?;
                let end = value.end;
                let item = Item { keyspace, key, value: (kind == 0).then_some(value) };
                (end <= self.bytes.len()).then_some((Some(item), end))
            }
            4 => Some((None, at + 9)),
            _ => None,
        }
    }
}
