//! Peers that mean harm, against a whole gateway on loopback: everybody else is served meanwhile.

use super::tests::{BOTH, Phone, feed, get, publish, raw, request, settings, subscribe};
use super::*;
use lamplighter_model::{Access, Counter};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};

fn gateway(shards: u8) -> Running {
    // Nobody is there any more to be told about the stop.
    start(RunSettings { patience: Duration::from_millis(1), ..settings(shards, &BOTH) }).unwrap()
}

/// Sends until what is wanted comes back, as a phone does over a network that loses datagrams, and to a server that
/// may say that it is busy: then with a new transaction.
fn insist(phone: &Phone, text: &str, wanted: impl Fn(&str) -> bool) {
    let (mut round, mut last) = (1, String::new());
    let mut buffer = [0; 65536];
    for _ in 0..60 {
        let text = text.replace("z9hG4bK", &format!("z9hG4bK{round}")).replace("CSeq: 1 ", &format!("CSeq: {round} "));
        phone.0.send(text.as_bytes()).unwrap();
        while let Ok(length) = phone.0.recv(&mut buffer) {
            last = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if last.starts_with("NOTIFY ") {
                phone.answer(&last);
            }
            if wanted(&last) {
                return;
            }
            if last.starts_with("SIP/2.0 503 ") {
                round += 1;
                break;
            }
        }
    }
    panic!("no answer to {text}, only {last}");
}

/// A lamp lights: someone watches, someone publishes, the watcher learns it.
fn lamp(gateway: &Running, user: &str) {
    let phones = [Phone::new(gateway.sip[0].1), Phone::new(gateway.sip[0].1)];
    for phone in &phones {
        phone.0.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    }
    let [watcher, publisher] = phones;
    let own = watcher.0.local_addr().unwrap();
    insist(&watcher, &subscribe(user, own, "UDP"), |text| text.starts_with("NOTIFY "));
    let own = publisher.0.local_addr().unwrap();
    insist(&publisher, &publish(user, own), |text| text.starts_with("SIP/2.0 200 "));
    // Lost NOTIFYs come again; an empty line asks for nothing.
    insist(&watcher, "\r\n\r\n", |text| text.contains("<basic>open</basic>"));
}

fn metric(gateway: &Running, name: &str) -> u64 {
    let page = get(gateway.web, "/metrics");
    let line = page.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn noise_of_all_sizes_puts_no_lamp_out() {
    let gateway = gateway(2);
    let address = gateway.sip[0].1;
    lamp(&gateway, "first");
    let before = metric(&gateway, "process_resident_memory_bytes");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let whole = publish("noise", socket.local_addr().unwrap()).into_bytes();
    let (mut sent, mut random) = (0_usize, 1_u64);
    for user in 0..10 {
        // More at once than the kernel has room for, so that what phones say meanwhile is lost and said again.
        for _ in 0..500 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut bytes = match sent % 3 {
                // What begins like SIP, what is SIP but for a byte, and what is nothing at all.
                0 => whole[..(random >> 33) as usize % whole.len()].to_vec(),
                1 => whole.clone(),
                _ => vec![(random >> 40) as u8; (random >> 33) as usize % 65_508],
            };
            if let Some(at) = ((random >> 20) as usize).checked_rem(bytes.len()) {
                bytes[at] = (random >> 50) as u8;
            }
            // The kernel may say that there is no room.
            let _ = socket.send_to(&bytes, address);
            sent += 1;
        }
        lamp(&gateway, &format!("u{user}"));
    }
    let dropped: u64 = gateway.counters().iter().map(|one| one.get(Counter::Dropped)).sum();
    assert!(dropped > 100, "{dropped} of {sent}");
    let after = metric(&gateway, "process_resident_memory_bytes");
    // Other tests run in this process.
    assert!(after < before + (256 << 20), "{before} to {after}");
    gateway.stop();
}

#[test]
fn streams_that_lie_about_their_length_are_closed() {
    let gateway = gateway(1);
    for length in ["4294967295", "99999999999999999999999", "-1", "1000000", "0x10", "5\r\nContent-Length: 6"] {
        let mut stream = TcpStream::connect(gateway.sip[1].1).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let text = request("OPTIONS", "1", stream.local_addr().unwrap(), "TCP", "", "");
        let text = text.replace("Content-Length: 0", &format!("Content-Length: {length}"));
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("SIP/2.0 4"), "{length}: {answer}");
    }
    lamp(&gateway, "100");
    gateway.stop();
}

