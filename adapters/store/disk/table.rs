//! Looking through fjall's tables block by block, to say which file is damaged and where.

use crate::error::{Damage, Fault};
use bytes::Buf as _;
use lsm_tree::table::block::BlockType;
use lsm_tree::table::{Block, DataBlock};
use lsm_tree::{CompressionType, ValueType};
use std::fs;
use std::io::{Cursor, ErrorKind};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// Sections that are rows of blocks.
const BLOCKS: [&[u8]; 6] = [b"data", b"tli", b"index", b"filter", b"filter_tli", b"meta"];
/// How a block begins.
const MAGIC: &[u8] = b"LSM\x03";
/// A block's head.
const HEAD: usize = 33;

/// The tables that count: keyspace, file. A kill leaves others beside them, half written, or of which nothing is needed
/// any more; they say nothing, and fjall removes them. Where it cannot be told which ones count, all are named.
pub(crate) fn tables(data: &Path, damages: &mut Vec<Damage>) -> Result<Vec<(u64, PathBuf)>, Fault> {
    let mut found = Vec::new();
    for (keyspace, path) in numbered(&data.join("keyspaces"))? {
        let directory = path.join("tables");
        match listed(&path)? {
            Ok(Some(numbers)) => {
                for number in numbers {
                    let file = directory.join(number.to_string());
                    if file.exists() {
                        found.push((keyspace, file));
                    } else {
                        damages.push(Damage::new(&file, None, "the file is missing"));
                    }
                }
            }
            unknown => {
                damages.extend(unknown.err());
                found.extend(numbered(&directory)?.into_iter().map(|(_, file)| (keyspace, file)));
            }
        }
    }
    Ok(found)
}

/// The numbers of a keyspace's tables, as its newest version says; none if it has no version yet. `current` is the number of
/// the version (8 bytes) and the XXH3 of its file (16). There a byte says how many levels there are; in each, a byte how
/// many runs; in each, 4 bytes how many tables; and of each table its number (8), 0, its check (16), and a number (8).
fn listed(keyspace: &Path) -> Result<Result<Option<Vec<u64>>, Damage>, Fault> {
    let newest = keyspace.join("current");
    let current = match fs::read(&newest) {
        Ok(current) => current,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Ok(None)),
        Err(error) => return Err(Fault::of(&newest, "read")(error)),
    };
    let mut current = current.as_slice();
    let (Ok(version), Ok(check)) = (current.try_get_u64_le(), current.try_get_u128_le()) else {
        return Ok(Err(Damage::new(&newest, None, "the file ends too early")));
    };
    let path = keyspace.join(format!("v{version}"));
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Err(Damage::new(&newest, None, format!("v{version}, which it names, is missing"))));
        }
        Err(error) => return Err(Fault::of(&path, "read")(error)),
    };
    if xxh3_128(&bytes) != check {
        return Ok(Err(Damage::new(&path, None, format!("its check fails, which stands in {}", newest.display()))));
    }
    Ok(numbers(&bytes).map(Some).ok_or_else(|| Damage::new(&path, None, "it names no tables")))
}

fn numbers(bytes: &[u8]) -> Option<Vec<u64>> {
    let archive = sfa::Reader::from_reader(&mut Cursor::new(bytes)).ok()?;
    let section = archive.toc().section(b"tables")?;
    let mut rest = bytes.get(section.pos() as usize..)?.get(..section.len() as usize)?;
    let mut found = Vec::new();
    for _ in 0..rest.try_get_u8().ok()? {
        for _ in 0..rest.try_get_u8().ok()? {
            for _ in 0..rest.try_get_u32_le().ok()? {
                found.push(rest.try_get_u64_le().ok()?);
                rest = rest.get(1 + 16 + 8..)?;
            }
        }
    }
    Some(found)
}

fn numbered(directory: &Path) -> Result<Vec<(u64, PathBuf)>, Fault> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Fault::of(directory, "read")(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Fault::of(directory, "read"))?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}

/// What stands in a table, in the order of the keys.
pub(crate) enum Piece<'a> {
    /// A version of a key; without a value it is gone.
    Item { key: Vec<u8>, sequence: u64, value: Option<&'a [u8]> },
    /// A block of records that cannot be read; the damage stands in the list.
    Lost,
}

/// Takes them, until it says no.
pub(crate) type Take<'a> = Option<&'a mut dyn FnMut(Piece<'_>) -> bool>;

/// Verifies every block of a table; with `take`, hands over what it holds.
pub(crate) fn read(path: &Path, damages: &mut Vec<Damage>, mut take: Take<'_>) -> Result<(), Fault> {
    let bytes = fs::read(path).map_err(Fault::of(path, "read"))?;
    let Ok(archive) = sfa::Reader::from_reader(&mut Cursor::new(&bytes)) else {
        let end = bytes.len() as u64;
        damages.push(Damage::new(path, end, "the table of contents at its end cannot be read"));
        // Records come first.
        section(path, &bytes, 0, bytes.len(), true, &mut Vec::new(), &mut take);
        return Ok(());
    };
    for name in BLOCKS {
        let Some(it) = archive.toc().section(name) else { continue };
        let (from, to) = (it.pos() as usize, (it.pos() + it.len()) as usize);
        if to > bytes.len() {
            damages.push(Damage::new(path, bytes.len() as u64, "the file ends too early"));
        }
        let to = to.min(bytes.len());
        section(path, &bytes, from.min(to), to, name == b"data", damages, &mut take);
    }
    Ok(())
}

fn section(
    path: &Path,
    bytes: &[u8],
    from: usize,
    to: usize,
    is_data: bool,
    damages: &mut Vec<Damage>,
    take: &mut Take<'_>,
) {
    let mut at = from;
    while at < to {
        match Block::from_reader(&mut &bytes[at..to], CompressionType::None) {
            Ok(block) => {
                at += HEAD + block.header.data_length as usize;
                if is_data && block.header.block_type == BlockType::Data && take.is_some() {
                    hand_over(&DataBlock::new(block), take);
                }
            }
            Err(_) => {
                damages.push(Damage::new(path, at as u64, "the check of a block fails"));
                if is_data && take.as_mut().is_some_and(|take| !take(Piece::Lost)) {
                    *take = None;
                }
                let next = bytes[at + 1..to].windows(MAGIC.len()).position(|window| window == MAGIC);
                at = next.map_or(to, |next| at + 1 + next);
            }
        }
    }
}

fn hand_over(block: &DataBlock, take: &mut Take<'_>) {
    let data = &block.inner.data;
    for item in block.iter() {
        let mut key = item.prefix.map_or(Vec::new(), |prefix| data[prefix.0..prefix.1].to_vec());
        key.extend_from_slice(&data[item.key.0..item.key.1]);
        let value = item.value.filter(|_| item.value_type == ValueType::Value);
        let value = value.map(|value| &data[value.0..value.1]);
        if take.as_mut().is_some_and(|take| !take(Piece::Item { key, sequence: item.seqno, value })) {
            *take = None;
            return;
        }
    }
}
