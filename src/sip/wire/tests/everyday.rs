//! Messages as phones, servers and scanners send them, and what they do wrong.

use super::{Case, LIMITS, case};
use expect_test::{Expect, expect};

#[test]
fn read_as_they_should_be() {
    super::check(cases());
}

/// An everyday SUBSCRIBE with these header lines, in place of those of the same name that it has.
fn with(name: &'static str, lines: &[u8], expect: Expect) -> Case {
    let mut message = b"SUBSCRIBE sip:bob@example.com SIP/2.0\n".to_vec();
    for (header, value) in [
        ("Via", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1"),
        ("From", "<sip:ann@example.com>;tag=1"),
        ("To", "<sip:bob@example.com>"),
        ("Call-ID", "1@192.0.2.7"),
        ("CSeq", "1 SUBSCRIBE"),
        ("Max-Forwards", "70"),
    ] {
        let start = format!("{header}:");
        if !lines.split(|&byte| byte == b'\n').any(|line| line.starts_with(start.as_bytes())) {
            message.extend_from_slice(format!("{start} {value}\n").as_bytes());
        }
    }
    message.extend_from_slice(lines);
    if !lines.windows(2).any(|pair| pair == b"\n\n") {
        message.push(b'\n');
    }
    case(name, &message, expect)
}

/// A datagram with its line ends as they are.
fn datagram(name: &'static str, raw: &[u8], expect: Expect) -> Case {
    Case { name, raw: raw.to_vec(), stream: false, expect }
}

/// One framed message of a stream, its line ends as they are.
fn on_stream(name: &'static str, raw: &[u8], expect: Expect) -> Case {
    Case { name, raw: raw.to_vec(), stream: true, expect }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        // Names.
        case(
            "all names compact",
            b"SUBSCRIBE sip:bob@example.com SIP/2.0
v: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
f: <sip:ann@example.com>;tag=1
t: <sip:bob@example.com>
i: 1@192.0.2.7
CSeq: 1 SUBSCRIBE
m: <sip:ann@192.0.2.7>
o: presence
k: eventlist
u: presence, dialog
c: text/plain
e: gzip
l: 2

hi",
            expect!["SUBSCRIBE sip|bob|example.com contact: <sip|ann|192.0.2.7> event: presence supported: eventlist allow-events: presence, dialog encoding: gzip type: text/plain body: hi"],
        ),
        case(
            "mixed case",
            b"SUBSCRIBE sip:bob@example.com SIP/2.0
vIA: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
fROM: <sip:ann@example.com>;tag=1
TO: <sip:bob@example.com>
CALL-id: 1@192.0.2.7
cseq: 1 SUBSCRIBE
MAX-FORWARDS: 70
eVENT: dialog
ExPiReS: 60
aCCEPT: application/pidf+xml
subscription-STATE: active
sip-if-MATCH: x
SIP-etag: y

",
            expect!["SUBSCRIBE sip|bob|example.com event: dialog expires: 60 accept: application/pidf+xml state: active expires=None reason=none retry=None etag: y if-match: x"],
        ),
        case(
            "blanks before colons",
            b"SUBSCRIBE sip:bob@example.com SIP/2.0
Via : SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From\t: <sip:ann@example.com>;tag=1
To \t : <sip:bob@example.com>
Call-ID : 1@192.0.2.7
CSeq : 1 SUBSCRIBE
Max-Forwards : 70
Event : dialog
Content-Length : 5

12345",
            expect!["SUBSCRIBE sip|bob|example.com event: dialog body: 12345"],
        ),
        with(
            "names that are nearly known",
            b"Event-X: a
Events: b
X-Event: c
Even: d
E vent: e
Z: f
: g
",
            expect!["SUBSCRIBE sip|bob|example.com other: a, b, c, d, e, f, g"],
        ),
        with(
            "other compact names",
            b"a: *;audio
b: <sip:carol@example.com>
d: proxy
j: *;video
n: <https://example.com>
r: <sip:dave@example.com>
s: subject
x: 90
y: identity
",
            expect!["SUBSCRIBE sip|bob|example.com other: *;audio, <sip:carol@example.com>, proxy, *;video, <https://example.com>, <sip:dave@example.com>, subject, 90, identity"],
        ),
        with(
            "lines that are no headers are ignored",
            b"Event: dialog\nwhat is this\n=====\nExpires: 60\n",
            expect!["SUBSCRIBE sip|bob|example.com event: dialog expires: 60 other: what is this, ====="],
        ),
        with(
            "empty values",
            b"Event:\nExpires:\nAccept:\nSubject:\n",
            expect!["SUBSCRIBE sip|bob|example.com event: unreadable expires: unreadable"],
        ),
        with(
            "extension header with odd octets",
            b"X-Name: \x00\x01\xff\xfe\nEvent: dialog\n",
            expect![[r#"SUBSCRIBE sip|bob|example.com event: dialog other: \x00\x01\xff\xfe"#]],
        ),
        // Folds and blanks.
        with(
            "fold before everything",
            b"Contact:\n <sip:ann@192.0.2.7>\nEvent:\n\tdialog\n ;id\n =\n 7\nExpires:\n     600   \n",
            expect!["SUBSCRIBE sip|bob|example.com contact: <sip|ann|192.0.2.7> event: dialog;id=7 expires: 600"],
        ),
        with(
            "fold inside a quoted string",
            b"From: \"Ann\n Example\" <sip:ann@example.com>;tag=1\n",
            expect!["SUBSCRIBE sip|bob|example.com from: [Ann Example] <sip|ann|example.com>;tag=1"],
        ),
        with(
            "fold of blanks only",
            b"Contact: <sip:ann@192.0.2.7>\n   \nEvent: dialog\n",
            expect!["SUBSCRIBE sip|bob|example.com contact: <sip|ann|192.0.2.7> event: dialog"],
        ),
        with(
            "blanks behind values",
            b"Call-ID: 1@192.0.2.7 \t \nCSeq: 1   SUBSCRIBE  \nEvent: dialog  \n",
            expect!["SUBSCRIBE sip|bob|example.com event: dialog"],
        ),
        with(
            "blanks around = and ; of parameters",
            b"From: <sip:ann@example.com> ; tag = 1\nVia: SIP/2.0/UDP 192.0.2.7 ; branch = z9hG4bK1 ; rport\n",
            expect!["SUBSCRIBE sip|bob|example.com via: UDP 192.0.2.7;branch=z9hG4bK1;rport"],
        ),
        datagram(
            "line ends without CR",
            b"OPTIONS sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To:
 <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 OPTIONS
Content-Length: 2

hi",
            expect!["OPTIONS sip|bob|example.com body: hi"],
        ),
        case(
            "line ends before the message",
            b"


OPTIONS sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 OPTIONS

",
            expect!["OPTIONS sip|bob|example.com"],
        ),
        // Lists.
        with(
            "two Contacts in one line",
            b"Contact: <sip:ann@192.0.2.7>;expires=60, \"Ann, at home\" <sip:ann@192.0.2.8>\n",
            expect!["SUBSCRIBE sip|bob|example.com contact: <sip|ann|192.0.2.7>;expires=60, [Ann, at home] <sip|ann|192.0.2.8>"],
        ),
        with(
            "Contacts without brackets",
            b"Contact: sip:ann@192.0.2.7;expires=60 , sip:ann@192.0.2.8\n",
            expect!["SUBSCRIBE sip|bob|example.com contact: <sip|ann|192.0.2.7>;expires=60, <sip|ann|192.0.2.8>"],
        ),
        with(
            "empty elements",
            b"Accept: , application/pidf+xml,, ,text/plain ,\n",
            expect!["SUBSCRIBE sip|bob|example.com accept: application/pidf+xml, text/plain"],
        ),
        with(
            "lists over several lines",
            b"Accept: a/b, c/d
Accept: e/f
Allow-Events: dialog
Allow-Events: presence , message-summary
Supported: path,gruu
",
            expect!["SUBSCRIBE sip|bob|example.com accept: a/b, c/d, e/f supported: path, gruu allow-events: dialog, presence, message-summary"],
        ),
        with(
            "commas in quotes and brackets",
            b"Contact: \"a,\\\"b,c\" <sip:a,b@192.0.2.7>;x=\"1,2\", <sip:d,e@192.0.2.8>\n",
            expect![[r#"SUBSCRIBE sip|bob|example.com contact: [a,"b,c] <sip|a,b|192.0.2.7>;x="1,2", <sip|d,e|192.0.2.8>"#]],
        ),
        with(
            "a quote that never closes hides the rest",
            b"Contact: <sip:ann@192.0.2.7>, \"x <sip:b@192.0.2.8>, <sip:c@192.0.2.9>\n",
            expect!["SUBSCRIBE sip|bob|example.com contact: <sip|ann|192.0.2.7>, unreadable"],
        ),
        with(
            "route set",
            b"Route: <sip:p1.example.com;lr>,<sip:p2.example.com:5070;lr;transport=tcp>\nRoute: <sip:[2001:db8::1];lr>\nRecord-Route: <sip:10.0.0.1;lr;ftag=a>\n",
            expect!["SUBSCRIBE sip|bob|example.com route: <sip||p1.example.com||;lr>, <sip||p2.example.com|5070|;lr;transport=tcp>, <sip||[2001:db8::1]||;lr> record-route: <sip||10.0.0.1||;lr;ftag=a>"],
        ),
        with(
            "Vias in one line",
            b"Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1,SIP/2.0/TCP 10.0.0.1:5070;branch=z9hG4bK2\nVia: SIP/2.0/TLS [2001:db8::1]:5061;branch=z9hG4bK3\n",
            expect!["SUBSCRIBE sip|bob|example.com via: UDP 192.0.2.7;branch=z9hG4bK1, TCP 10.0.0.1:5070;branch=z9hG4bK2, TLS [2001:db8::1]:5061;branch=z9hG4bK3"],
        ),
        with(
            "a thousand commas",
            format!("Accept: {}a/b\n", ",".repeat(1000)).as_bytes(),
            expect!["SUBSCRIBE sip|bob|example.com accept: a/b"],
        ),
        // Via.
        with(
            "rport without and with a value",
            b"Via: SIP/2.0/UDP 192.0.2.7:5062;rport;branch=z9hG4bK1, SIP/2.0/UDP 10.0.0.1;rport=5060;received=10.0.0.9\n",
            expect!["SUBSCRIBE sip|bob|example.com via: UDP 192.0.2.7:5062;rport;branch=z9hG4bK1, UDP 10.0.0.1;rport=5060;received=10.0.0.9"],
        ),
        with(
            "unknown transport",
            b"Via: SIP/2.0/QUIC 192.0.2.7;branch=z9hG4bK1\n",
            expect!["SUBSCRIBE sip|bob|example.com via: QUIC 192.0.2.7;branch=z9hG4bK1"],
        ),
        with(
            "transport in small letters",
            b"Via: sip/2.0/udp 192.0.2.7;branch=z9hG4bK1\n",
            expect!["SUBSCRIBE sip|bob|example.com via: udp 192.0.2.7;branch=z9hG4bK1"],
        ),
        with(
            "WebSocket with an invalid host",
            b"Via: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK1;rport\n",
            expect!["SUBSCRIBE sip|bob|example.com via: WSS df7jal23ls0d.invalid;branch=z9hG4bK1;rport"],
        ),
        with(
            "blanks around the port",
            b"Via: SIP/2.0/UDP example.com : 5070 ;branch=z9hG4bK1\n",
            expect!["SUBSCRIBE sip|bob|example.com via: UDP example.com:5070;branch=z9hG4bK1"],
        ),
        with(
            "IPv6 with a port",
            b"Via: SIP/2.0/UDP [2001:db8::9:1]:5062;branch=z9hG4bK1\n",
            expect!["SUBSCRIBE sip|bob|example.com via: UDP [2001:db8::9:1]:5062;branch=z9hG4bK1"],
        ),
        with(
            "host with underscore",
            b"Via: SIP/2.0/UDP my_phone-1.lan.;branch=z9hG4bK1\n",
            expect!["SUBSCRIBE sip|bob|example.com via: UDP my_phone-1.lan.;branch=z9hG4bK1"],
        ),
        with(
            "Via without a host",
            b"Via: SIP/2.0/UDP ;branch=z9hG4bK1\n",
            expect!["drop (400): unreadable Via"],
        ),
        with(
            "Via with a port too large",
            b"Via: SIP/2.0/UDP 192.0.2.7:65536;branch=z9hG4bK1\n",
            expect!["drop (400): unreadable Via"],
        ),
        with(
            "Via of one word",
            b"Via: nonsense\n",
            expect!["drop (400): unreadable Via"],
        ),
        with(
            "a malformed Via below a good one",
            b"Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\nVia: SIP/2.0\n",
            expect!["400 unreadable Via below the first"],
        ),
        with(
            "empty branch",
            b"Via: SIP/2.0/UDP 192.0.2.7;branch=;branch\n",
            expect!["SUBSCRIBE sip|bob|example.com via: UDP 192.0.2.7;branch;branch"],
        ),
        // Addresses and URIs.
        with(
            "Contact of a dotted user",
            b"Contact: <sip:john.doe-1+x@192.0.2.7>\n",
            expect!["SUBSCRIBE sip|bob|example.com contact: <sip|john.doe-1+x|192.0.2.7>"],
        ),
        with(
            "percent in the user of a Contact",
            b"Contact: <sip:a%40b%25c@192.0.2.7:5062>\n",
            expect!["SUBSCRIBE sip|bob|example.com contact: <sip|a%40b%25c|192.0.2.7|5062>"],
        ),
        with(
            "user with all that may stand in it",
            b"Contact: <sip:a;b=c?d/e&f=g+h$i,j@192.0.2.7;x=y>\n",
            expect!["SUBSCRIBE sip|bob|example.com contact: <sip|a;b=c?d/e&f=g+h$i,j|192.0.2.7||;x=y>"],
        ),
        with(
            "star codes and hashes",
            b"Contact: <sip:*97@192.0.2.7>, <sip:%23100@192.0.2.7>, <sip:#100@192.0.2.7>\n",
            expect!["SUBSCRIBE sip|bob|example.com contact: <sip|*97|192.0.2.7>, <sip|%23100|192.0.2.7>, <sip|#100|192.0.2.7>"],
        ),
        with(
            "password",
            b"Contact: <sip:ann:secret:more@192.0.2.7>\n",
            expect!["SUBSCRIBE sip|bob|example.com contact: <sip|ann|192.0.2.7>"],
        ),
        with(
            "URI headers",
            b"Contact: <sip:ann@192.0.2.7?Replaces=1%40x%3Bto-tag%3D2&Subject=a%20b>, <sip:192.0.2.7;lr?a=b;c?d>\n",
            expect!["SUBSCRIBE sip|bob|example.com contact: <sip|ann|192.0.2.7|||Replaces=1%40x%3Bto-tag%3D2&Subject=a%20b>, <sip||192.0.2.7||;lr|a=b;c?d>"],
        ),
        with(
            "pub-gruu and instance",
            b"Contact: <sip:ann@192.0.2.7;ob>;+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\";pub-gruu=\"sip:ann@example.com;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6\";reg-id=1\n",
            expect![[r#"SUBSCRIBE sip|bob|example.com contact: <sip|ann|192.0.2.7||;ob>;+sip.instance="<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>";pub-gruu="sip:ann@example.com;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";reg-id=1"#]],
        ),
        case(
            "request to a GRUU",
            b"NOTIFY sip:ann@example.com;gr=kjh29x97us97d;ob SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 NOTIFY

",
            expect!["NOTIFY sip|ann|example.com||;gr=kjh29x97us97d;ob"],
        ),
        case(
            "tel URIs",
            b"SUBSCRIBE tel:+1-201-555-0123;phone-context=example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <tel:7042;phone-context=example.com>;tag=1
To: tel:+1-201-555-0123
Call-ID: 1@192.0.2.7
CSeq: 1 SUBSCRIBE

",
            expect!["SUBSCRIBE tel|+1-201-555-0123|||;phone-context=example.com from: <tel|7042|||;phone-context=example.com>;tag=1 to: <tel|+1-201-555-0123>"],
        ),
        case(
            "pres and im URIs",
            b"SUBSCRIBE pres:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <im:ann@example.com>;tag=1
To: <PRES:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 SUBSCRIBE

",
            expect!["SUBSCRIBE pres|bob|example.com from: <im|ann|example.com>;tag=1 to: <pres|bob|example.com>"],
        ),
        case(
            "urn and sips URIs",
            b"SUBSCRIBE urn:service:sos SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <SIPS:ann@example.com:5061>;tag=1
To: <urn:service:sos>
Call-ID: 1@192.0.2.7
CSeq: 1 SUBSCRIBE

",
            expect!["SUBSCRIBE urn|urn:service:sos from: <sips|ann|example.com|5061>;tag=1 to: <urn|urn:service:sos>"],
        ),
        case(
            "IPv6 everywhere",
            b"SUBSCRIBE sip:bob@[2001:db8::2]:5070;transport=tcp SIP/2.0
Via: SIP/2.0/TCP [2001:db8::1]:5062;branch=z9hG4bK1
From: sip:ann@[2001:db8::1];tag=1
To: sip:bob@[2001:db8::2]
Call-ID: 1@[2001:db8::1]
CSeq: 1 SUBSCRIBE
Contact: <sip:[2001:DB8::1]:5062>, <sip:ann@[fe80::1%25eth0]>

",
            expect!["SUBSCRIBE sip|bob|[2001:db8::2]|5070|;transport=tcp via: TCP [2001:db8::1]:5062;branch=z9hG4bK1 from: <sip|ann|[2001:db8::1]>;tag=1 to: <sip|bob|[2001:db8::2]> call: 1@[2001:db8::1] contact: <sip||[2001:DB8::1]|5062>, <unreadable>"],
        ),
        with(
            "UTF-8 name",
            b"From: \"J\xc3\xb6rg M\xc3\xbcller\" <sip:ann@example.com>;tag=1\n",
            expect!["SUBSCRIBE sip|bob|example.com from: [Jörg Müller] <sip|ann|example.com>;tag=1"],
        ),
        with(
            "Latin-1 name",
            b"From: \"J\xf6rg\" <sip:ann@example.com>;tag=1\nEvent: dialog\n",
            expect!["SUBSCRIBE sip|bob|example.com from: [J�rg] <sip|ann|example.com>;tag=1 event: dialog"],
        ),
        with(
            "name of several words",
            b"From: Ann B. Example <sip:ann@example.com>;tag=1\nTo: Bob<sip:bob@example.com>\n",
            expect!["SUBSCRIBE sip|bob|example.com from: [Ann B. Example] <sip|ann|example.com>;tag=1 to: [Bob] <sip|bob|example.com>"],
        ),
        with(
            "quoted name with everything in it",
            b"From: \"a \\\"b\\\" <sip:x@y>;tag=9, c\\\\\" <sip:ann@example.com>;tag=1\n",
            expect![[r#"SUBSCRIBE sip|bob|example.com from: [a "b" <sip:x@y>;tag=9, c\\] <sip|ann|example.com>;tag=1"#]],
        ),
        with(
            "header parameters in quotes",
            b"Contact: <sip:ann@192.0.2.7>;a=\";tag=9,<>\";b=\"x\\\"y\";c\n",
            expect![[r#"SUBSCRIBE sip|bob|example.com contact: <sip|ann|192.0.2.7>;a=";tag=9,<>";b="x\"y";c"#]],
        ),
        with(
            "no brackets: parameters are the header's",
            b"From: sip:ann@example.com;tag=1;user=phone\nTo: sip:bob@example.com\n",
            expect!["SUBSCRIBE sip|bob|example.com from: <sip|ann|example.com>;tag=1;user=phone"],
        ),
        with(
            "Contact of all",
            b"Contact: *\n",
            expect!["SUBSCRIBE sip|bob|example.com contact: *"],
        ),
        with(
            "no tag in From",
            b"From: <sip:ann@example.com>\n",
            expect!["SUBSCRIBE sip|bob|example.com from: <sip|ann|example.com>"],
        ),
        with(
            "tag without a value",
            b"From: <sip:ann@example.com>;tag\n",
            expect!["400 unreadable From"],
        ),
        with(
            "tag that is no token",
            b"From: <sip:ann@example.com>;tag=\"1\"\n",
            expect!["400 unreadable From"],
        ),
        with(
            "garbage behind brackets",
            b"To: <sip:bob@example.com> bob\n",
            expect!["400 unreadable To"],
        ),
        with(
            "bracket that never closes",
            b"To: <sip:bob@example.com\n",
            expect!["400 unreadable To"],
        ),
        with(
            "no scheme",
            b"To: bob@example.com\n",
            expect!["400 unreadable To"],
        ),
        with(
            "empty To",
            b"To:\n",
            expect!["400 unreadable To"],
        ),
        with(
            "URIs that cannot be read",
            b"Contact: <sip:>, <sip:a@>, <sip:a@b@c>, <sip:a@b:0>, <sip:a@b:x>, <sip:a@[::1>, <sip:a@b c>, <sip:a@b!>, <:a@b>, <>\n",
            expect!["SUBSCRIBE sip|bob|example.com contact: <unreadable>, <unreadable>, <unreadable>, <unreadable>, <unreadable>, <unreadable>, unreadable, <unreadable>, unreadable, unreadable"],
        ),
        case(
            "no user",
            b"REGISTER sip:example.com:5070;transport=udp SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 REGISTER

",
            expect!["REGISTER sip||example.com|5070|;transport=udp from: <sip||example.com>;tag=1"],
        ),
        // Events.
        with(
            "BLF subscription",
            b"Event: dialog;sla;include-session-description ; call-id=\"a;b\" ; ID=7\nExpires: 3600\nAccept: application/dialog-info+xml;q=0.9;x=y, application/* ; q=0.123 , */*;q=0, a / b\nSupported: eventlist\n",
            expect![[r#"SUBSCRIBE sip|bob|example.com event: dialog;sla;include-session-description;call-id="a;b";ID=7 expires: 3600 accept: application/dialog-info+xml(900), application/*(123), */*(0), a / b supported: eventlist"#]],
        ),
        with(
            "winfo template",
            b"Event: presence.winfo.winfo\n",
            expect!["SUBSCRIBE sip|bob|example.com event: presence.winfo.winfo"],
        ),
        with(
            "seconds with comment or parameters",
            b"Expires: 60 (a minute)\nRetry-After: 18000;duration=3600\nMin-Expires: 00600\n",
            expect!["SUBSCRIBE sip|bob|example.com expires: 60 min-expires: 600 retry-after: 18000"],
        ),
        with(
            "seconds that are none",
            b"Expires: 60s\nRetry-After: -1\nMin-Expires: soon\n",
            expect!["SUBSCRIBE sip|bob|example.com expires: unreadable min-expires: unreadable retry-after: unreadable"],
        ),
        with(
            "seconds beyond measure",
            b"Expires: 99999999999999999999999999\n",
            expect!["SUBSCRIBE sip|bob|example.com expires: 4294967295"],
        ),
        with(
            "media ranges that cannot be read",
            b"Accept: text, /, a/, *, a/b;q=x, a/b;q=2, a/b;q=.5, a/b;q=1.0\n",
            expect!["SUBSCRIBE sip|bob|example.com accept: unreadable, unreadable, unreadable, *, a/b, a/b, a/b(500), a/b"],
        ),
        with(
            "states of a subscription",
            b"Subscription-State: terminated ; reason=noresource;retry-after=30\n",
            expect!["SUBSCRIBE sip|bob|example.com state: terminated expires=None reason=noresource retry=Some(30)"],
        ),
        with(
            "active state",
            b"Subscription-State: active;expires=599\n",
            expect!["SUBSCRIBE sip|bob|example.com state: active expires=Some(599) reason=none retry=None"],
        ),
        with(
            "two Events",
            b"Event: dialog\no: presence\n",
            expect!["400 more than one Event"],
        ),
        with(
            "two Max-Forwards",
            b"Max-Forwards: 70\nMax-Forwards: 70\n",
            expect!["400 more than one Max-Forwards"],
        ),
        with(
            "Max-Forwards that is none",
            b"Max-Forwards: seventy\n",
            expect!["400 unreadable Max-Forwards"],
        ),
        with(
            "no Max-Forwards",
            b"Max-Forwards-X: 1\nEvent: dialog\n",
            expect!["SUBSCRIBE sip|bob|example.com event: dialog other: 1"],
        ),
        case(
            "publication with a body",
            br#"PUBLISH sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 PUBLISH
Event: presence
SIP-If-Match: dx200xyz
Content-Type: application/pidf+xml;charset="UTF-8"
Content-Length: 11

<presence/>"#,
            expect!["PUBLISH sip|bob|example.com event: presence if-match: dx200xyz type: application/pidf+xml body: <presence/>"],
        ),
        case(
            "response to it",
            b"SIP/2.0 200 OK
Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1;received=192.0.2.9
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>;tag=2
Call-ID: 1@192.0.2.7
CSeq: 1 PUBLISH
SIP-ETag: ftg2021
Expires: 3600
Content-Length: 0

",
            expect!["200 to PUBLISH via: UDP 192.0.2.7:5060;branch=z9hG4bK1;received=192.0.2.9 to: <sip|bob|example.com>;tag=2 expires: 3600 etag: ftg2021"],
        ),
        // Methods and start lines.
        case(
            "unknown method",
            b"BENOTIFY sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 BENOTIFY

",
            expect!["BENOTIFY sip|bob|example.com"],
        ),
        case(
            "methods are told apart by case",
            b"subscribe sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 subscribe

",
            expect!["subscribe sip|bob|example.com"],
        ),
        case(
            "version in small letters",
            b"OPTIONS sip:bob@example.com sip/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 OPTIONS

",
            expect!["OPTIONS sip|bob|example.com"],
        ),
        case(
            "later version",
            b"OPTIONS sip:bob@example.com SIP/2.1
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 OPTIONS

",
            expect!["505 version of SIP not 2.0"],
        ),
        case(
            "another protocol",
            b"GET sip:bob@example.com HTTP/1.1
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 GET

",
            expect!["400 start line without a version"],
        ),
        case(
            "no version",
            b"OPTIONS sip:bob@example.com
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 OPTIONS

",
            expect!["400 start line without a version"],
        ),
        case(
            "no URI",
            b"OPTIONS SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 OPTIONS

",
            expect!["400 unreadable Request-URI"],
        ),
        case(
            "method that is no token",
            b"OPT(IONS) sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 OPT(IONS)

",
            expect!["drop: unreadable start line"],
        ),
        case(
            "tabs between",
            b"OPTIONS\tsip:bob@example.com\tSIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 OPTIONS

",
            expect!["OPTIONS sip|bob|example.com"],
        ),
        case(
            "ACK without a To tag",
            b"ACK sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 ACK

",
            expect!["ACK sip|bob|example.com"],
        ),
        case(
            "R-URI with an unreadable port",
            b"OPTIONS sip:bob@example.com:http SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 OPTIONS

",
            expect!["400 unreadable Request-URI"],
        ),
        case(
            "ACK with an unreadable To",
            b"ACK sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: nobody
Call-ID: 1@192.0.2.7
CSeq: 1 ACK

",
            expect!["drop: unreadable To"],
        ),
        case(
            "response without a phrase",
            b"SIP/2.0 481
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 NOTIFY

",
            expect!["481 to NOTIFY"],
        ),
        case(
            "response of another version",
            b"SIP/3.0 200 OK
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 NOTIFY

",
            expect!["drop: unreadable status line"],
        ),
        case(
            "status of two digits",
            b"SIP/2.0 20 OK
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 NOTIFY

",
            expect!["drop: unreadable status line"],
        ),
        case(
            "status below 100",
            b"SIP/2.0 099 OK
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 NOTIFY

",
            expect!["drop: unreadable status line"],
        ),
        case(
            "status above 699",
            b"SIP/2.0 700 OK
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 NOTIFY

",
            expect!["drop: unreadable status line"],
        ),
        case(
            "status with a sign",
            b"SIP/2.0 +20 OK
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 NOTIFY

",
            expect!["drop: unreadable status line"],
        ),
        with(
            "CSeq at the limit",
            b"CSeq: 2147483647 SUBSCRIBE\n",
            expect!["SUBSCRIBE sip|bob|example.com #2147483647"],
        ),
        with(
            "CSeq beyond the limit",
            b"CSeq: 2147483648 SUBSCRIBE\n",
            expect!["400 unreadable CSeq"],
        ),
        with(
            "CSeq without a method",
            b"CSeq: 1\n",
            expect!["400 unreadable CSeq"],
        ),
        with(
            "Call-ID with a blank",
            b"Call-ID: 1 2\n",
            expect!["400 unreadable Call-ID"],
        ),
        case(
            "folded start line",
            b"OPTIONS sip:bob@example.com
 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 OPTIONS

",
            expect!["drop (400): start line without a version"],
        ),
        case(
            "blanks before the first header",
            b"OPTIONS sip:bob@example.com SIP/2.0
  Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1
From: <sip:ann@example.com>;tag=1
To: <sip:bob@example.com>
Call-ID: 1@192.0.2.7
CSeq: 1 OPTIONS

",
            expect!["drop (400): folded start line"],
        ),
        // Bodies.
        with(
            "no Content-Length: the rest of the datagram",
            b"Event: dialog\n\nall of it",
            expect!["SUBSCRIBE sip|bob|example.com event: dialog body: all of it"],
        ),
        with(
            "Content-Length cuts",
            b"Content-Length: 2\n\n12345",
            expect!["SUBSCRIBE sip|bob|example.com body: 12"],
        ),
        with(
            "Content-Length too large by one",
            b"Content-Length: 6\n\n12345",
            expect!["400 Content-Length does not fit the message"],
        ),
        with(
            "Content-Length twice the same",
            b"Content-Length: 5\nl: 5\n\n12345",
            expect!["SUBSCRIBE sip|bob|example.com body: 12345"],
        ),
        with(
            "Content-Length twice, not the same",
            b"Content-Length: 5\nl: 4\n\n12345",
            expect!["400 conflicting Content-Lengths"],
        ),
        with(
            "Content-Length folded",
            b"Content-Length:\n 5\n\n12345",
            expect!["SUBSCRIBE sip|bob|example.com body: 12345"],
        ),
        with(
            "Content-Length of nothing",
            b"Content-Length:\n\n12345",
            expect!["400 unreadable Content-Length"],
        ),
        with(
            "Content-Length with a sign",
            b"Content-Length: +5\n\n12345",
            expect!["400 unreadable Content-Length"],
        ),
        with(
            "Content-Length beyond 64 bits",
            b"Content-Length: 18446744073709551621\n\n12345",
            expect!["400 Content-Length does not fit the message"],
        ),
        with(
            "body that is not UTF-8",
            b"Content-Type: application/x-thing\nContent-Length: 5\n\n\xff\xfe\x00\xe9\x80",
            expect![[r#"SUBSCRIBE sip|bob|example.com type: application/x-thing body: \xff\xfe\x00\xe9\x80"#]],
        ),
        with(
            "body that looks like a head",
            b"Content-Length: 25\n\nContent-Length: 0\n\nEvent",
            expect![[r#"SUBSCRIBE sip|bob|example.com body: Content-Length: 0\r\n\r\nEven"#]],
        ),
        datagram(
            "head without an end",
            b"OPTIONS sip:bob@example.com SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n\
From: <sip:ann@example.com>;tag=1\r\n\
To: <sip:bob@example.com>\r\n\
Call-ID: 1@192.0.2.7\r\nCSeq: 1 OPTIONS\r\n",
            expect!["400 head does not end"],
        ),
        datagram(
            "head cut after the first header",
            b"OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n",
            expect!["drop (400): head does not end"],
        ),
        datagram(
            "start line only",
            b"OPTIONS sip:bob@example.com SIP/2.0\r\n\r\n",
            expect!["drop (400): not exactly one From"],
        ),
        datagram(
            "half a start line",
            b"OPTIONS sip:bob@",
            expect!["drop: start line does not end"],
        ),
        datagram(
            "one word",
            b"hello\r\n\r\n",
            expect!["drop: start line of one word"],
        ),
        // What keeps bindings open, and what is no SIP.
        datagram(
            "keep-alive of line ends",
            b"\r\n\r\n",
            expect!["drop: start line does not end"],
        ),
        datagram(
            "keep-alive of nothing",
            b"",
            expect!["drop: start line does not end"],
        ),
        datagram(
            "keep-alive of NULs",
            b"\x00\x00\x00\x00",
            expect!["drop: start line does not end"],
        ),
        datagram(
            "STUN",
            b"\x00\x01\x00\x00!\x12\xa4Babcdefghijkl",
            expect!["drop: start line does not end"],
        ),
        datagram(
            "RTP",
            b"\x80\x00\x124\x00\x00\n\xa0payload\n\n",
            expect!["drop: start line of one word"],
        ),
        datagram(
            "TLS hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
            expect!["drop: start line of one word"],
        ),
        // On streams.
        on_stream(
            "stream without Content-Length",
            b"OPTIONS sip:bob@example.com SIP/2.0\r\n\
Via: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK1\r\n\
From: <sip:ann@example.com>;tag=1\r\n\
To: <sip:bob@example.com>\r\n\
Call-ID: 1@192.0.2.7\r\n\
CSeq: 1 OPTIONS\r\n\r\n",
            expect!["400 no Content-Length on a stream"],
        ),
        on_stream(
            "stream with it",
            b"OPTIONS sip:bob@example.com SIP/2.0\r\n\
Via: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK1\r\n\
From: <sip:ann@example.com>;tag=1\r\n\
To: <sip:bob@example.com>\r\n\
Call-ID: 1@192.0.2.7\r\n\
CSeq: 1 OPTIONS\r\n\
Content-Length : 5\r\n\r\n12345",
            expect!["OPTIONS sip|bob|example.com via: TCP 192.0.2.7;branch=z9hG4bK1 body: 12345"],
        ),
        on_stream(
            "stream with more than it says",
            b"OPTIONS sip:bob@example.com SIP/2.0\r\n\
Via: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK1\r\n\
From: <sip:ann@example.com>;tag=1\r\n\
To: <sip:bob@example.com>\r\n\
Call-ID: 1@192.0.2.7\r\n\
CSeq: 1 OPTIONS\r\n\
Content-Length: 4\r\n\r\n12345",
            expect!["400 Content-Length does not fit the message"],
        ),
        // Bounds.
        with("as many headers as there may be", &b"X:\n".repeat(LIMITS.headers - 6), expect!["SUBSCRIBE sip|bob|example.com"]),
        with("one header more", &b"X:\n".repeat(LIMITS.headers - 5), expect!["400 too many header lines"]),
        with(
            "a head of just the length allowed",
            format!("Contact: <sip:{}>\n", "y".repeat(LIMITS.head - 223)).as_bytes(),
            expect!["SUBSCRIBE sip|bob|example.com contact: 1 of 16168 octets"],
        ),
        with(
            "a head one octet longer",
            format!("Contact: <sip:{}>\n", "y".repeat(LIMITS.head - 222)).as_bytes(),
            expect!["513 head too long"],
        ),
        with("a body of just the length allowed", format!("Event: dialog\n\n{}", "y".repeat(LIMITS.body)).as_bytes(), expect!["SUBSCRIBE sip|bob|example.com event: dialog body: 262144 octets"]),
        with("a body one octet longer", format!("Event: dialog\n\n{}", "y".repeat(LIMITS.body + 1)).as_bytes(), expect!["413 body too long"]),
    ]
}
