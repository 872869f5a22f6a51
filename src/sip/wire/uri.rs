//! URIs: `sip:`, `sips:`, `tel:`, `pres:`, `im:`, and others by scheme only.

use super::lex::{blank, host_char, port};
use super::params::Params;

/// What kind of URI it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// `sip:` (RFC 3261 section 19.1).
    Sip,
    /// `sips:`.
    Sips,
    /// `tel:` (RFC 3966).
    Tel,
    /// `pres:` (RFC 3859).
    Pres,
    /// `im:` (RFC 3860).
    Im,
    /// `urn:`.
    Urn,
    /// Any other.
    Other,
}

/// A URI in parts, none of them unescaped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Uri<'a> {
    /// What kind it is; decides what the other fields mean.
    pub scheme: Scheme,
    /// What stands before the `@`, without a password; the number of a `tel:`; else empty. May hold `%xx` and `.;?/&=+$,`.
    pub user: &'a [u8],
    /// A name or IP address, IPv6 with its brackets. Empty for `tel:`, `urn:` and others.
    pub host: &'a [u8],
    /// The port, if there is one.
    pub port: Option<u16>,
    /// URI parameters.
    pub params: Params<'a>,
    /// What follows the `?`, as it is written.
    pub headers: &'a [u8],
    /// The whole URI.
    pub raw: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI without angle brackets or blanks around it.
    ///
    /// `None` if there is no scheme, a blank, control character, quote or bracket that has no place in a URI, or, for
    /// the schemes that have one, no readable host.
    pub fn read(raw: &'a [u8]) -> Option<Self> {
        let colon = scheme_end(raw)?;
        if !clean(raw) {
            return None;
        }
        let scheme = match colon {
            2 if raw[..2].eq_ignore_ascii_case(b"im") => Scheme::Im,
            3 if raw[..3].eq_ignore_ascii_case(b"sip") => Scheme::Sip,
            3 if raw[..3].eq_ignore_ascii_case(b"tel") => Scheme::Tel,
            3 if raw[..3].eq_ignore_ascii_case(b"urn") => Scheme::Urn,
            4 if raw[..4].eq_ignore_ascii_case(b"sips") => Scheme::Sips,
            4 if raw[..4].eq_ignore_ascii_case(b"pres") => Scheme::Pres,
            _ => Scheme::Other,
        };
        let rest = &raw[colon + 1..];
        let mut uri = Self { scheme, user: b"", host: b"", port: None, params: Params::default(), headers: b"", raw };
        match scheme {
            Scheme::Urn | Scheme::Other => return Some(uri),
            Scheme::Tel => {
                let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
                (uri.user, uri.params) = (&rest[..end], Params(&rest[end..]));
                return (!uri.user.is_empty()).then_some(uri);
            }
            Scheme::Sip | Scheme::Sips | Scheme::Pres | Scheme::Im => {}
        }
        // A user may hold `;`, `?` and `/` (RFC 3261 section 25.1), so the first `@` decides before they do.
        let behind = match memchr::memchr(b'@', rest) {
            Some(at) => {
                let user = &rest[..at];
                uri.user = &user[..memchr::memchr(b':', user).unwrap_or(at)];
                &rest[at + 1..]
            }
            None => rest,
        };
        let (host, tail) = behind.split_at(host_end(behind)?);
        uri.host = host;
        let mut tail = tail;
        if let [b':', digits @ ..] = tail {
            let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
            uri.port = Some(port(&digits[..end])?);
            tail = &digits[end..];
        }
        let question = memchr::memchr(b'?', tail);
        let params = &tail[..question.unwrap_or(tail.len())];
        if !matches!(params, [] | [b';', ..]) {
            return None;
        }
        uri.params = Params(params);
        uri.headers = question.map_or(b"", |at| &tail[at + 1..]);
        Some(uri)
    }
}

/// Where the colon behind a scheme is.
pub(super) fn scheme_end(uri: &[u8]) -> Option<usize> {
    let colon = uri.iter().position(|&byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'+' | b'-' | b'.'))?;
    (uri[colon] == b':' && uri[0].is_ascii_alphabetic()).then_some(colon)
}

/// Whether nothing in it can be mistaken for the end of a URI.
pub(super) fn clean(uri: &[u8]) -> bool {
    super::lex::looked::at(uri.len());
    // Without an early exit, so that many octets are compared at once.
    !uri.iter().fold(false, |bad, &byte| bad | (byte < 0x21) | (byte == 0x7f) | matches!(byte, b'"' | b'<' | b'>'))
}

/// Where a host ends that `value` starts with: letters, digits, `-`, `.`, `_`, or hexadecimal digits, `:` and `.` in
/// brackets. RFC 5118 section 4.10 wants a colon too many tolerated, so groups are not counted here.
pub(super) fn host_end(value: &[u8]) -> Option<usize> {
    if let [b'[', inner @ ..] = value {
        let end = memchr::memchr(b']', inner)?;
        let good = |&byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        return (end >= 2 && inner[..end].iter().all(good)).then_some(end + 2);
    }
    let end = value.iter().position(|&byte| !host_char(byte)).unwrap_or(value.len());
    let stopped = value.get(end).is_none_or(|&byte| matches!(byte, b':' | b';' | b'?') || blank(byte));
    (end > 0 && stopped).then_some(end)
}
