//! The world: shards, the network between them and the phones, and the ledger of what is true.

use crate::phone::{Action, Phone, Wire, header, tag, uri};
use lamplighter_model::config::{Config, Limits, Listener, Notify, Overload, Profiles, Timers};
use lamplighter_model::package::Expires;
use lamplighter_model::{
    Access, Addresses, Counters, Durabilities, Durability, EntityTag, Flow, Input, Outbox, Output, Packages, Record,
    Seed, Slot, Time, Transport,
};
use lamplighter_shard::Shard;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What goes wrong. Probabilities are percent: of datagrams, or per phone and minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub loss: u64,
    pub duplicates: u64,
    /// The longest way of a datagram.
    pub delay: Duration,
    /// A phone hears and says nothing for up to 200 s.
    pub silences: u64,
    /// A phone forgets everything and starts anew.
    pub reboots: u64,
    /// A stream breaks.
    pub disconnects: u64,
    /// A publisher forgets the names of its publications and says everything again.
    pub forgets: u64,
    /// The longest way from one shard to another.
    pub ring_delay: Duration,
    /// How many messages a ring holds; zero: any number.
    pub ring_room: usize,
    /// How long the store takes at most; zero: nothing waits for it.
    pub store_delay: Duration,
    /// Per minute: the gateway stops or is killed, and starts again some time later.
    pub restarts: u64,
    /// Per minute: the store fails for a while.
    pub failures: u64,
}

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn duration(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(most.as_micros() as u64 + 1))
    }
}

#[derive(Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    ToGateway {
        flow: Flow,
        bytes: Vec<u8>,
    },
    Ring {
        life: u32,
        shard: usize,
        flow: Flow,
        bytes: Vec<u8>,
    },
    ToPhone {
        phone: usize,
        connection: u64,
        bytes: Vec<u8>,
    },
    Wake {
        phone: usize,
    },
    Tick {
        life: u32,
        shard: usize,
    },
    /// The store has done something.
    Stored {
        life: u32,
        shard: usize,
    },
    /// The store fails (true), or works again.
    Failing {
        life: u32,
        failing: bool,
    },
    /// The gateway is told to stop.
    Stop {
        life: u32,
    },
    /// The gateway is about to be killed.
    Doom {
        life: u32,
    },
    Start,
    Closed {
        flow: Flow,
    },
    Minute,
    Look,
}

/// What was sent last to one subscription.
#[derive(Default)]
struct Sent {
    /// The life of the gateway in which it was.
    life: u32,
    cseq: u32,
    version: Option<u32>,
    bytes: Vec<u8>,
}

pub struct World {
    pub now: Time,
    pub random: Random,
    faults: Faults,
    shards: Vec<Shard>,
    ticks: Vec<Option<Time>>,
    ring_load: Vec<usize>,
    phones: Vec<Phone>,
    queue: BinaryHeap<Reverse<(Time, u64, Event)>>,
    count: u64,
    sent: BTreeMap<String, Sent>,
    /// Calls whose end was acknowledged, by Call-ID of the call.
    ended: BTreeSet<String>,
    /// The store: what a kill cannot take away.
    disk: BTreeMap<String, Record>,
    /// What each shard has handed over and the store has not written yet.
    unsaved: Vec<VecDeque<(u64, Record)>>,
    /// What the store has told each shard: written, committed.
    reported: Vec<(u64, u64)>,
    /// Whether the next thing that a store does is under way.
    storing: Vec<bool>,
    /// How often the gateway was started.
    life: u32,
    started: Time,
    /// How far the gateway's clock is ahead of the world's.
    ahead: Duration,
    failing: bool,
    /// NOTIFYs may have been sent whose numbers the store does not know yet.
    careless: bool,
    stopping: bool,
    /// It dies at the next occasion.
    doomed: bool,
    /// Leases have ended because the clock was set.
    surprise: bool,
    /// Our tags of the subscriptions that came back in this life.
    restored: BTreeSet<String>,
    /// How many restarts there were: clean ones, and all.
    pub restarts: (u32, u32),
    /// Streams that the gateway knows to have ended.
    closed: BTreeSet<u64>,
    /// How many lamps were found right while things went on.
    pub looked: usize,
    fingerprint: u64,
    seed: u64,
    /// Answers wait for the store, and how long it takes.
    waits: bool,
    delay: Duration,
}

