//! Addresses in headers: `"Display name" <uri>;params`, or a bare URI whose parameters belong to the header.

use super::lex::{quoted_end, trim};
use super::params::Params;
use super::uri::{clean, scheme_end};

/// The value of From, To, or one element of Contact, Route, Record-Route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NameAddr<'a> {
    /// As it is written, with its quotes; empty if there is none. [`super::text`] makes it readable.
    pub display: &'a [u8],
    /// Without angle brackets.
    pub uri: &'a [u8],
    /// Parameters of the header, not of the URI.
    pub params: Params<'a>,
    /// All of it.
    pub raw: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// Reads one address. `None` if quotes or brackets do not match, the URI has no scheme or a blank in it, or a bare
    /// URI holds what RFC 3261 section 20 wants in brackets (comma, question mark).
    pub fn read(raw: &'a [u8]) -> Option<Self> {
        let raw = trim(raw);
        super::lex::looked::at(raw.len());
        let open = match raw.first()? {
            b'"' => {
                let end = quoted_end(raw)?;
                let open = end + raw[end..].iter().position(|&byte| byte == b'<')?;
                if !trim(&raw[end..open]).is_empty() {
                    return None;
                }
                Some(open)
            }
            _ => raw
                .iter()
                .position(|byte| matches!(byte, b'<' | b'"' | b';' | b',' | b'?'))
                .filter(|&at| raw[at] == b'<'),
        };
        let (display, uri, rest) = match open {
            Some(open) => {
                let close = open + memchr::memchr(b'>', &raw[open..])?;
                (trim(&raw[..open]), &raw[open + 1..close], trim(&raw[close + 1..]))
            }
            None => {
                let end = memchr::memchr(b';', raw).unwrap_or(raw.len());
                let uri = trim(&raw[..end]);
                if memchr::memchr2(b',', b'?', uri).is_some() {
                    return None;
                }
                (&raw[..0], uri, &raw[end..])
            }
        };
        scheme_end(uri)?;
        let readable = clean(uri) && matches!(rest, [] | [b';', ..]);
        readable.then_some(Self { display, uri, params: Params(rest), raw })
    }

    /// The tag, unless it is missing or empty.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.get(b"tag").filter(|tag| !tag.is_empty())
    }
}
