//! The bytes of requests that we start ourselves.
//!
//! The names of methods are rsip's. What a peer wrote (a Contact that has become a Request-URI, a route set, a remote
//! tag) is kept and written as the bytes that came; no value ends its line early.

use super::settings::{Local, Settings};
use super::transaction::Branch;
use crate::auth::Session;
use crate::wire::{NameAddr, Uri, write};
use bytes::Bytes;
use rsip::Method;
use std::time::Duration;

/// The name of a method on the wire.
pub const fn method_name(method: Method) -> &'static str {
    match method {
        Method::Publish => "PUBLISH",
        Method::Subscribe => "SUBSCRIBE",
        Method::Register => "REGISTER",
        Method::Options => "OPTIONS",
        Method::Notify => "NOTIFY",
        Method::Message => "MESSAGE",
        Method::Info => "INFO",
        Method::Update => "UPDATE",
        Method::PRack => "PRACK",
        Method::Refer => "REFER",
        Method::Invite => "INVITE",
        Method::Cancel => "CANCEL",
        Method::Ack => "ACK",
        Method::Bye => "BYE",
    }
}

/// Where a request comes from: one of our transports, in one transaction.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Who we are.
    pub settings: &'a Settings,
    /// Through which of our doors it leaves.
    pub local: &'a Local,
    /// The transaction.
    pub branch: Branch,
}

/// A header of the user's own. A name that is no token is left out.
pub type Extra = (Box<str>, Box<str>);

/// What every request has.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The Request-URI before the route set is looked at.
    pub target: &'a [u8],
    /// The route set, as Route is to list it.
    pub routes: &'a [Box<[u8]>],
    /// The address in From; the display name is that of the settings if the address is.
    pub from: &'a str,
    /// Our tag.
    pub tag: &'a str,
    /// The address in To.
    pub to: &'a str,
    /// The tag of the other side, if it has one.
    pub to_tag: Option<&'a [u8]>,
    /// Call-ID.
    pub call_id: &'a str,
    /// The number of CSeq.
    pub cseq: u32,
    /// The value of Event.
    pub event: &'a str,
    /// Expires.
    pub expires: Duration,
    /// Headers of the user's own.
    pub extra: &'a [Extra],
}

impl Request<'_> {
    /// Appends everything up to where the headers of the method begin.
    pub fn begin(&self, origin: Origin<'_>, auth: &mut Session, body: &[u8], out: &mut Vec<u8>) {
        let method = method_name(self.method);
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        // RFC 3261 section 12.2.1.1: a first router that is a strict one takes the place of the target.
        let strict = self
            .routes
            .first()
            .and_then(|first| uri_of(first))
            .filter(|first| Uri::read(first).is_none_or(|uri| uri.params.get(b"lr").is_none()));
        let line_uri = strict.unwrap_or(self.target);
        let from = out.len();
        out.extend(line_uri.iter().filter(|byte| byte.is_ascii_graphic() || !byte.is_ascii()));
        let digest_uri = if auth.is_empty() { Vec::new() } else { out[from..].to_vec() };
        out.extend_from_slice(b" SIP/2.0\r\nVia: SIP/2.0/");
        out.extend_from_slice(origin.local.transport.via().as_bytes());
        out.push(b' ');
        write::value(out, origin.local.sent_by.as_bytes());
        // `rport` asks for the answer at the port the request came from (RFC 3581).
        out.extend_from_slice(b";rport;branch=");
        origin.branch.write(out);
        out.extend_from_slice(b"\r\n");
        let (routes, last) = match strict {
            Some(_) => (&self.routes[1..], Some(self.target)),
            None => (self.routes, None),
        };
        for route in routes {
            write::header(out, "Route", route);
        }
        if let Some(last) = last {
            out.extend_from_slice(b"Route: <");
            write::value(out, last);
            out.extend_from_slice(b">\r\n");
        }
        out.extend_from_slice(b"Max-Forwards: 70\r\nFrom: ");
        if self.from == &*origin.settings.address && !origin.settings.display.is_empty() {
            write::quoted(out, origin.settings.display.as_bytes());
            out.push(b' ');
        }
        out.push(b'<');
        address(self.from, out);
        out.extend_from_slice(b">;tag=");
        out.extend_from_slice(self.tag.as_bytes());
        out.extend_from_slice(b"\r\nTo: <");
        address(self.to, out);
        out.push(b'>');
        if let Some(tag) = self.to_tag {
            out.extend_from_slice(b";tag=");
            write::value(out, tag);
        }
        out.extend_from_slice(b"\r\n");
        write::header(out, "Call-ID", self.call_id.as_bytes());
        out.extend_from_slice(b"CSeq: ");
        write::number(out, u64::from(self.cseq));
        out.push(b' ');
        out.extend_from_slice(method.as_bytes());
        out.extend_from_slice(b"\r\n");
        write::header(out, "Event", self.event.as_bytes());
        out.extend_from_slice(b"Expires: ");
        write::number(out, self.expires.as_secs());
        out.extend_from_slice(b"\r\n");
        auth.write(method, &digest_uri, body, out);
        for (name, value) in self.extra {
            if !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte))
            {
                write::header(out, name, value.as_bytes());
            }
        }
        write::header(out, "User-Agent", origin.settings.user_agent.as_bytes());
    }
}