#[test]
fn connections_that_never_finish_are_few_and_hold_nobody_up() {
    let mut settings = settings(1, &BOTH);
    settings.patience = Duration::from_millis(1);
    settings.config.access = Access { trusted: Vec::new(), ..settings.config.access };
    let gateway = start(settings).unwrap();
    let most = Settings::default().connections_per_source;
    let all = most + 300;
    let mut streams: Vec<_> = (0..all).map(|_| TcpStream::connect(gateway.sip[1].1).unwrap()).collect();
    for stream in &mut streams {
        // Those that were refused may know it already.
        let _ = stream.write_all(b"SUBSCRIBE sip:1@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 1.2.3.4");
    }
    // The refused are closed, in whatever order; the others stay.
    for stream in &mut streams[most..] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(stream.read(&mut [0]).map_or(true, |count| count == 0));
    }
    assert_eq!(metric(&gateway, "sip_streams_refused_total") as usize, all - most);
    assert_eq!(metric(&gateway, "sip_streams") as usize, most);
    lamp(&gateway, "100");
    // There is room again when they have gone.
    drop(streams);
    while metric(&gateway, "sip_streams") > 0 {}
    let mut stream = TcpStream::connect(gateway.sip[1].1).unwrap();
    let text = request("OPTIONS", "1", stream.local_addr().unwrap(), "TCP", "", "");
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"SIP/2.0 200 ");
    gateway.stop();
}

#[test]
fn a_watcher_that_never_reads_is_cut_off_and_others_are_not() {
    let gateway = gateway(2);
    let mut stream = TcpStream::connect(gateway.sip[1].1).unwrap();
    let own = stream.local_addr().unwrap();
    let watches: String = (0..50).map(|user| subscribe(&format!("u{user}"), own, "TCP")).collect();
    stream.write_all(watches.as_bytes()).unwrap();
    // Each is a transaction of its own and gets an answer.
    let options = |round: usize| -> String {
        let one = |number| request("OPTIONS", &format!("o{round}-{number}"), own, "TCP", "", "");
        (0..200).map(one).collect()
    };
    for round in 0.. {
        if stream.write_all(options(round).as_bytes()).is_err() {
            break;
        }
        assert!(round < 3000, "nobody stops it");
        if round % 50 == 0 {
            lamp(&gateway, &format!("u{}", round / 50));
        }
    }
    while metric(&gateway, "sip_streams") > 0 {}
    assert_eq!(metric(&gateway, "sip_streams_stuck_total"), 1);
    lamp(&gateway, "last");
    gateway.stop();
}

