//! What one shard costs without sockets, in CPU time of its thread: a PUBLISH that modifies and each NOTIFY of it with
//! its answer, in memory and with a store, which costs the shard the making of records and the waiting of answers. The
//! store's own thread is not there.
//!
//! `cargo run --release -p lamplighter-shard --example shard_cost [dialog|presence|message-summary]`
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use lamplighter_model::config::{Config, Limits, Listener, Notify, Overload, Profiles, Timers};
use lamplighter_model::{
    Access, Addresses, Counters, Durabilities, Flow, Input, Outbox, Output, Packages, Record, Seed, Time, Transport,
};
use lamplighter_shard::Shard;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const PRESENTITIES: usize = 50;
/// NOTIFYs of one measurement.
const NOTIFYS: usize = 100_000;
const WATCHERS: [usize; 3] = [0, 10, 100];
const REPETITIONS: usize = 5;

fn main() {
    let package = std::env::args().nth(1).unwrap_or_else(|| "dialog".into());
    println!("{package}, CPU nanoseconds, the least of {REPETITIONS}");
    println!("| | {} |", ["in memory", "with a store", "records a NOTIFY"].join(" | "));
    let mut measured = [[(u64::MAX, 0.0); WATCHERS.len()]; 2];
    for _ in 0..REPETITIONS {
        for (index, watchers) in WATCHERS.into_iter().enumerate() {
            for (store, measured) in [None, Some(Durabilities::default())].into_iter().zip(&mut measured) {
                let (cost, records) = measure(&package, watchers, store);
                measured[index] = (measured[index].0.min(cost), records);
            }
        }
    }
    let [memory, store] = measured;
    for (index, watchers) in WATCHERS.into_iter().enumerate() {
        let records = store[index].1 - 1.0;
        let share = if watchers == 0 { 0.0 } else { records / watchers as f64 };
        println!("| PUBLISH with {watchers} NOTIFYs | {} | {} | {share:.4} |", memory[index].0, store[index].0);
    }
    let each = |all: [(u64, f64); 3], from: usize, to: usize| {
        (all[to].0 as f64 - all[from].0 as f64) / (WATCHERS[to] - WATCHERS[from]) as f64
    };
    for (from, to) in [(0, 1), (1, 2)] {
        let what = format!("a NOTIFY, from {} to {} watchers", WATCHERS[from], WATCHERS[to]);
        println!("| {what} | {:.0} | {:.0} | |", each(memory, from, to), each(store, from, to));
    }
}

/// CPU nanoseconds a PUBLISH with its NOTIFYs and their answers, and records a PUBLISH.
fn measure(package: &str, watchers: usize, store: Option<Durabilities>) -> (u64, f64) {
    let address: SocketAddr = "127.0.0.1:5060".parse().unwrap();
    let config = Config {
        revision: 1,
        shards: 1,
        server: "lamplighter".into(),
        addresses: Addresses::new(["example.com"], [], []),
        listeners: vec![Listener { transport: Transport::Udp, address, advertise: "127.0.0.1:5060".into() }],
        access: Access::default(),
        packages: Packages::new(lamplighter_packages::packages(&lamplighter_packages::Config::default()), |_, e| e),
        profiles: Profiles::default(),
        timers: Timers::default(),
        notify: Notify::default(),
        limits: Limits { subscriptions_per_source: 1 << 20, ..Limits::default() },
        overload: Overload::default(),
        store,
    };
    let now = Time::from_micros(1_800_000_000_000_000);
    let shard = Shard::new(Arc::new(config), 0, Seed(3, 4), [3; 32], now, Arc::new(Counters::default()));
    let flow = Flow::udp(0, "127.0.0.1:6000".parse().unwrap());
    let mut bench = Bench { shard, now, flow, out: Outbox::default(), kept: Vec::new(), safe: 0, spent: 0 };
    for number in 0..PRESENTITIES * watchers {
        let (p, w) = (number / watchers, number % watchers);
        let text = format!(
            "SUBSCRIBE sip:{p}@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:6000;branch=z9hG4bKs{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:w{w}@example.com>;tag=s{number}\r\nTo: <sip:{p}@example.com>\r\n\
             Call-ID: s{number}@127.0.0.1\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:w{w}@127.0.0.1:6000>\r\n\
             Event: {package}\r\nExpires: 3600\r\nUser-Agent: cost\r\nContent-Length: 0\r\n\r\n"
        );
        bench.round(&[text]);
    }
    let rounds = (NOTIFYS / PRESENTITIES / watchers.max(10)).max(10);
    let mut tags = vec![String::new(); PRESENTITIES];
    bench.spent = 0;
    let before = bench.safe;
    for round in 0..rounds {
        let texts: Vec<_> = tags.iter().enumerate().map(|(p, tag)| publish(package, p, round, tag)).collect();
        let sent = bench.round(&texts);
        let replies = sent.iter().filter(|sent| sent.starts_with("SIP/2.0 200") && sent.contains("SIP-ETag: "));
        for reply in replies {
            let part = |before: &str, after: &str| {
                reply.split(before).nth(1).and_then(|rest| rest.split(after).next()).unwrap().to_owned()
            };
            tags[part("Call-ID: p", "@").parse::<usize>().unwrap()] = part("SIP-ETag: ", "\r\n");
        }
    }
    let publishes = (rounds * PRESENTITIES) as u64;
    (bench.spent / publishes, (bench.safe - before) as f64 / publishes as f64)
}