/// Appends an address without whatever would end it early.
fn address(address: &str, out: &mut Vec<u8>) {
    out.extend(address.bytes().filter(|byte| !byte.is_ascii_control() && !matches!(byte, b' ' | b'<' | b'>' | b'"')));
}

/// Appends Content-Length and the body.
pub fn end(body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    write::number(out, body.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Appends `Contact: <uri>`.
pub fn contact(uri: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Contact: <");
    address(uri, out);
    out.extend_from_slice(b">\r\n");
}

/// The URI inside an element of a route set.
pub fn uri_of(route: &[u8]) -> Option<&[u8]> {
    NameAddr::read(route).map(|route| route.uri)
}

/// A body in which a number is to be written, so that it rises with each new one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Body {
    /// The body without the number.
    pub bytes: Bytes,
    /// Where the number goes, for documents that have a version (RFC 4235 section 4.1.1, RFC 3680 section 5.2).
    pub version_at: Option<u32>,
}

impl Body {
    /// A body without a version of ours.
    pub const fn plain(bytes: Bytes) -> Self {
        Self { bytes, version_at: None }
    }

    /// The body as it is sent.
    pub fn with(&self, version: u32) -> Bytes {
        let Some(at) = self.version_at.map(|at| (at as usize).min(self.bytes.len())) else { return self.bytes.clone() };
        let mut out = Vec::with_capacity(self.bytes.len() + 10);
        out.extend_from_slice(&self.bytes[..at]);
        write::number(&mut out, u64::from(version));
        out.extend_from_slice(&self.bytes[at..]);
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_model::Transport;

    fn check(sent_by: &str, request: &Request<'_>, expected: &str) {
        let settings = Settings {
            address: "sip:ann.lee@office.example".into(),
            display: "Ann \"A\" Lee".into(),
            user_agent: "Test".into(),
            ..Settings::default()
        };
        let local = Local { transport: Transport::Udp, listener: 0, sent_by: sent_by.into(), contact: "sip:x".into() };
        let branch = Branch { index: 0xab, key: 1 };
        let mut out = Vec::new();
        request.begin(Origin { settings: &settings, local: &local, branch }, &mut Session::default(), b"", &mut out);
        end(b"\xff\x00body", &mut out);
        assert!(out.ends_with(b"Content-Length: 6\r\n\r\n\xff\x00body"));
        let text = String::from_utf8_lossy(&out).replace("\r\n", "\n");
        assert_eq!(text.split("User-Agent").next().unwrap(), expected);
    }

    const REQUEST: Request<'static> = Request {
        method: Method::Subscribe,
        target: b"sip:john.doe@[2001:db8::1]:5070;transport=udp?Subject=a",
        routes: &[],
        from: "sip:ann.lee@office.example",
        tag: "t1",
        to: "sip:john.doe@office.example",
        to_tag: Some(b"as\xff1"),
        call_id: "c",
        cseq: 7,
        event: "dialog",
        expires: Duration::from_secs(60),
        extra: &[],
    };

    #[test]
    fn what_the_peer_wrote_goes_out_as_it_came() {
        check(
            "[::1]:5071",
            &REQUEST,
            "SUBSCRIBE sip:john.doe@[2001:db8::1]:5070;transport=udp?Subject=a SIP/2.0\n\
             Via: SIP/2.0/UDP [::1]:5071;rport;branch=z9hG4bKc000000ab0000000000000001\n\
             Max-Forwards: 70\n\
             From: \"Ann \\\"A\\\" Lee\" <sip:ann.lee@office.example>;tag=t1\n\
             To: <sip:john.doe@office.example>;tag=as\u{fffd}1\n\
             Call-ID: c\nCSeq: 7 SUBSCRIBE\nEvent: dialog\nExpires: 60\n",
        );
    }

    #[test]
    fn no_value_ends_its_line_early_and_extra_headers_follow() {
        let extra: [Extra; 3] = [
            ("X-Tenant".into(), "a\r\nInjected: 3".into()),
            ("Bad\r\nName".into(), "x".into()),
            ("".into(), "y".into()),
        ];
        let request = Request {
            method: Method::Publish,
            target: b"sip:a b\r\n@office.example",
            routes: &[Box::from(&b"<sip:x;lr>\r\nInjected: 1"[..])],
            from: "sip:other@office.example>;\r\n\"x\" <",
            event: "dialog\r\nInjected: 2",
            extra: &extra,
            to_tag: None,
            ..REQUEST
        };
        check(
            "127.0.0.1:5071",
            &request,
            "PUBLISH sip:ab@office.example SIP/2.0\n\
             Via: SIP/2.0/UDP 127.0.0.1:5071;rport;branch=z9hG4bKc000000ab0000000000000001\n\
             Route: <sip:x;lr> Injected: 1\nMax-Forwards: 70\n\
             From: <sip:other@office.example;x>;tag=t1\nTo: <sip:john.doe@office.example>\nCall-ID: c\n\
             CSeq: 7 PUBLISH\nEvent: dialog Injected: 2\nExpires: 60\nX-Tenant: a Injected: 3\n",
        );
    }

    /// RFC 3261 section 12.2.1.1.
    #[test]
    fn a_strict_router_stands_in_the_request_uri() {
        let routes = [Box::from(&b"<sip:strict.example>"[..]), Box::from(&b"<sip:loose.example;lr>"[..])];
        check(
            "h:1",
            &Request { target: b"sip:target.example", routes: &routes, to_tag: None, ..REQUEST },
            "SUBSCRIBE sip:strict.example SIP/2.0\n\
             Via: SIP/2.0/UDP h:1;rport;branch=z9hG4bKc000000ab0000000000000001\n\
             Route: <sip:loose.example;lr>\nRoute: <sip:target.example>\nMax-Forwards: 70\n\
             From: \"Ann \\\"A\\\" Lee\" <sip:ann.lee@office.example>;tag=t1\n\
             To: <sip:john.doe@office.example>\nCall-ID: c\nCSeq: 7 SUBSCRIBE\nEvent: dialog\nExpires: 60\n",
        );
    }

    /// PU-08
    #[test]
    fn a_version_is_written_where_it_belongs() {
        let body = Body { bytes: Bytes::from_static(b"<a version=\"\"/>"), version_at: Some(12) };
        assert_eq!(body.with(1047), Bytes::from_static(b"<a version=\"1047\"/>"));
        assert_eq!(Body::plain(Bytes::from_static(b"b")).with(9), Bytes::from_static(b"b"));
        assert_eq!(Body { version_at: Some(99), ..body }.with(1), Bytes::from_static(b"<a version=\"\"/>1"));
    }

    #[test]
    fn method_names_are_those_of_rsip() {
        for method in Method::all() {
            assert_eq!(method_name(method), method.to_string());
        }
    }
}
