//! The hub with real threads and rings.

use super::*;
use lamplighter_model::explain::Explanation;
use lamplighter_model::{Addresses, Answer, Change, Command, PackageId, Packages, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{JoinHandle, spawn};

struct Rig {
    port: Port,
    shards: Vec<ShardPort>,
    hub: Option<Hub>,
    thread: Option<JoinHandle<()>>,
    wakes: Arc<AtomicUsize>,
}

impl Rig {
    fn new(shards: usize, settings: Settings) -> Self {
        let wakes = Arc::new(AtomicUsize::new(0));
        let wake = || -> Wake {
            let wakes = Arc::clone(&wakes);
            Arc::new(move || _ = wakes.fetch_add(1, Ordering::SeqCst))
        };
        let packages = Packages::new(vec![], |_, expires| expires);
        let addresses = Arc::new(Addresses::new(["example.com"], [], []));
        let (hub, shards, port) = hub(packages, addresses, settings, "e1", (0..shards).map(|_| wake()).collect());
        Self { port, shards, hub: Some(hub), thread: None, wakes }
    }

    fn start(&mut self) {
        let hub = self.hub.take().unwrap();
        self.thread = Some(spawn(|| hub.run()));
    }

    fn end(&mut self) {
        self.port.stop();
        self.thread.take().unwrap().join().unwrap();
    }

    fn states(&self) -> HashMap<String, u64> {
        let mut items = Vec::new();
        assert!(!self.port.snapshot(&Scope::everything(), usize::MAX, &mut items).more);
        let state = |item: &Arc<Item>| *item.state.as_ref().unwrap().downcast_ref::<u64>().unwrap();
        items.iter().map(|item| (item.resource.to_string(), state(item))).collect()
    }
}

fn change(key: impl std::fmt::Display, seq: u64, state: u64) -> Change {
    Change {
        resource: format!("sip:{key}@example.com").into(),
        package: PackageId(0),
        seq,
        at: Time::default(),
        source: "pub:1".into(),
        reason: "published",
        state: Some(Arc::new(state)),
    }
}

fn explain() -> Command {
    Command::Explain { resource: "sip:1@example.com".into() }
}

#[test]
fn a_full_ring_keeps_the_newest_of_each_key_and_answers_stay_behind() {
    let mut rig = Rig::new(1, Settings { ring: 2, ..Settings::default() });
    for state in 1..=100 {
        rig.shards[0].change(change(1, state, state));
        rig.shards[0].change(change(2, state, 1000 + state));
        rig.shards[0].flush();
    }
    rig.shards[0].answer(7, Answer::Explain(Box::default()));
    rig.start();
    // The hub rings once it has made room; the driver's turn then sends what waits.
    let mut served = 0;
    while rig.port.get("sip:2@example.com", PackageId(0)).is_none_or(|item| item.seq < 100) {
        let wakes = rig.wakes.load(Ordering::SeqCst);
        if wakes > served {
            served = wakes;
            rig.shards[0].flush();
        }
        std::thread::yield_now();
    }
    rig.shards[0].flush();
    rig.end();
    assert_eq!(rig.states(), HashMap::from([("sip:1@example.com".into(), 100), ("sip:2@example.com".into(), 1100)]));
    let mut metrics = String::new();
    rig.port.metrics(&mut metrics);
    assert!(metrics.contains("\nhub_conflated_total 196\n"), "{metrics}");
}

#[test]
fn four_shards_at_full_speed_end_with_the_newest_state_of_all() {
    let mut rig = Rig::new(4, Settings { ring: 64, ..Settings::default() });
    rig.start();
    let shards: Vec<_> = std::mem::take(&mut rig.shards).into_iter().enumerate().collect();
    let threads: Vec<_> = shards
        .into_iter()
        .map(|(number, mut shard)| {
            spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(number as u64);
                let mut truth: HashMap<String, u64> = HashMap::new();
                let mut seqs = [0; 200];
                for state in 0..20_000 {
                    let key = random.next_u32() as usize % seqs.len();
                    seqs[key] += 1;
                    let change = change(format_args!("{number}-{key}"), seqs[key], state);
                    truth.insert(change.resource.to_string(), state);
                    shard.change(change);
                    if random.next_u32() % 8 == 0 {
                        shard.flush();
                    }
                }
                (shard, truth)
            })
        })
        .collect();
    let mut head = rig.port.head();
    let mut seen: HashMap<Arc<str>, u64> = HashMap::new();
    let (mut rev, mut items, mut truth, mut shards) = (0, Vec::new(), HashMap::new(), Vec::new());
    let mut threads: Vec<_> = threads.into_iter().map(Some).collect();
    let newest = |seen: &HashMap<Arc<str>, u64>, truth: &HashMap<String, u64>| {
        truth.iter().all(|(key, state)| seen.get(&**key) == Some(state))
    };
    while !threads.is_empty() || !newest(&seen, &truth) {
        threads.retain_mut(|thread| {
            if !thread.as_ref().is_some_and(JoinHandle::is_finished) {
                return true;
            }
            let (shard, states) = thread.take().unwrap().join().unwrap();
            truth.extend(states);
            shards.push(shard);
            false
        });
        shards.iter_mut().for_each(ShardPort::flush);
        let cursor = rig.port.since(rev, &Scope::everything(), 50, &mut items);
        for item in items.drain(..) {
            assert!(item.rev > rev && item.rev <= cursor.rev);
            rev = item.rev;
            let state = *item.state.as_ref().unwrap().downcast_ref::<u64>().unwrap();
            let old = seen.insert(Arc::clone(&item.resource), state);
            assert!(old.is_none_or(|old| old < state), "went back");
        }
        rev = cursor.rev;
        std::thread::yield_now();
    }
    rig.end();
    assert_eq!(rig.states(), truth);
    assert!(*head.borrow_and_update() >= rev);
}

