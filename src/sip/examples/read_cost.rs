//! What reading costs: nanoseconds for each message, everyday and hostile ones.
//!
//! `cargo run --release -p lamplighter-sip --example read_cost`

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use lamplighter_sip::wire::frame::StreamFramer;
use lamplighter_sip::wire::{Event, Index, Limits, MediaRange, Name, NameAddr, Uri, Via};
use std::hint::black_box;

const SUBSCRIBE: &[u8] = b"SUBSCRIBE sip:1002@pbx.example.com;transport=udp SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.71:5060;branch=z9hG4bK-d8754z-1d3b7b6a9c1f;rport\r\n\
    Max-Forwards: 70\r\n\
    From: \"Reception\" <sip:1001@pbx.example.com>;tag=6f1bc38a\r\n\
    To: <sip:1002@pbx.example.com>;tag=as58f4201b\r\n\
    Call-ID: 7c3f9e12b0d44a8e@192.0.2.71\r\n\
    CSeq: 27 SUBSCRIBE\r\n\
    Contact: <sip:1001@192.0.2.71:5060;transport=udp;ob>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-00085d123456>\"\r\n\
    Event: dialog\r\n\
    Expires: 3600\r\n\
    Accept: application/dialog-info+xml\r\n\
    Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REFER, SUBSCRIBE\r\n\
    User-Agent: Example-Phone/4.2.1\r\n\
    Content-Length: 0\r\n\r\n";

#[allow(clippy::disallowed_methods, reason = "it measures time")]
fn measure(name: &str, octets: usize, mut work: impl FnMut()) {
    // Short batches and the best of them, so that what else runs here does not count.
    let rounds = (2_000_000 / (octets + 2000)).max(1);
    let mut best = f64::MAX;
    for _ in 0..2000 {
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            work();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / rounds as f64);
    }
    println!("{name:40} {octets:7} octets {best:10.0} ns");
}

fn main() {
    let limits = Limits { head: 16 * 1024, headers: 128, body: 256 * 1024 };
    let wide = Limits { head: 64 * 1024, headers: 10_000, body: 256 * 1024 };
    let mut index = Index::default();
    measure("index a SUBSCRIBE", SUBSCRIBE.len(), || {
        black_box(index.read(black_box(SUBSCRIBE), false, &limits).is_ok());
    });
    measure("index it and read the essentials", SUBSCRIBE.len(), || {
        let message = index.read(black_box(SUBSCRIBE), false, &limits);
        black_box(message.is_ok_and(|it| it.essentials().is_ok()));
    });
    measure("read all that the notifier asks for", SUBSCRIBE.len(), || {
        let Ok(message) = index.read(black_box(SUBSCRIBE), false, &limits) else { return };
        let essentials = message.essentials();
        let contact = message.list(Name::Contact).next().and_then(NameAddr::read);
        let target = contact.and_then(|it| Uri::read(it.uri));
        let event = message.first(Name::Event).and_then(Event::read);
        let accept = message.list(Name::Accept).filter_map(MediaRange::read).count();
        black_box((essentials.is_ok(), target, event, accept));
    });
    let mut framer = StreamFramer::new(limits);
    measure("frame it on a stream", SUBSCRIBE.len(), || {
        framer.push(black_box(SUBSCRIBE));
        black_box(framer.next().is_ok());
    });
    let head = "OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n\
        From: <sip:ann@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n";
    for (name, hostile) in [
        ("9000 headers", "X: y\r\n".repeat(9000)),
        ("2000 Vias", "Via: SIP/2.0/UDP a;branch=b\r\n".repeat(2000)),
        ("a folded line", format!("Contact: {}\r\n", "x\r\n ".repeat(14_000))),
        ("10000 list elements", format!("Contact: {}\r\n", "<a:b>,".repeat(10_000))),
        ("quotes", format!("Contact: {}\r\n", "\"".repeat(59_000))),
        ("quotes that do not close", format!("Contact: {}\r\n", "\",".repeat(29_000))),
        ("parameters", format!("Contact: <sip:a@b>{}\r\n", ";a=b".repeat(14_000))),
    ] {
        let message = format!("{head}{hostile}\r\n");
        for (limits, name) in [(&limits, name.to_owned()), (&wide, format!("{name}, limits lifted"))] {
            measure(&name, message.len(), || {
                let Ok(message) = index.read(black_box(message.as_bytes()), false, limits) else { return };
                let contacts = message.list(Name::Contact).filter_map(NameAddr::read).filter_map(|it| it.tag()).count();
                let vias = message.list(Name::Via).filter_map(Via::read).filter_map(|it| it.branch()).count();
                black_box((message.essentials().is_ok(), contacts, vias));
            });
        }
    }
}
