//! What the renewal of one subscription at another server costs without sockets, in CPU time of its thread: the
//! SUBSCRIBE, its 200, the NOTIFY with a state that is known, its 200, and the new lease of that state on the bus.
//!
//! `cargo run --release -p lamplighter-remote --example remote_cost [subscriptions]`
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use lamplighter_model::config::{Config, Limits, Notify, Overload, Profiles, Timers};
use lamplighter_model::{
    Access, Addresses, Answer, Command, EntityTag, Flow, Input, Outbox, Output, Packages, PublishedLease, RemoteWish,
    Seed, Time, Transport,
};
use lamplighter_remote::{Remote, Settings, Watched};
use lamplighter_sip::client::{self, Local, Pace};
use std::sync::Arc;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(100);
const ROUNDS: u64 = 10;
const WHAT: [&str; 4] = ["SUBSCRIBE, and asking for leases", "200 to SUBSCRIBE", "NOTIFY", "leases of the bus"];

fn main() {
    let count = std::env::args().nth(1).map_or(10_000, |count| count.parse().unwrap());
    let packages = || Packages::new(lamplighter_packages::packages(&lamplighter_packages::Config::default()), |_, e| e);
    let config = Config {
        revision: 1,
        shards: 1,
        server: "lamplighter".into(),
        addresses: Addresses::new(["example.com"], [], []),
        listeners: Vec::new(),
        access: Access::default(),
        packages: packages(),
        profiles: Profiles::default(),
        timers: Timers::default(),
        notify: Notify::default(),
        limits: Limits::default(),
        overload: Overload::default(),
        store: None,
    };
    let package = packages().find(b"presence").unwrap();
    let watched = |number: usize| Watched {
        wish: RemoteWish {
            resource: format!("sip:r{number}@example.com").into(),
            subscriber: None,
            package,
            event_id: None,
            target: None,
            contact: None,
            outbound_proxy: Some("sip:127.0.0.1:15300".into()),
            headers: Vec::new(),
            expires: None,
            accept: Vec::new(),
            list: false,
            owner: "configuration".into(),
        },
        local: None,
        domain: None,
    };
    let local = Local {
        transport: Transport::Udp,
        listener: 0,
        sent_by: "127.0.0.1:15100".into(),
        contact: "sip:lamplighter@127.0.0.1:15100".into(),
    };
    let settings = Settings {
        elsewhere: true,
        most: count,
        agent: client::Settings {
            address: "sip:lamplighter@example.com".into(),
            user_agent: "lamplighter".into(),
            locals: vec![local],
            most: count,
            pace: Pace { default_expires: LEASE, spread: Duration::from_secs(20), ..Pace::default() },
            ..client::Settings::default()
        },
        watches: (0..count).map(watched).collect(),
        ..Settings::default()
    };
    let now = Time::from_micros(1_800_000_000_000_000);
    let flow = Flow::udp(0, "127.0.0.1:15300".parse().unwrap());
    let mut remote = Remote::new(Arc::new(config), settings, Seed(3, 4), now);
    remote.resume(now);
    let mut bench =
        Bench { remote, now, flow, out: Outbox::default(), asked: Vec::new(), spent: [0; 4], subscribes: 0 };
    let mut before = (0, [0; 4]);
    for round in 0..=ROUNDS {
        if round == 1 {
            before = (bench.subscribes, bench.spent);
        }
        bench.round(LEASE);
    }
    let renewals = bench.subscribes - before.0;
    println!("{count} subscriptions, {renewals} renewals; CPU nanoseconds each:");
    let spent: Vec<_> = bench.spent.iter().zip(before.1).map(|(after, before)| after - before).collect();
    for (what, spent) in WHAT.iter().zip(&spent) {
        println!("| {what} | {} |", spent / renewals);
    }
    println!("| together | {} |", spent.iter().sum::<u64>() / renewals);
}

