//! Prints what reading, composing and writing typical bodies costs: `cargo run --release -p lamplighter-packages
//! --example packages_cost`.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement reads a clock, prints, and may fail by panic"
)]

use lamplighter_model::config::Profile;
use lamplighter_model::package::{AnyFact, AnyPackage, Reading, Rendering, Sourced, Stamp, View};
use lamplighter_model::publish::Content;
use lamplighter_model::time::Time;
use lamplighter_packages::{Config, packages};
use std::hint::black_box;
use std::time::Instant;

const ME: &str = "sip:p17@example.com";

const DIALOG: &str = "<?xml version=\"1.0\"?>\r\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"17\" \
    state=\"full\" entity=\"sip:p17@example.com\">\r\n<dialog id=\"call-17\" call-id=\"call-17\" local-tag=\"lt1\" \
    remote-tag=\"rt1\" direction=\"recipient\">\r\n<state>early</state>\r\n<remote><identity>sip:caller@example.com\
    </identity></remote>\r\n<local><identity>sip:p17@example.com</identity></local>\r\n</dialog>\r\n</dialog-info>\r\n";

const PRESENCE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
    entity=\"sip:p17@example.com\">\r\n<tuple id=\"t17\">\r\n<status><basic>open</basic></status>\r\n<contact \
    priority=\"0.8\">sip:p17@example.com</contact>\r\n<note>at my desk</note>\r\n</tuple>\r\n</presence>\r\n";

const VOICEMAIL: &str = "Messages-Waiting: yes\r\nMessage-Account: sip:p17@example.com\r\nVoice-Message: 7/0 (0/0)\r\n";

fn main() {
    let all = packages(&Config::default());
    println!(
        "nanoseconds        bytes    read    merge  compose  changed   write    json  compose(8)    pack  unpack  packed bytes"
    );
    for (name, body) in [("dialog", DIALOG), ("presence", PRESENCE), ("message-summary", VOICEMAIL)] {
        let package = all.iter().find(|package| package.name() == name).unwrap();
        measure(&**package, body.as_bytes());
    }
    println!();
    for (name, body) in hostile() {
        let costs = all.iter().map(|package| {
            let read = || drop(black_box(package.read(document(body.as_bytes()), READING)));
            format!("{} {:.0}", package.name(), time(1, read) / 1000.0)
        });
        println!("{name} of {} kB, microseconds: {}", body.len() / 1000, costs.collect::<Vec<_>>().join(", "));
    }
}

const READING: Reading<'_> = Reading { presentity: ME, now: Time::from_micros(1_800_000_000_000_000), modifies: true };

/// Bodies as large as a datagram that mean no good.
fn hostile() -> Vec<(&'static str, String)> {
    let fill = |name, before: &str, part: &str, after: &str| {
        (name, format!("{before}{}{after}", part.repeat((60_000 - before.len() - after.len()) / part.len())))
    };
    let attributes: String = (0..24).map(|n| format!(" a{n}=''")).collect();
    let prefixes: String = (0..23).map(|n| format!(" xmlns:p{n}='u'")).collect();
    let dialog = "<dialog id='1'><state>early</state></dialog>";
    let root = "<dialog-info>";
    vec![
        fill("tags", root, "<a/>", "</dialog-info>"),
        fill("dialogs", root, dialog, "</dialog-info>"),
        fill("attributes", root, &format!("<a{attributes}/>"), "</dialog-info>"),
        fill("escapes", "<presence><note>", "&#38;", "</note></presence>"),
        fill("comments", root, "<!---->", "</dialog-info>"),
        fill("references", root, "&#38;", "</dialog-info>"),
        fill("document type", "<!DOCTYPE a [", "<!ENTITY a '&b;&b;'>", "]><presence/>"),
        fill("foreign", &format!("<presence{prefixes}>"), "<p0:a p1:a='' p2:b='' p3:c=''/>", "</presence>"),
        fill("open tags", root, "<a b='<", ""),
        fill("lines", "", "a: 0/0\n", ""),
    ]
}

fn document(body: &[u8]) -> Content<'_> {
    Content::Document { format: 0, body: black_box(body) }
}

fn measure(package: &dyn AnyPackage, body: &[u8]) {
    let Reading { now, .. } = READING;
    let time = |operation: &mut dyn FnMut()| time(200, operation);
    let fact = package.read(document(body), READING).unwrap();
    let one = sourced(&fact, 1);
    let facts: Vec<AnyFact> = (0..8).map(|_| package.read(document(body), READING).unwrap()).collect();
    let eight: Vec<_> = facts.iter().zip(1..).map(|(fact, counter)| sourced(fact, counter)).collect();
    let state = package.compose(now, ME, &one).state;
    let profile = Profile::default();
    let mut out = Vec::new();
    let read = time(&mut || drop(black_box(package.read(document(body), READING))));
    let merge = time(&mut || drop(black_box(package.read_over(document(body), &fact, READING)))) - read;
    let compose = time(&mut || drop(black_box(package.compose(now, ME, black_box(&one)))));
    let changed = time(&mut || {
        black_box(package.is_change(black_box(&state), &state));
    });
    let write = time(&mut || {
        out.clear();
        black_box(package.write(ME, black_box(&state), Rendering::default(), &profile, &mut out));
    });
    let json = time(&mut || {
        out.clear();
        package.json(black_box(&state), View::Full, &mut out);
    });
    let many = time(&mut || drop(black_box(package.compose(now, ME, black_box(&eight.concat())))));
    let pack = time(&mut || {
        out.clear();
        package.pack(black_box(&fact), &mut out);
    });
    let packed = out.clone();
    let unpack = time(&mut || drop(black_box(package.unpack(black_box(&packed)))));
    let (name, bytes) = (package.name(), body.len());
    println!(
        "{name:16} {bytes:7} {read:7.0} {merge:8.0} {compose:8.0} {changed:8.0} {write:7.0} {json:7.0} {many:11.0} {pack:7.0} {unpack:7.0} {:13}",
        packed.len()
    );
}

fn sourced(fact: &AnyFact, counter: u64) -> [Sourced<'_, AnyFact>; 1] {
    const SOURCES: [&str; 9] = ["pub:0", "pub:1", "pub:2", "pub:3", "pub:4", "pub:5", "pub:6", "pub:7", "pub:8"];
    let stamp = Stamp { counter, ..Stamp::default() };
    [Sourced { source: SOURCES[counter as usize], stamp, live: true, fact }]
}

/// The best of many short rounds, in nanoseconds an operation: what the machine does beside is not measured.
fn time(times: u32, mut operation: impl FnMut()) -> f64 {
    let round = |_: u32| {
        let start = Instant::now();
        for _ in 0..times {
            operation();
        }
        start.elapsed().as_nanos() as f64 / f64::from(times)
    };
    (0..1000).map(round).fold(f64::MAX, f64::min)
}
