//! Hostile input: nothing panics, nothing points elsewhere, nothing costs more than its length.

use super::*;
use crate::wire::lex::looked;

/// Numbers that look random and are the same in every run.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

const ALL: [Name; Name::COUNT] = [
    Name::Via,
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::MaxForwards,
    Name::Contact,
    Name::Route,
    Name::RecordRoute,
    Name::Event,
    Name::Expires,
    Name::MinExpires,
    Name::Accept,
    Name::AcceptEncoding,
    Name::AllowEvents,
    Name::Allow,
    Name::Supported,
    Name::Require,
    Name::ProxyRequire,
    Name::ContentType,
    Name::ContentLength,
    Name::ContentEncoding,
    Name::SubscriptionState,
    Name::SipETag,
    Name::SipIfMatch,
    Name::UserAgent,
    Name::Server,
    Name::RetryAfter,
    Name::Authorization,
    Name::ProxyAuthorization,
    Name::WwwAuthenticate,
    Name::ProxyAuthenticate,
    Name::Unsupported,
    Name::Other,
];

/// Reads everything that can be read of a message, and asserts that each part lies within it.
fn read_all(index: &mut Index, raw: &[u8], stream: bool) {
    let within = |part: &[u8]| {
        let inside = raw.as_ptr_range();
        let part = part.as_ptr_range();
        assert!(part.start == part.end || (inside.start <= part.start && part.end <= inside.end));
    };
    let read_params = |params: Params<'_>| {
        params.iter().for_each(|(name, value)| [name, value].into_iter().for_each(within));
    };
    let read_address = |raw| {
        if let Some(address) = NameAddr::read(raw) {
            [address.display, address.uri, address.raw, address.tag().unwrap_or_default()].into_iter().for_each(within);
            read_params(address.params);
            let _ = text(address.display);
            if let Some(uri) = Uri::read(address.uri) {
                [uri.user, uri.host, uri.headers, uri.raw].into_iter().for_each(within);
                read_params(uri.params);
            }
        }
    };
    let message = match index.read(raw, stream, &LIMITS) {
        Ok(message) => message,
        Err(Reject { message: Some(message), .. }) => message,
        Err(_) => return,
    };
    if let Start::Request { method, uri } = message.start() {
        [method, uri].into_iter().for_each(within);
    }
    within(message.body());
    if let Ok(essentials) = message.essentials() {
        [essentials.call_id, essentials.cseq_method, essentials.via.raw].into_iter().for_each(within);
        read_params(essentials.via.params);
    }
    for name in ALL {
        assert_eq!(message.all(name).count(), message.count(name));
        for value in message.list(name) {
            within(value);
            assert!(!value.is_empty());
            read_address(value);
            if let Some(via) = Via::read(value) {
                [via.transport, via.host, via.raw, via.branch().unwrap_or_default()].into_iter().for_each(within);
                read_params(via.params);
            }
            if let Some(range) = MediaRange::read(value) {
                within(range.kind);
                assert!(range.q <= 1000);
                let _ = range.matches("application/pidf+xml");
            }
        }
        for value in message.all(name) {
            within(value);
            read_address(value);
            within(media_type(value));
            let _ = (Event::read(value), subscription_state(value), seconds(value));
        }
    }
}

#[test]
fn mutated_messages_are_read_or_refused() {
    const SPICE: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\"",
        b"\\",
        b"<",
        b">",
        b";",
        b",",
        b":",
        b"@",
        b"=",
        b"[",
        b"]",
        b"?",
        b"/",
        b"%",
        b"(",
        b"\r\n ",
        b"\r\n\r\n",
        b"l: 99999999999\r\n",
        b"Via",
        b"SIP/2.0",
        b"\xff",
        b"-1",
        b"*",
    ];
    let cases: Vec<Vec<u8>> = all_cases().map(|case| case.raw).filter(|raw| raw.len() < 4000).collect();
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let mut index = Index::default();
    let mut framer = frame::StreamFramer::new(LIMITS);
    for round in 0..20_000 {
        let mut raw = cases[random.below(cases.len())].clone();
        for _ in 0..=random.below(6) {
            let at = random.below(raw.len() + 1);
            match random.below(5) {
                0 if at < raw.len() => raw[at] ^= 1 << random.below(8),
                1 => raw.truncate(at),
                2 => drop(raw.drain(at..(at + random.below(40)).min(raw.len()))),
                3 => {
                    let other = &cases[random.below(cases.len())];
                    let from = random.below(other.len());
                    let piece = other[from..(from + random.below(80)).min(other.len())].to_vec();
                    raw.splice(at..at, piece);
                }
                _ => drop(raw.splice(at..at, SPICE[random.below(SPICE.len())].iter().copied())),
            }
        }
        read_all(&mut index, &raw, round % 3 == 0);
        framer.push(&raw);
        while let Ok(Some(frame)) = framer.next() {
            if let frame::Frame::Message(message) = frame {
                read_all(&mut index, &message, true);
            }
        }
        if framer.next().is_err() {
            framer = frame::StreamFramer::new(LIMITS);
        }
        assert!(framer.pending() <= LIMITS.head + LIMITS.body);
    }
}

