//! What requests of our own cost: microseconds of CPU for each SUBSCRIBE that renews a lease, each PUBLISH that changes
//! a state, and each NOTIFY, sockets not counted.
//!
//! `cargo run --release -p lamplighter-sip --example client_cost`

#![allow(clippy::print_stdout, reason = "it prints what it measures")]
#![allow(clippy::expect_used, reason = "it is not for production")]

use bytes::Bytes;
use lamplighter_model::{Flow, Seed, Time, Transport};
use lamplighter_sip::client::{Agent, Body, Event, Input, Local, Output, Pace, Record, Settings, Watch};
use std::time::Duration;

const COUNT: usize = 20_000;
const ROUNDS: u32 = 5;

fn server() -> Flow {
    Flow::udp(0, ([127, 0, 0, 1], 5060).into())
}

/// The CPU time of this thread so far, so that what else runs on the machine does not count. Linux only.
fn clock() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts CPU time");
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("it begins with a number"))
}

/// The value of a header that a request of ours has.
fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let at = request.find(name).expect("the header is there") + name.len();
    request[at..].split("\r\n").next().unwrap_or_default()
}

fn answer(request: &str, counter: usize) -> String {
    let [via, from, call_id, cseq] =
        ["\r\nVia: ", "\r\nFrom: ", "\r\nCall-ID: ", "\r\nCSeq: "].map(|name| header(request, name));
    let to = header(request, "\r\nTo: ").trim_end_matches(";tag=srv");
    format!(
        "SIP/2.0 200 OK\r\nVia: {via};received=127.0.0.1\r\nFrom: {from}\r\nTo: {to};tag=srv\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq}\r\nContact: <sip:srv@127.0.0.1:5060>\r\nExpires: 3600\r\nSIP-ETag: t{counter}\r\n\
         Server: Example/1.0\r\nContent-Length: 0\r\n\r\n"
    )
}

