//! What is read, from messages of RFC 4475, RFC 5118 and everyday life; then framing, hostile input and writing.

mod everyday;
mod frames;
mod hostile;
mod parts;
mod rfc4475;
mod rfc5118;
mod writing;

use super::*;
use expect_test::Expect;
use std::fmt::Write;

/// The limits of these tests, those of a default configuration.
pub(super) const LIMITS: Limits = Limits { head: 16 * 1024, headers: 128, body: 256 * 1024 };

/// One row of a table.
pub(super) struct Case {
    name: &'static str,
    raw: Vec<u8>,
    stream: bool,
    expect: Expect,
}

/// A datagram with each line feed made a CRLF.
pub(super) fn case(name: &'static str, message: &[u8], expect: Expect) -> Case {
    let mut raw = Vec::new();
    for &byte in message {
        if byte == b'\n' {
            raw.push(b'\r');
        }
        raw.push(byte);
    }
    Case { name, raw, stream: false, expect }
}

/// The same with a body that stays as it is.
pub(super) fn with_octets(name: &'static str, head: &[u8], body: &[u8], expect: Expect) -> Case {
    let mut case = case(name, head, expect);
    case.raw.extend_from_slice(body);
    case
}

/// All tables: for tests that want many messages.
pub(super) fn all_cases() -> impl Iterator<Item = Case> {
    rfc4475::cases().into_iter().chain(rfc5118::cases()).chain(everyday::cases())
}

fn check(cases: Vec<Case>) {
    let mut index = Index::default();
    for case in cases {
        eprintln!("{}", case.name);
        case.expect.assert_eq(&summary(&mut index, &case.raw, case.stream));
    }
}

