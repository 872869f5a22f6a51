//! The engine without a disk, for tests: what is "written" outlives the store that wrote it, as long as somebody
//! holds the [`Memory`].

use crate::backend::{Backend, Each, Put, Syncing, Usage};
use crate::codec;
use crate::error::{Fault, OpenError};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What would be on the disk. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// What survives the end of the machine.
    synced: HashMap<Bytes, Bytes>,
    /// What was written since, after so many others.
    unsynced: Vec<Put>,
    settled: u64,
    clean: bool,
    seed: Option<(u64, u64)>,
}

impl Platter {
    fn written(&self) -> u64 {
        self.settled + self.unsynced.len() as u64
    }

    fn settle(&mut self, upto: u64) {
        let count = upto.saturating_sub(self.settled);
        self.settled += count;
        for Put { key, value } in self.unsynced.drain(..count as usize) {
            match value {
                Some(value) => self.synced.insert(key, value),
                None => self.synced.remove(&key),
            };
        }
    }
}

impl Memory {
    /// As if the machine had failed: what was written but not synced is lost.
    pub fn lose_unsynced(&self) {
        self.with(|platter| {
            platter.settled = platter.written();
            platter.unsynced.clear();
        });
    }

    /// What the store's seed is; `make` makes it the first time.
    pub(crate) fn seed(&self, make: impl FnOnce() -> (u64, u64)) -> (u64, u64) {
        self.with(|platter| *platter.seed.get_or_insert_with(make))
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.with(|platter| platter.clean)
    }

    fn with<R>(&self, what: impl FnOnce(&mut Platter) -> R) -> R {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Backend for Memory {
    fn load(&mut self, each: Each<'_>) -> Result<(), OpenError> {
        self.with(|platter| {
            platter.settle(platter.written());
            platter.synced.iter().try_for_each(|(key, value)| each(key, value))
        })
    }

    fn eras(&mut self) -> Result<Vec<(Bytes, Bytes)>, OpenError> {
        let mut eras = Vec::new();
        self.load(&mut |key, value| {
            if key.first() == Some(&codec::kind::ERA) {
                eras.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            }
            Ok(())
        })?;
        Ok(eras)
    }

    fn write(&mut self, puts: &[Put]) -> Result<(), Fault> {
        self.with(|platter| platter.unsynced.extend_from_slice(puts));
        Ok(())
    }

    fn begin_sync(&mut self) -> Result<Syncing, Fault> {
        Ok(Syncing { upto: self.with(|platter| platter.written()), flush: Box::new(|| Ok(())) })
    }

    fn end_sync(&mut self, upto: u64) -> Result<(), Fault> {
        self.with(|platter| platter.settle(upto));
        Ok(())
    }

    fn recover(&mut self) -> Result<(), Fault> {
        self.lose_unsynced();
        Ok(())
    }

    fn mark(&mut self, clean: bool) -> Result<(), Fault> {
        self.with(|platter| platter.clean = clean);
        Ok(())
    }

    fn usage(&self) -> Usage {
        self.with(|platter| {
            let live_bytes = platter.synced.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
            Usage { keys: platter.synced.len() as u64, live_bytes, disk_bytes: 0 }
        })
    }
}