fn notify(request: &str, cseq: u32) -> String {
    let [us, call_id] = ["\r\nFrom: ", "\r\nCall-ID: "].map(|name| header(request, name));
    let them = header(request, "\r\nTo: ").trim_end_matches(";tag=srv");
    let body = format!(
        "<?xml version=\"1.0\"?>\r\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{cseq}\" \
         state=\"full\" entity=\"sip:102@office.example\"><dialog id=\"a\"><state>confirmed</state></dialog></dialog-info>"
    );
    format!(
        "NOTIFY sip:gate@127.0.0.1:5070 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKn{cseq}\r\n\
         From: {them};tag=srv\r\nTo: {us}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} NOTIFY\r\nMax-Forwards: 70\r\n\
         Contact: <sip:srv@127.0.0.1:5060>\r\nEvent: dialog\r\nSubscription-State: active;expires=3600\r\n\
         Content-Type: application/dialog-info+xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

struct Bench {
    agent: Agent,
    now: Time,
    out: Vec<Output>,
}

impl Bench {
    fn new() -> Self {
        let settings = Settings {
            address: "sip:gate@office.example".into(),
            user_agent: "Lamplighter".into(),
            locals: vec![Local {
                transport: Transport::Udp,
                listener: 0,
                sent_by: "127.0.0.1:5070".into(),
                contact: "sip:gate@127.0.0.1:5070".into(),
            }],
            proxy: Some("sip:127.0.0.1:5060".into()),
            pace: Pace { in_flight: COUNT, ..Pace::default() },
            ..Settings::default()
        };
        let now = Time::from_micros(1_000_000_000_000);
        Self { agent: Agent::new(now, settings, Seed(1, 2)), now, out: Vec::new() }
    }

    /// Lets the agent work; gives what it has sent, and adds the time that it took.
    fn timed(&mut self, spent: &mut Duration, work: impl FnOnce(&mut Agent, Time, &mut Vec<Output>)) -> Vec<String> {
        let start = clock();
        work(&mut self.agent, self.now, &mut self.out);
        *spent += clock() - start;
        let sent = self.out.drain(..).filter_map(|output| match output {
            Output::Send { bytes, .. } => Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => None,
        });
        sent.collect()
    }

    fn receive(&mut self, spent: &mut Duration, messages: &[String]) {
        let flow = server();
        self.timed(spent, |agent, now, out| {
            for message in messages {
                agent.handle(now, Input::Message { flow, bytes: message.as_bytes() }, out);
            }
        });
    }
}

fn print(name: &str, spent: Duration, count: usize) {
    println!("{name:48} {:8.2} us", spent.as_secs_f64() * 1e6 / count as f64);
}

fn main() {
    let mut bench = Bench::new();
    let mut spent = Duration::ZERO;
    let first = bench.timed(&mut spent, |agent, now, out| {
        for number in 0..COUNT {
            let watch = Watch {
                resource: format!("sip:{number}@office.example").into(),
                event: "dialog".into(),
                accept: "application/dialog-info+xml".into(),
                ..Watch::default()
            };
            agent.subscribe(now, watch, out).expect("there is room");
        }
    });
    let answers: Vec<String> = first.iter().map(|one| answer(one, 0)).collect();
    bench.receive(&mut spent, &answers);
    print("first SUBSCRIBE, with its answer", spent, COUNT);

    let mut spent = Duration::ZERO;
    for round in 0..ROUNDS {
        let notifys: Vec<String> = first.iter().map(|one| notify(one, round + 1)).collect();
        bench.receive(&mut spent, &notifys);
    }
    print("NOTIFY, with our answer", spent, COUNT * ROUNDS as usize);

    let mut spent = Duration::ZERO;
    for _ in 0..ROUNDS {
        bench.now += Duration::from_secs(3600 - 64 + 1);
        let sent = bench.timed(&mut spent, |agent, now, out| agent.handle(now, Input::Tick, out));
        assert_eq!(sent.len(), COUNT);
        let answers: Vec<String> = sent.iter().map(|one| answer(one, 0)).collect();
        bench.receive(&mut spent, &answers);
    }
    print("SUBSCRIBE that renews a lease, with its answer", spent, COUNT * ROUNDS as usize);

    let mut bench = Bench::new();
    let mut ids = Vec::new();
    let state = |round: u32| {
        Body::plain(Bytes::from(format!(
            "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:102@office.example\">\
             <tuple id=\"a\"><status><basic>open</basic></status><note>{round}</note></tuple></presence>"
        )))
    };
    let mut spent = Duration::ZERO;
    let sent = bench.timed(&mut spent, |agent, now, out| {
        for number in 0..COUNT {
            let record = Record {
                resource: format!("sip:{number}@office.example").into(),
                event: "presence".into(),
                content_type: "application/pidf+xml".into(),
                body: state(0),
                ..Record::default()
            };
            ids.push(agent.publish(now, record, out).expect("there is room"));
        }
    });
    let answers: Vec<String> = sent.iter().map(|one| answer(one, 0)).collect();
    bench.receive(&mut spent, &answers);
    print("first PUBLISH, with its answer", spent, COUNT);

    let mut spent = Duration::ZERO;
    for round in 1..=ROUNDS {
        let body = state(round);
        let sent = bench.timed(&mut spent, |agent, now, out| {
            for id in &ids {
                agent.update(now, *id, body.clone(), out);
            }
        });
        assert_eq!(sent.len(), COUNT);
        let answers: Vec<String> = sent.iter().map(|one| answer(one, round as usize)).collect();
        bench.receive(&mut spent, &answers);
    }
    print("PUBLISH that changes a state, with its answer", spent, COUNT * ROUNDS as usize);

    let (mut spent, mut renewed) = (Duration::ZERO, 0);
    for round in 0..ROUNDS {
        bench.now += Duration::from_secs(3600 - 64 + 1);
        let sent = bench.timed(&mut spent, |agent, now, out| agent.handle(now, Input::Tick, out));
        let answers: Vec<String> = sent.iter().map(|one| answer(one, round as usize + 100)).collect();
        let start = clock();
        for message in &answers {
            bench.agent.handle(bench.now, Input::Message { flow: server(), bytes: message.as_bytes() }, &mut bench.out);
        }
        spent += clock() - start;
        renewed += bench.out.drain(..).filter(|one| matches!(one, Output::Event(Event::Published { .. }))).count();
    }
    assert_eq!(renewed, COUNT * ROUNDS as usize);
    print("PUBLISH that renews a lease, with its answer", spent, renewed);
}
