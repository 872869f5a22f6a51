//! Nothing acknowledged is lost: the program is killed in mid-load, again and again, and started on the same store.
//!
//! The clients keep a log of what they were promised: the newest acknowledged state and entity-tag of each
//! publication, and each acknowledged subscription with the newest CSeq and version they have seen. After each restart
//! every promise is checked against what is served. It dies at any moment, or as soon as a SUBSCRIBE is answered, or
//! while a PUBLISH is answered of which a watcher has not been told: that watcher lets an earlier NOTIFY wait.
//! `CRASH_KILLS=n` sets how often (20), `CRASH_SEED=n` where chance begins. `CRASH_DURABILITY=memory` promises less than
//! this asks for, and fails.

use crate::gateway::{Gateway, PATIENCE, directory};
use crate::phone::{Message, dialog_info, parameter};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const PRESENTITIES: usize = 12;
const WATCHERS: usize = 24;
/// After so many states a publication is removed, and made anew.
const GENERATION: u64 = 40;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A request without an answer.
struct Pending {
    text: String,
    branch: String,
    again: Instant,
}

/// One publication that always says something new: `k1`, `k2`, and so on.
#[derive(Default)]
struct Publisher {
    tag: Option<String>,
    /// What was said last, and what of it was acknowledged last.
    said: Said,
    acknowledged: Said,
    cseq: u32,
    generation: u64,
    pending: Option<Pending>,
    /// The gateway may have another publication of ours: the answer to a first PUBLISH was lost with it.
    doubled: bool,
}

/// What a publisher says: the number, and whether there is a state or it is removed.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    number: u64,
    there: bool,
}

impl Said {
    fn state(self) -> Option<u64> {
        self.there.then_some(self.number)
    }
}

/// When it dies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Death {
    Anywhen,
    /// As soon as a new subscription is answered.
    Subscribed,
    /// Behind the answer to a PUBLISH, before the NOTIFY that tells of it.
    BeforeNotify,
}

/// One subscription of a watcher.
#[derive(Default)]
struct Watch {
    target: usize,
    call_id: String,
    remote: Option<String>,
    contact: String,
    cseq: u32,
    pending: Option<Pending>,
    /// What the pending request asks for is the end.
    ending: bool,
    /// Its making or refresh was acknowledged, its end was not asked for.
    alive: bool,
    /// Its end was acknowledged.
    ended: bool,
    version: Option<u64>,
    /// The newest state that it was told, what it was told last, and whether that was in this life of the gateway.
    newest: u64,
    shows: Option<u64>,
    told: bool,
}

struct Fleet {
    socket: UdpSocket,
    domain: String,
    contact: String,
    chance: Chance,
    made: u64,
    publishers: Vec<Publisher>,
    watches: Vec<Watch>,
    /// NOTIFYs that came, by subscription and CSeq, as they were.
    seen: BTreeMap<(String, u32), String>,
    /// Who answers no NOTIFY for the rest of this life.
    silent: Option<String>,
    /// Subscriptions of earlier lives that ended.
    over: BTreeSet<String>,
    /// Answers to first SUBSCRIBEs, and to PUBLISHes.
    subscribed: u64,
    published: u64,
    refused: BTreeSet<u16>,
}

fn uri(number: usize) -> String {
    format!("sip:{number}@example.com")
}

