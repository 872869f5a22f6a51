//! Answers (RFC 3261 section 8.2.6): foreign values are echoed as the bytes they are.

use crate::identifier::{Tag, hex};
use crate::wire::{Message, Name, NameAddr, Via, write};
use lamplighter_model::{Config, EntityTag, Flow, PackageId, Seed, Transport};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

/// The methods that we serve.
pub const ALLOW: &str = "SUBSCRIBE, PUBLISH, NOTIFY, OPTIONS";

/// An answer as facts; with the request they make the bytes, now and for each retransmission.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Our tag, where a dialog comes of it.
    pub tag: Option<Tag>,
    /// Headers beyond the echoed ones.
    pub detail: Detail,
}

/// Headers that an answer carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Detail {
    /// None.
    None,
    /// Contact, Expires, and Record-Route echoed: a subscription was made or refreshed.
    Subscribed {
        /// Granted, seconds.
        expires: u32,
    },
    /// SIP-ETag and Expires (RFC 3903 section 6).
    Published {
        /// The new entity-tag.
        tag: EntityTag,
        /// Granted, seconds.
        expires: u32,
    },
    /// Min-Expires, seconds (423).
    MinExpires(u32),
    /// Retry-After, seconds (503).
    RetryAfter(u32),
    /// Allow-Events (489).
    AllowEvents,
    /// Allow (405).
    Allow,
    /// Accept with the formats of a package (406, 415).
    Accept(PackageId),
    /// Accept-Encoding: identity (415).
    AcceptEncoding,
    /// Unsupported with what Require named (420).
    Unsupported,
    /// What OPTIONS asks for.
    Capabilities,
}

impl Reply {
    /// An answer without headers of its own.
    pub const fn status(status: u16) -> Self {
        Self { status, tag: None, detail: Detail::None }
    }

    /// An answer with them.
    pub const fn with(status: u16, detail: Detail) -> Self {
        Self { status, tag: None, detail }
    }
}

