//! Prints what reading, composing and writing typical bodies costs: `cargo run --release -p lamplighter-packages
//! --example cost`.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement reads a clock, prints, and may fail by panic"
)]

use lamplighter_model::config::Profile;
use lamplighter_model::package::{AnyFact, AnyPackage, Reading, Rendering, Sourced, Stamp, View};
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
    println!("nanoseconds        bytes    read    merge  compose  changed   write    json  compose(8)");
    for (name, body) in [("dialog", DIALOG), ("presence", PRESENCE), ("message-summary", VOICEMAIL)] {
        let package = all.iter().find(|package| package.name() == name).unwrap();
        measure(&**package, body.as_bytes());
    }
}

fn measure(package: &dyn AnyPackage, body: &[u8]) {
    let now = Time::from_micros(1_800_000_000_000_000);
    let reading = Reading { presentity: ME, now, modifies: true };
    let fact = package.read(0, body, reading).unwrap();
    let one = sourced(&fact, 1);
    let facts: Vec<AnyFact> = (0..8).map(|_| package.read(0, body, reading).unwrap()).collect();
    let eight: Vec<_> = facts.iter().zip(1..).map(|(fact, counter)| sourced(fact, counter)).collect();
    let state = package.compose(now, ME, &one).state;
    let profile = Profile::default();
    let mut out = Vec::new();
    let read = time(|| drop(black_box(package.read(0, black_box(body), reading))));
    let merge = time(|| drop(black_box(package.read_over(0, black_box(body), &fact, reading)))) - read;
    let compose = time(|| drop(black_box(package.compose(now, ME, black_box(&one)))));
    let changed = time(|| drop(black_box(package.is_change(black_box(&state), &state))));
    let write = time(|| {
        out.clear();
        black_box(package.write(ME, black_box(&state), Rendering::default(), &profile, &mut out));
    });
    let json = time(|| {
        out.clear();
        package.json(black_box(&state), View::Full, &mut out);
    });
    let many = time(|| drop(black_box(package.compose(now, ME, black_box(&eight.concat())))));
    let (name, bytes) = (package.name(), body.len());
    println!(
        "{name:16} {bytes:7} {read:7.0} {merge:8.0} {compose:8.0} {changed:8.0} {write:7.0} {json:7.0} {many:11.0}"
    );
}

fn sourced(fact: &AnyFact, counter: u64) -> [Sourced<'_, AnyFact>; 1] {
    const SOURCES: [&str; 9] = ["pub:0", "pub:1", "pub:2", "pub:3", "pub:4", "pub:5", "pub:6", "pub:7", "pub:8"];
    let stamp = Stamp { counter, ..Stamp::default() };
    [Sourced { source: SOURCES[counter as usize], stamp, live: true, fact }]
}

/// The best of several rounds, in nanoseconds an operation.
fn time(mut operation: impl FnMut()) -> f64 {
    const TIMES: u32 = 20_000;
    let round = |_: u32| {
        let start = Instant::now();
        for _ in 0..TIMES {
            operation();
        }
        start.elapsed().as_nanos() as f64 / f64::from(TIMES)
    };
    (0..10).map(round).fold(f64::MAX, f64::min)
}
