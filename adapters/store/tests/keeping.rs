//! The thread: order, promises, faults, restarts.

use super::{Rig, WALL, at, loaded, opened, publication, publication_gone, resource, subscription};
use crate::backend::{Backend, Each, Flush, Put, Syncing, Usage};
use crate::error::{Fault, OpenError};
use crate::memory::Memory;
use crate::{Config, Store};
use bytes::Bytes;
use lamplighter_model::{Durability, Record, Time};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

const UNTIL: u64 = 1_700_003_600;

/// Each kind of store, to be opened again and again.
fn on_each(test: impl Fn(&dyn Fn(Duration) -> Store)) {
    let memory = Memory::default();
    test(&|wall| Store::over(&memory, wall));
    let directory = tempfile::tempdir().unwrap();
    test(&|wall| opened(&directory.path().join("store"), wall).unwrap());
}

/// PU-04, HA-02
#[test]
fn everything_is_there_after_a_restart() {
    on_each(|open| {
        let store = open(WALL);
        assert!(!store.was_clean(), "a new store has never been stopped");
        let seed = store.seed();
        let mut rig = Rig::start(store);
        let records = [publication(1, at(UNTIL)), resource(1, at(UNTIL)), subscription("tag", at(UNTIL))];
        rig.commit(records.clone());
        rig.commit([publication(2, at(UNTIL)), publication(1, at(UNTIL + 1))]);
        rig.save(Durability::Memory, [publication_gone(2), publication(3, Time::NEVER)]);
        rig.keeper.stop();
        let mut store = open(WALL);
        assert!(store.was_clean());
        assert_eq!(store.seed(), seed);
        assert_eq!(
            loaded(&mut store),
            [publication(1, at(UNTIL + 1)), publication(3, Time::NEVER), records[1].clone(), records[2].clone()]
        );
    });
}

/// An end without a stop is no clean one, even if nothing has happened.
#[test]
fn an_end_without_a_stop_is_not_clean() {
    let memory = Memory::default();
    Rig::start(Store::over(&memory, WALL)).keeper.stop();
    assert!(Store::over(&memory, WALL).was_clean());
    drop(Rig::start(Store::over(&memory, WALL)));
    assert!(!Store::over(&memory, WALL).was_clean());
}

#[test]
fn no_store_means_no_waiting() {
    let mut store = crate::open(&Config { path: None, ..Config::default() }, WALL).unwrap();
    assert_eq!(store.start_time(), Time::default() + WALL);
    assert_eq!(store.load(|_| panic!("there is nothing")).unwrap().records, 0);
    let mut rig = Rig::start(store);
    let number = rig.save(Durability::Commit, [publication(1, at(UNTIL))]);
    assert_eq!((rig.port.progress().committed, rig.port.progress().written), (number, number));
    assert_eq!(rig.keeper.status(), Ok(()));
    rig.keeper.stop();
}

#[test]
fn times_are_moved_with_the_clock() {
    on_each(|open| {
        let mut rig = Rig::start(open(WALL));
        rig.commit([publication(1, at(UNTIL)), resource(2, at(UNTIL)), publication(3, Time::NEVER)]);
        rig.keeper.stop();
        // The wall clock is set back by an hour while nobody is there, and the store is opened twice.
        let wall = WALL - Duration::from_secs(3600);
        let store = open(wall);
        assert_eq!(store.start_time(), Time::default() + WALL, "no earlier than what the store has seen");
        Rig::start_at(store, Time::default() + WALL, wall).keeper.stop();
        let mut store = open(wall);
        assert_eq!(store.start_time(), Time::default() + wall);
        let moved = at(UNTIL - 3600);
        let back = loaded(&mut store);
        assert_eq!([&back[0], &back[2]], [&publication(1, moved), &resource(2, moved)]);
        assert!(matches!(&back[1], Record::Publication(it) if it.until == Time::NEVER), "never stays never");
    });
}

/// A disk that fails when told to, and forgets what was not synced.
#[derive(Clone, Default)]
struct Faulty {
    memory: Memory,
    write: Arc<AtomicBool>,
    sync: Arc<AtomicBool>,
    /// As long as somebody has it, the disk does not answer.
    hand: Arc<Mutex<()>>,
    /// How often it was asked.
    asked: Arc<AtomicU64>,
    recover: Arc<AtomicBool>,
    untidy: Arc<AtomicBool>,
    tries: Arc<AtomicU64>,
    batches: Arc<Mutex<Vec<usize>>>,
}

