//! What one shard costs without sockets: nanoseconds for a PUBLISH that modifies, and for a NOTIFY with its answer.
//!
//! `cargo run --release -p lamplighter-shard --example cost [dialog|presence|message-summary]`
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use lamplighter_model::config::{Config, Limits, Listener, Notify, Overload, Profiles, Timers};
use lamplighter_model::{Access, Addresses, Counters, Flow, Input, Outbox, Output, Packages, Seed, Time, Transport};
use lamplighter_shard::Shard;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PRESENTITIES: usize = 50;
const WATCHERS: usize = 10;
const ROUNDS: usize = 400;

fn main() {
    let package = std::env::args().nth(1).unwrap_or_else(|| "dialog".into());
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
        limits: Limits::default(),
        overload: Overload::default(),
        store: None,
    };
    let mut now = Time::from_micros(1_800_000_000_000_000);
    let mut shard = Shard::new(Arc::new(config), 0, Seed(3, 4), [3; 32], now, Arc::new(Counters::default()));
    let flow = Flow::udp(0, "127.0.0.1:6000".parse().unwrap());
    let mut out = Outbox::default();
    let mut answers = Vec::new();
    let mut subscribing = Duration::ZERO;
    for number in 0..PRESENTITIES * WATCHERS {
        let (p, w) = (number / WATCHERS, number % WATCHERS);
        let text = format!(
            "SUBSCRIBE sip:{p}@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:6000;branch=z9hG4bKs{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:w{w}@example.com>;tag=s{number}\r\nTo: <sip:{p}@example.com>\r\n\
             Call-ID: s{number}@127.0.0.1\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:w{w}@127.0.0.1:6000>\r\n\
             Event: {package}\r\nExpires: 3600\r\nUser-Agent: cost\r\nContent-Length: 0\r\n\r\n"
        );
        subscribing += feed(&mut shard, &mut now, flow, text.as_bytes(), &mut out, &mut answers);
        settle(&mut shard, &mut now, flow, &mut out, &mut answers);
    }
    report("SUBSCRIBE with its NOTIFY written", subscribing, PRESENTITIES * WATCHERS);
    let mut tags = vec![String::new(); PRESENTITIES];
    let (mut publishing, mut notifying, mut notified) = (Duration::ZERO, Duration::ZERO, 0);
    for round in 0..ROUNDS {
        for (p, tag) in tags.iter_mut().enumerate() {
            let text = publish(&package, p, round, tag);
            publishing += feed(&mut shard, &mut now, flow, text.as_bytes(), &mut out, &mut answers);
            let reply = out.outputs.iter().find_map(|output| match output {
                Output::Send { at, .. } => {
                    let text = String::from_utf8_lossy(out.slice(at)).into_owned();
                    text.split("SIP-ETag: ").nth(1).map(|rest| rest[..16].to_owned())
                }
                _ => None,
            });
            *tag = reply.expect("an entity-tag");
            notified += answers.len();
            let begin = Instant::now();
            settle(&mut shard, &mut now, flow, &mut out, &mut answers);
            notifying += begin.elapsed();
        }
    }
    report("PUBLISH that modifies, with its NOTIFYs written", publishing, ROUNDS * PRESENTITIES);
    report("answer to a NOTIFY", notifying, notified);
    report("NOTIFY, all together", publishing + notifying, notified);
}

fn report(what: &str, time: Duration, count: usize) {
    println!("{what}: {} ns", time.as_nanos() / count.max(1) as u128);
}

/// Handles a message; the answers to the NOTIFYs that came of it go into `answers`.
fn feed(
    shard: &mut Shard,
    now: &mut Time,
    flow: Flow,
    bytes: &[u8],
    out: &mut Outbox,
    answers: &mut Vec<Vec<u8>>,
) -> Duration {
    *now += Duration::from_micros(20);
    out.clear();
    let begin = Instant::now();
    shard.handle(*now, Input::Datagram { flow, bytes, age: Duration::ZERO }, out);
    let took = begin.elapsed();
    for output in &out.outputs {
        if let Output::Send { at, .. } = output
            && out.slice(at).starts_with(b"NOTIFY")
        {
            let text = std::str::from_utf8(out.slice(at)).unwrap();
            let mut answer = String::from("SIP/2.0 200 OK\r\n");
            for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
                let line = text.split("\r\n").find(|line| line.starts_with(&format!("{name}:"))).unwrap();
                answer += line;
                answer += "\r\n";
            }
            answers.push((answer + "Content-Length: 0\r\n\r\n").into_bytes());
        }
    }
    took
}

fn settle(shard: &mut Shard, now: &mut Time, flow: Flow, out: &mut Outbox, answers: &mut Vec<Vec<u8>>) {
    for bytes in answers.drain(..) {
        *now += Duration::from_micros(5);
        out.clear();
        shard.handle(*now, Input::Datagram { flow, bytes: &bytes, age: Duration::ZERO }, out);
    }
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