#[test]
fn odd_requests_get_an_error_and_nothing_else() {
    let gateway = gateway(1);
    let web = gateway.web;
    let with = |line: &str, headers: &str| format!("{line}\r\nHost: {web}\r\nConnection: close\r\n{headers}\r\n");
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let flood: String = (0..500).map(|number| format!("X-{number}: {number}\r\n")).collect();
    let cases = [
        with("GET /panel/../Cargo.toml HTTP/1.1", ""),
        with("GET /panel/..%2f..%2fCargo.toml HTTP/1.1", ""),
        with("GET /panel/%2e%2e/%2e%2e/etc/passwd HTTP/1.1", ""),
        with("GET /panel//etc/passwd HTTP/1.1", ""),
        with("GET /panel/..\\Cargo.toml HTTP/1.1", ""),
        with("GET /panel/index.html%00.js HTTP/1.1", ""),
        with("GET /v1/state/%zz HTTP/1.1", ""),
        with("GET /v1/state/%ff%fe HTTP/1.1", ""),
        with("GET /v1/state/sip:%00@example.com HTTP/1.1", ""),
        with("GET /v1/state?r=%ff&limit=-1 HTTP/1.1", ""),
        with("GET /v1/state?limit=99999999999999999999999 HTTP/1.1", ""),
        with(&format!("GET /v1/state/{} HTTP/1.1", "a".repeat(12_000)), ""),
        with(&format!("GET /{} HTTP/1.1", "a".repeat(200_000)), ""),
        with(&format!("GET /v1/state?{} HTTP/1.1", "r=*&".repeat(1001)), ""),
        with("BREW /v1/state HTTP/1.1", ""),
        with("DELETE /metrics HTTP/1.1", ""),
        with("POST /v1/state HTTP/1.1", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n") + "fffffffff\r\n",
        with("POST /v1/state HTTP/1.1", "Content-Length: 99999999999999999999\r\n"),
        with("GET / HTTP/9.9", ""),
        with("GET /healthz HTTP/1.1", &flood),
        with("GET /healthz HTTP/1.1", &format!("X: {}\r\n", "y".repeat(1 << 20))),
        with("GET /healthz HTTP/1.1", "Origin: http://evil.example.org\r\n"),
        with("GET /v1/feed HTTP/1.1", ""),
        with("GET /v1/feed HTTP/1.1", &format!("{upgrade}Origin: http://evil.example.org\r\n")),
        "GET /healthz HTTP/1.1\r\nHost: rebound.example.org\r\n\r\n".to_owned(),
        format!("GET /v1/feed HTTP/1.1\r\nHost: rebound.example.org\r\n{upgrade}\r\n"),
        "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(),
        "SUBSCRIBE sip:1@example.com SIP/2.0\r\n\r\n".to_owned(),
    ];
    for case in &cases {
        let answer = raw(web, case.as_bytes());
        let line = answer.lines().next().unwrap_or_default();
        let name: String = case.chars().take(60).collect();
        assert!(line.is_empty() || line.starts_with("HTTP/1.1 4"), "{name:?}: {line}");
        assert!(!answer.contains("[workspace]") && !answer.contains("root:"), "{name:?}");
    }
    assert!(get(web, "/healthz").starts_with("HTTP/1.1 200 "));
    gateway.stop();
}

/// The code that the server closes with, after whatever else it says; `None`: it just closes.
fn closed(feed: &mut tungstenite::WebSocket<TcpStream>) -> Option<u16> {
    loop {
        match feed.read() {
            Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
            Ok(_) => {}
            Err(error) => {
                let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
                assert!(!matches!(&error, tungstenite::Error::Io(error) if timed_out(error)), "it stays open");
                return None;
            }
        }
    }
}

#[test]
fn feed_clients_that_break_the_rules_are_closed_and_others_go_on() {
    let gateway = gateway(1);
    let mut polite = feed(gateway.web);
    // Frames with a mask of zeros, written by hand: header and what follows of the payload.
    let cases: [(&[u8], &[u8], Option<u16>); 6] = [
        (&[0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0], b"{", Some(4413)),
        (&[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], b"{", Some(4413)),
        (&[0x81, 0x82], b"\xff\xfe", Some(4400)),
        (&[0x81, 0x84], b"nope", Some(4400)),
        (&[0x82, 0x81], b"x", Some(4400)),
        (&[0xf1, 0x81], b"x", Some(1002)),
    ];
    for (header, payload, code) in cases {
        let mut rude = feed(gateway.web);
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        rude.get_mut().write_all(&bytes).unwrap();
        assert_eq!(closed(&mut rude), code, "{header:x?}");
    }
    // More subscriptions than there may be, and faster than they may come.
    let mut greedy = feed(gateway.web);
    for id in 3..10_000 {
        let frame = format!(r#"{{"t":"sub","id":{id},"sub":"s{id}","r":["sip:{id}@example.com"]}}"#);
        if greedy.send(frame.into()).is_err() {
            break;
        }
    }
    assert!(matches!(closed(&mut greedy), Some(4429) | None));
    // Nobody else noticed.
    let phone = Phone::new(gateway.sip[0].1);
    phone.ask(&publish("100", phone.0.local_addr().unwrap()));
    let update = polite.read().unwrap().to_string();
    assert!(update.contains("\"upd\"") && update.contains("sip:100@example.com"), "{update}");
    // What was left by those who were closed is gone.
    while metric(&gateway, "ws_connections") > 1 {}
    assert_eq!(metric(&gateway, "ws_subscriptions"), 1);
    drop(polite);
    gateway.stop();
}