impl Fleet {
    fn new(gateway: &Gateway, seed: u64) -> Self {
        let socket = UdpSocket::bind((gateway.sip.ip(), 0)).unwrap();
        socket.connect(gateway.sip).unwrap();
        let contact = socket.local_addr().unwrap().to_string();
        Self {
            socket,
            domain: gateway.sip.to_string(),
            contact,
            chance: Chance(seed),
            made: 0,
            publishers: (0..PRESENTITIES).map(|_| Publisher::default()).collect(),
            watches: Vec::new(),
            seen: BTreeMap::new(),
            silent: None,
            over: BTreeSet::new(),
            subscribed: 0,
            published: 0,
            refused: BTreeSet::new(),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is a line of the request")]
    fn request(
        &mut self,
        method: &str,
        target: &str,
        to: &str,
        call_id: &str,
        cseq: u32,
        more: &str,
        body: &str,
    ) -> Pending {
        self.made += 1;
        let branch = format!("z9hG4bKcrash{}", self.made);
        let text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {c};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:fleet@example.com>;tag=f{call_id}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Event: dialog\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len(),
            c = self.contact,
        );
        self.send(&text);
        Pending { text, branch, again: Instant::now() + Duration::from_millis(500) }
    }

    /// While the gateway is dead the kernel may say so.
    fn send(&self, text: &str) {
        let _ = self.socket.send(text.as_bytes());
    }

    fn publish(&mut self, number: usize) {
        let publisher = &mut self.publishers[number];
        let said = publisher.said.number + 1;
        publisher.cseq += 1;
        let cseq = publisher.cseq;
        let there = !said.is_multiple_of(GENERATION) || publisher.doubled;
        publisher.said = Said { number: said, there };
        let condition = publisher.tag.as_ref().map_or(String::new(), |tag| format!("SIP-If-Match: {tag}\r\n"));
        let (more, body) = if there {
            let state = if said.is_multiple_of(2) { "confirmed" } else { "early" };
            let body = dialog_info(&uri(number), &format!("c{}", publisher.generation), state)
                .replace("Ann Lee", &format!("k{said}."));
            (format!("{condition}Expires: 600\r\nContent-Type: application/dialog-info+xml\r\n"), body)
        } else {
            // A call that has ended stays ended: the next one is another.
            publisher.generation += 1;
            (format!("{condition}Expires: 0\r\n"), String::new())
        };
        let pending = self.request(
            "PUBLISH",
            &uri(number),
            &format!("<{}>", uri(number)),
            &format!("p{number}"),
            cseq,
            &more,
            &body,
        );
        self.publishers[number].pending = Some(pending);
    }

    fn subscribe(&mut self, index: usize, expires: u32) {
        let watch = &mut self.watches[index];
        watch.cseq += 1;
        watch.ending = expires == 0;
        let (cseq, call_id) = (watch.cseq, watch.call_id.clone());
        let to = watch.remote.clone().unwrap_or(format!("<{}>", uri(watch.target)));
        let target = if watch.remote.is_some() { format!("sip:{}", self.domain) } else { uri(watch.target) };
        let more = format!("Contact: <sip:{call_id}@{}>\r\nExpires: {expires}\r\n", self.contact);
        let pending = self.request("SUBSCRIBE", &target, &to, &call_id, cseq, &more, "");
        self.watches[index].pending = Some(pending);
    }

    fn watch(&mut self) {
        let index = self.watches.len();
        let target = self.chance.below(PRESENTITIES as u64) as usize;
        self.watches.push(Watch { target, call_id: format!("w{}", self.made), ..Watch::default() });
        self.subscribe(index, 600);
    }

    /// Everybody who waits for nothing does something.
    fn act(&mut self) {
        for number in 0..PRESENTITIES {
            if self.publishers[number].pending.is_none() {
                self.publish(number);
            }
        }
        if self.watches.iter().filter(|watch| !watch.ended).count() < WATCHERS {
            self.watch();
        }
        let index = self.chance.below(self.watches.len() as u64) as usize;
        let watch = &self.watches[index];
        if watch.pending.is_none() && watch.alive && self.silent.as_ref() != Some(&watch.call_id) {
            let expires = if self.chance.below(6) == 0 { 0 } else { 600 };
            self.subscribe(index, expires);
        }
    }

    /// Takes in what has come, and sends again what was not answered.
    fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut buffer = vec![0; 65536];
        self.socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        loop {
            self.hear(&mut buffer);
            let now = Instant::now();
            let pending = self.publishers.iter_mut().filter_map(|one| one.pending.as_mut());
            let all = pending.chain(self.watches.iter_mut().filter_map(|one| one.pending.as_mut()));
            for pending in all.filter(|pending| pending.again <= now) {
                pending.again = now + Duration::from_millis(500);
                let _ = self.socket.send(pending.text.as_bytes());
            }
            if now >= end {
                return;
            }
        }
    }