fn outcome(fails: &AtomicBool, doing: &'static str) -> Result<(), Fault> {
    let full = std::io::ErrorKind::StorageFull.into();
    if fails.load(SeqCst) { Err(Fault::of(Path::new("disk"), doing)(full)) } else { Ok(()) }
}

impl Backend for Faulty {
    fn load(&mut self, each: Each<'_>) -> Result<(), OpenError> {
        self.memory.load(each)
    }

    fn eras(&mut self) -> Result<Vec<(Bytes, Bytes)>, OpenError> {
        self.memory.eras()
    }

    fn write(&mut self, puts: &[Put]) -> Result<(), Fault> {
        outcome(&self.write, "write")?;
        self.batches.lock().unwrap().push(puts.len());
        self.memory.write(puts)
    }

    fn begin_sync(&mut self) -> Result<Syncing, Fault> {
        let (fails, hand, asked) = (self.sync.clone(), self.hand.clone(), self.asked.clone());
        let flush: Flush = Box::new(move || {
            asked.fetch_add(1, SeqCst);
            drop(hand.lock().unwrap());
            outcome(&fails, "sync")
        });
        Ok(Syncing { flush, ..self.memory.begin_sync()? })
    }

    fn end_sync(&mut self, upto: u64) -> Result<(), Fault> {
        self.memory.end_sync(upto)
    }

    fn is_untidy(&self) -> bool {
        self.untidy.load(SeqCst)
    }

    fn tidy(&mut self) -> Result<(), Fault> {
        // Nothing is lost by that, since everything is safe.
        self.memory.lose_unsynced();
        self.untidy.store(false, SeqCst);
        Ok(())
    }

    fn recover(&mut self) -> Result<(), Fault> {
        self.tries.fetch_add(1, SeqCst);
        self.memory.recover()?;
        outcome(&self.recover, "open")
    }

    fn mark(&mut self, clean: bool) -> Result<(), Fault> {
        self.memory.mark(clean)
    }

    fn usage(&self) -> Usage {
        self.memory.usage()
    }
}

impl Faulty {
    fn rig(&self, config: &Config) -> Rig {
        let store = Store::of(Some(Box::new(self.clone())), Path::new("disk"), (1, 2), false, config, WALL).unwrap();
        Rig::start(store)
    }

    fn records(&self) -> Vec<Record> {
        loaded(&mut Store::over(&self.memory, WALL))
    }

    /// Makes it write these; the sync that follows lasts until what is returned is dropped.
    fn is_syncing(&self, rig: &mut Rig, records: impl IntoIterator<Item = Record>) -> MutexGuard<'_, ()> {
        let (hand, asked) = (self.hand.lock().unwrap(), self.asked.load(SeqCst));
        rig.save(Durability::Written, records);
        while self.asked.load(SeqCst) == asked {
            std::thread::yield_now();
        }
        hand
    }
}

#[test]
fn a_store_that_fails_says_so_and_loses_nothing() {
    for failing in ["write", "sync", "recover"] {
        let disk = Faulty::default();
        let mut rig = disk.rig(&Config { sync_within: Duration::from_secs(3600), ..Config::default() });
        let number = rig.save(Durability::Written, [publication(1, at(UNTIL)), publication(2, at(UNTIL))]);
        rig.until("written", |progress| progress.written == number);
        disk.write.store(failing == "write", SeqCst);
        disk.sync.store(failing != "write", SeqCst);
        disk.recover.store(failing == "recover", SeqCst);
        rig.save(Durability::Commit, [publication(1, at(UNTIL + 5)), publication_gone(2), publication(3, at(UNTIL))]);
        rig.until("failing", |progress| progress.failing);
        assert_eq!(
            rig.keeper.status(),
            Err(match failing {
                "write" => "disk: cannot write: no storage space".to_owned(),
                _ => "disk: cannot sync: no storage space".to_owned(),
            })
        );
        let mut page = String::new();
        rig.keeper.metrics(&mut page);
        assert!(page.contains("\nstore_failing 1\n") && page.contains("\nstore_failures_total 1\n"), "{page}");
        let last = rig.save(Durability::Commit, [publication(4, at(UNTIL)), publication(3, at(UNTIL + 7))]);
        // It goes on trying, and failing.
        let tries = disk.tries.load(SeqCst);
        rig.until("failing still", |progress| progress.failing && disk.tries.load(SeqCst) >= tries);
        assert_eq!(rig.port.progress().committed, 0, "what is not safe is not called safe");
        for fails in [&disk.write, &disk.sync, &disk.recover] {
            fails.store(false, SeqCst);
        }
        rig.until("working", |progress| !progress.failing && progress.committed == last);
        assert_eq!(rig.keeper.status(), Ok(()));
        // The machine fails right now.
        disk.memory.lose_unsynced();
        let expected = [publication(1, at(UNTIL + 5)), publication(3, at(UNTIL + 7)), publication(4, at(UNTIL))];
        assert_eq!(disk.records(), expected, "{failing}");
        rig.commit([publication(9, at(UNTIL))]);
        rig.keeper.stop();
    }
}