const GATEWAY: &str = "192.0.2.1:5060";

fn config(shards: u8, waits: bool) -> Config {
    let address: SocketAddr = GATEWAY.parse().unwrap();
    let listener = |transport| Listener { transport, address, advertise: GATEWAY.into() };
    let brief = |_: &str, expires: Expires| Expires { least: Duration::from_secs(10), ..expires };
    Config {
        revision: 1,
        shards,
        server: "lamplighter".into(),
        addresses: Addresses::new(["example.com"], ["192.0.2.1"], []),
        listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
        access: Access { trusted: vec!["10.0.0.0/8".parse().unwrap()], ..Access::default() },
        packages: Packages::new(lamplighter_packages::packages(&lamplighter_packages::Config::default()), brief),
        profiles: Profiles::default(),
        timers: Timers::default(),
        notify: Notify { burst: 7, ..Notify::default() },
        limits: Limits::default(),
        overload: Overload::default(),
        store: Some(match waits {
            true => Durabilities::default(),
            false => Durabilities { publications: Durability::Memory, subscriptions: Durability::Memory },
        }),
    }
}

impl World {
    pub fn new(seed: u64, shards: u8, phones: usize, faults: Faults) -> Self {
        let start = Time::from_micros(1_800_000_000_000_000);
        let mut world = Self {
            now: start,
            random: Random(seed),
            faults,
            shards: Vec::new(),
            ticks: Vec::new(),
            ring_load: Vec::new(),
            phones: Vec::new(),
            queue: BinaryHeap::new(),
            count: 0,
            sent: BTreeMap::new(),
            ended: BTreeSet::new(),
            disk: BTreeMap::new(),
            unsaved: Vec::new(),
            reported: Vec::new(),
            storing: Vec::new(),
            life: 0,
            started: start,
            ahead: Duration::from_secs(1_000_000),
            failing: false,
            careless: false,
            stopping: false,
            doomed: false,
            surprise: false,
            restored: BTreeSet::new(),
            restarts: (0, 0),
            closed: BTreeSet::new(),
            looked: 0,
            fingerprint: 0,
            seed,
            waits: !faults.store_delay.is_zero(),
            delay: faults.store_delay,
        };
        world.start(shards);
        for number in 0..phones {
            let watched = (0..4).map(|_| world.random.below(phones as u64 / 2) as usize).collect();
            // After a kill a lease may last as long again as was promised; what has ended must not outlive that.
            let lease = if faults.restarts > 0 { 30 } else { 60 };
            world.phones.push(Phone::new(number, watched, lease));
            let at = world.now + world.random.duration(Duration::from_secs(20));
            world.push(at, Event::Wake { phone: number });
        }
        world.push(start + Duration::from_secs(60), Event::Minute);
        world.push(start + Duration::from_secs(5), Event::Look);
        world
    }