    /// Takes in one message; false: there is none.
    fn hear(&mut self, buffer: &mut [u8]) -> bool {
        match self.socket.recv(buffer) {
            Ok(length) => {
                let text = std::str::from_utf8(&buffer[..length]).unwrap().to_owned();
                let message = Message::read(&text);
                match message.status() {
                    0 => self.notified(&message, &text),
                    status => self.answered(&message, status),
                }
                true
            }
            // Nobody is there: the gateway is dead or not yet born.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => true,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                false
            }
        }
    }

    /// Takes in all that the gateway sent before it died. None of it may be left when it lives again: who asks again
    /// although the answer is there already would take it for the answer to that.
    fn hear_the_rest(&mut self) {
        let mut buffer = vec![0; 65536];
        while self.hear(&mut buffer) {}
    }

    fn answered(&mut self, answer: &Message, status: u16) {
        let branch = parameter(answer.all("Via")[0], "branch").unwrap();
        let is_it = |pending: &Option<Pending>| pending.as_ref().is_some_and(|one| one.branch == branch);
        if let Some(publisher) = self.publishers.iter_mut().find(|one| is_it(&one.pending)) {
            publisher.pending = None;
            match status {
                200 => {
                    let there = publisher.said.there;
                    publisher.tag = there.then(|| answer.header("SIP-ETag").to_owned());
                    publisher.acknowledged = publisher.said;
                    self.published += 1;
                }
                // The end was done, and its answer lost with the gateway.
                412 if !publisher.said.there => {
                    publisher.tag = None;
                    publisher.acknowledged = publisher.said;
                }
                503 => _ = self.refused.insert(status),
                other => panic!("{other} to a PUBLISH with an entity-tag that was given: {answer:#?}"),
            }
        } else if let Some(watch) = self.watches.iter_mut().find(|one| is_it(&one.pending)) {
            watch.pending = None;
            match status {
                200 if watch.ending => (watch.alive, watch.ended) = (false, true),
                200 => {
                    self.subscribed += u64::from(!watch.alive);
                    watch.alive = true;
                    watch.remote = Some(answer.header("To").to_owned());
                    watch.contact = answer.header("Contact").to_owned();
                }
                // The end was done, and its answer lost with the gateway.
                481 if watch.ending => (watch.alive, watch.ended) = (false, true),
                503 => _ = self.refused.insert(status),
                other => panic!("{other} to a SUBSCRIBE: {answer:#?}"),
            }
        }
    }

    fn notified(&mut self, notify: &Message, text: &str) {
        let answer = |status: &str| {
            let echo =
                |name: &str| notify.all(name).iter().map(|value| format!("{name}: {value}\r\n")).collect::<String>();
            let headers: String = ["Via", "From", "To", "Call-ID", "CSeq"].map(echo).concat();
            format!("SIP/2.0 {status}\r\n{headers}Content-Length: 0\r\n\r\n")
        };
        let call_id = notify.header("Call-ID").to_owned();
        let Some(index) = self.watches.iter().position(|watch| watch.call_id == call_id) else {
            // The end of one that was begun once more, because the first answer was lost, is not asked for.
            assert!(self.over.contains(&call_id), "no subscription of ours: {notify:#?}");
            return self.send(&answer("481 Subscription Does Not Exist"));
        };
        if self.silent.as_ref() != Some(&call_id) {
            self.send(&answer("200 OK"));
        }
        let watch = &mut self.watches[index];
        let cseq = notify.cseq();
        let (state, _) = notify.subscription_state();
        // A SUBSCRIBE whose answer was lost with the gateway is made again: it is another dialog, with its own numbers.
        let from = notify.header("From");
        let dialog = format!("{call_id} {from}");
        if let Some(before) = self.seen.insert((dialog.clone(), cseq), text.to_owned()) {
            assert_eq!(before, text, "CSeq {cseq} was used twice");
            return;
        }
        assert!(!watch.ended || state == "terminated", "what was given up goes on: {notify:#?}");
        if watch.remote.as_deref().is_some_and(|remote| remote != from) {
            return;
        }
        let newest = self.seen.range((dialog.clone(), 0)..=(dialog, u32::MAX)).next_back().unwrap().0.1;
        // The network is the loopback: what comes later was sent later.
        assert_eq!(newest, cseq, "CSeq went back: {notify:#?}");
        if notify.body.is_empty() {
            return;
        }
        let version: u64 = notify.xml("version").parse().unwrap();
        assert!(watch.version.is_none_or(|before| version > before), "version {version} after {:?}", watch.version);
        watch.version = Some(version);
        watch.told = true;
        watch.shows = shown(&notify.body);
        let Some(said) = watch.shows else { return };
        assert!(said >= watch.newest, "an older state after a newer one: {notify:#?}");
        watch.newest = said;
    }

    /// Whether a watcher has not been told of what was acknowledged last.
    fn is_owed(&self, watch: &Watch) -> bool {
        let publisher = &self.publishers[watch.target];
        let acknowledged = publisher.acknowledged;
        watch.alive && !watch.ending && acknowledged.there && watch.newest < acknowledged.number
    }

    /// Puts the gateway under load until it is to die.
    fn load(&mut self, death: Death) {
        let end = Instant::now() + Duration::from_millis(20 + self.chance.below(250));
        while Instant::now() < end {
            self.act();
            self.listen(Duration::from_millis(1));
        }
        let subscribed = self.subscribed;
        let dies = |fleet: &Self| match death {
            Death::Anywhen => true,
            Death::Subscribed => fleet.subscribed > subscribed,
            Death::BeforeNotify => {
                let silent = fleet.watches.iter().find(|watch| Some(&watch.call_id) == fleet.silent.as_ref());
                silent.is_some_and(|watch| watch.pending.is_none() && fleet.is_owed(watch))
            }
        };
        let end = Instant::now() + PATIENCE;
        while !dies(self) {
            assert!(Instant::now() < end, "{death:?} did not come about");
            if death == Death::BeforeNotify && self.silent.is_none() {
                let calm = |watch: &&Watch| watch.alive && !watch.ending && watch.pending.is_none();
                self.silent = self.watches.iter().find(calm).map(|watch| watch.call_id.clone());
            }
            if death == Death::Subscribed {
                self.watch();
            }
            self.act();
            self.listen(Duration::from_millis(1));
        }
    }

    /// The gateway is dead: nothing comes from this life any more.
    fn mourn(&mut self) {
        for publisher in &mut self.publishers {
            publisher.doubled |= publisher.pending.is_some() && publisher.tag.is_none();
        }
        let over = self.watches.extract_if(.., |watch| watch.ended).map(|watch| watch.call_id);
        self.over.extend(over);
        // Of each dialog, the newest is enough to tell that nothing is used twice and nothing goes back.
        let mut newest: Option<(String, u32)> = None;
        let seen = std::mem::take(&mut self.seen);
        for ((dialog, cseq), text) in seen.into_iter().rev() {
            let call_id = dialog.split(' ').next().unwrap_or_default();
            let is_newest = newest.as_ref().is_none_or(|(before, _)| *before != dialog);
            if is_newest && !self.over.contains(call_id) {
                self.seen.insert((dialog.clone(), cseq), text);
            }
            newest = Some((dialog, cseq));
        }
        for watch in &mut self.watches {
            // NOTIFYs do not wait for the store: one may have told of a state that was not acknowledged and is not back.
            (watch.told, watch.newest, watch.shows) = (false, 0, None);
        }
        self.silent = None;
    }

    /// What everybody may rely on after the restart, until all of it has been seen.
    fn check(&mut self, gateway: &Gateway) {
        let promised: Vec<(Said, Said)> = self.publishers.iter().map(|one| (one.acknowledged, one.said)).collect();
        let is_promised = |number: usize, state: Option<u64>| {
            let (acknowledged, said) = promised[number];
            state == acknowledged.state() || state == said.state()
        };
        for (number, (acknowledged, said)) in promised.iter().enumerate() {
            let (status, state) = gateway.get(&format!("/v1/state/{}/dialog", uri(number)));
            let served = shown(&state).filter(|_| status == 200);
            assert!(
                is_promised(number, served),
                "{number} was acknowledged {acknowledged:?}, said {said:?}, and is served as {served:?}: {status} {state}"
            );
        }
        let untold = |fleet: &Self| {
            let silent = |watch: &&Watch| watch.alive && !watch.ending && !watch.told;
            fleet.watches.iter().filter(silent).map(|watch| watch.call_id.clone()).collect::<Vec<_>>()
        };
        let end = Instant::now() + PATIENCE;
        while !untold(self).is_empty() {
            assert!(
                Instant::now() < end,
                "acknowledged subscriptions that are told nothing any more: {:?}",
                untold(self)
            );
            self.listen(Duration::from_millis(5));
        }
        for watch in self.watches.iter().filter(|watch| watch.alive && !watch.ending) {
            let shows = watch.shows;
            let promise = promised[watch.target];
            assert!(is_promised(watch.target, shows), "{} shows {shows:?}, not {promise:?}", watch.call_id);
        }
    }
}