/// Whoever waits for the operating system does not wait for a sync that is merely due; what is written meanwhile is made
/// safe by the next one or, should this one fail, with the rest later.
#[test]
fn writing_goes_on_while_the_disk_works() {
    for fails in [false, true] {
        let disk = Faulty::default();
        let mut rig = disk.rig(&Config { sync_within: Duration::from_millis(1), ..Config::default() });
        let hand = disk.is_syncing(&mut rig, [publication(1, at(UNTIL)), publication(2, at(UNTIL))]);
        let last = rig.save(Durability::Written, [publication(2, at(UNTIL + 5)), publication(3, at(UNTIL))]);
        rig.until("written", |progress| progress.written == last);
        assert_eq!(rig.port.progress().committed, 0, "what is not safe is not called safe");
        disk.sync.store(fails, SeqCst);
        drop(hand);
        if fails {
            rig.until("failing", |progress| progress.failing);
            assert_eq!(rig.port.progress().committed, 0);
            disk.sync.store(false, SeqCst);
            rig.until("working", |progress| !progress.failing);
        }
        while rig.port.progress().committed < last {
            std::thread::yield_now();
        }
        // The machine fails right now.
        disk.memory.lose_unsynced();
        let expected = [publication(1, at(UNTIL)), publication(2, at(UNTIL + 5)), publication(3, at(UNTIL))];
        assert_eq!(disk.records(), expected);
        rig.keeper.stop();
    }
}

/// The answer to who waits for the disk says that what they gave is safe, not what somebody gave before.
#[test]
fn who_comes_during_a_sync_gets_the_next() {
    let disk = Faulty::default();
    let mut rig = disk.rig(&Config { sync_within: Duration::from_millis(1), ..Config::default() });
    let hand = disk.is_syncing(&mut rig, [publication(1, at(UNTIL))]);
    let last = rig.save(Durability::Commit, [publication(2, at(UNTIL))]);
    rig.until("written", |progress| progress.written == last);
    drop(hand);
    rig.until("committed", |progress| progress.committed == last);
    disk.memory.lose_unsynced();
    assert_eq!(disk.records(), [publication(1, at(UNTIL)), publication(2, at(UNTIL))]);
    rig.keeper.stop();
}

/// When nothing more comes, what was written is made safe, and then the engine may tidy up.
#[test]
fn a_quiet_moment_is_used_to_tidy_up() {
    let disk = Faulty::default();
    let mut rig = disk.rig(&Config::default());
    disk.untidy.store(true, SeqCst);
    rig.save(Durability::Written, [publication(1, at(UNTIL))]);
    while disk.untidy.load(SeqCst) {
        std::thread::yield_now();
    }
    rig.keeper.stop();
    assert_eq!(disk.records(), [publication(1, at(UNTIL))]);
}

/// A disk that does not answer for long is one that fails, until it does; what waits for it is not called safe.
#[test]
fn a_disk_that_does_not_answer_fails() {
    let disk = Faulty::default();
    let now = Arc::new(AtomicU64::new(UNTIL));
    let store =
        Store::of(Some(Box::new(disk.clone())), Path::new("disk"), (1, 2), false, &Config::default(), WALL).unwrap();
    let clock = now.clone();
    let mut rig = Rig::start_with(store, move || at(clock.load(SeqCst)), WALL);
    let hand = disk.hand.lock().unwrap();
    let number = rig.save(Durability::Commit, [publication(1, at(UNTIL))]);
    rig.until("written", |progress| progress.written == number);
    assert!(!rig.port.progress().failing);
    now.fetch_add(3, SeqCst);
    // The bell rings next when something is handed over and written, which need not be: nobody has to ring it here.
    while !rig.port.progress().failing {
        std::thread::yield_now();
    }
    assert!(rig.keeper.status().is_err_and(|trouble| trouble.contains("has not answered for 3 seconds")));
    drop(hand);
    rig.until("working", |progress| !progress.failing && progress.committed == number);
    assert_eq!(rig.keeper.status(), Ok(()));
    rig.keeper.stop();
}