    fn push(&mut self, at: Time, event: Event) {
        self.count += 1;
        self.queue.push(Reverse((at, self.count, event)));
    }

    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, ..))) = self.queue.peek() {
            if *at > end {
                break;
            }
            let Some(Reverse((at, _, event))) = self.queue.pop() else { break };
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToGateway { flow, bytes } => {
                // The kernel decides who reads.
                let reader = self.random.below(self.shards.len() as u64) as usize;
                if self.is_up() && !self.closed.contains(&flow.connection) {
                    self.take_in(reader, flow, &bytes);
                }
            }
            Event::Ring { life, shard, flow, bytes } => {
                if life == self.life && self.is_up() {
                    self.ring_load[shard] -= 1;
                    if !self.closed.contains(&flow.connection) {
                        self.take_in(shard, flow, &bytes);
                    }
                }
            }
            Event::Tick { life, shard } => {
                if life == self.life && self.is_up() && self.ticks[shard].is_some_and(|due| due <= self.now) {
                    self.ticks[shard] = None;
                    self.handle(shard, Input::Tick, None);
                }
            }
            Event::Stored { life, shard } => {
                if life == self.life && self.is_up() {
                    self.stored(shard);
                }
            }
            Event::Failing { life, failing } => {
                if life == self.life && self.is_up() && !self.stopping {
                    self.fail(failing);
                }
            }
            Event::Stop { life } => {
                if life == self.life && self.is_up() && !self.failing && self.faults.restarts > 0 {
                    self.stopping = true;
                    for shard in 0..self.shards.len() {
                        self.handle(shard, Input::Stop, None);
                    }
                    self.check_through();
                }
            }
            Event::Doom { life } => self.doomed = life == self.life && self.is_up() && self.faults.restarts > 0,
            Event::Start => {
                let shards = [1, 2, 4][self.random.below(3) as usize];
                self.start(shards);
            }
            Event::Closed { flow } => {
                self.closed.insert(flow.connection);
                for shard in 0..self.shards.len() {
                    self.handle(shard, Input::Closed(flow), None);
                }
            }
            Event::ToPhone { phone, connection, bytes } => {
                let mut actions = Vec::new();
                let text = String::from_utf8(bytes).expect("the gateway writes text here");
                self.phones[phone].receive(self.now, connection, &text, &mut actions);
                self.act(phone, actions);
            }
            Event::Wake { phone } => {
                let mut actions = Vec::new();
                self.phones[phone].wake(self.now, &mut self.random, &mut actions);
                self.act(phone, actions);
            }
            Event::Look => {
                let at = self.now + Duration::from_secs(5);
                self.push(at, Event::Look);
                self.look();
            }
            Event::Minute => {
                let at = self.now + Duration::from_secs(60);
                self.push(at, Event::Minute);
                for phone in 0..self.phones.len() {
                    if self.random.percent(self.faults.silences) {
                        let silence = self.random.duration(Duration::from_secs(200));
                        self.phones[phone].silence(self.now, silence);
                    }
                    if self.random.percent(self.faults.reboots) {
                        self.phones[phone].reboot(self.now);
                    }
                    if self.random.percent(self.faults.forgets) {
                        self.phones[phone].forget_tags();
                    }
                    if self.random.percent(self.faults.disconnects)
                        && self.is_up()
                        && let Some(flow) = self.phones[phone].disconnect(self.now)
                    {
                        let at = self.now + self.random.duration(Duration::from_secs(2));
                        self.push(at, Event::Closed { flow });
                    }
                }
                self.misfortune();
            }
        }
    }

    fn take_in(&mut self, shard: usize, flow: Flow, bytes: &[u8]) {
        self.handle(shard, Input::Datagram { flow, bytes, age: Duration::ZERO }, Some((flow, bytes)));
    }

    fn handle(&mut self, shard: usize, input: Input<'_>, message: Option<(Flow, &[u8])>) {
        if !self.is_up() {
            return;
        }
        let mut out = Outbox::default();
        let now = self.now + self.ahead;
        self.shards[shard].handle(now, input, &mut out);
        // Death may come between an answer and its NOTIFY, and before the store hears of anything.
        let dies = self.doomed && out.outputs.len() > 1;
        if dies {
            let most = 1 + self.random.below(out.outputs.len() as u64 - 1) as usize;
            out.outputs.truncate(most);
        }
        for output in &out.outputs {
            match output {
                Output::Send { flow, at } => self.send(*flow, out.slice(at)),
                Output::Forward { shard: owner, in_dialog } => {
                    let (flow, bytes) = message.expect("only a message can be forwarded");
                    let owner = usize::from(*owner);
                    assert_ne!(owner, shard, "forwarded to itself");
                    let room = self.faults.ring_room * if *in_dialog { 2 } else { 1 };
                    if self.faults.ring_room > 0 && self.ring_load[owner] >= room && flow.transport == Transport::Udp {
                        continue; // a full ring drops datagrams
                    }
                    self.ring_load[owner] += 1;
                    let at = self.now + self.random.duration(self.faults.ring_delay);
                    self.push(at, Event::Ring { life: self.life, shard: owner, flow, bytes: bytes.to_vec() });
                }
                Output::Save { number, record } => {
                    self.unsaved[shard].push_back((*number, record.clone()));
                    self.store_soon(shard);
                }
                Output::Change(_) | Output::Trace(_) => {}
                Output::Resolve { .. }
                | Output::Close(_)
                | Output::Answer { .. }
                | Output::Ask { .. }
                | Output::News(_) => {
                    panic!("no phone here gives a reason for {output:?}")
                }
            }
        }
        if dies {
            return self.die(false);
        }
        let due = self.shards[shard].deadline();
        let due = due.map(|due| (due - self.ahead).max(self.now + Duration::from_micros(10)));
        if let Some(due) = due
            && self.ticks[shard].is_none_or(|armed| armed > due || armed < self.now)
        {
            self.ticks[shard] = Some(due);
            self.push(due, Event::Tick { life: self.life, shard });
        }
    }

    fn is_up(&self) -> bool {
        !self.shards.is_empty()
    }

    /// The gateway starts: everything that the store has comes back, in any order.
    fn start(&mut self, shards: u8) {
        self.life += 1;
        (self.started, self.failing, self.careless, self.stopping, self.doomed) =
            (self.now, false, false, false, false);
        let config = Arc::new(config(shards, self.waits));
        let secret =
            std::array::from_fn(|at| (self.seed as u8).wrapping_mul(31).wrapping_add(at as u8 ^ self.life as u8));
        let now = self.now + self.ahead;
        let shard = |number| Shard::new(config.clone(), number, Seed(5, 6), secret, now, Arc::new(Counters::default()));
        self.shards = (0..shards).map(shard).collect();
        let count = usize::from(shards);
        (self.ticks, self.ring_load, self.storing) = (vec![None; count], vec![0; count], vec![false; count]);
        (self.unsaved, self.reported) = (vec![VecDeque::new(); count], vec![(0, 0); count]);
        let mut records: Vec<Record> = self.disk.values().cloned().collect();
        for at in (1..records.len()).rev() {
            records.swap(at, self.random.below(at as u64 + 1) as usize);
        }
        self.restored.clear();
        for record in records {
            let resource = match &record {
                Record::Publication(one) => &one.resource,
                Record::Resource(one) => &one.resource,
                Record::Subscription(one) => {
                    self.restored.insert(one.local_tag.to_string());
                    &one.resource
                }
                gone => panic!("the store keeps {gone:?}"),
            };
            let owner = usize::from(Slot::of(resource).shard(shards));
            if let Err(error) = self.shards[owner].restore(now, record) {
                assert_eq!(error, lamplighter_shard::NotRestored::Lapsed);
            }
        }
        for shard in 0..count {
            self.shards[shard].resume(now);
            self.handle(shard, Input::Tick, None);
        }
        if self.life > 1 {
            // The streams of before are no more; phones notice when they are refused.
            for number in 0..self.phones.len() {
                if let Some(flow) = self.phones[number].disconnect(self.now) {
                    self.closed.insert(flow.connection);
                }
                if self.surprise {
                    self.phones[number].surprised(self.now, &mut self.random);
                }
            }
            self.surprise = false;
        }
    }

    /// Once a minute the gateway may stop, die or lose its store.
    fn misfortune(&mut self) {
        if !self.is_up() || self.stopping {
            return;
        }
        let (at, life) = (self.now + self.random.duration(Duration::from_secs(50)), self.life);
        if self.random.percent(self.faults.restarts) {
            let clean = self.random.percent(30);
            self.push(at, if clean { Event::Stop { life } } else { Event::Doom { life } });
        } else if self.random.percent(self.faults.failures) && !self.failing {
            self.push(at, Event::Failing { life, failing: true });
            let until = at + Duration::from_millis(500) + self.random.duration(Duration::from_secs(40));
            self.push(until, Event::Failing { life, failing: false });
        }
    }

    fn fail(&mut self, failing: bool) {
        self.failing = failing;
        self.careless |= failing;
        for shard in 0..self.shards.len() {
            self.handle(shard, Input::StoreFailing(failing), None);
            if !self.is_up() {
                return; // it died of it
            }
            self.store_soon(shard);
        }
    }

    fn store_soon(&mut self, shard: usize) {
        let (written, committed) = self.reported[shard];
        let done = self.unsaved[shard].is_empty() && committed == written;
        if !done && !self.failing && !std::mem::replace(&mut self.storing[shard], true) {
            let at = self.now + self.random.duration(self.delay);
            self.push(at, Event::Stored { life: self.life, shard });
        }
    }

    /// The store has written what it has got, and what it wrote before is on the disk.
    fn stored(&mut self, shard: usize) {
        self.storing[shard] = false;
        if self.failing {
            return;
        }
        let (written, _) = self.reported[shard];
        // Not everything fits into one batch.
        let most = 1 + self.random.below(self.unsaved[shard].len() as u64 * 2) as usize;
        let mut newest = written;
        for _ in 0..most {
            let Some((number, record)) = self.unsaved[shard].pop_front() else { break };
            newest = number;
            self.save(record);
        }
        self.reported[shard] = (newest, written);
        if self.unsaved.iter().all(VecDeque::is_empty) {
            self.careless = false;
        }
        if self.waits {
            self.handle(shard, Input::Saved { written: newest, committed: written }, None);
        }
        if self.is_up() {
            self.store_soon(shard);
            self.check_through();
        }
    }

    /// A stop is over when nothing is left to be done and the store has everything.
    fn check_through(&mut self) {
        let idle = self.unsaved.iter().all(VecDeque::is_empty);
        if self.stopping && idle && self.shards.iter().all(Shard::is_through) {
            self.die(true);
        }
    }

    /// The gateway is no more; what the store had not said to be safe may be lost from anywhere on.
    fn die(&mut self, clean: bool) {
        for shard in 0..self.unsaved.len() {
            let all = self.unsaved[shard].len();
            let kept = if self.careless { all } else { self.random.below(all as u64 + 1) as usize };
            for (_, record) in std::mem::take(&mut self.unsaved[shard]).into_iter().take(kept) {
                self.save(record);
            }
        }
        self.shards.clear();
        self.restarts.0 += u32::from(clean);
        self.restarts.1 += 1;
        self.check_acknowledged();
        let most = if self.random.percent(20) { 100 } else { 10 };
        let down = Duration::from_secs(1) + self.random.duration(Duration::from_secs(most));
        match self.random.below(10) {
            0 => {
                // Somebody sets the clock, and leases end that still ran.
                self.ahead += Duration::from_secs(3600) * (1 + self.random.below(30) as u32);
                self.surprise = true;
            }
            // The clock was set back: the newest time in the store counts, and the pause does not.
            1 | 2 if most == 10 => self.ahead -= down,
            _ => {}
        }
        self.push(self.now + down, Event::Start);
    }

    /// Whatever a phone was promised is in the store.
    fn check_acknowledged(&self) {
        let publication = |tag: &str| EntityTag::read(tag.as_bytes()).expect("a tag of ours").publication();
        for phone in &self.phones {
            for (package, tag) in phone.acknowledged(self.now) {
                let resource = uri(phone.number);
                let kept = self.disk.values().any(|record| match record {
                    Record::Publication(one) => {
                        *one.resource == *resource
                            && *one.package == *package
                            && one.entity_tag.publication() == publication(tag)
                            && one.until > self.now + self.ahead
                    }
                    _ => false,
                });
                assert!(kept, "{resource} {package} was acknowledged as {tag} and is lost");
            }
            for tag in phone.subscribed(self.now) {
                let kept = self.disk.get(tag);
                assert!(kept.is_some(), "subscription {tag} of phone {} was acknowledged and is lost", phone.number);
            }
        }
    }

    /// The store's side: the newest record of each key.
    fn save(&mut self, record: Record) {
        let key =
            |kind: &str, resource: &str, package: &str, source: &str| format!("{kind} {resource} {package} {source}");
        match &record {
            Record::Publication(one) => {
                self.disk.insert(key("p", &one.resource, &one.package, &one.source), record);
            }
            Record::PublicationGone { resource, package, source } => {
                let gone = self.disk.remove(&key("p", resource, package, source));
                assert!(gone.is_some(), "the end of a publication that was never saved");
            }
            Record::Resource(one) => {
                self.disk.insert(key("r", &one.resource, &one.package, ""), record);
            }
            Record::ResourceGone { resource, package } => {
                let gone = self.disk.remove(&key("r", resource, package, ""));
                assert!(gone.is_some(), "the end of a resource that was never saved");
            }
            Record::Subscription(one) => {
                let tag = one.local_tag.to_string();
                if let Some(Record::Subscription(old)) = self.disk.get(&tag) {
                    assert!(one.reserved >= old.reserved, "a saved CSeq went back");
                }
                self.disk.insert(tag, record);
            }
            Record::SubscriptionGone { local_tag } => {
                let gone = self.disk.remove(&**local_tag);
                assert!(gone.is_some(), "the end of a subscription that was never saved");
            }
            Record::Standing { .. } | Record::StandingGone { .. } => panic!("shards have nothing at other servers"),
        }
    }

    /// What the gateway sends: checked here, before the network can disturb it.
    fn send(&mut self, flow: Flow, bytes: &[u8]) {
        for &byte in bytes {
            self.fingerprint = self.fingerprint.rotate_left(5).wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
        }
        let text = std::str::from_utf8(bytes).expect("the gateway writes text here");
        if self.closed.contains(&flow.connection) {
            assert!(text.starts_with("SIP/2.0"), "only an answer that waited may find its stream ended:\n{text}");
            return;
        }
        if text.starts_with("NOTIFY") {
            self.check_notify(text);
        }
        let phone = usize::from(flow.remote.port()) - 10_000;
        let event = |bytes: &[u8]| Event::ToPhone { phone, connection: flow.connection, bytes: bytes.to_vec() };
        self.carry(flow, bytes, event);
    }

    fn check_notify(&mut self, text: &str) {
        let call_id = header(text, "Call-ID").expect("a NOTIFY has a Call-ID");
        let from_tag = tag(header(text, "From").expect("a NOTIFY has From")).expect("and a tag in it");
        let cseq: u32 = header(text, "CSeq").unwrap().split(' ').next().unwrap().parse().unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let length: usize = header(text, "Content-Length").unwrap().parse().unwrap();
        assert_eq!(length, body.len(), "Content-Length is wrong:\n{text}");
        let (life, back) = (self.life, self.restored.contains(from_tag));
        let sent = self.sent.entry(format!("{call_id} {from_tag}")).or_default();
        // The first one after a restart: its numbers are higher than any before, by how much nobody knows.
        let first = back && sent.life != life;
        sent.life = life;
        if cseq == sent.cseq {
            assert_eq!(text.as_bytes(), sent.bytes, "a retransmission differs");
            return;
        }
        let rises = cseq == sent.cseq + 1 || first && cseq > sent.cseq;
        assert!(rises, "CSeq does not rise by one: {call_id}: {cseq} after {}", sent.cseq);
        if let Some(version) =
            body.split_once("<dialog-info").and_then(|(_, rest)| crate::phone::attribute(rest, "version"))
        {
            let version: u32 = version.parse().unwrap();
            let expected = sent.version.map_or(0, |version| version + 1);
            let rises = version == expected || first && version > expected;
            assert!(rises, "the version does not rise by one: {call_id}: {version}, not {expected}\n{head}");
            assert!(body.contains("state=\"full\""), "whole states only, as nobody knows what was lost:\n{text}");
            sent.version = Some(version);
        }
        sent.cseq = cseq;
        sent.bytes = text.as_bytes().to_vec();
        // What ended stays ended.
        for (call, state) in crate::phone::dialogs(body) {
            assert!(state == "terminated" || !self.ended.contains(&call), "{call} has come back as {state}:\n{text}");
        }
    }

    /// The network: datagrams may be lost, doubled and delayed; streams only delay.
    fn carry(&mut self, flow: Flow, bytes: &[u8], event: impl Fn(&[u8]) -> Event) {
        if flow.transport.is_stream() {
            let at = self.now + Duration::from_micros(500);
            self.push(at, event(bytes));
            return;
        }
        let copies = if self.random.percent(self.faults.loss) {
            0
        } else if self.random.percent(self.faults.duplicates) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let at = self.now + Duration::from_micros(200) + self.random.duration(self.faults.delay);
            self.push(at, event(bytes));
        }
    }

    fn act(&mut self, phone: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(Wire { flow, text }) => {
                    for byte in text.bytes() {
                        self.fingerprint = self.fingerprint.rotate_left(7).wrapping_add(u64::from(byte));
                    }
                    self.carry(flow, text.as_bytes(), |bytes| Event::ToGateway { flow, bytes: bytes.to_vec() });
                }
                Action::WakeAt(at) => self.push(at, Event::Wake { phone }),
                Action::Ended(call) => {
                    self.ended.insert(call);
                }
            }
        }
    }

    /// From now on nothing new goes wrong. The last silences are long enough for a NOTIFY to fail, and the last
    /// streams that break are noticed late.
    pub fn calm(&mut self) {
        let faults = std::mem::take(&mut self.faults);
        self.doomed = false;
        for number in 0..self.phones.len() {
            if faults.silences > 0 && self.random.percent(30) {
                let silence = Duration::from_secs(40 + self.random.below(45));
                self.phones[number].silence(self.now, silence);
            }
            if faults.disconnects > 0
                && self.is_up()
                && self.random.percent(50)
                && let Some(flow) = self.phones[number].disconnect(self.now)
            {
                let at = self.now + Duration::from_secs(5) + self.random.duration(Duration::from_secs(20));
                self.push(at, Event::Closed { flow });
            }
        }
    }

    /// From now on nobody calls.
    pub fn hush(&mut self) {
        for phone in &mut self.phones {
            phone.quiet = true;
        }
    }

    /// Everybody gives up what they hold, but some just pull the plug.
    pub fn go_home(&mut self) {
        for number in 0..self.phones.len() {
            self.phones[number].leave(number % 7 == 3);
            let at = self.now + self.random.duration(Duration::from_secs(5));
            self.push(at, Event::Wake { phone: number });
        }
    }

    /// While things go on: what has held for a while is shown by everybody who has listened for a while.
    fn look(&mut self) {
        if !self.is_up() || self.life > 1 && self.now < self.started + Duration::from_secs(60) {
            return;
        }
        for phone in self.phones.iter().filter(|phone| !phone.leaving) {
            for watch in &phone.watches {
                let target = &self.phones[watch.target];
                if !phone.is_attentive(self.now, watch) || !target.is_settled(self.now, watch.package) {
                    continue;
                }
                let expected: BTreeMap<String, String> = match watch.package {
                    "dialog" => target.calls_now().collect(),
                    _ => target.messages_now().map(|count| ("voice".into(), count)).into_iter().collect(),
                };
                let (number, target) = (phone.number, watch.target);
                assert_eq!(watch.shown.as_ref(), Some(&expected), "phone {number} watching {target} {}", watch.package);
                self.looked += 1;
            }
        }
    }

    /// Every watcher shows what the phones that publish say, and nothing else.
    pub fn check_truth(&self) {
        let mut truth: BTreeMap<(String, &str), BTreeMap<String, String>> = BTreeMap::new();
        for phone in &self.phones {
            truth.entry((uri(phone.number), "dialog")).or_default().extend(phone.calls_now());
            truth.entry((uri(phone.presentity()), "message-summary")).or_default();
            if let Some(count) = phone.messages_now() {
                truth.entry((uri(phone.presentity()), "message-summary")).or_default().insert("voice".into(), count);
            }
        }
        let mut lit = 0;
        for phone in &self.phones {
            for watch in &phone.watches {
                let expected = &truth[&(uri(watch.target), watch.package)];
                let shown = watch.shown.as_ref();
                assert!(shown.is_some(), "phone {} has no state of {} {}", phone.number, watch.target, watch.package);
                assert_eq!(shown, Some(expected), "phone {} watching {} {}", phone.number, watch.target, watch.package);
                lit += expected.len();
            }
        }
        assert!(lit > 0, "a run in which nothing is lit proves nothing");
        assert!(!self.ended.is_empty(), "a run in which no call ended proves nothing");
    }

    /// Nothing is held that nobody wants any more.
    pub fn check_nothing_is_left(&self) {
        for (number, shard) in self.shards.iter().enumerate() {
            assert_eq!(shard.load(), (0, 0), "subscriptions and publications left in shard {number}: {shard:?}");
        }
        assert!(self.disk.is_empty(), "records left: {:?}", self.disk.values().next());
        assert!(self.is_up() && self.unsaved.iter().all(VecDeque::is_empty));
    }
}
