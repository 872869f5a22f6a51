//! Streams cut into messages.

use super::frame::{Frame, StreamFramer};
use super::{LIMITS, Limits, all_cases};
use expect_test::{Expect, expect};

/// What comes out of a stream that comes in portions of `portion` bytes: `message 120`, `ping`, `pong`, `400 ...`.
fn frames(limits: Limits, stream: &[u8], portion: usize) -> Vec<String> {
    let mut framer = StreamFramer::new(limits);
    let mut out = Vec::new();
    for bytes in stream.chunks(portion) {
        framer.push(bytes);
        loop {
            match framer.next() {
                Ok(None) => break,
                Ok(Some(Frame::Message(message))) => {
                    let end = message.iter().position(|&byte| byte == b'\r' || byte == b'\n').unwrap();
                    out.push(format!("{} {}", String::from_utf8_lossy(&message[..end]), message.len()));
                }
                Ok(Some(Frame::Ping)) => out.push("ping".into()),
                Ok(Some(Frame::Pong)) => out.push("pong".into()),
                Err(error) => {
                    assert!(error.head.len() <= limits.head && framer.pending() == 0);
                    assert_eq!(framer.next(), Err(error.clone()), "an error stays");
                    out.push(format!("{} {} ({} octets)", error.status, error.problem, error.head.len()));
                    return out;
                }
            }
        }
    }
    if framer.pending() > 0 {
        out.push(format!("pending {}", framer.pending()));
    }
    out
}

/// The same frames must come out whatever the portions, but for a ping seen as a pong first.
fn check(stream: &str, expect: Expect) {
    let stream = stream.replace('\n', "\r\n");
    let whole = frames(LIMITS, stream.as_bytes(), usize::MAX);
    expect.assert_eq(&whole.join(", "));
    let serious = |frames: Vec<String>| -> Vec<String> { frames.into_iter().filter(|it| it != "pong").collect() };
    for portion in [1, 2, 3, 7, 64] {
        let pieces = serious(frames(LIMITS, stream.as_bytes(), portion));
        assert_eq!(pieces.len(), serious(whole.clone()).len(), "portions of {portion}: {pieces:?}");
        for (piece, whole) in pieces.iter().zip(serious(whole.clone())) {
            let [piece, whole] = [piece, &whole].map(|it| it.split(" (").next().unwrap());
            assert_eq!(piece, whole, "portions of {portion}");
        }
    }
}

#[test]
fn one_message() {
    check("A a:b SIP/2.0\nContent-Length: 5\n\n12345", expect!["A a:b SIP/2.0 41"]);
}

#[test]
fn pipelined() {
    check(
        "A a:b SIP/2.0\nl:0\n\nB a:b SIP/2.0\nl: 2\n\nhiC a:b SIP/2.0\nl: 0\n\nD a:b",
        expect!["A a:b SIP/2.0 22, B a:b SIP/2.0 25, C a:b SIP/2.0 23, pending 5"],
    );
}

#[test]
fn content_lengths_of_all_shapes() {
    check("A a:b SIP/2.0\nContent-Length : 5\n\n12345", expect!["A a:b SIP/2.0 42"]);
    check("A a:b SIP/2.0\nContent-Length:\n 5\nX: y\n\n12345", expect!["A a:b SIP/2.0 49"]);
    check("A a:b SIP/2.0\nL\t:   5   \n\n12345", expect!["A a:b SIP/2.0 34"]);
    check("A a:b SIP/2.0\ncontent-length:5\ncontent-length: 05\n\n12345", expect!["A a:b SIP/2.0 60"]);
    check("A a:b SIP/2.0\nX: y\n Content-Length: 9\nl: 5\n\n12345", expect!["A a:b SIP/2.0 54"]);
}

