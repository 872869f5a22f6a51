//! The rules of RFC 3261, RFC 3903 and RFC 6665 as a peer sees them: whole shards, simulated time, messages as text.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test may fail by panic")]

mod notifier;
mod publication;
mod request;
mod store;

use lamplighter_model::access::{Access, Action, Rule};
use lamplighter_model::config::{Config, Limits, Listener, Notify, Overload, Profile, Profiles, Timers};
use lamplighter_model::explain::Trace;
use lamplighter_model::package::Expires;
use lamplighter_model::{
    Addresses, Answer, Change, Command, Counters, Durabilities, Durability, Flow, Input, Outbox, Output, Packages,
    Record, Seed, Slot, Time, Transport,
};
use lamplighter_shard::Shard;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A gateway, most often of one shard, in a network of text.
pub struct Gateway {
    pub now: Time,
    shards: Vec<Shard>,
    pub config: Config,
    /// States that changed, as the mirror would see them.
    pub changes: Vec<Change>,
    pub resolving: Vec<(u64, String)>,
    pub counters: Arc<Counters>,
    pub records: Vec<Record>,
    /// What each shard has handed to the store, with its numbers.
    log: Vec<(usize, u64, Record)>,
    pub traces: Vec<Trace>,
    pub answers: Vec<(u64, Answer)>,
    /// What the store has kept of earlier lives.
    pub disk: store::Disk,
    /// How often it was started.
    lives: u8,
}

/// A message that the gateway sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub flow: Flow,
    pub text: String,
}

pub const PHONE: &str = "192.0.2.10:5060";
pub const OTHER: &str = "192.0.2.20:5060";

pub fn config() -> Config {
    let address: SocketAddr = "192.0.2.1:5060".parse().unwrap();
    let listener = |transport| Listener { transport, address, advertise: "192.0.2.1:5060".into() };
    let opaque = lamplighter_packages::opaque::Config {
        name: "weather".into(),
        kind: "weather".into(),
        content_types: vec!["text/plain".into()],
        expires: Expires {
            default: Duration::from_secs(3600),
            least: Duration::from_secs(60),
            most: Duration::from_secs(86400),
        },
    };
    let packages = lamplighter_packages::Config { opaque: vec![opaque], ..lamplighter_packages::Config::default() };
    Config {
        revision: 1,
        shards: 1,
        server: "lamplighter".into(),
        addresses: Addresses::new(
            ["example.com", "example.org"],
            ["192.0.2.1"],
            [("sip:boss@example.com", "sip:1@example.com")],
        ),
        listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
        access: Access {
            rules: vec![
                Rule { addresses: vec!["192.0.2.66/32".parse().unwrap()], domains: vec![], action: Action::Deny },
                Rule { addresses: vec!["192.0.2.77/32".parse().unwrap()], domains: vec![], action: Action::Confirm },
            ],
            otherwise: Action::Allow,
            trusted: vec!["192.0.2.20/32".parse().unwrap()],
        },
        packages: Packages::new(lamplighter_packages::packages(&packages), |_, expires| expires),
        profiles: Profiles::new(
            Profile::default(),
            vec![("^Single".into(), Profile { name: "single".into(), single_dialog: true, ..Profile::default() })],
        )
        .unwrap(),
        timers: Timers::default(),
        notify: Notify::default(),
        limits: Limits::default(),
        overload: Overload::default(),
        store: None,
    }
}

