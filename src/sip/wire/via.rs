//! Via: where a request came along.

use super::lex::{cut, port, token, trim};
use super::params::Params;
use super::uri::host_end;

/// One hop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Via<'a> {
    /// Such as `UDP`, in the case the sender chose.
    pub transport: &'a [u8],
    /// The sender's name or address, IPv6 with its brackets.
    pub host: &'a [u8],
    /// The sender's port, if it says so.
    pub port: Option<u16>,
    /// `branch`, `rport`, `received` and others.
    pub params: Params<'a>,
    /// This element of the list as it is written.
    pub raw: &'a [u8],
}

impl<'a> Via<'a> {
    /// Reads one element of a Via list: `SIP/2.0/UDP host:port;params`, blanks allowed around each part.
    pub fn read(raw: &'a [u8]) -> Option<Self> {
        let raw = trim(raw);
        let semicolon = memchr::memchr(b';', raw).unwrap_or(raw.len());
        let (name, rest) = cut(&raw[..semicolon], b'/')?;
        let (version, rest) = cut(rest, b'/')?;
        let blank = rest.iter().position(|&byte| super::lex::blank(byte))?;
        let (transport, sent_by) = (&rest[..blank], trim(&rest[blank..]));
        if !token(name) || !token(version) || !token(transport) {
            return None;
        }
        let (host, behind) = sent_by.split_at(host_end(sent_by)?);
        let port = match trim(behind) {
            [] => None,
            [b':', digits @ ..] => Some(port(trim(digits))?),
            _ => return None,
        };
        Some(Self { transport, host, port, params: Params(&raw[semicolon..]), raw })
    }

    /// The branch, unless it is missing or empty.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.get(b"branch").filter(|branch| !branch.is_empty())
    }

    /// Whether the answer is wanted at the port that the request came from (RFC 3581): `rport` without a value.
    pub fn rport(&self) -> bool {
        self.params.get(b"rport").is_some_and(<[u8]>::is_empty)
    }
}
