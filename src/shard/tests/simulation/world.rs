//! The world: shards, the network between them and the phones, and the ledger of what is true.

use crate::phone::{Action, Phone, Wire, header, tag, uri};
use lamplighter_model::config::{Config, Limits, Listener, Notify, Overload, Profiles, Timers};
use lamplighter_model::package::Expires;
use lamplighter_model::{Access, Addresses, Counters, Flow, Input, Outbox, Output, Packages, Record, Time, Transport};
use lamplighter_shard::Shard;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
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
    ToGateway { flow: Flow, bytes: Vec<u8> },
    Ring { shard: usize, flow: Flow, bytes: Vec<u8> },
    ToPhone { phone: usize, connection: u64, bytes: Vec<u8> },
    Wake { phone: usize },
    Tick { shard: usize },
    Closed { flow: Flow },
    Minute,
    Look,
}

/// What was sent last to one subscription.
#[derive(Default)]
struct Sent {
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
    saved: BTreeMap<String, Record>,
    /// Streams that the gateway knows to have ended.
    closed: BTreeSet<u64>,
    /// How many lamps were found right while things went on.
    pub looked: usize,
    fingerprint: u64,
}

const GATEWAY: &str = "192.0.2.1:5060";

fn config(shards: u8) -> Config {
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
        store: Some(Durabilities { publications: Durability::Memory, subscriptions: Durability::Memory }),
    }
}

impl World {
    pub fn new(seed: u64, shards: u8, phones: usize, faults: Faults) -> Self {
        let start = Time::from_micros(1_800_000_000_000_000);
        let config = Arc::new(config(shards));
        let secret = std::array::from_fn(|at| (seed as u8).wrapping_mul(31).wrapping_add(at as u8));
        let shard =
            |number| Shard::new(config.clone(), number, Seed(5, 6), secret, start, Arc::new(Counters::default()));
        let mut world = Self {
            now: start,
            random: Random(seed),
            faults,
            shards: (0..shards).map(shard).collect(),
            ticks: vec![None; usize::from(shards)],
            ring_load: vec![0; usize::from(shards)],
            phones: Vec::new(),
            queue: BinaryHeap::new(),
            count: 0,
            sent: BTreeMap::new(),
            ended: BTreeSet::new(),
            saved: BTreeMap::new(),
            closed: BTreeSet::new(),
            looked: 0,
            fingerprint: 0,
        };
        for number in 0..phones {
            let watched = (0..4).map(|_| world.random.below(phones as u64 / 2) as usize).collect();
            world.phones.push(Phone::new(number, watched));
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
                self.take_in(reader, flow, &bytes);
            }
            Event::Ring { shard, flow, bytes } => {
                self.ring_load[shard] -= 1;
                self.take_in(shard, flow, &bytes);
            }
            Event::Tick { shard } => {
                if self.ticks[shard].is_some_and(|due| due <= self.now) {
                    self.ticks[shard] = None;
                    self.handle(shard, Input::Tick, None);
                }
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
                        && let Some(flow) = self.phones[phone].disconnect(self.now)
                    {
                        let at = self.now + self.random.duration(Duration::from_secs(2));
                        self.push(at, Event::Closed { flow });
                    }
                }
            }
        }
    }

    fn take_in(&mut self, shard: usize, flow: Flow, bytes: &[u8]) {
        self.handle(shard, Input::Datagram { flow, bytes, age: Duration::ZERO }, Some((flow, bytes)));
    }

    fn handle(&mut self, shard: usize, input: Input<'_>, message: Option<(Flow, &[u8])>) {
        let mut out = Outbox::default();
        self.shards[shard].handle(self.now, input, &mut out);
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
                    self.push(at, Event::Ring { shard: owner, flow, bytes: bytes.to_vec() });
                }
                Output::Save(record) => self.save(record.clone()),
                Output::Change(_) => {}
                Output::Resolve { .. } | Output::Close(_) | Output::Answer { .. } => {
                    panic!("no phone here gives a reason for {output:?}")
                }
            }
        }
        let due = self.shards[shard].deadline().map(|due| due.max(self.now + Duration::from_micros(10)));
        if let Some(due) = due
            && self.ticks[shard].is_none_or(|armed| armed > due || armed < self.now)
        {
            self.ticks[shard] = Some(due);
            self.push(due, Event::Tick { shard });
        }
    }

    /// The store's side: the newest record of each key.
    fn save(&mut self, record: Record) {
        let key = |resource: &str, package: &str, source: &str| format!("{resource} {package} {source}");
        match &record {
            Record::Publication(one) => {
                self.saved.insert(key(&one.resource, &one.package, &one.source), record);
            }
            Record::PublicationGone { resource, package, source } => {
                let gone = self.saved.remove(&key(resource, package, source));
                assert!(gone.is_some(), "the end of a publication that was never saved");
            }
            Record::Subscription(one) => {
                let tag = one.local_tag.to_string();
                if let Some(Record::Subscription(old)) = self.saved.get(&tag) {
                    assert!(one.cseq >= old.cseq, "a saved CSeq went back");
                }
                self.saved.insert(tag, record);
            }
            Record::SubscriptionGone { local_tag } => {
                let gone = self.saved.remove(&**local_tag);
                assert!(gone.is_some(), "the end of a subscription that was never saved");
            }
        }
    }

    /// What the gateway sends: checked here, before the network can disturb it.
    fn send(&mut self, flow: Flow, bytes: &[u8]) {
        for &byte in bytes {
            self.fingerprint = self.fingerprint.rotate_left(5).wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
        }
        assert!(!self.closed.contains(&flow.connection), "sent to a stream that has ended");
        let text = std::str::from_utf8(bytes).expect("the gateway writes text here");
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
        let sent = self.sent.entry(format!("{call_id} {from_tag}")).or_default();
        if cseq == sent.cseq {
            assert_eq!(text.as_bytes(), sent.bytes, "a retransmission differs");
            return;
        }
        assert_eq!(cseq, sent.cseq + 1, "CSeq does not rise by one: {call_id}");
        if let Some(version) =
            body.split_once("<dialog-info").and_then(|(_, rest)| crate::phone::attribute(rest, "version"))
        {
            let version: u32 = version.parse().unwrap();
            let expected = sent.version.map_or(0, |version| version + 1);
            assert_eq!(version, expected, "the version does not rise by one: {call_id}\n{head}");
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
        for number in 0..self.phones.len() {
            if faults.silences > 0 && self.random.percent(30) {
                let silence = Duration::from_secs(40 + self.random.below(45));
                self.phones[number].silence(self.now, silence);
            }
            if faults.disconnects > 0
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
        assert!(self.saved.is_empty(), "records left: {:?}", self.saved.keys().next());
    }
}