impl Gateway {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        let now = Time::from_micros(1_800_000_000_000_000);
        let counters = Arc::new(Counters::default());
        let mut gateway = Self {
            now,
            shards: Vec::new(),
            config,
            changes: Vec::new(),
            resolving: Vec::new(),
            counters,
            records: Vec::new(),
            log: Vec::new(),
            traces: Vec::new(),
            answers: Vec::new(),
            disk: store::Disk::default(),
            lives: 0,
        };
        gateway.start();
        gateway
    }

    /// New shards that know nothing. The seed belongs to the store; the secret is another each time.
    fn start(&mut self) {
        self.lives += 1;
        let config = Arc::new(self.config.clone());
        let secret = [6 + self.lives; 32];
        let shard = |number| Shard::new(config.clone(), number, Seed(7, 7), secret, self.now, self.counters.clone());
        self.shards = (0..self.config.shards).map(shard).collect();
    }

    /// Gives a message to whom it belongs, a command to the shard of its presentity, and anything else to all.
    fn handle(&mut self, input: Input<'_>) -> Vec<Sent> {
        let mut sent = Vec::new();
        match input {
            Input::Datagram { flow, bytes, age } => {
                if let Some(owner) = self.hand(0, Input::Datagram { flow, bytes, age }, &mut sent) {
                    self.hand(owner, Input::Datagram { flow, bytes, age }, &mut sent);
                }
            }
            Input::Command { ticket, command } => {
                let owner = match &command {
                    Command::Publish(publish) => Slot::of(&publish.resource).shard(self.config.shards),
                    Command::Renew(all) => Slot::of(&all[0].resource).shard(self.config.shards),
                    Command::Explain { resource }
                    | Command::Refresh { resource }
                    | Command::Trace { resource, .. }
                    | Command::Own { resource, .. }
                    | Command::Watchers { resource: Some(resource), .. } => {
                        Slot::of(resource).shard(self.config.shards)
                    }
                    Command::Watchers { resource: None, .. } | Command::Restored | Command::Remote(_) => 0,
                };
                self.hand(usize::from(owner), Input::Command { ticket, command }, &mut sent);
            }
            Input::Resolved { .. } => drop(self.hand(0, input, &mut sent)),
            other => {
                for number in 0..self.shards.len() {
                    let same = match &other {
                        Input::Closed(flow) => Input::Closed(*flow),
                        Input::Saved { written, committed } => {
                            Input::Saved { written: *written, committed: *committed }
                        }
                        Input::StoreFailing(failing) => Input::StoreFailing(*failing),
                        Input::Config(config) => Input::Config(config.clone()),
                        Input::Stop => Input::Stop,
                        _ => Input::Tick,
                    };
                    self.hand(number, same, &mut sent);
                }
            }
        }
        sent
    }

    /// One shard's turns until it has nothing more to do now; to which other shard the message belongs.
    fn hand(&mut self, number: usize, input: Input<'_>, sent: &mut Vec<Sent>) -> Option<usize> {
        let (mut out, mut owner) = (Outbox::default(), None);
        self.shards[number].handle(self.now, input, &mut out);
        loop {
            for output in &out.outputs {
                if let Output::Send { flow, at } = output {
                    sent.push(Sent { flow: *flow, text: String::from_utf8(out.slice(at).to_vec()).unwrap() });
                }
            }
            for output in out.outputs.drain(..) {
                match output {
                    Output::Save { number: count, record } => {
                        self.log.push((number, count, record.clone()));
                        self.records.push(record);
                    }
                    Output::Change(change) => self.changes.push(change),
                    Output::Resolve { query, host, .. } => self.resolving.push((query, host.into())),
                    Output::Forward { shard, .. } => owner = Some(usize::from(shard)),
                    Output::Trace(trace) => self.traces.push(trace),
                    Output::Answer { ticket, answer } => self.answers.push((ticket, answer)),
                    Output::Send { .. } | Output::Close(_) | Output::Ask { .. } | Output::News(_) => {}
                }
            }
            if self.shards[number].deadline().is_none_or(|due| due > self.now) {
                return owner;
            }
            out.clear();
            self.shards[number].handle(self.now, Input::Tick, &mut out);
            if out.outputs.is_empty() {
                return owner;
            }
        }
    }

    /// One datagram and one turn of the shard, whatever is left to do.
    pub fn turn(&mut self, source: &str, text: &str) -> Vec<Sent> {
        let (bytes, mut out) = (wire(text), Outbox::default());
        let flow = Flow::udp(0, source.parse().unwrap());
        let input = Input::Datagram { flow, bytes: bytes.as_bytes(), age: Duration::ZERO };
        self.shards[0].handle(self.now, input, &mut out);
        let sent = |output: &Output| match output {
            Output::Send { flow, at } => {
                Some(Sent { flow: *flow, text: String::from_utf8(out.slice(at).to_vec()).unwrap() })
            }
            _ => None,
        };
        out.outputs.iter().filter_map(sent).collect()
    }

    /// A datagram from `source`, written with bare line ends; the body follows an empty line.
    pub fn udp(&mut self, source: &str, text: &str) -> Vec<Sent> {
        self.flow(Flow::udp(0, source.parse().unwrap()), text)
    }

    pub fn flow(&mut self, flow: Flow, text: &str) -> Vec<Sent> {
        self.aged(flow, text, Duration::ZERO)
    }

    pub fn aged(&mut self, flow: Flow, text: &str, age: Duration) -> Vec<Sent> {
        let bytes = wire(text);
        self.handle(Input::Datagram { flow, bytes: bytes.as_bytes(), age })
    }

    pub fn closed(&mut self, flow: Flow) -> Vec<Sent> {
        self.handle(Input::Closed(flow))
    }

    pub fn resolved(&mut self, query: u64, targets: &[(Transport, SocketAddr)]) -> Vec<Sent> {
        self.handle(Input::Resolved { query, targets, ttl: Duration::from_secs(60) })
    }

    pub fn reload(&mut self, config: Config) -> Vec<Sent> {
        self.handle(Input::Config(Arc::new(config)))
    }

    pub fn stop(&mut self) -> Vec<Sent> {
        self.handle(Input::Stop)
    }

    /// Lets time pass; what was sent meanwhile.
    pub fn wait(&mut self, time: Duration) -> Vec<Sent> {
        let end = self.now + time;
        let mut sent = Vec::new();
        while let Some(due) = self.deadline()
            && due <= end
        {
            self.now = self.now.max(due);
            sent.extend(self.handle(Input::Tick));
        }
        self.now = end;
        sent.extend(self.handle(Input::Tick));
        sent
    }

    /// Answers a NOTIFY.
    pub fn reply(&mut self, notify: &Sent, status: &str) -> Vec<Sent> {
        let echo = |name: &str| format!("{name}: {}\n", header(&notify.text, name).unwrap());
        let (status, extra) = status.split_once('\n').unwrap_or((status, ""));
        let text = format!(
            "SIP/2.0 {status}\n{}{}{}{}{}{extra}\n",
            echo("Via"),
            echo("From"),
            echo("To"),
            echo("Call-ID"),
            echo("CSeq")
        );
        self.flow(notify.flow, &text)
    }

    /// When the gateway wants to be woken.
    pub fn deadline(&self) -> Option<Time> {
        self.shards.iter().filter_map(Shard::deadline).min()
    }

    pub fn load(&self) -> (usize, usize) {
        let loads = self.shards.iter().map(Shard::load);
        loads.fold((0, 0), |sum, load| (sum.0 + load.0, sum.1 + load.1))
    }

    /// What is answered to a command; `None`: the answer waits.
    pub fn command(&mut self, command: Command) -> Option<Answer> {
        self.answers.clear();
        assert!(self.handle(Input::Command { ticket: 9, command }).is_empty(), "a command is not answered by messages");
        let answer = self.answers.pop();
        answer.map(|(ticket, answer)| {
            assert_eq!(ticket, 9);
            answer
        })
    }

    pub fn explain(&mut self, resource: &str) -> lamplighter_model::explain::Explanation {
        match self.command(Command::Explain { resource: resource.into() }) {
            Some(Answer::Explain(explanation)) => *explanation,
            other => panic!("no explanation but {other:?}"),
        }
    }
}

