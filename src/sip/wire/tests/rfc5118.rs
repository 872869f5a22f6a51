//! Every message of RFC 5118 (SIP Torture Test Messages for IPv6), section 4, as datagrams. Content-Lengths are those
//! of the bodies as they stand here.

use super::{Case, case};
use expect_test::expect;

#[test]
fn read_as_they_should_be() {
    super::check(cases());
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "4.1 ipv6-good",
            br#"REGISTER sip:[2001:db8::10] SIP/2.0
To: sip:user@example.com
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111
Call-ID: SSG9559905523997077@hlau_4100
Max-Forwards: 70
Contact: "Caller" <sip:caller@[2001:db8::1]>
CSeq: 98176 REGISTER
Content-Length: 0

"#,
            expect![
                "REGISTER sip||[2001:db8::10] #98176 via: UDP [2001:db8::9:1];branch=z9hG4bKas3-111 from: <sip|user|example.com>;tag=81x2 to: <sip|user|example.com> call: SSG9559905523997077@hlau_4100 contact: [Caller] <sip|caller|[2001:db8::1]>"
            ],
        ),
        case(
            "4.2 ipv6-bad",
            br#"REGISTER sip:2001:db8::10 SIP/2.0
To: sip:user@example.com
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111
Call-ID: SSG9559905523997077@hlau_4100
Max-Forwards: 70
Contact: "Caller" <sip:caller@[2001:db8::1]>
CSeq: 98176 REGISTER
Content-Length: 0

"#,
            expect!["400 unreadable Request-URI"],
        ),
        case(
            "4.3 port-ambiguous",
            br#"REGISTER sip:[2001:db8::10:5070] SIP/2.0
To: sip:user@example.com
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111
Call-ID: SSG9559905523997077@hlau_4100
Contact: "Caller" <sip:caller@[2001:db8::1]>
Max-Forwards: 70
CSeq: 98176 REGISTER
Content-Length: 0

"#,
            expect![
                "REGISTER sip||[2001:db8::10:5070] #98176 via: UDP [2001:db8::9:1];branch=z9hG4bKas3-111 from: <sip|user|example.com>;tag=81x2 to: <sip|user|example.com> call: SSG9559905523997077@hlau_4100 contact: [Caller] <sip|caller|[2001:db8::1]>"
            ],
        ),
        case(
            "4.4 port-unambiguous",
            br#"REGISTER sip:[2001:db8::10]:5070 SIP/2.0
To: sip:user@example.com
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111
Call-ID: SSG9559905523997077@hlau_4100
Contact: "Caller" <sip:caller@[2001:db8::1]>
Max-Forwards: 70
CSeq: 98176 REGISTER
Content-Length: 0

"#,
            expect![
                "REGISTER sip||[2001:db8::10]|5070 #98176 via: UDP [2001:db8::9:1];branch=z9hG4bKas3-111 from: <sip|user|example.com>;tag=81x2 to: <sip|user|example.com> call: SSG9559905523997077@hlau_4100 contact: [Caller] <sip|caller|[2001:db8::1]>"
            ],
        ),
        case(
            "4.5 via-received-param-with-delim",
            b"BYE sip:[2001:db8::10] SIP/2.0
To: sip:user@example.com;tag=bd76ya
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111
Call-ID: SSG9559905523997077@hlau_4100
Max-Forwards: 70
CSeq: 321 BYE
Content-Length: 0

",
            expect![
                "BYE sip||[2001:db8::10] #321 via: UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111 from: <sip|user|example.com>;tag=81x2 to: <sip|user|example.com>;tag=bd76ya call: SSG9559905523997077@hlau_4100"
            ],
        ),
        case(
            "4.5 via-received-param-no-delim",
            br#"OPTIONS sip:[2001:db8::10] SIP/2.0
To: sip:user@example.com
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3
Call-ID: SSG95523997077@hlau_4100
Max-Forwards: 70
Contact: "Caller" <sip:caller@[2001:db8::9:1]>
CSeq: 921 OPTIONS
Content-Length: 0

"#,
            expect![
                "OPTIONS sip||[2001:db8::10] #921 via: UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3 from: <sip|user|example.com>;tag=81x2 to: <sip|user|example.com> call: SSG95523997077@hlau_4100 contact: [Caller] <sip|caller|[2001:db8::9:1]>"
            ],
        ),
        case(
            "4.6 ipv6-in-sdp",
            br#"INVITE sip:user@[2001:db8::10] SIP/2.0
To: sip:user@[2001:db8::10]
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::20];branch=z9hG4bKas3-111
Call-ID: SSG9559905523997077@hlau_4100
Contact: "Caller" <sip:caller@[2001:db8::20]>
CSeq: 8612 INVITE
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: 251