struct Bench {
    shard: Shard,
    now: Time,
    flow: Flow,
    out: Outbox,
    /// What the store's thread would have.
    kept: Vec<Record>,
    safe: u64,
    /// Nanoseconds on the CPU.
    spent: u64,
}

impl Bench {
    /// Handles requests, says that their records are safe, and answers all NOTIFYs; what was sent.
    fn round(&mut self, requests: &[String]) -> Vec<String> {
        let mut sent = Vec::new();
        self.feed(requests, &mut sent);
        if !self.kept.is_empty() {
            let from = cpu();
            let saved = Input::Saved { written: self.safe, committed: self.safe };
            self.shard.handle(self.now, saved, &mut self.out);
            self.spent += cpu() - from;
            self.kept.clear();
            self.look(&mut sent);
        }
        let answers: Vec<_> = sent.iter().filter(|sent| sent.starts_with("NOTIFY")).map(|sent| answer(sent)).collect();
        self.feed(&answers, &mut sent);
        sent
    }

    fn feed(&mut self, messages: &[String], sent: &mut Vec<String>) {
        let from = cpu();
        for text in messages {
            self.now += Duration::from_micros(5);
            let input = Input::Datagram { flow: self.flow, bytes: text.as_bytes(), age: Duration::ZERO };
            self.shard.handle(self.now, input, &mut self.out);
            for output in &mut self.out.outputs {
                // As the driver does: the record goes to another thread.
                if let Output::Save { number, record } = output {
                    let gone = Record::StandingGone { key: 0 };
                    self.kept.push(std::mem::replace(record, gone));
                    self.safe = *number;
                    *output = Output::Close(self.flow);
                }
            }
        }
        self.spent += cpu() - from;
        self.look(sent);
    }

    fn look(&mut self, sent: &mut Vec<String>) {
        for output in &self.out.outputs {
            if let Output::Send { at, .. } = output {
                sent.push(String::from_utf8_lossy(self.out.slice(at)).into_owned());
            }
        }
        self.out.clear();
    }
}

fn answer(notify: &str) -> String {
    let mut answer = String::from("SIP/2.0 200 OK\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let line = notify.split("\r\n").find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        answer += line;
        answer += "\r\n";
    }
    answer + "Content-Length: 0\r\n\r\n"
}

/// Nanoseconds that this thread was on the CPU.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn publish(package: &str, p: usize, round: usize, tag: &str) -> String {
    let (kind, body) = match package {
        "presence" => (
            "application/pidf+xml",
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:{p}@example.com\">\r\n\
             <tuple id=\"t{p}\">\r\n<status><basic>open</basic></status>\r\n<contact priority=\"0.8\">sip:{p}@example.com</contact>\r\n\
             <note>number {round}</note>\r\n</tuple>\r\n</presence>\r\n"
            ),
        ),
        "message-summary" => (
            "application/simple-message-summary",
            format!(
                "Messages-Waiting: yes\r\nMessage-Account: sip:{p}@example.com\r\nVoice-Message: {round}/0 (0/0)\r\n"
            ),
        ),
        _ => (
            "application/dialog-info+xml",
            format!(
                "<?xml version=\"1.0\"?>\r\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{round}\" state=\"full\" \
             entity=\"sip:{p}@example.com\">\r\n<dialog id=\"d{round}\" call-id=\"d{round}\" local-tag=\"lt1\" remote-tag=\"rt1\" \
             direction=\"recipient\">\r\n<state>{}</state>\r\n<remote><identity>sip:caller@example.com</identity></remote>\r\n\
             <local><identity>sip:{p}@example.com</identity></local>\r\n</dialog>\r\n</dialog-info>\r\n",
                ["early", "confirmed"][round % 2]
            ),
        ),
    };
    let condition = if tag.is_empty() { String::new() } else { format!("SIP-If-Match: {tag}\r\n") };
    format!(
        "PUBLISH sip:{p}@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:6000;branch=z9hG4bKp{p}x{round};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{p}@example.com>;tag=p{p}\r\nTo: <sip:{p}@example.com>\r\nCall-ID: p{p}@127.0.0.1\r\n\
         CSeq: {} PUBLISH\r\nContact: <sip:p{p}@127.0.0.1:6000>\r\nEvent: {package}\r\nExpires: 3600\r\n{condition}\
         User-Agent: cost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        round + 1,
        body.len()
    )
}