/// With the line ends of SIP, and a Content-Length that fits unless there is one.
pub fn wire(text: &str) -> String {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end_matches('\n'), ""));
    let body = body.replace('\n', "\r\n");
    let head = head.trim_start().replace('\n', "\r\n");
    let length = if head.to_ascii_lowercase().contains("content-length") {
        String::new()
    } else {
        format!("\r\nContent-Length: {}", body.len())
    };
    format!("{head}{length}\r\n\r\n{body}")
}

pub fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let head = text.split("\r\n\r\n").next()?;
    let line = head
        .split("\r\n")
        .skip(1)
        .find(|line| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name)))?;
    Some(line.split_once(':')?.1.trim())
}

pub fn status(sent: &[Sent]) -> u16 {
    let answers: Vec<_> = sent.iter().filter(|one| one.text.starts_with("SIP/2.0")).collect();
    assert_eq!(answers.len(), 1, "exactly one answer, not {sent:?}");
    answers[0].text[8..11].parse().unwrap()
}

pub fn answer(sent: &[Sent]) -> &Sent {
    sent.iter().find(|one| one.text.starts_with("SIP/2.0")).expect("an answer")
}

pub fn notify(sent: &[Sent]) -> &Sent {
    let all: Vec<_> = sent.iter().filter(|one| one.text.starts_with("NOTIFY")).collect();
    assert_eq!(all.len(), 1, "exactly one NOTIFY, not {sent:?}");
    all[0]
}

