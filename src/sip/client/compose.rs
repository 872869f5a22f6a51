//! Requests that we start ourselves, composed with rsip's vocabulary.
//!
//! rsip says what our own header values look like. It never reads anything, and what a peer wrote (a Contact that has
//! become a Request-URI, a route set, a remote tag) is kept and written as the bytes that came.

use super::transaction::Branch;
use bytes::Bytes;
use lamplighter_model::Transport;
use rsip::common::uri::{HostWithPort, Param, Uri};
use rsip::headers::typed;
use rsip::headers::untyped;
use rsip::{Header, Headers, Method};

/// A request without its Via, which is added when it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method; one that rsip knows.
    pub method: Method,
    /// The Request-URI as it goes onto the wire.
    pub target: Bytes,
    /// Headers with bytes of the other side in them.
    pub echoed: Vec<(&'static str, Vec<u8>)>,
    /// Our own headers.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
}

/// The name of a method on the wire, for those that a user agent without calls sends.
pub fn method_name(method: Method) -> &'static str {
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

impl Request {
    /// The message as it goes onto the wire, from a sender that others reach at `sent_by` (`host:port`).
    pub fn write(&self, transport: Transport, sent_by: &str, branch: Branch) -> Bytes {
        let mut out = Vec::with_capacity(640 + self.body.len());
        out.extend_from_slice(method_name(self.method).as_bytes());
        out.push(b' ');
        out.extend(self.target.iter().filter(|byte| byte.is_ascii_graphic() || !byte.is_ascii()));
        out.extend_from_slice(b" SIP/2.0\r\n");
        line(&Header::from(via(transport, sent_by, branch)), &mut out);
        for (name, value) in &self.echoed {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            value_bytes(value, &mut out);
            out.extend_from_slice(b"\r\n");
        }
        for header in self.headers.iter() {
            line(header, &mut out);
        }
        line(&untyped::ContentLength::from(self.body.len() as u32).into(), &mut out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out.into()
    }
}

/// Our Via; `rport` asks for the answer at the port the request came from (RFC 3581).
fn via(transport: Transport, sent_by: &str, branch: Branch) -> typed::Via {
    let transport = match transport {
        Transport::Udp => rsip::Transport::Udp,
        Transport::Tcp => rsip::Transport::Tcp,
    };
    let params = vec![Param::Other("rport".into(), None), Param::Branch(branch.to_string().into())];
    // The whole `host:port` stands in for a host name, since rsip prints IPv6 addresses without brackets.
    let host_with_port = HostWithPort { host: rsip::Host::Domain(sent_by.into()), port: None };
    let uri = Uri { scheme: None, host_with_port, ..Uri::default() };
    typed::Via { version: rsip::Version::V2, transport, uri, params }
}

/// From and To of our own: a display name (none if empty), an address, a tag (none if empty).
pub fn name_and_address(display: &str, address: &str, tag: &str) -> String {
    let mut value = String::with_capacity(display.len() + address.len() + tag.len() + 12);
    if !display.is_empty() {
        value.push('"');
        for char in display.chars() {
            if matches!(char, '"' | '\\') {
                value.push('\\');
            }
            value.push(char);
        }
        value.push_str("\" ");
    }
    value.push('<');
    value.push_str(address);
    value.push('>');
    if !tag.is_empty() {
        value.push_str(";tag=");
        value.push_str(tag);
    }
    value
}

/// Header, CR, LF. Values cannot end the line early.
fn line(header: &Header, out: &mut Vec<u8>) {
    value_bytes(header.to_string().as_bytes(), out);
    out.extend_from_slice(b"\r\n");
}

/// Control characters become blanks.
fn value_bytes(value: &[u8], out: &mut Vec<u8>) {
    out.extend(value.iter().map(|&byte| if byte.is_ascii_control() { b' ' } else { byte }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsip::prelude::UntypedHeader;

    fn check(transport: Transport, sent_by: &str, request: &Request, expected: &str) {
        let bytes = request.write(transport, sent_by, Branch(0xab));
        assert_eq!(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"), expected);
    }

    #[test]
    fn our_words_by_rsip_and_theirs_as_they_came() {
        let mut headers = Headers::default();
        headers.push(untyped::From::new(name_and_address("Ann \"A\" Lee", "sip:ann.lee@office.example", "t1")).into());
        headers.push(typed::CSeq::from((7, Method::Subscribe)).into());
        let request = Request {
            method: Method::Subscribe,
            target: Bytes::from_static(b"sip:john.doe@[2001:db8::1]:5070;transport=udp?Subject=a"),
            echoed: vec![("To", b"<sip:john.doe@office.example>;tag=as\xff1".to_vec())],
            headers,
            body: Bytes::new(),
        };
        check(
            Transport::Udp,
            "[::1]:5071",
            &request,
            "SUBSCRIBE sip:john.doe@[2001:db8::1]:5070;transport=udp?Subject=a SIP/2.0\n\
             Via: SIP/2.0/UDP [::1]:5071;rport;branch=z9hG4bK00000000000000ab\n\
             To: <sip:john.doe@office.example>;tag=as\u{fffd}1\n\
             From: \"Ann \\\"A\\\" Lee\" <sip:ann.lee@office.example>;tag=t1\n\
             CSeq: 7 SUBSCRIBE\n\
             Content-Length: 0\n\n",
        );
    }

    #[test]
    fn no_value_ends_its_line_early() {
        let request = Request {
            method: Method::Publish,
            target: Bytes::from_static(b"sip:a b\r\n@office.example"),
            echoed: vec![("Route", b"<sip:x>\r\nInjected: 1".to_vec())],
            headers: Header::Event(untyped::Event::new("dialog\r\nInjected: 2")).into(),
            body: Bytes::from_static(b"\xff\x00body"),
        };
        let bytes = request.write(Transport::Tcp, "127.0.0.1:5071", Branch(1));
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("PUBLISH sip:ab@office.example SIP/2.0\r\nVia: SIP/2.0/TCP "), "{text}");
        assert!(!text.contains("\r\nInjected"), "{text}");
        assert!(bytes.ends_with(b"Content-Length: 6\r\n\r\n\xff\x00body"), "{text}");
    }

    #[test]
    fn method_names_are_those_of_rsip() {
        for method in Method::all() {
            assert_eq!(method_name(method), method.to_string());
        }
    }
}