/// Reads it all as the engine does, and counts how often each of its octets was looked at.
fn looks_per_octet(raw: &[u8], limits: &Limits) -> (f64, &'static str) {
    let mut index = Index::default();
    looked::COUNT.set(0);
    let verdict = index.read(raw, false, limits).and_then(|message| {
        for name in ALL {
            for value in message.list(name) {
                let address = NameAddr::read(value);
                let _ = address.and_then(|it| it.tag()).or_else(|| Uri::read(address?.uri)?.params.get(b"gr"));
                let _ = (Via::read(value).and_then(|via| via.branch()), MediaRange::read(value));
            }
            for value in message.all(name) {
                let _ = (Event::read(value).and_then(|event| event.id()), subscription_state(value));
            }
        }
        message.essentials().map(drop)
    });
    (looked::COUNT.get() as f64 / raw.len() as f64, verdict.err().map_or("read", |reject| reject.problem))
}

#[test]
fn work_is_in_proportion_to_length() {
    let head = "OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n\
        From: <sip:ann@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n";
    let wide = Limits { head: 64 * 1024, headers: 10_000, body: 64 * 1024 };
    for (name, hostile) in [
        ("headers", "X: y\r\n".repeat(9000)),
        ("names", (0..6000).map(|number| format!("X{number}: y\r\n")).collect()),
        ("Vias", "Via: SIP/2.0/UDP a;branch=b\r\n".repeat(2000)),
        ("Contacts", "m: <a:b>\r\n".repeat(6000)),
        ("folds", format!("Contact: <sip:a@b>\r\n{}", " \r\n".repeat(19_000))),
        ("a long fold", format!("Contact: {}\r\n", "x\r\n ".repeat(14_000))),
        ("elements", format!("Contact: {}\r\n", "<a:b>,".repeat(10_000))),
        ("Via elements", format!("Via: SIP/2.0/UDP a,{}\r\n", "SIP/2.0/UDP a;b,".repeat(3700))),
        ("commas", format!("Accept: {}\r\n", ",".repeat(59_000))),
        ("quotes", format!("Contact: {}\r\n", "\"".repeat(59_000))),
        ("escapes", format!("Contact: \"{}\r\n", "\\\"".repeat(29_000))),
        ("quotes that do not close", format!("Contact: {}\r\n", "\",".repeat(29_001))),
        ("brackets", format!("Contact: {}\r\n", "<".repeat(59_000))),
        ("brackets that do not close", format!("Contact: {}\r\n", "<\",".repeat(19_000))),
        ("parameters", format!("Contact: <sip:a@b>{}\r\n", ";a=b".repeat(14_000))),
        ("URI parameters", format!("Contact: <sip:a@b{}>\r\n", ";a".repeat(29_000))),
        ("colons", format!("Contact: sip{}\r\n", ":".repeat(59_000))),
        ("a long name", format!("{}: x\r\n", "x".repeat(59_000))),
        ("no colons", "xyz\r\n".repeat(9000)),
        ("digits", format!("Content-Length: {}\r\n", "0".repeat(59_000))),
        ("Content-Lengths", "l: 0\r\n".repeat(9000)),
        ("line ends", "\r\n".repeat(29_000)),
    ] {
        let message = format!("{head}{hostile}\r\n");
        assert!(message.len() > 35_000, "{name}");
        let (looks, verdict) = looks_per_octet(message.as_bytes(), &wide);
        eprintln!("{name}: {looks:.1} looks at each octet, {verdict}");
        assert!(looks < 16.0, "{name}: {looks}");
        let (looks, verdict) = looks_per_octet(message.as_bytes(), &LIMITS);
        assert!(looks < 4.0, "{name}: {looks} with everyday limits, {verdict}");
    }
}

#[test]
fn a_stream_is_looked_at_once_even_byte_by_byte() {
    let message = format!(
        "A a:b SIP/2.0\r\nX: {}\r\n{}l: 1000\r\n\r\n{}",
        "x".repeat(6000),
        "X: y\r\n".repeat(1500),
        "b".repeat(1000)
    );
    let mut framer = frame::StreamFramer::new(LIMITS);
    looked::COUNT.set(0);
    let mut frames = 0;
    for byte in message.as_bytes() {
        framer.push(&[*byte]);
        while let Ok(Some(_)) = framer.next() {
            frames += 1;
        }
    }
    assert_eq!((frames, framer.pending()), (1, 0));
    let looks = looked::COUNT.get() as f64 / message.len() as f64;
    assert!(looks < 5.0, "{looks}");
}

/// The scratch memory of a reader grows with the limit of header lines, not with what is sent.
#[test]
fn lines_beyond_the_limit_are_not_stored() {
    let mut index = Index::default();
    let message = format!("OPTIONS a:b SIP/2.0\r\n{}\r\n", "X: y\r\n".repeat(2000));
    assert_eq!(index.read(message.as_bytes(), false, &LIMITS).map(drop).unwrap_err().problem, "too many header lines");
    assert!(index.stored_lines() <= LIMITS.headers);
}

#[test]
fn keep_alives() {
    for (raw, expected) in [
        (&b""[..], true),
        (b"\r\n\r\n", true),
        (b"\0", true),
        (b" \t\r\n\0", true),
        (b"\r\nA", false),
        (b"\x00\x01\x00\x00", false),
    ] {
        assert_eq!(keep_alive(raw), expected, "{raw:?}");
    }
}
