//! What is written stays within its line, and reads back.

use super::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn status_lines() {
    assert_eq!(written(|out| write::status_line(out, 200)), "SIP/2.0 200 OK\r\n");
    assert_eq!(written(|out| write::status_line(out, 202)), "SIP/2.0 202 Accepted\r\n");
    assert_eq!(written(|out| write::status_line(out, 481)), "SIP/2.0 481 Call/Transaction Does Not Exist\r\n");
    assert_eq!(written(|out| write::status_line(out, 489)), "SIP/2.0 489 Bad Event\r\n");
    assert_eq!(written(|out| write::status_line(out, 599)), "SIP/2.0 599 Server Failure\r\n");
}

/// RFC 3261 section 7.2: a phrase is text, and every status has one.
#[test]
fn every_status_reads_back() {
    let mut index = Index::default();
    for status in 100..700 {
        assert!(!write::phrase(status).is_empty());
        let mut out = Vec::new();
        write::status_line(&mut out, status);
        out.extend_from_slice(b"\r\n");
        let message = index.read(&out, false, &LIMITS).unwrap();
        assert_eq!(message.start(), Start::Response { status });
    }
}

#[test]
fn values_stay_in_their_line() {
    for (value, expected) in [
        (&b"plain"[..], "plain"),
        (b"folded\r\n  value", "folded value"),
        (b"folded \t \r\n\t value\n more", "folded value more"),
        (b"a\r\nVia: injected", "a Via: injected"),
        (b"a\r\n\r\n\r\nbody", "a body"),
        (b"a\0b\rc\nd", "a b c d"),
        (b"\r\na\r\n", "a"),
        (b"\r\n\0", ""),
        (b"", ""),
        (b"two  blanks", "two  blanks"),
    ] {
        assert_eq!(written(|out| write::value(out, value)), expected, "{value:?}");
        assert_eq!(written(|out| write::header(out, "X", value)), format!("X: {expected}\r\n"));
    }
    assert_eq!(written(|out| write::value(out, b"\xe9\xff")), "\u{fffd}\u{fffd}");
    let mut out = b"kept  ".to_vec();
    write::value(&mut out, b"\r\n x");
    assert_eq!(out, b"kept  x", "what was there before is not touched");
}

#[test]
fn numbers() {
    for number in [0, 7, 10, 4_294_967_296, u64::MAX] {
        assert_eq!(written(|out| write::number(out, number)), number.to_string());
    }
}

#[test]
fn quoted_strings_read_back() {
    for (name, expected) in [
        ("Ann", r#""Ann""#),
        (r#"a "b" \c"#, r#""a \"b\" \\c""#),
        ("a\r\nVia: x\0", r#""a  Via: x ""#),
        ("Jörg", r#""Jörg""#),
        ("", r#""""#),
    ] {
        let quoted = written(|out| write::quoted(out, name.as_bytes()));
        assert_eq!(quoted, expected);
        let value = format!("{quoted} <sip:a@b>;tag=1");
        let address = NameAddr::read(value.as_bytes()).unwrap();
        assert_eq!(text(address.display), name.replace(['\r', '\n', '\0'], " "));
    }
}

#[test]
fn ranges_match_types() {
    for (range, content_type, expected) in [
        ("application/pidf+xml", "application/pidf+xml", true),
        ("APPLICATION / PIDF+xml;q=0.1", "application/pidf+xml", true),
        ("application/*", "application/pidf+xml", true),
        ("*/*", "text/plain", true),
        ("*", "text/plain", true),
        ("text/*", "application/pidf+xml", false),
        ("application/pidf", "application/pidf+xml", false),
    ] {
        let matches = MediaRange::read(range.as_bytes()).unwrap().matches(content_type);
        assert_eq!(matches, expected, "{range} and {content_type}");
    }
}
