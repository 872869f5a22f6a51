//! The world: the machine, the network, the store, the shards, and the ledger of what is true.

use super::server::{LIST, Mood, Server, calls_of};
use crate::members::OF;
use crate::tests::{OURS, START, document, packages, settings};
use crate::{ASKED, GRACE, Remote, Rule, Settings, Watched, wish};
use lamplighter_model::remote::{Heard, RemoteRow, RemoteWish};
use lamplighter_model::{
    Answer, Command, Content, EntityTag, Flow, Input, Outbox, Output, OwnState, OwnedAction, OwnedContent, PackageId,
    Packages, PublishError, PublishedLease, Reading, Record, RemoteAnswer, RemoteCommand, Renewal, Seed, Time,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const THEM: &str = "192.0.2.9:5060";
/// Resources that are watched there for everyone, resources that are published there, and the most members of the list.
const COUNT: usize = 6;
/// Requests of one wish within a minute: one a second is what a lease of a second may cost, another for each dialog
/// that it takes.
const RATE: usize = 150;

/// The longest that the bus may be wrong if nothing but the network has faults; leases are renewed later than that.
const LATE: Duration = Duration::from_secs(180);

/// Timers are on a grid, and may fire so late.
const GRID: Duration = Duration::from_millis(25);

/// Calls by id, with their state.
pub type Calls = BTreeMap<String, String>;

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

    fn calls(&mut self) -> Calls {
        let states = ["trying", "early", "confirmed"];
        (0..self.below(3)).map(|_| (format!("c{}", self.below(100)), states[self.below(3) as usize].into())).collect()
    }
}

/// What goes wrong. Probabilities are percent: of datagrams, of questions, or per minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub loss: u64,
    pub duplicates: u64,
    /// The longest way of a datagram.
    pub delay: Duration,
    /// The server has moods.
    pub moods: bool,
    /// The gateway is stopped or killed, and starts again some time later.
    pub restarts: u64,
    /// Shards are too busy, or refuse.
    pub refusals: u64,
}

#[derive(Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    ToServer(String),
    ToGateway(Vec<u8>),
    Tick(u32),
    Stored(u32),
    Asked(u32, u64, u32),
    Heard(u32, usize),
    Start,
    Doom,
    Second,
    Look,
}

/// A publication on the bus.
struct OnBus {
    tag: u64,
    calls: Calls,
    until: Time,
}

/// What was sent for one wish or record.
#[derive(Default)]
struct Sent {
    /// First sendings in the last minute.
    times: VecDeque<Time>,
    /// The PUBLISH that is out.
    out: Option<(String, Time)>,
}

pub struct World {
    pub now: Time,
    random: Random,
    faults: Faults,
    queue: BinaryHeap<Reverse<(Time, u64, Event)>>,
    count: u64,
    remote: Option<Remote>,
    life: u32,
    started: Time,
    ticks: Option<Time>,
    doomed: bool,
    disk: BTreeMap<u32, Record>,
    unsaved: VecDeque<Record>,
    questions: BTreeMap<u32, Command>,
    asked: u32,
    server: Server,
    bus: BTreeMap<(String, String), OnBus>,
    tags: u64,
    own: BTreeMap<String, Calls>,
    sent: BTreeMap<String, Sent>,
    branches: BTreeMap<String, String>,
    /// The subscriptions that programs have made.
    programs: Vec<u64>,
    /// When a wish was first seen to be lost or gone, and how many NOTIFYs it had then.
    lost: BTreeMap<u64, (Time, u64)>,
    /// Since when the bus says something else of an address than is true.
    wrong: BTreeMap<String, Time>,
    quiet: bool,
    leaving: bool,
    /// The network alone has faults, from beginning to end.
    gentle: bool,
    looked: usize,
    good_since: Time,
}

pub fn header<'a>(message: &'a str, name: &str) -> &'a str {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