struct Bench {
    remote: Remote,
    now: Time,
    flow: Flow,
    out: Outbox,
    asked: Vec<(u64, Command)>,
    /// Nanoseconds on the CPU.
    spent: [u64; 4],
    subscribes: u64,
}

impl Bench {
    /// Lets so much time pass, in which everything is answered at once.
    fn round(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.remote.deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.measured(0, |bench| bench.remote.handle(bench.now, Input::Tick, &mut bench.out));
            let (answers, notifies): (Vec<_>, Vec<_>) = self.look().iter().map(|text| replies(text)).unzip();
            self.subscribes += answers.len() as u64;
            for (what, messages) in [(1, answers), (2, notifies)] {
                self.measured(what, |bench| {
                    for text in &messages {
                        let input = Input::Datagram { flow: bench.flow, bytes: text.as_bytes(), age: Duration::ZERO };
                        bench.remote.handle(bench.now, input, &mut bench.out);
                    }
                });
                assert!(self.look().iter().all(|text| text.starts_with("SIP/2.0 200 ")));
            }
            for (number, command) in std::mem::take(&mut self.asked) {
                let lease = |expires| Ok(PublishedLease { tag: EntityTag(1), created: false, expires });
                let answer = Some(match command {
                    Command::Renew(all) => Answer::Renewed(all.iter().map(|one| lease(one.expires)).collect()),
                    Command::Publish(command) => Answer::Published(lease(command.expires.unwrap())),
                    other => panic!("{other:?}"),
                });
                self.measured(3, |bench| {
                    bench.remote.handle(bench.now, Input::Asked { number, answer }, &mut bench.out)
                });
            }
            assert!(self.look().is_empty());
        }
        self.now = end;
    }

    fn measured(&mut self, what: usize, act: impl FnOnce(&mut Self)) {
        let from = cpu();
        act(self);
        self.spent[what] += cpu() - from;
    }

    /// What was sent.
    fn look(&mut self) -> Vec<String> {
        let mut sent = Vec::new();
        for output in &self.out.outputs {
            match output {
                Output::Send { at, .. } => sent.push(String::from_utf8_lossy(self.out.slice(at)).into_owned()),
                Output::Ask { number, command, .. } => self.asked.push((*number, (**command).clone())),
                other => panic!("{other:?}"),
            }
        }
        self.out.clear();
        sent
    }
}

fn header<'a>(text: &'a str, name: &str) -> &'a str {
    text.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

/// What the other server says to a SUBSCRIBE: its answer, and a NOTIFY.
fn replies(subscribe: &str) -> (String, String) {
    let [via, from, to, call_id, cseq] = ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| header(subscribe, name));
    let number: u64 = cseq.split(' ').next().unwrap().parse().unwrap();
    let to = if to.contains(";tag=") { to.to_owned() } else { format!("{to};tag=s0123456789abcdef") };
    let resource = to.split(['<', '>']).nth(1).unwrap();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"{resource}\">\
         <tuple id=\"t\"><status><basic>open</basic></status></tuple></presence>\r\n"
    );
    let answer = format!(
        "SIP/2.0 200 OK\r\nVia: {via};received=127.0.0.1\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n\
         Contact: <sip:127.0.0.1:15300>\r\nExpires: {}\r\nServer: other\r\nContent-Length: 0\r\n\r\n",
        LEASE.as_secs()
    );
    let notify = format!(
        "NOTIFY sip:lamplighter@127.0.0.1:15100 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:15300;rport;branch=z9hG4bKn{number}{call_id}\r\n\
         Max-Forwards: 70\r\nFrom: {to}\r\nTo: {from}\r\nCall-ID: {call_id}\r\nCSeq: {number} NOTIFY\r\n\
         Contact: <sip:127.0.0.1:15300>\r\nEvent: presence\r\nSubscription-State: active;expires={}\r\nServer: other\r\n\
         Content-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{body}",
        LEASE.as_secs(),
        body.len()
    );
    (answer, notify)
}

/// Nanoseconds that this thread was on the CPU.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