/// The number of the state in a document of either kind.
fn shown(text: &str) -> Option<u64> {
    text.split("\"k").skip(1).find_map(|rest| rest.split('.').next()?.parse().ok())
}

/// HA-02, PU-04, DI-08
#[test]
fn what_was_acknowledged_survives_sigkill() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (kills, seed) = (number("CRASH_KILLS", 20), number("CRASH_SEED", 1));
    let store = directory("crash");
    let promised = std::env::var("CRASH_DURABILITY").ok();
    let promised = promised.map_or(String::new(), |durability| {
        format!("store.publications = {durability:?}\nstore.subscriptions = {durability:?}\n")
    });
    let more = |shards: u32| {
        format!(
            "shards = {shards}\nstore.path = {store:?}\n{promised}sip.notify.restart_rate = 100000\n\
             limits.publications = 1000\n"
        )
    };
    let mut gateway = Gateway::start(&more(1));
    let mut fleet = Fleet::new(&gateway, seed);
    let mut unanswered = 0;
    for kill in 0..kills {
        let death = [Death::Anywhen, Death::Subscribed, Death::BeforeNotify][kill as usize % 3];
        fleet.load(death);
        gateway.kill();
        // What was on its way when it died still counts.
        fleet.hear_the_rest();
        let owes = fleet.watches.iter().any(|watch| fleet.is_owed(watch));
        assert!(owes || death != Death::BeforeNotify, "the NOTIFY came before the end");
        unanswered += fleet.publishers.iter().filter(|one| one.pending.is_some()).count();
        fleet.mourn();
        gateway.reconfigure(&more([1, 4, 4, 1][kill as usize % 4]));
        gateway.start_again();
        fleet.check(&gateway);
    }
    eprintln!(
        "seed {seed}: {kills} kills, each third between the answer to a PUBLISH and its NOTIFY; {} PUBLISHes and {} first \
         SUBSCRIBEs were acknowledged, {unanswered} PUBLISHes were not, {} subscriptions ended",
        fleet.published,
        fleet.subscribed,
        fleet.over.len(),
    );
    assert!(fleet.published > kills * 10 && !fleet.over.is_empty(), "a run without load proves nothing");
    assert!(fleet.refused.is_empty(), "requests were refused: {:?}", fleet.refused);
    drop(gateway);
    std::fs::remove_dir_all(&store).unwrap();
}