fn watched(number: usize) -> String {
    format!("sip:w{number}@example.com")
}

fn member(number: usize) -> String {
    format!("sip:m{number}@example.com")
}

fn ours(number: usize) -> String {
    format!("sip:own{number}@example.com")
}

fn all() -> &'static Packages {
    static ALL: LazyLock<Packages> = LazyLock::new(packages);
    &ALL
}

fn dialog() -> PackageId {
    all().find(b"dialog").unwrap()
}

fn wish(resource: String, subscriber: Option<&str>) -> RemoteWish {
    RemoteWish {
        list: resource == LIST,
        resource: resource.into(),
        subscriber: subscriber.map(Into::into),
        package: dialog(),
        event_id: None,
        target: None,
        contact: None,
        outbound_proxy: Some(format!("sip:{THEM}").into()),
        headers: Vec::new(),
        expires: Some(SECOND * 600),
        accept: Vec::new(),
        owner: "test".into(),
    }
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let mut world = Self {
            now: START,
            random: Random(seed),
            faults,
            queue: BinaryHeap::new(),
            count: 0,
            remote: None,
            life: 0,
            started: START,
            ticks: None,
            doomed: false,
            disk: BTreeMap::new(),
            unsaved: VecDeque::new(),
            questions: BTreeMap::new(),
            asked: 0,
            server: Server::default(),
            bus: BTreeMap::new(),
            tags: 0,
            own: BTreeMap::new(),
            sent: BTreeMap::new(),
            branches: BTreeMap::new(),
            programs: Vec::new(),
            lost: BTreeMap::new(),
            wrong: BTreeMap::new(),
            quiet: false,
            leaving: false,
            gentle: !faults.moods && faults.restarts == 0 && faults.refusals == 0,
            looked: 0,
            good_since: START,
        };
        for number in 0..COUNT {
            let calls = world.random.calls();
            world.server.truth.insert(watched(number), calls);
            let calls = world.random.calls();
            world.own.insert(ours(number), calls);
            let calls = world.random.calls();
            world.server.members.insert(member(number), Some(calls));
        }
        world.start();
        world.push(START + SECOND, Event::Second);
        world.push(START + SECOND * 5, Event::Look);
        world
    }

    fn push(&mut self, at: Time, event: Event) {
        self.count += 1;
        self.queue.push(Reverse((at, self.count, event)));
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
            self.carry();
        }
        self.now = end;
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings { most: 32, linger: SECOND * 30, ..settings() };
        settings.agent.pace.retry = SECOND * 60;
        settings.agent.pace.default_expires = SECOND * 600;
        settings.watches = match self.leaving {
            true => Vec::new(),
            false => (0..COUNT)
                .map(watched)
                .chain([LIST.to_owned()])
                .map(|resource| Watched { wish: wish(resource, None), local: None, domain: None })
                .collect(),
        };
        let rule = Rule { server: format!("sip:{THEM}").into(), expires: Some(SECOND * 600), ..Rule::default() };
        settings.rules = vec![rule];
        settings
    }

    fn start(&mut self) {
        self.life += 1;
        let settings = self.settings();
        let seed = Seed(self.random.next(), self.random.next());
        let mut remote = Remote::new(Arc::new(crate::tests::config()), settings, seed, self.now);
        for record in std::mem::take(&mut self.disk).into_values() {
            let Record::Standing { key, .. } = record else { panic!("{record:?}") };
            self.disk.insert(key, record.clone());
            remote.restore(self.now, record);
        }
        for ((resource, source), one) in &self.bus {
            remote.found(&self.published(resource, source, one.until));
        }
        remote.resume(self.now);
        (self.remote, self.started, self.ticks, self.doomed) = (Some(remote), self.now, None, false);
        self.lost.clear();
        self.handle(Input::Tick);
        // Programs find what they had; what they took back may have come back, if that was lost on its way to the store.
        let rows = self.rows();
        self.programs = rows.into_iter().filter(|row| !row.configured).map(|row| row.id).collect();
        while self.programs.len() > if self.leaving { 0 } else { 2 } {
            let id = self.programs.remove(0);
            self.command(RemoteCommand::Remove(id));
        }
        for number in 0..COUNT {
            let at = self.now + self.random.duration(SECOND * 2);
            self.push(at, Event::Heard(self.life, number));
        }
    }

    /// As the store has it.
    fn published(&self, resource: &str, source: &str, until: Time) -> Record {
        Record::Publication(Box::new(lamplighter_model::record::PublicationRecord {
            resource: resource.into(),
            package: "dialog".into(),
            source: source.into(),
            entity_tag: EntityTag(1),
            stamp: lamplighter_model::package::Stamp { at: self.now, counter: 1, node: 0 },
            until,
            fact: Default::default(),
            from: ([0, 0, 0, 0], 0).into(),
        }))
    }

    /// It dies: what is on its way to the store, or to shards, is lost or not.
    fn die(&mut self) {
        self.remote = None;
        self.unsaved.clear();
        self.sent.values_mut().for_each(|sent| sent.out = None);
        if !self.faults.moods && self.random.percent(10) {
            self.server.restart();
        }
        let at = self.now + self.random.duration(SECOND * 100);
        self.push(at, Event::Start);
    }

    fn handle(&mut self, input: Input<'_>) -> Option<RemoteAnswer> {
        let mut out = Outbox::default();
        self.remote.as_mut()?.handle(self.now, input, &mut out);
        // Death comes between any two outputs.
        let dies = self.doomed && !out.outputs.is_empty();
        if dies {
            let most = self.random.below(out.outputs.len() as u64 + 1) as usize;
            out.outputs.truncate(most);
        }
        let mut said = None;
        for output in &out.outputs {
            match output {
                Output::Send { at, .. } => {
                    let text = String::from_utf8(out.slice(at).to_vec()).expect("we write text here");
                    self.note(&text);
                    let copies = self.copies();
                    for _ in 0..copies {
                        let at = self.now + Duration::from_micros(200) + self.random.duration(self.faults.delay);
                        self.push(at, Event::ToServer(text.clone()));
                    }
                }
                Output::Ask { number, command, .. } => {
                    self.asked += 1;
                    self.questions.insert(self.asked, (**command).clone());
                    let slow = self.random.percent(self.faults.refusals);
                    let most = if slow { SECOND * 5 } else { Duration::from_millis(5) };
                    let at = self.now + self.random.duration(most);
                    self.push(at, Event::Asked(self.life, *number, self.asked));
                }
                Output::Answer { answer: Answer::Remote(answer), .. } => said = Some(answer.clone()),
                Output::Save { record, .. } => {
                    self.unsaved.push_back(record.clone());
                    let at = self.now + self.random.duration(Duration::from_millis(20));
                    self.push(at, Event::Stored(self.life));
                }
                other => panic!("{other:?}"),
            }
        }
        if dies {
            self.die();
            return None;
        }
        let deadline = self.remote.as_ref().and_then(Remote::deadline);
        if deadline.is_some() && deadline != self.ticks {
            self.ticks = deadline;
            let at = deadline.unwrap_or_default().max(self.now);
            self.push(at, Event::Tick(self.life));
        }
        self.check_bounds();
        said
    }

    fn copies(&mut self) -> u32 {
        match () {
            () if self.random.percent(self.faults.loss) => 0,
            () if self.random.percent(self.faults.duplicates) => 2,
            () => 1,
        }
    }

    /// What the server has said travels.
    fn carry(&mut self) {
        for (after, bytes) in std::mem::take(&mut self.server.out) {
            for _ in 0..self.copies() {
                let at = self.now + after + Duration::from_micros(200) + self.random.duration(self.faults.delay);
                self.push(at, Event::ToGateway(bytes.clone()));
            }
        }
    }

    /// The ledger of requests: rates, and one PUBLISH in flight a record.
    fn note(&mut self, text: &str) {
        let method = text.split(' ').next().unwrap_or_default();
        if method == "SIP/2.0" {
            return;
        }
        let branch = header(text, "Via").split_once("branch=").map_or("", |it| it.1).to_owned();
        let wish = format!(
            "{method} {} {}",
            header(text, "From").split(';').next().unwrap_or_default(),
            header(text, "To").split(';').next().unwrap_or_default()
        );
        if self.branches.insert(branch.clone(), wish.clone()).is_some() {
            return;
        }
        let sent = self.sent.entry(wish.clone()).or_default();
        sent.times.push_back(self.now);
        while sent.times.front().is_some_and(|at| *at + SECOND * 60 < self.now) {
            sent.times.pop_front();
        }
        let forks = if self.server.mood == Mood::Forking || self.faults.moods { 9 } else { 1 };
        let most = if method == "PUBLISH" { RATE } else { RATE * forks };
        assert!(
            sent.times.len() <= most,
            "{} requests within a minute: {wish} {:?}",
            sent.times.len(),
            self.server.mood
        );
        if method == "PUBLISH" {
            if let Some((_, since)) = &sent.out {
                assert!(*since + SECOND * 32 <= self.now, "two PUBLISHes in flight: {wish}");
            }
            sent.out = Some((branch, self.now));
        }
    }

    /// Whatever happens, nothing grows.
    fn check_bounds(&self) {
        let Some(remote) = &self.remote else { return };
        let totals = remote.agent.totals(self.now);
        let wishes = COUNT + 3;
        // Each dialog may have forks; those that were left are on their way out.
        let dialogs = (wishes * 2) * 9;
        assert!(totals.kept <= dialogs + COUNT * 2, "{totals:?}");
        assert!(totals.in_flight + totals.waiting <= totals.kept, "{totals:?}");
        assert!(totals.hosts <= 8 && totals.servers <= 16 && totals.shunned.len() <= 16, "{totals:?}");
        let begun = totals.subscriptions_begun + totals.publications_begun;
        let ended = totals.subscriptions_ended + totals.publications_ended;
        assert_eq!(begun - ended, totals.kept as u64, "created - destroyed = live: {totals:?}");
        assert!(remote.asked.len() <= ASKED);
        let lines: usize = remote.lines.values().map(|line| 1 + line.feeds.len() + line.documents.len()).sum();
        let tasks = lines + remote.orphans.len() + remote.exports.len() + remote.leftovers.len();
        assert!(remote.waiting.len() <= tasks, "{} {tasks}", remote.waiting.len());
        assert!(remote.lines.len() <= wishes * 2 && lines <= dialogs * 2 && remote.orphans.len() <= dialogs * 4);
        assert!(remote.exports.len() <= COUNT && remote.published.len() <= COUNT * 2);
        assert!(remote.due.len() <= dialogs * 4, "{}: {:?}", remote.due.len(), remote.due);
        assert!(remote.subs.len() <= wishes && remote.restored.len() <= dialogs);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToServer(text) => self.server.receive(self.now, &mut self.random, &text),
            Event::ToGateway(bytes) => {
                if self.remote.is_some() {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    if text.starts_with("SIP/2.0 ") && text.contains("PUBLISH") {
                        let branch = header(&text, "Via").split_once("branch=").map_or("", |it| it.1);
                        let answered = |out: &Option<(String, Time)>| out.as_ref().is_some_and(|it| it.0 == branch);
                        let sent = self.sent.values_mut().find(|sent| answered(&sent.out));
                        sent.into_iter().for_each(|sent| sent.out = None);
                    }
                    let flow = Flow::udp(0, THEM.parse().unwrap());
                    self.handle(Input::Datagram { flow, bytes: &bytes, age: Duration::ZERO });
                }
            }
            Event::Tick(life) => {
                if life == self.life && self.remote.is_some() && self.ticks.is_some_and(|at| at <= self.now) {
                    self.ticks = None;
                    self.handle(Input::Tick);
                }
            }
            Event::Stored(life) => {
                if life == self.life
                    && let Some(record) = self.unsaved.pop_front()
                {
                    match record {
                        Record::Standing { key, .. } => _ = self.disk.insert(key, record),
                        Record::StandingGone { key } => _ = self.disk.remove(&key),
                        other => panic!("{other:?}"),
                    }
                }
            }
            Event::Asked(life, number, question) => self.asked(life, number, question),
            Event::Heard(life, resource) => {
                if life == self.life && self.remote.is_some() {
                    let heard = [Heard { rules: 1, resource: ours(resource).into(), package: dialog() }];
                    self.handle(Input::Heard(&heard));
                }
            }
            Event::Start => self.start(),
            Event::Doom => {
                if self.remote.is_some() && self.faults.restarts > 0 {
                    self.doomed = true;
                }
            }
            Event::Second => {
                self.push(self.now + SECOND, Event::Second);
                self.second();
            }
            Event::Look => {
                self.push(self.now + SECOND * 5, Event::Look);
                self.look();
            }
        }
    }

    /// What the shards do with a question, and what they answer.
    fn asked(&mut self, life: u32, number: u64, question: u32) {
        let Some(command) = self.questions.remove(&question) else { return };
        let refused = self.random.percent(self.faults.refusals).then(|| self.random.below(3));
        let answer = match (command, refused) {
            (_, Some(0)) => None,
            (Command::Publish(_), Some(1)) => Some(Answer::Published(Err(PublishError::NotStored))),
            (Command::Publish(_), Some(_)) => Some(Answer::Published(Err(PublishError::TooMany("publications")))),
            (Command::Publish(command), None) => {
                let resource = command.resource.to_string();
                let expires = command.expires.unwrap_or_default();
                self.tags += 1;
                let result = match command.action {
                    OwnedAction::Put(source, OwnedContent::Document { body, .. }) => {
                        let key = (resource, source.to_string());
                        if expires.is_zero() {
                            self.bus.remove(&key);
                        } else {
                            let calls = calls_of(std::str::from_utf8(&body).unwrap());
                            let one = OnBus { tag: self.tags, calls, until: self.now + expires };
                            self.bus.insert(key, one);
                        }
                        Ok(self.tags)
                    }
                    OwnedAction::Withdraw(tag) => {
                        let key = self.bus.iter().find(|(_, one)| one.tag == tag.0).map(|(key, _)| key.clone());
                        let gone = key.and_then(|key| self.bus.remove(&key));
                        gone.map(|_| self.tags).ok_or(PublishError::NoSuchTag)
                    }
                    other => panic!("{other:?}"),
                };
                Some(Answer::Published(result.map(|tag| PublishedLease {
                    tag: EntityTag(tag),
                    created: true,
                    expires,
                })))
            }
            (Command::Renew(all), _) => {
                let renew = |one: Renewal| {
                    self.tags += 1;
                    let known = self.bus.values_mut().find(|known| known.tag == one.tag.0);
                    let known = known.ok_or(PublishError::NoSuchTag)?;
                    (known.tag, known.until) = (self.tags, self.now + one.expires);
                    Ok(PublishedLease { tag: EntityTag(self.tags), created: false, expires: one.expires })
                };
                Some(Answer::Renewed(all.into_iter().map(renew).collect()))
            }
            (Command::Own { resource, package, .. }, _) => {
                let state = self.own.get(&*resource).filter(|calls| !calls.is_empty()).map(|calls| {
                    let calls: Vec<_> = calls.iter().map(|(id, state)| (&**id, &**state)).collect();
                    let body = document(1, "full", &calls);
                    let package = all().get(package);
                    let content = Content::Document { format: 0, body: body.as_bytes() };
                    let reading = Reading { presentity: &resource, now: self.now, modifies: false };
                    wish::together(
                        package,
                        self.now,
                        &resource,
                        &[(self.now, &package.read(content, reading).unwrap())],
                    )
                });
                Some(Answer::Own(OwnState(state)))
            }
            (other, _) => panic!("{other:?}"),
        };
        if life == self.life && self.remote.is_some() {
            self.handle(Input::Asked { number, answer });
        }
    }

    fn second(&mut self) {
        self.bus.retain(|_, one| one.until > self.now);
        self.server.tick(self.now, &mut self.random);
        if self.branches.len() > 50_000 {
            self.branches.clear();
        }
        if !self.quiet && self.random.percent(5) {
            let (number, calls) = (self.random.below(COUNT as u64) as usize, self.random.calls());
            self.server.change(self.now, &mut self.random, &watched(number), calls);
        }
        if !self.quiet && self.random.percent(5) {
            // Often several at once: one that is lost is not said again when the next one is.
            for _ in 0..=self.random.below(3) {
                let number = self.random.below(COUNT as u64) as usize;
                let state = match self.random.below(6) {
                    0 => None,
                    1 => Some(None),
                    _ => Some(Some(self.random.calls())),
                };
                self.server.change_member(self.now, &mut self.random, &member(number), state);
            }
        }
        if !self.quiet && self.random.percent(5) {
            let (number, calls) = (self.random.below(COUNT as u64) as usize, self.random.calls());
            self.own.insert(ours(number), calls);
            let at = self.now + self.random.duration(SECOND / 5);
            self.push(at, Event::Heard(self.life, number));
        }
        if self.faults.moods && self.random.percent(2) {
            self.server.mood = Mood::any(&mut self.random);
            self.good_since = self.now;
            if self.random.percent(15) {
                self.server.restart();
            }
        }
        if self.faults.moods && self.random.percent(2) {
            let noise: Vec<u8> = (0..self.random.below(3000)).map(|_| self.random.next() as u8).collect();
            self.push(self.now, Event::ToGateway(noise));
        }
        if self.random.below(6000) < self.faults.restarts {
            let at = self.now + self.random.duration(SECOND);
            self.push(at, Event::Doom);
        }
        self.program();
    }

    /// Programs come, ask again, go.
    fn program(&mut self) {
        if self.leaving || self.remote.is_none() {
            return;
        }
        if self.programs.len() < 2 && self.random.percent(5) {
            let resource = match self.random.below(3) {
                2 => LIST.to_owned(),
                number => watched(number as usize),
            };
            let wish = wish(resource, Some("sip:crm@example.com"));
            let command = RemoteCommand::Subscribe(Box::new(wish));
            match self.command(command) {
                Some(RemoteAnswer::Subscription(row)) => self.programs.push(row.id),
                None => {}
                other => panic!("{other:?}"),
            }
        } else if !self.quiet && !self.programs.is_empty() && self.random.percent(1) {
            let id = self.programs.remove(0);
            self.command(RemoteCommand::Remove(id));
        }
    }

    fn command(&mut self, command: RemoteCommand) -> Option<RemoteAnswer> {
        self.handle(Input::Command { ticket: 1, command: Command::Remote(command) })
    }

    fn rows(&mut self) -> Vec<RemoteRow> {
        match self.command(RemoteCommand::List { from: 0, most: 99 }) {
            Some(RemoteAnswer::Subscriptions(rows, None)) => rows,
            None => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    fn on_bus(&self, row: &RemoteRow) -> usize {
        let local = row.local.as_deref().unwrap_or_default();
        self.bus.keys().filter(|(resource, source)| resource == local || row.wish.list && source.contains(OF)).count()
    }

    /// What the API says is so, and the bus says no more than that.
    fn look(&mut self) {
        for row in self.rows() {
            let told = match self.command(RemoteCommand::Get(row.id)) {
                Some(RemoteAnswer::Subscription(told)) => *told,
                _ => return,
            };
            let has = format!("{row:?} {:?}", self.server.mood);
            match row.state {
                "active" => {
                    assert!(row.until.is_some_and(|until| until + GRID > self.now) && row.notified > 0, "{has}")
                }
                "pending" => {}
                "retrying" => {
                    // Without a time it is being tried now.
                    assert!(row.reason.is_some() && row.next.is_none_or(|at| at + GRID > self.now), "{has}");
                    assert_eq!(row.until, None, "{has}");
                }
                "rejected" | "terminated" => {
                    assert!(row.reason.is_some() && (row.next, row.until) == (None, None), "{has}");
                    assert!(told.documents.is_empty() && told.list.is_none(), "{has} {told:?}");
                }
                other => panic!("{other}"),
            }
            // Nobody hears of what is gone for good, nor of what has been lost for longer than its grace.
            let is_lost = !matches!(row.state, "active" | "pending");
            let (since, notified) = *self.lost.entry(row.id).or_insert((self.now, row.notified));
            if !is_lost || notified != row.notified {
                self.lost.remove(&row.id);
            }
            let slack = if self.faults.refusals > 0 { SECOND * 60 } else { SECOND };
            let over =
                notified == row.notified && self.now > since + GRACE + slack && self.now > self.started + GRACE + slack;
            if is_lost && over && row.wish.subscriber.is_none() {
                assert_eq!(self.on_bus(&row), 0, "{has}");
            }
            // For good: only its user can begin again.
            if matches!(row.state, "rejected" | "terminated") && self.random.percent(2) {
                self.command(RemoteCommand::Retry(row.id));
            }
            self.looked += 1;
        }
        if self.gentle && !self.leaving && self.now > START + LATE {
            self.check_lag();
        }
    }

    /// Whatever was lost on the way is made good before the next renewal.
    fn check_lag(&mut self) {
        let members = (0..COUNT).map(member).map(|uri| (self.server.members.get(&uri).cloned().flatten(), uri));
        let others = self.server.truth.iter().map(|(uri, calls)| (Some(calls.clone()), uri.clone()));
        for (truth, uri) in members.chain(others) {
            let said: Vec<_> = self.bus.iter().filter(|((resource, _), _)| *resource == uri).collect();
            if said.iter().map(|(_, one)| &one.calls).eq(&truth) {
                self.wrong.remove(&uri);
            } else {
                let since = *self.wrong.entry(uri.clone()).or_insert(self.now);
                let said: Vec<_> = said.iter().map(|(key, one)| (key, &one.calls)).collect();
                assert!(self.now < since + LATE, "{uri} has been wrong since {since:?}: {said:?}, not {truth:?}");
            }
        }
    }

    /// From now on the server behaves, and nothing breaks.
    pub fn calm(&mut self) {
        let restarts = std::mem::take(&mut self.faults).restarts;
        self.doomed = false;
        self.server.calm();
        assert!(restarts == 0 || self.life > 3, "a run with {} starts proves little", self.life);
    }

    /// From now on nothing changes.
    pub fn hush(&mut self) {
        self.quiet = true;
    }

    pub fn check_truth(&mut self) {
        assert!(self.looked > 1000, "a run that looked {} times proves little", self.looked);
        let rows = self.rows();
        assert_eq!(rows.len(), COUNT + 3);
        for row in rows {
            assert_eq!(row.state, "active", "{row:?}");
            let Some(RemoteAnswer::Subscription(told)) = self.command(RemoteCommand::Get(row.id)) else { panic!() };
            if row.wish.list {
                self.check_list(&told);
                continue;
            }
            let truth = &self.server.truth[&*row.wish.resource];
            assert_eq!(told.documents.len(), 1, "{told:?}");
            let said = calls_of(std::str::from_utf8(&told.documents[0].body).unwrap());
            assert_eq!((&said, &told.documents[0].problem), (truth, &None), "{told:?}");
        }
        let mut lit = 0;
        for number in 0..COUNT {
            let all: Vec<_> = self.bus.iter().filter(|((resource, _), _)| *resource == watched(number)).collect();
            assert_eq!(all.len(), 1, "{:?}", all.iter().map(|(key, _)| key).collect::<Vec<_>>());
            assert_eq!(all[0].1.calls, self.server.truth[&watched(number)]);
            lit += all[0].1.calls.len();
            let there: Vec<_> = self.server.publications.values().filter(|one| one.resource == ours(number)).collect();
            let own = &self.own[&ours(number)];
            assert_eq!(there.len(), usize::from(!own.is_empty()), "publications of {}", ours(number));
            assert!(there.iter().all(|one| one.calls == *own), "{own:?} {:?}", there[0].calls);
        }
        assert!(lit > 0, "a run in which nothing is lit proves nothing");
        let all = self.bus.iter().filter(|((resource, source), _)| source.contains(OF) || resource == LIST);
        let all: Vec<_> = all.map(|((resource, _), one)| (&**resource, &one.calls)).collect();
        let members = self.server.members.iter();
        let members: Vec<_> = members.filter_map(|(uri, state)| Some((&**uri, state.as_ref()?))).collect();
        assert_eq!(all, members, "{:?}", self.bus.keys());
        // Those for everyone, and the two of the programs, which may share a dialog.
        let dialogs = self.server.subscriptions().len();
        assert!(dialogs == COUNT + 2 || dialogs == COUNT + 3, "{:?}", self.server.subscriptions());
    }

    /// What the API says of the members of a list. Of those that were there once, it may know that they are no more.
    fn check_list(&self, told: &RemoteRow) {
        let list = told.list.as_ref().expect("a list");
        assert!(list.problem.is_none() && told.documents.is_empty(), "{told:?}");
        let mut members = self.server.members.clone();
        for member in &list.members {
            let [one] = &member.instances[..] else { panic!("{member:?}") };
            assert!(one.problem.is_none(), "{member:?}");
            let Some(state) = members.remove(&*member.uri) else {
                assert_eq!((one.standing, &one.state), ("terminated", &None), "{member:?}");
                continue;
            };
            let Some(calls) = state else {
                assert_eq!((one.standing, &one.state), ("pending", &None), "{member:?}");
                continue;
            };
            let json = String::from_utf8_lossy(one.state.as_ref().expect("a state"));
            let has = |(id, state): (&String, &String)| {
                json.contains(&format!("\"id\":\"{id}\"")) && json.contains(&format!("\"state\":\"{state}\""))
            };
            assert!(calls.iter().all(has) && json.matches("\"id\":").count() == calls.len(), "{json} {calls:?}");
        }
        assert!(members.is_empty(), "nobody has heard of {members:?}");
    }

    /// Everything that was wanted is wanted no more: a start without the old configuration.
    pub fn go_home(&mut self) {
        self.leaving = true;
        self.own.values_mut().for_each(Calls::clear);
        self.die();
    }

    pub fn check_nothing_is_left(&mut self) {
        assert_eq!(self.server.subscriptions(), Vec::<&str>::new());
        assert!(self.server.publications.is_empty());
        assert!(self.bus.is_empty() && self.disk.is_empty() && self.unsaved.is_empty());
        let remote = self.remote.as_ref().expect("it is up");
        assert!(remote.agent.is_idle() && remote.lines.is_empty() && remote.orphans.is_empty());
        assert!(remote.exports.is_empty() && remote.published.is_empty() && remote.leftovers.is_empty());
        assert!(remote.asked.is_empty() && remote.waiting.is_empty() && remote.due.is_empty(), "{:?}", remote.due);
    }
}

const _: &str = OURS;