/// One line that says what has been read: start line, who, and the headers that events need.
pub(super) fn summary(index: &mut Index, raw: &[u8], stream: bool) -> String {
    let read = index.read(raw, stream, &LIMITS);
    match read.and_then(|message| Ok((message, message.essentials()?))) {
        Err(Reject { status: Some(status), problem, message: Some(_) }) => format!("{status} {problem}"),
        Err(Reject { status, problem, .. }) => {
            format!("drop{}: {problem}", status.map_or(String::new(), |status| format!(" ({status})")))
        }
        Ok((message, essentials)) => describe(&message, &essentials),
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'").replace("\\\\", "\\")
}

/// `scheme|user|host|port|params|headers`, without what is empty at the end.
fn uri(raw: &[u8]) -> String {
    let Some(uri) = Uri::read(raw) else { return "unreadable".into() };
    let fields = [
        format!("{:?}", uri.scheme).to_lowercase(),
        if uri.scheme == Scheme::Other || uri.scheme == Scheme::Urn { show(uri.raw) } else { show(uri.user) },
        show(uri.host),
        uri.port.map_or(String::new(), |port| port.to_string()),
        params(&uri.params),
        show(uri.headers),
    ];
    fields.join("|").trim_end_matches('|').to_owned()
}

fn params(params: &Params<'_>) -> String {
    let one = |(name, value): (&[u8], &[u8])| match value {
        [] => format!(";{}", show(name)),
        _ => format!(";{}={}", show(name), show(value)),
    };
    params.iter().map(one).collect()
}

/// `[display] <uri>;params`.
fn address(raw: &[u8]) -> String {
    if raw == b"*" {
        return "*".into();
    }
    let Some(address) = NameAddr::read(raw) else { return "unreadable".into() };
    let display = match text(address.display) {
        display if display.is_empty() => String::new(),
        display => format!("[{}] ", display.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")),
    };
    format!("{display}<{}>{}", uri(address.uri), params(&address.params))
}

fn via(raw: &[u8]) -> String {
    let Some(via) = Via::read(raw) else { return "unreadable".into() };
    let port = via.port.map_or(String::new(), |port| format!(":{port}"));
    format!("{} {}{port}{}", show(via.transport), show(via.host), params(&via.params))
}

fn describe(message: &Message<'_>, essentials: &Essentials<'_>) -> String {
    let mut out = String::new();
    match message.start() {
        Start::Request { method, uri: to } => write!(out, "{} {}", show(method), uri(to)).unwrap(),
        Start::Response { status } => {
            write!(out, "{status} to {}", show(essentials.cseq_method)).unwrap();
        }
    }
    if essentials.cseq != 1 {
        write!(out, " #{}", essentials.cseq).unwrap();
    }
    let mut field = |name: &str, values: Vec<String>, usual: &str| {
        let (count, values) = (values.len(), values.join(", "));
        if values.len() > 1000 {
            write!(out, " {name}: {count} of {} octets", values.len()).unwrap();
        } else if !values.is_empty() && values != usual {
            write!(out, " {name}: {values}").unwrap();
        }
    };
    field("via", message.list(Name::Via).map(via).collect(), "UDP 192.0.2.7;branch=z9hG4bK1");
    field("from", message.first(Name::From).map(address).into_iter().collect(), "<sip|ann|example.com>;tag=1");
    field("to", message.first(Name::To).map(address).into_iter().collect(), "<sip|bob|example.com>");
    field("call", vec![show(essentials.call_id)], "1@192.0.2.7");
    field("hops", essentials.max_forwards.map(|hops| hops.to_string()).into_iter().collect(), "70");
    field("contact", message.list(Name::Contact).map(address).collect(), "");
    field("route", message.list(Name::Route).map(address).collect(), "");
    field("record-route", message.list(Name::RecordRoute).map(address).collect(), "");
    let event = |value| match Event::read(value) {
        Some(event) => format!("{}{}", show(event.package), params(&event.params)),
        None => "unreadable".into(),
    };
    field("event", message.all(Name::Event).map(event).collect(), "");
    let number = |value| seconds(value).map_or("unreadable".into(), |seconds| seconds.to_string());
    for (name, label) in
        [(Name::Expires, "expires"), (Name::MinExpires, "min-expires"), (Name::RetryAfter, "retry-after")]
    {
        field(label, message.all(name).map(number).collect(), "");
    }
    let range = |value| match MediaRange::read(value) {
        Some(MediaRange { kind, q: 1000 }) => show(kind),
        Some(MediaRange { kind, q }) => format!("{}({q})", show(kind)),
        None => "unreadable".into(),
    };
    field("accept", message.list(Name::Accept).map(range).collect(), "");
    for (name, label) in [
        (Name::Supported, "supported"),
        (Name::Require, "require"),
        (Name::ProxyRequire, "proxy-require"),
        (Name::AllowEvents, "allow-events"),
        (Name::Allow, "allow"),
    ] {
        field(label, message.list(name).map(show).collect(), "");
    }
    let state = |value| match subscription_state(value) {
        Some(state) => format!(
            "{} expires={:?} reason={} retry={:?}",
            show(state.state),
            state.expires,
            state.reason.map_or("none".into(), show),
            state.retry_after
        ),
        None => "unreadable".into(),
    };
    field("state", message.all(Name::SubscriptionState).map(state).collect(), "");
    for (name, label) in [
        (Name::SipETag, "etag"),
        (Name::SipIfMatch, "if-match"),
        (Name::ContentEncoding, "encoding"),
        (Name::UserAgent, "agent"),
        (Name::Authorization, "authorization"),
        (Name::Other, "other"),
    ] {
        field(label, message.all(name).map(show).filter(|it| !it.is_empty()).collect(), "");
    }
    field("type", message.first(Name::ContentType).map(|it| show(media_type(it))).into_iter().collect(), "");
    let body = message.body();
    if !body.is_empty() {
        write!(out, " body: {}", if body.len() > 40 { format!("{} octets", body.len()) } else { show(body) }).unwrap();
    }
    out
}