#[tokio::test]
async fn an_answer_comes_behind_the_changes_it_followed() {
    let mut rig = Rig::new(1, Settings { ring: 4, ..Settings::default() });
    rig.start();
    let mut shard = rig.shards.pop().unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let thread = spawn({
        let done = Arc::clone(&done);
        move || {
            // A driver would sleep until it is woken; here it turns.
            while done.load(Ordering::SeqCst) == 0 {
                if let Some((ticket, Command::Explain { .. })) = shard.command() {
                    let round = ticket;
                    (0..20).for_each(|key| shard.change(change(key, round, round)));
                    shard.answer(
                        ticket,
                        Answer::Explain(Box::new(Explanation { resource: "it".into(), packages: vec![] })),
                    );
                }
                shard.flush();
                std::thread::yield_now();
            }
        }
    });
    for round in 1..=50 {
        let Answer::Explain(explanation) = rig.port.ask(0, explain()).await.unwrap() else { panic!("another answer") };
        assert_eq!(explanation.resource, "it");
        for key in 0..20 {
            let item = rig.port.get(&format!("sip:{key}@example.com"), PackageId(0)).unwrap();
            assert_eq!(item.seq, round, "read after write");
        }
    }
    assert!(rig.wakes.load(Ordering::SeqCst) >= 50);
    done.store(1, Ordering::SeqCst);
    thread.join().unwrap();
    rig.end();
}

#[tokio::test(start_paused = true)]
async fn a_silent_shard_is_busy_and_its_inbox_has_a_bound() {
    let mut rig = Rig::new(1, Settings { inbox: 2, ..Settings::default() });
    assert_eq!(rig.port.ask(0, explain()).await.err(), Some(Busy::Late));
    assert_eq!(rig.port.ask(0, explain()).await.err(), Some(Busy::Late));
    assert_eq!(rig.port.ask(0, explain()).await.err(), Some(Busy::Full));
    assert_eq!(rig.port.ask(1, explain()).await.err(), Some(Busy::Gone));
    assert!(rig.shards[0].command().is_some() && rig.shards[0].command().is_some());
    assert!(rig.shards[0].command().is_none());
    rig.shards.clear();
    let mut rig = Rig { shards: vec![], ..Rig::new(1, Settings::default()) };
    assert_eq!(rig.port.ask(0, explain()).await.err(), Some(Busy::Gone));
    rig.start();
    rig.end();
}

#[test]
fn the_hub_takes_in_what_is_left_when_it_is_stopped() {
    let mut rig = Rig::new(1, Settings::default());
    rig.shards[0].change(change(1, 1, 5));
    rig.port.stop();
    rig.start();
    rig.thread.take().unwrap().join().unwrap();
    assert_eq!(rig.states().len(), 1);
    assert!(rig.port.can_resume("e1", 1) && rig.port.can_resume("e1", 0));
    assert!(!rig.port.can_resume("e1", 2) && !rig.port.can_resume("e0", 1));
}