#[test]
fn content_lengths_that_frame_nothing() {
    check("A a:b SIP/2.0\nContent-Length: -1\n\n", expect!["400 unreadable Content-Length (37 octets)"]);
    check("A a:b SIP/2.0\nContent-Length: 5, 5\n\n", expect!["400 unreadable Content-Length (39 octets)"]);
    check("A a:b SIP/2.0\nContent-Length:\n\n", expect!["400 unreadable Content-Length (34 octets)"]);
    check("A a:b SIP/2.0\nl: 5\nl: 6\n\n12345", expect!["400 conflicting Content-Lengths (34 octets)"]);
    check("A a:b SIP/2.0\nX: y\n\n", expect!["400 no Content-Length on a stream (23 octets)"]);
    check("A a:b SIP/2.0\n\n", expect!["400 no Content-Length on a stream (17 octets)"]);
    check("A a:b SIP/2.0\nl: 262145\n\n", expect!["413 body too long (28 octets)"]);
    check("A a:b SIP/2.0\nl: 99999999999999999999999999\n\n", expect!["413 body too long (48 octets)"]);
}

#[test]
fn the_largest_message() {
    let limits = Limits { head: 40, headers: 8, body: 10 };
    let head = "A a:b SIP/2.0\r\nl: 10\r\nX: 123456789\r\n\r\n";
    let message = format!("{head}1234567890");
    assert_eq!(frames(limits, message.as_bytes(), 1), ["A a:b SIP/2.0 48"]);
    let longer = message.replacen("X: ", "X: 123", 1);
    assert_eq!(frames(limits, longer.as_bytes(), 64), ["513 head too long (40 octets)"]);
    assert_eq!(frames(limits, longer.as_bytes(), 1), ["513 head too long (40 octets)"]);
    assert_eq!(frames(limits, &[b'A'; 100], 1), ["513 head too long (40 octets)"]);
}

#[test]
fn pings_and_pongs() {
    check("\n\n", expect!["ping"]);
    check("\n", expect!["pong"]);
    check("\n\n\n\n", expect!["ping, ping"]);
    check(
        "\n\n\nA a:b SIP/2.0\nl: 0\n\n\n\nB a:b SIP/2.0\nl: 0\n\n\n",
        expect![["ping, pong, A a:b SIP/2.0 23, ping, B a:b SIP/2.0 23, pong"]],
    );
    assert_eq!(frames(LIMITS, b"\r\n\r\n", 1), ["pong", "ping"]);
    assert_eq!(frames(LIMITS, b"\r\n\r\n\r\n\r\n", 2), ["pong", "ping", "pong", "ping"]);
    assert_eq!(frames(LIMITS, b"\r\nA a:b SIP/2.0\r\nl: 0\r\n\r\n\r\n", 2), ["pong", "A a:b SIP/2.0 23", "pong"]);
    assert_eq!(frames(LIMITS, b"\r\n\n\0\0\n\rA a:b SIP/2.0\r\nl: 0\r\n\r\n", 1), ["pong", "A a:b SIP/2.0 23"]);
}

#[test]
fn line_ends_without_cr() {
    assert_eq!(
        frames(LIMITS, b"A a:b SIP/2.0\nl: 2\n\nhiB a:b SIP/2.0\nl: 0\n\n", 1),
        ["A a:b SIP/2.0 22", "B a:b SIP/2.0 20"]
    );
}

#[test]
fn what_is_no_sip() {
    check("\u{16}\u{3}\u{1}", expect!["400 not SIP (3 octets)"]);
    check("GET / HTTP/1.1\nHost: x\n\n", expect!["400 no Content-Length on a stream (27 octets)"]);
    check(" A a:b SIP/2.0\nl: 0\n\n", expect!["400 not SIP (24 octets)"]);
}

/// A framed message is one that can be read: nothing is left over and nothing is missing.
#[test]
fn framing_and_reading_agree() {
    let (mut index, mut both) = (super::Index::default(), 0);
    for case in all_cases() {
        let mut framer = StreamFramer::new(LIMITS);
        framer.push(&case.raw);
        while let Ok(Some(frame)) = framer.next() {
            let Frame::Message(message) = frame else { continue };
            if let Err(reject) = index.read(&message, true, &LIMITS) {
                assert!(!reject.problem.contains("Content-Length"), "{}: {}", case.name, reject.problem);
            }
            both += 1;
        }
    }
    assert!(both > 60, "{both}");
}