v=0
o=assistant 971731711378798081 0 IN IP6 2001:db8::20
s=Live video feed for today's meeting
c=IN IP6 2001:db8::20
t=3338481189 3370017201
m=audio 6000 RTP/AVP 2
a=rtpmap:2 G726-32/8000
m=video 6024 RTP/AVP 107
a=rtpmap:107 H263-1998/90000
"#,
            expect![
                "INVITE sip|user|[2001:db8::10] #8612 via: UDP [2001:db8::20];branch=z9hG4bKas3-111 from: <sip|user|example.com>;tag=81x2 to: <sip|user|[2001:db8::10]> call: SSG9559905523997077@hlau_4100 contact: [Caller] <sip|caller|[2001:db8::20]> type: application/sdp body: 251 octets"
            ],
        ),
        case(
            "4.7 mult-ip-in-header",
            b"BYE sip:user@host.example.net SIP/2.0
Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144
Via: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200
Call-ID: 997077@lau_4100
Max-Forwards: 70
CSeq: 89187 BYE
To: sip:user@example.net;tag=9817--94
From: sip:user@example.com;tag=81x2
Content-Length: 0

",
            expect![
                "BYE sip|user|host.example.net #89187 via: UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111, UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144, TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200 from: <sip|user|example.com>;tag=81x2 to: <sip|user|example.net>;tag=9817--94 call: 997077@lau_4100"
            ],
        ),
        case(
            "4.8 mult-ip-in-sdp",
            br#"INVITE sip:user@[2001:db8::10] SIP/2.0
To: sip:user@[2001:db8::10]
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111
Call-ID: SSG9559905523997077@hlau_4100
Contact: "Caller" <sip:caller@[2001:db8::9:1]>
Max-Forwards: 70
CSeq: 8912 INVITE
Content-Type: application/sdp
Content-Length: 189

v=0
o=bob 280744730 28977631 IN IP4 host.example.com
s=
t=0 0
m=audio 22334 RTP/AVP 0
c=IN IP4 192.0.2.1
m=video 6024 RTP/AVP 107
c=IN IP6 2001:db8::1
a=rtpmap:107 H263-1998/90000
"#,
            expect![
                "INVITE sip|user|[2001:db8::10] #8912 via: UDP [2001:db8::9:1];branch=z9hG4bKas3-111 from: <sip|user|example.com>;tag=81x2 to: <sip|user|[2001:db8::10]> call: SSG9559905523997077@hlau_4100 contact: [Caller] <sip|caller|[2001:db8::9:1]> type: application/sdp body: 189 octets"
            ],
        ),
        case(
            "4.9 ipv4-mapped-ipv6",
            br#"INVITE sip:user@example.com SIP/2.0
To: sip:user@example.com
From: sip:user@east.example.com;tag=81x2
Via: SIP/2.0/UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19
Via: SIP/2.0/UDP [::ffff:192.0.2.2];branch=z9hG4bKas3-111
Call-ID: SSG9559905523997077@hlau_4100
Contact: "T. desk phone" <sip:ted@[::ffff:192.0.2.2]>
CSeq: 612 INVITE
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: 245

v=0
o=assistant 971731711378798081 0 IN IP6 ::ffff:192.0.2.2
s=Call me soon, please!
c=IN IP6 ::ffff:192.0.2.2
t=3338481189 3370017201
m=audio 6000 RTP/AVP 2
a=rtpmap:2 G726-32/8000
m=video 6024 RTP/AVP 107
a=rtpmap:107 H263-1998/90000
"#,
            expect![
                "INVITE sip|user|example.com #612 via: UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19, UDP [::ffff:192.0.2.2];branch=z9hG4bKas3-111 from: <sip|user|east.example.com>;tag=81x2 to: <sip|user|example.com> call: SSG9559905523997077@hlau_4100 contact: [T. desk phone] <sip|ted|[::ffff:192.0.2.2]> type: application/sdp body: 245 octets"
            ],
        ),
        case(
            "4.10 ipv6-bug-abnf-3-colons",
            b"OPTIONS sip:user@[2001:db8:::192.0.2.1] SIP/2.0
To: sip:user@[2001:db8:::192.0.2.1]
From: sip:user@example.com;tag=810x2
Via: SIP/2.0/UDP lab1.east.example.com;branch=z9hG4bKas3-111
Call-ID: G9559905523997077@hlau_4100
CSeq: 689 OPTIONS
Max-Forwards: 70
Content-Length: 0

",
            expect![
                "OPTIONS sip|user|[2001:db8:::192.0.2.1] #689 via: UDP lab1.east.example.com;branch=z9hG4bKas3-111 from: <sip|user|example.com>;tag=810x2 to: <sip|user|[2001:db8:::192.0.2.1]> call: G9559905523997077@hlau_4100"
            ],
        ),
        case(
            "4.10 ipv6-correct-abnf-2-colons",
            b"OPTIONS sip:user@[2001:db8::192.0.2.1] SIP/2.0
To: sip:user@[2001:db8::192.0.2.1]
From: sip:user@example.com;tag=810x2
Via: SIP/2.0/UDP lab1.east.example.com;branch=z9hG4bKas3-111
Call-ID: G9559905523997077@hlau_4100
CSeq: 689 OPTIONS
Max-Forwards: 70
Content-Length: 0

",
            expect![
                "OPTIONS sip|user|[2001:db8::192.0.2.1] #689 via: UDP lab1.east.example.com;branch=z9hG4bKas3-111 from: <sip|user|example.com>;tag=810x2 to: <sip|user|[2001:db8::192.0.2.1]> call: G9559905523997077@hlau_4100"
            ],
        ),
    ]
}