/// Beyond the bound only ends are kept: a restart shows less, and nothing outdated.
#[test]
fn what_a_failing_store_keeps_has_a_bound() {
    let disk = Faulty::default();
    let mut rig = disk.rig(&Config { kept_bytes: 600, ..Config::default() });
    rig.commit([publication(7, at(UNTIL))]);
    disk.sync.store(true, SeqCst);
    rig.save(Durability::Commit, [publication(1, at(UNTIL))]);
    rig.until("failing", |progress| progress.failing);
    let last = rig.save(Durability::Commit, (2..100).chain([7]).map(|number| publication(number, at(UNTIL + 1))));
    disk.sync.store(false, SeqCst);
    rig.until("working", |progress| !progress.failing && progress.committed == last);
    let records = disk.records();
    assert!((1..8).contains(&records.len()), "{}", records.len());
    assert!(!records.contains(&publication(7, at(UNTIL))), "an outdated state is back");
    let mut page = String::new();
    rig.keeper.metrics(&mut page);
    assert!(!page.contains("store_forgotten_total 0\n"), "{page}");
    rig.keeper.stop();
}

/// A gateway that stops while its disk fails does so in time.
#[test]
fn a_stop_with_a_broken_disk_ends() {
    let disk = Faulty::default();
    let mut rig = disk.rig(&Config::default());
    disk.write.store(true, SeqCst);
    rig.save(Durability::Commit, [publication(1, at(UNTIL))]);
    rig.until("failing", |progress| progress.failing);
    rig.keeper.stop();
    assert!(!disk.memory.is_clean());
}

#[test]
fn only_the_newest_of_a_key_is_written() {
    let disk = Faulty::default();
    let mut rig = disk.rig(&Config::default());
    rig.commit((0..1000).map(|round| publication(1, at(UNTIL + round))));
    // One record and what the clocks say, after the two that a start writes.
    assert_eq!(disk.batches.lock().unwrap()[1..], [2]);
    // More than may wait: older versions go before they are taken.
    for _ in 0..3 {
        rig.save(Durability::Written, (0..70_000).map(|round| publication(round % 10, at(UNTIL + round))));
    }
    let last = rig.number;
    rig.until("written", |progress| progress.written == last);
    rig.keeper.stop();
    let expected: Vec<_> = (0..10).map(|number| publication(number, at(UNTIL + 69_990 + number))).collect();
    assert_eq!(disk.records(), expected);
}

/// The promise `written` is kept without a sync, `memory` rings nobody, and the sync comes by itself.
#[test]
fn promises_are_kept_in_order() {
    let disk = Faulty::default();
    let mut rig = disk.rig(&Config { sync_within: Duration::from_millis(1), ..Config::default() });
    let number = rig.save(Durability::Written, [publication(1, at(UNTIL))]);
    rig.until("written", |progress| progress.written == number);
    let committed = rig.save(Durability::Memory, [publication(2, at(UNTIL))]);
    let number = rig.save(Durability::Commit, [publication(3, at(UNTIL))]);
    assert!(committed < number);
    rig.until("committed", |progress| progress.committed == number);
    assert!(rig.port.progress().written >= number);
    rig.keeper.stop();
    assert!(disk.memory.is_clean());
    assert_eq!(disk.records().len(), 3);
}

#[test]
fn metrics_have_headings() {
    let mut rig = Rig::start(Store::in_memory(WALL));
    rig.commit([publication(1, at(UNTIL))]);
    let mut page = String::new();
    rig.keeper.metrics(&mut page);
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(' ').next().unwrap();
        assert!(page.contains(&format!("# HELP {name} ")) && page.contains(&format!("# TYPE {name} ")), "{line}");
    }
    assert!(page.contains("\nstore_records_total 1\n"), "{page}");
    rig.keeper.stop();
}
