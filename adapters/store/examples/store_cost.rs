//! What the store costs: CPU of an upsert in group commits, loading a million records, disk use after many updates.
//!
//! `cargo run --release -p lamplighter-adapter-store --example store_cost -- DIRECTORY [UPDATES] [RECORDS]`; the
//! directory must not exist, and is removed.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures time, for people")]

use bytes::Bytes;
use lamplighter_adapter_store::{Config, Store, StorePort, open};
use lamplighter_model::record::{Durability, PublicationRecord};
use lamplighter_model::{EntityTag, Record, Stamp, Time};
use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes of a record's fact, so that key and value are 400.
const FACT: usize = 310;
/// Changes a second that a busy gateway has.
const RATE: u64 = 5000;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let directory = PathBuf::from(args.next().ok_or("where? give a directory that does not exist")?);
    let updates: u64 = args.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let records: u64 = args.next().map_or(Ok(1_000_000), |text| text.parse())?;
    if directory.exists() {
        return Err("the directory exists".into());
    }
    paced(&directory.join("paced"), Durability::Written)?;
    paced(&directory.join("paced-commit"), Durability::Commit)?;
    load(&directory.join("load"), records)?;
    disk(&directory.join("disk"), updates, 100_000)?;
    fs::remove_dir_all(&directory)?;
    Ok(())
}

/// CPU of an upsert at a steady rate, all threads together.
fn paced(path: &Path, durability: Durability) -> Result<()> {
    let (keeper, mut port) = start(opened(path)?)?;
    let (mut dice, mut number) = (Dice(7), 0);
    let (cpu, began) = (cpu()?, Instant::now());
    while began.elapsed() < Duration::from_secs(20) {
        let due = began.elapsed().as_millis() as u64 * RATE / 1000;
        while number < due {
            number += 1;
            port.save(number, dice.record(100_000), durability);
        }
        port.flush();
        sleep(Duration::from_millis(1));
    }
    let used = self::cpu()? - cpu;
    // Making the records and sleeping is the measurement's own share.
    let began = self::cpu()?;
    let mut own = Vec::new();
    for _ in 0..number {
        own.push(dice.record(100_000));
        if own.len() == 5 {
            own.clear();
        }
    }
    let own = self::cpu()? - began;
    let each = |seconds: f64| seconds * 1e6 / number as f64;
    println!(
        "{durability:?}: {number} upserts at {RATE}/s: {:.1} us of CPU each, of which {:.1} us are not the store's; {} MB resident",
        each(used),
        each(own),
        resident()?
    );
    keeper.stop();
    Ok(())
}

fn load(path: &Path, records: u64) -> Result<()> {
    let (keeper, mut port) = start(opened(path)?)?;
    let mut dice = Dice(7);
    for number in 1..=records {
        port.save(number, dice.numbered(number), Durability::Written);
        if number % 256 == 0 {
            port.flush();
            throttle(&port, number, 20_000);
        }
    }
    port.flush();
    throttle(&port, records, 0);
    keeper.stop();
    let (cpu, began) = (cpu()?, Instant::now());
    let mut store = opened(path)?;
    let opened = began.elapsed();
    let mut count = 0;
    store.load(|record| count += u64::from(matches!(record, Record::Publication(_))))?;
    println!(
        "load of {count} records: {:.2} s, of which opening and verifying took {:.2} s; {:.2} s of CPU",
        began.elapsed().as_secs_f64(),
        opened.as_secs_f64(),
        self::cpu()? - cpu
    );
    drop(store);
    Ok(fs::remove_dir_all(path)?)
}

fn disk(path: &Path, updates: u64, records: u64) -> Result<()> {
    let (keeper, mut port) = start(opened(path)?)?;
    let mut dice = Dice(7);
    let (cpu, began) = (cpu()?, Instant::now());
    let live = records * (400 + 8);
    let (mut most, mut memory) = (0, 0);
    for number in 1..=updates {
        port.save(
            number,
            dice.numbered(if number <= records { number } else { dice.0 % records }),
            Durability::Written,
        );
        if number % 64 == 0 {
            port.flush();
            throttle(&port, number, 2000);
        }
        if number % 20_000 == 0 {
            most = most.max(used(path)?);
            memory = memory.max(resident()?);
        }
    }
    port.flush();
    throttle(&port, updates, 0);
    let rate = updates as f64 / began.elapsed().as_secs_f64();
    let times = |bytes: u64| bytes as f64 / live as f64;
    let at_end = used(path)?;
    println!(
        "{updates} updates of {records} records at {rate:.0}/s: {:.1} us of CPU each",
        (self::cpu()? - cpu) * 1e6 / updates as f64
    );
    keeper.stop();
    let stopped = used(path)?;
    println!(
        "disk use: {:.2} times the live {} MB at the end, {:.2} after the stop, {:.2} at most; {memory} MB resident at most",
        times(at_end),
        live >> 20,
        times(stopped),
        times(most)
    );
    Ok(())
}

/// Waits until at most so many records are on their way.
fn throttle(port: &StorePort, number: u64, most: u64) {
    while port.progress().written + most < number {
        sleep(Duration::from_micros(200));
    }
}

fn opened(path: &Path) -> Result<Store> {
    Ok(open(&Config { path: Some(path.to_owned()), ..Config::default() }, wall())?)
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn start(store: Store) -> Result<(lamplighter_adapter_store::Keeper, StorePort)> {
    let (from, began) = (store.start_time(), Instant::now());
    let now = Arc::new(move || from + began.elapsed());
    let (keeper, mut ports) = store.start(1, now, Arc::new(wall), vec![Arc::new(|| ())])?;
    Ok((keeper, ports.remove(0)))
}

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn record(&mut self, of: u64) -> Record {
        let number = self.next() % of;
        self.numbered(number)
    }

    fn numbered(&mut self, number: u64) -> Record {
        let mut fact = Vec::with_capacity(FACT + 8);
        while fact.len() < FACT {
            fact.extend_from_slice(&self.next().to_le_bytes());
        }
        fact.truncate(FACT);
        Record::Publication(Box::new(PublicationRecord {
            resource: format!("sip:user{number:06}@example.com").into(),
            package: "dialog".into(),
            source: format!("pub:{number:08x}").into(),
            entity_tag: EntityTag(number << 16),
            stamp: Stamp { at: Time::from_micros(self.0 >> 14), counter: number, node: 0 },
            until: Time::from_micros(self.0 >> 14),
            fact: Bytes::from(fact),
            from: ([192, 0, 2, 7], 5060).into(),
        }))
    }
}

/// Processor time of this process, seconds; threads that have ended count.
fn cpu() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let mut fields = text.rsplit(") ").next().ok_or("no stat")?.split(' ').skip(11);
    let mut ticks = || -> Result<f64> { Ok(fields.next().ok_or("no stat")?.parse()?) };
    Ok((ticks()? + ticks()?) / 100.0)
}

fn resident() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    Ok((text.split(' ').nth(1).ok_or("no statm")?.parse::<u64>()? * 4096) >> 20)
}

/// Bytes on the disk below `path`.
fn used(path: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // Files come and go meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        sum += if metadata.is_dir() { used(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(sum)
}
