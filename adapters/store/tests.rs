//! What every engine must do, what the store promises, and what damage does.

mod contract;
mod damage;
mod keeping;
mod lines;

use crate::backend::{Backend, Put};
use crate::error::OpenError;
use crate::{Config, Keeper, Progress, Store, StorePort};
use bytes::Bytes;
use lamplighter_model::explain::HistoryEntry;
use lamplighter_model::record::{PublicationRecord, ResidueRecord, ResourceRecord, SubscriptionRecord};
use lamplighter_model::{Durability, EntityTag, Record, Stamp, Time, Transport};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The wall clock of most tests.
const WALL: Duration = Duration::from_secs(1_700_000_000);

fn at(seconds: u64) -> Time {
    Time::default() + Duration::from_secs(seconds)
}

fn publication(number: u64, until: Time) -> Record {
    Record::Publication(Box::new(PublicationRecord {
        resource: format!("sip:{number}@example.com").into(),
        package: "dialog".into(),
        source: format!("pub:{number:x}").into(),
        entity_tag: EntityTag(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        stamp: Stamp { at: until - Duration::from_secs(9), counter: number, node: 3 },
        until,
        fact: Bytes::from(vec![number as u8; (number % 50) as usize]),
        from: "192.0.2.7:5060".parse().unwrap(),
    }))
}

fn publication_gone(number: u64) -> Record {
    Record::PublicationGone {
        resource: format!("sip:{number}@example.com").into(),
        package: "dialog".into(),
        source: format!("pub:{number:x}").into(),
    }
}

fn resource(number: u64, at: Time) -> Record {
    let residue = ResidueRecord {
        source: "notify:[2001:db8::7]".into(),
        stamp: Stamp { at, counter: number, node: 0 },
        until: Time::NEVER,
        fact: Bytes::from_static(b"\0\xff"),
    };
    let entry = |what: &'static str| HistoryEntry { at, what: what.into(), who: "pub:7f3a".into() };
    Record::Resource(Box::new(ResourceRecord {
        resource: format!("sip:{number}@example.com").into(),
        package: "presence".into(),
        seq: number * 7,
        residues: vec![residue.clone(), residue],
        history: vec![entry("published"), entry("expired")],
    }))
}

fn subscription(tag: &str, until: Time) -> Record {
    Record::Subscription(Box::new(SubscriptionRecord {
        local_tag: tag.into(),
        resource: "sip:100@example.com".into(),
        package: "dialog".into(),
        active: true,
        until,
        reserved: 4711,
        remote_cseq: u32::MAX,
        target: Bytes::from_static(b"sip:200@192.0.2.9:5062;transport=udp"),
        routes: Bytes::from_static(b"Route: <sip:192.0.2.1;lr>\r\n"),
        local: Bytes::from_static(b"<sip:100@example.com>;tag=7"),
        watcher: Bytes::from_static(b"\"200\" <sip:200@example.com>;tag=x"),
        call_id: Bytes::from_static(b"c@192.0.2.9"),
        event: Bytes::from_static(b"dialog;id=4"),
        entity: Some("sip:100&amp;@example.com".into()),
        content_type: "application/dialog-info+xml".into(),
        profile: "".into(),
        device: u128::MAX - 5,
        contact: 1 << 63,
        transport: Transport::Tcp,
        remote: "[fe80::1%3]:5060".parse().unwrap(),
        local_ip: Some("2001:db8::1".parse().unwrap()),
        listener: "0.0.0.0:5060".parse().unwrap(),
        source: "192.0.2.9".parse().unwrap(),
    }))
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn put(key: impl Into<Vec<u8>>, value: Option<&str>) -> Put {
    Put { key: Bytes::from(key.into()), value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())) }
}

/// What an engine holds, as text.
fn held(backend: &mut dyn Backend) -> BTreeMap<String, String> {
    let mut held = BTreeMap::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let load = backend.load(&mut |key, value| {
        assert_eq!(held.insert(text(key), text(value)), None, "a key came twice");
        Ok(())
    });
    load.unwrap();
    held
}

fn opened(path: &Path, wall: Duration) -> Result<Store, OpenError> {
    crate::open(&Config { path: Some(path.to_owned()), ..Config::default() }, wall)
}

fn refused(path: &Path) -> OpenError {
    match opened(path, WALL) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

fn loaded(store: &mut Store) -> Vec<Record> {
    let mut records = Vec::new();
    store.load(|record| records.push(record)).unwrap();
    records.sort_by_key(|record| format!("{record:?}"));
    records
}

/// A store at work for one shard, with clocks that stand still.
struct Rig {
    keeper: Keeper,
    port: StorePort,
    bell: Arc<(Mutex<u64>, Condvar)>,
    number: u64,
}

impl Rig {
    fn start(store: Store) -> Self {
        let start = store.start_time();
        Self::start_at(store, start, start.since(Time::default()))
    }

    fn start_at(store: Store, now: Time, wall: Duration) -> Self {
        Self::start_with(store, move || now, wall)
    }

    fn start_with(store: Store, now: impl Fn() -> Time + Send + Sync + 'static, wall: Duration) -> Self {
        let bell: Arc<(Mutex<u64>, Condvar)> = Arc::default();
        let ring = {
            let bell = bell.clone();
            move || {
                *bell.0.lock().unwrap() += 1;
                bell.1.notify_all();
            }
        };
        let started = store.start(1, Arc::new(now), Arc::new(move || wall), vec![Arc::new(ring)]);
        let (keeper, mut ports) = started.unwrap();
        Self { keeper, port: ports.pop().unwrap(), bell, number: 0 }
    }

    /// Hands over; answers the number of the last.
    fn save(&mut self, durability: Durability, records: impl IntoIterator<Item = Record>) -> u64 {
        for record in records {
            self.number += 1;
            self.port.save(self.number, record, durability);
        }
        self.port.flush();
        self.number
    }

    /// Waits until the bell has rung for what is waited for.
    fn until(&self, what: &str, is_so: impl Fn(Progress) -> bool) {
        let mut rung = self.bell.0.lock().unwrap();
        while !is_so(self.port.progress()) {
            let (next, waited) = self.bell.1.wait_timeout(rung, Duration::from_secs(20)).unwrap();
            assert!(!waited.timed_out() || is_so(self.port.progress()), "{what}: {:?}", self.port.progress());
            rung = next;
        }
    }

    fn commit(&mut self, records: impl IntoIterator<Item = Record>) {
        let number = self.save(Durability::Commit, records);
        self.until("committed", |progress| progress.committed >= number);
    }
}