pub fn notifies(sent: &[Sent]) -> usize {
    sent.iter().filter(|one| one.text.starts_with("NOTIFY")).count()
}

pub fn body(sent: &Sent) -> &str {
    sent.text.split_once("\r\n\r\n").unwrap().1
}

pub fn to_tag(sent: &Sent) -> &str {
    header(&sent.text, "To").unwrap().split(";tag=").nth(1).expect("a tag")
}

/// A SUBSCRIBE of the phone at `192.0.2.10` to sip:1@example.com.
pub fn subscribe(call: &str, cseq: u32, to_tag: &str, more: &str) -> String {
    let to = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let uri = if to_tag.is_empty() { "sip:1@example.com" } else { "sip:192.0.2.1:5060" };
    let mut text = format!(
        "SUBSCRIBE {uri} SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK{call}{cseq};rport\nMax-Forwards: 70\n\
         From: <sip:2@example.com>;tag=f{call}\nTo: <sip:1@example.com>{to}\nCall-ID: {call}\nCSeq: {cseq} SUBSCRIBE\n"
    );
    for (name, value) in [("Contact", "<sip:2@192.0.2.10:5060>"), ("Event", "dialog"), ("Expires", "600")] {
        if !more.contains(&format!("{name}:")) {
            text += &format!("{name}: {value}\n");
        }
    }
    text + more
}

/// A PUBLISH for sip:1@example.com from its own phone.
pub fn publish(cseq: u32, more: &str, body: &str) -> String {
    let mut text = format!(
        "PUBLISH sip:1@example.com SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bKp{cseq};rport\nMax-Forwards: 70\n\
         From: <sip:1@example.com>;tag=p\nTo: <sip:1@example.com>\nCall-ID: p\nCSeq: {cseq} PUBLISH\n"
    );
    let defaults = [("Event", "dialog"), ("Expires", "600"), ("Content-Type", "application/dialog-info+xml")];
    for (name, value) in defaults {
        if !more.contains(&format!("{name}:")) && (name != "Content-Type" || !body.is_empty()) {
            text += &format!("{name}: {value}\n");
        }
    }
    text + more + "\n" + body
}

pub fn dialog(id: &str, state: &str) -> String {
    format!(
        "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"4\" state=\"full\" \
         entity=\"sip:1@example.com\"><dialog id=\"{id}\" call-id=\"{id}\" local-tag=\"l\" remote-tag=\"r\" \
         direction=\"recipient\"><state>{state}</state></dialog></dialog-info>"
    )
}
