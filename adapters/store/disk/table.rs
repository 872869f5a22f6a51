//! Looking through fjall's tables block by block, to say which file is damaged and where.

use crate::error::{Damage, Fault};
use lsm_tree::table::block::BlockType;
use lsm_tree::table::{Block, DataBlock};
use lsm_tree::{CompressionType, ValueType};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Sections that are rows of blocks.
const BLOCKS: [&[u8]; 6] = [b"data", b"tli", b"index", b"filter", b"filter_tli", b"meta"];
/// How a block begins.
const MAGIC: &[u8] = b"LSM\x03";
/// A block's head.
const HEAD: usize = 33;

/// The tables of all keyspaces: keyspace, file.
pub(crate) fn tables(data: &Path) -> Result<Vec<(u64, PathBuf)>, Fault> {
    let mut found = Vec::new();
    let keyspaces = data.join("keyspaces");
    for (keyspace, path) in numbered(&keyspaces)? {
        found.extend(numbered(&path.join("tables"))?.into_iter().map(|(_, path)| (keyspace, path)));
    }
    Ok(found)
}

fn numbered(directory: &Path) -> Result<Vec<(u64, PathBuf)>, Fault> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
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
