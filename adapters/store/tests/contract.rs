//! What every engine must do.

use super::{Dice, held, put};
use crate::backend::{Backend, Put, Syncing};
use crate::disk::Disk as OnDisk;
use crate::memory::Memory;
use std::collections::BTreeMap;
use tempfile::TempDir;

/// A place where an engine can be opened again and again.
trait Disk {
    fn open(&self) -> Box<dyn Backend>;
}

impl Disk for Memory {
    fn open(&self) -> Box<dyn Backend> {
        Box::new(self.clone())
    }
}

impl Disk for TempDir {
    fn open(&self) -> Box<dyn Backend> {
        Box::new(OnDisk::open(self.path()).unwrap())
    }
}

fn on_each(test: impl Fn(&dyn Disk)) {
    test(&Memory::default());
    test(&tempfile::tempdir().unwrap());
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

#[test]
fn the_newest_of_each_key_comes_back_once() {
    on_each(|disk| {
        let mut engine = disk.open();
        engine.write(&[put("a", Some("1")), put("b", Some("1")), put("c", Some(""))]).unwrap();
        engine.write(&[put("a", Some("2"))]).unwrap();
        drop(engine);
        assert_eq!(held(&mut *disk.open()), pairs(&[("a", "2"), ("b", "1"), ("c", "")]));
    });
}

#[test]
fn what_is_gone_stays_gone() {
    on_each(|disk| {
        let mut engine = disk.open();
        engine.write(&[put("a", Some("1")), put("b", Some("1"))]).unwrap();
        engine.write(&[put("a", None), put("never there", None)]).unwrap();
        drop(engine);
        for _ in 0..3 {
            let mut engine = disk.open();
            assert_eq!(held(&mut *engine), pairs(&[("b", "1")]));
            engine.write(&[put("c", Some("1")), put("c", None)][..1]).unwrap();
            engine.write(&[put("c", None)]).unwrap();
        }
        let mut engine = disk.open();
        engine.write(&[put("a", Some("2"))]).unwrap();
        drop(engine);
        assert_eq!(held(&mut *disk.open()), pairs(&[("a", "2"), ("b", "1")]));
    });
}

#[test]
fn eras_are_found() {
    on_each(|disk| {
        let mut engine = disk.open();
        engine.write(&[put("e1", Some("x")), put("e2", Some("y")), put("s", Some("z"))]).unwrap();
        engine.write(&[put("e1", None), put("e2", Some("yy"))]).unwrap();
        drop(engine);
        assert_eq!(disk.open().eras().unwrap(), [("e2".into(), "yy".into())]);
    });
}

#[test]
fn after_a_recovery_the_last_sync_is_there_and_the_rest_can_be_written_again() {
    on_each(|disk| {
        let mut engine = disk.open();
        engine.write(&[put("a", Some("1")), put("b", Some("1"))]).unwrap();
        engine.sync().unwrap();
        let again = [put("a", Some("3")), put("b", None), put("c", Some("2"))];
        engine.write(&[put("a", Some("2")), put("c", Some("2"))]).unwrap();
        engine.write(&[put("b", None), put("a", Some("3"))]).unwrap();
        engine.recover().unwrap();
        engine.write(&again).unwrap();
        engine.sync().unwrap();
        drop(engine);
        assert_eq!(held(&mut *disk.open()), pairs(&[("a", "3"), ("c", "2")]));
    });
}

/// A sync makes safe what was written before it began, and nothing else.
#[test]
fn what_is_written_during_a_sync_is_not_safe_by_that() {
    on_each(|disk| {
        let mut engine = disk.open();
        engine.write(&[put("a", Some("1")), put("b", Some("1"))]).unwrap();
        let Syncing { upto, flush } = engine.begin_sync().unwrap();
        engine.write(&[put("a", Some("2")), put("c", Some("2"))]).unwrap();
        flush().unwrap();
        engine.end_sync(upto).unwrap();
        engine.recover().unwrap();
        engine.write(&[put("d", Some("3"))]).unwrap();
        drop(engine);
        assert_eq!(held(&mut *disk.open()), pairs(&[("a", "1"), ("b", "1"), ("d", "3")]));
    });
}

/// Some changes: a few keys change all the time, most of them never again.
fn changes(dice: &mut Dice) -> BTreeMap<String, Option<String>> {
    let mut changes = BTreeMap::new();
    for _ in 0..=dice.below(6) {
        let key = if dice.below(4) > 0 { dice.below(8) } else { 8 + dice.below(60) };
        let value = "v".repeat(dice.below(120) as usize) + &dice.below(1000).to_string();
        changes.insert(format!("key {key}"), (dice.below(4) > 0).then_some(value));
    }
    changes
}

fn write(engine: &mut dyn Backend, changes: &BTreeMap<String, Option<String>>) {
    let puts: Vec<Put> = changes.iter().map(|(key, value)| put(key.as_str(), value.as_deref())).collect();
    engine.write(&puts).unwrap();
}

/// Thousands of random batches, syncs, recoveries and reopenings, against a map that does the same.
#[test]
fn random_lives_match_a_model() {
    on_each(|disk| {
        for seed in 1..=2 {
            let mut dice = Dice(seed * 0x1234_5678_9abc_def1);
            let mut engine = disk.open();
            let (mut model, mut unsynced) = (held(&mut *engine), BTreeMap::new());
            drop(engine);
            engine = disk.open();
            for _ in 0..600 {
                match dice.below(100) {
                    0 => {
                        drop(engine);
                        engine = disk.open();
                        assert_eq!(held(&mut *engine), model);
                        // What a life found counts as safe in it.
                        unsynced.clear();
                    }
                    1..=2 => {
                        engine.recover().unwrap();
                        write(&mut *engine, &unsynced);
                    }
                    3..=10 => {
                        engine.sync().unwrap();
                        unsynced.clear();
                    }
                    roll => {
                        let mut all = changes(&mut dice);
                        if roll <= 20 {
                            // Half of them are written while another thread makes the first ones safe.
                            let during = all.split_off("key 4");
                            write(&mut *engine, &all);
                            let Syncing { upto, flush } = engine.begin_sync().unwrap();
                            let flushing = std::thread::spawn(flush);
                            write(&mut *engine, &during);
                            flushing.join().unwrap().unwrap();
                            engine.end_sync(upto).unwrap();
                            unsynced.clone_from(&during);
                            all.extend(during);
                        } else {
                            write(&mut *engine, &all);
                            unsynced.extend(all.clone());
                        }
                        for (key, value) in all {
                            match value {
                                Some(value) => model.insert(key, value),
                                None => model.remove(&key),
                            };
                        }
                    }
                }
            }
            drop(engine);
            assert_eq!(held(&mut *disk.open()), model);
        }
    });
}

/// Many batches, so that tables are made and fjall begins another journal; later the journal is emptied several times.
#[test]
fn nothing_is_lost_when_the_journal_is_emptied() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = OnDisk::open(directory.path()).unwrap();
    let mut dice = Dice(4711);
    let mut model = BTreeMap::new();
    let value = "x".repeat(30_000);
    let (mut syncing, mut unsynced) = (None, BTreeMap::new());
    for round in 0..4000 {
        let (key, value) = (format!("key {}", dice.below(100)), format!("{round} {value}"));
        engine.write(&[put(key.as_str(), Some(&value))]).unwrap();
        model.insert(key.clone(), value.clone());
        // Half of the time a sync is under way; when another journal is begun, the last one was long ago.
        if let 2000..2400 = round {
            unsynced.insert(key, Some(value));
        } else if round == 2400 {
            unsynced.insert(key, Some(value));
            engine.recover().unwrap();
            write(&mut engine, &unsynced);
        } else if round % 100 == 0 {
            syncing = Some(engine.begin_sync().unwrap());
        } else if let Some(Syncing { upto, flush }) = syncing.take_if(|_| round % 100 == 50) {
            flush().unwrap();
            engine.end_sync(upto).unwrap();
        } else if round > 3000 && round % 100 == 75 {
            engine.tidy().unwrap();
        }
    }
    engine.sync().unwrap();
    while engine.is_untidy() {
        engine.tidy().unwrap();
    }
    let journals = engine.usage().disk_bytes - engine.usage().live_bytes;
    assert!(journals < 32 << 20, "{journals} bytes of journals");
    drop(engine);
    assert_eq!(held(&mut OnDisk::open(directory.path()).unwrap()), model);
}

/// While somebody waits for the disk no tables are made of what is in memory; a quiet moment is used for that.
#[test]
fn tables_are_made_when_nobody_waits() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = OnDisk::open(directory.path()).unwrap();
    let value = "v".repeat(1 << 20);
    for number in 0..8 {
        engine.write(&[put(format!("key {number}"), Some(&value))]).unwrap();
        engine.sync().unwrap();
    }
    assert_eq!((engine.usage().live_bytes, engine.is_untidy()), (0, true));
    engine.tidy().unwrap();
    assert!(!engine.is_untidy());
    while engine.usage().live_bytes == 0 {
        std::thread::yield_now();
    }
    assert_eq!(held(&mut engine).len(), 8);
}