/// Appends the answer to `request` and says where it goes (RFC 3261 section 18.2.2, RFC 3581 section 4). `None`: the
/// request's Via cannot be read, so there is nowhere to send it.
pub fn write_reply(
    config: &Config,
    seed: Seed,
    flow: Flow,
    request: Message<'_>,
    reply: &Reply,
    out: &mut Vec<u8>,
) -> Option<Flow> {
    let mut vias = request.list(Name::Via);
    let via = Via::read(vias.next()?)?;
    write::status_line(out, reply.status);
    out.extend_from_slice(b"Via: ");
    let rport = write_top_via(out, &via, flow);
    for other in vias {
        out.extend_from_slice(b"\r\nVia: ");
        write::value(out, other);
    }
    out.extend_from_slice(b"\r\n");
    write::header(out, "From", request.first(Name::From)?);
    out.extend_from_slice(b"To: ");
    let to = request.first(Name::To)?;
    write::value(out, to);
    if NameAddr::read(to).is_none_or(|to| to.tag().is_none()) {
        out.extend_from_slice(b";tag=");
        match reply.tag {
            Some(tag) => tag.write(out),
            // Without a dialog the tag only has to be the same for a retransmission.
            None => {
                let parts = [request.first(Name::CallId)?, request.first(Name::From)?, request.first(Name::CSeq)?];
                hex(out, seed.fingerprint(&parts) as u64, 16);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
    write::header(out, "Call-ID", request.first(Name::CallId)?);
    write::header(out, "CSeq", request.first(Name::CSeq)?);
    write_detail(config, flow, request, reply.detail, out);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    if flow.transport.is_stream() || rport {
        return Some(flow);
    }
    Some(Flow { remote: SocketAddr::new(flow.remote.ip(), via.port.unwrap_or(5060)), ..flow })
}

fn write_detail(config: &Config, flow: Flow, request: Message<'_>, detail: Detail, out: &mut Vec<u8>) {
    let seconds = |out: &mut Vec<u8>, name: &str, value: u32| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        write::number(out, u64::from(value));
        out.extend_from_slice(b"\r\n");
    };
    match detail {
        Detail::None => {}
        Detail::Subscribed { expires } => {
            for route in request.all(Name::RecordRoute) {
                write::header(out, "Record-Route", route);
            }
            out.extend_from_slice(b"Contact: ");
            write_contact(config, flow, out);
            out.extend_from_slice(b"\r\n");
            seconds(out, "Expires", expires);
        }
        Detail::Published { tag, expires } => {
            out.extend_from_slice(b"SIP-ETag: ");
            hex(out, tag.0, 16);
            out.extend_from_slice(b"\r\n");
            seconds(out, "Expires", expires);
        }
        Detail::MinExpires(least) => seconds(out, "Min-Expires", least),
        Detail::RetryAfter(pause) => seconds(out, "Retry-After", pause),
        Detail::AllowEvents => write::header(out, "Allow-Events", config.packages.allow_events().as_bytes()),
        Detail::Allow => write::header(out, "Allow", ALLOW.as_bytes()),
        Detail::Accept(package) => write_accept(config, [package], out),
        Detail::AcceptEncoding => write::header(out, "Accept-Encoding", b"identity"),
        Detail::Unsupported => {
            for option in request.list(Name::Require) {
                write::header(out, "Unsupported", option);
            }
        }
        Detail::Capabilities => {
            write::header(out, "Allow", ALLOW.as_bytes());
            write::header(out, "Allow-Events", config.packages.allow_events().as_bytes());
            write_accept(config, config.packages.ids().filter(|id| config.packages.get(*id).served()), out);
            write::header(out, "Accept-Encoding", b"identity");
            write::header(out, "Server", config.server.as_bytes());
        }
    }
}

fn write_accept(config: &Config, packages: impl IntoIterator<Item = PackageId>, out: &mut Vec<u8>) {
    let mut written: Vec<&str> = Vec::new();
    for package in packages {
        for format in config.packages.get(package).formats() {
            if !written.contains(&&*format.content_type) {
                written.push(&format.content_type);
            }
        }
    }
    write::header(out, "Accept", written.join(", ").as_bytes());
}

/// Appends the top Via with `received` and `rport` filled in; whether it asked for `rport`.
fn write_top_via(out: &mut Vec<u8>, via: &Via<'_>, flow: Flow) -> bool {
    let rport = if via.rport() { rport_end(via.raw) } else { None };
    match rport {
        Some(end) => {
            write::value(out, &via.raw[..end]);
            out.push(b'=');
            write::number(out, u64::from(flow.remote.port()));
            write::value(out, &via.raw[end..]);
        }
        None => write::value(out, via.raw),
    }
    let ip = flow.remote.ip().to_canonical();
    if (rport.is_some() || !same_host(via.host, ip)) && via.params.get(b"received").is_none() {
        out.extend_from_slice(b";received=");
        match ip {
            // Every answer to a phone says this: worth more than the general way.
            IpAddr::V4(ip) => {
                for (place, octet) in ip.octets().into_iter().enumerate() {
                    if place > 0 {
                        out.push(b'.');
                    }
                    write::number(out, u64::from(octet));
                }
            }
            IpAddr::V6(ip) => {
                let _ = write!(out, "{ip}");
            }
        }
    }
    rport.is_some()
}

/// Where `;rport` without a value ends.
fn rport_end(via: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = via[from..].windows(5).position(|five| five.eq_ignore_ascii_case(b"rport")) {
        let (start, end) = (from + found, from + found + 5);
        let before = via[..start].iter().rev().find(|byte| !byte.is_ascii_whitespace());
        let after = via[end..].iter().find(|byte| !byte.is_ascii_whitespace());
        if before == Some(&b';') && matches!(after, None | Some(b';')) {
            return Some(end);
        }
        from = end;
    }
    None
}

/// Whether a host as written is this address.
pub fn same_host(host: &[u8], ip: IpAddr) -> bool {
    parse_ip(host).is_some_and(|written| written == ip)
}

/// Reads an IP literal, IPv6 with or without brackets.
pub fn parse_ip(host: &[u8]) -> Option<IpAddr> {
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    // Names are told from literals by their first byte before the costlier reading.
    if !host.first().is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b':') {
        return None;
    }
    std::str::from_utf8(host).ok()?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Appends `host:port` of the listener of `flow`, as the other side knows it.
pub fn write_host(config: &Config, flow: Flow, out: &mut Vec<u8>) {
    let Some(listener) = config.listeners.get(usize::from(flow.listener)) else { return };
    match flow.local {
        Some(ip) if listener.advertise_is_wildcard() => {
            let _ = write!(out, "{}", SocketAddr::new(ip, listener.address.port()));
        }
        _ => out.extend_from_slice(listener.advertise.as_bytes()),
    }
}

/// Appends our Contact for a dialog over `flow`.
pub fn write_contact(config: &Config, flow: Flow, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<sip:");
    write_host(config, flow, out);
    if flow.transport == Transport::Tcp {
        out.extend_from_slice(b";transport=tcp");
    }
    out.push(b'>');
}

/// Appends text with the five characters escaped that XML gives a meaning.
pub fn escape_xml(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            _ => {
                let _ = out.write_char(character);
            }
        }
    }
}
