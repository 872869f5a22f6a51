//! Challenges: what WWW-Authenticate and Proxy-Authenticate say.

use crate::wire::{Message, Name, Params, text};
use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};

/// At most this many challenges of one message are read.
const MOST: usize = 8;
/// A longer nonce or opaque is not kept; servers put signed state into them, but not so much.
const LONGEST: usize = 1024;

/// A hash function, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Hash {
    /// MD5 (RFC 3261 knows no other).
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512 cut to 256 bits, with its own start values (FIPS 180-4).
    Sha512_256,
}

/// The `algorithm` of a challenge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Algorithm {
    /// The hash function.
    pub hash: Hash,
    /// Whether its name ends in `-sess`: nonces are part of the first hash.
    pub session: bool,
}

impl Hash {
    /// The hash of all parts, one behind the other, in lower-case hexadecimal digits.
    pub fn hex(self, parts: &[&[u8]]) -> String {
        fn run<D: Digest>(parts: &[&[u8]], out: &mut String) {
            let mut hasher = D::new();
            for part in parts {
                hasher.update(part);
            }
            for byte in hasher.finalize() {
                for digit in [byte >> 4, byte & 15] {
                    out.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
                }
            }
        }
        let mut out = String::with_capacity(64);
        match self {
            Self::Md5 => run::<Md5>(parts, &mut out),
            Self::Sha256 => run::<Sha256>(parts, &mut out),
            Self::Sha512_256 => run::<Sha512_256>(parts, &mut out),
        }
        out
    }
}

impl Algorithm {
    /// From its name, in any case.
    pub fn read(name: &[u8]) -> Option<Self> {
        [Hash::Md5, Hash::Sha256, Hash::Sha512_256]
            .into_iter()
            .flat_map(|hash| [false, true].map(|session| Self { hash, session }))
            .find(|one| one.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// As IANA registers it.
    pub const fn name(self) -> &'static str {
        match (self.hash, self.session) {
            (Hash::Md5, false) => "MD5",
            (Hash::Md5, true) => "MD5-sess",
            (Hash::Sha256, false) => "SHA-256",
            (Hash::Sha256, true) => "SHA-256-sess",
            (Hash::Sha512_256, false) => "SHA-512-256",
            (Hash::Sha512_256, true) => "SHA-512-256-sess",
        }
    }
}

/// A challenge that can be answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    /// Whether a proxy asks (407).
    pub proxy: bool,
    /// Who asks, readable.
    pub realm: Box<str>,
    /// Who asks, between the quotes as it came.
    pub raw_realm: Box<[u8]>,
    /// What makes this challenge different from others, as it came.
    pub nonce: Box<[u8]>,
    /// What must come back as it is.
    pub opaque: Option<Box<[u8]>>,
    /// `None`: the challenge names none, which means MD5.
    pub algorithm: Option<Algorithm>,
    /// `Some(true)`: the body is to be signed too (`auth-int`); `None`: a server older than RFC 2617.
    pub integrity: Option<bool>,
    /// Whether only the nonce was too old.
    pub stale: bool,
}

impl Challenge {
    /// The algorithm to use.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm.unwrap_or(Algorithm { hash: Hash::Md5, session: false })
    }
}

/// The challenges of an answer that can be met: Digest with an algorithm and a quality of protection that we know.
pub fn challenges(message: Message<'_>) -> Vec<Challenge> {
    let mut found = Vec::new();
    for (name, proxy) in [(Name::WwwAuthenticate, false), (Name::ProxyAuthenticate, true)] {
        // A challenge has commas of its own: its parameters are elements of the list like the challenges themselves.
        let mut params: Option<Vec<u8>> = None;
        for element in message.list(name).take(MOST * 16) {
            let blank = element.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
            let scheme =
                blank.filter(|&at| !element[..at].contains(&b'=') && !element[at..].trim_ascii().starts_with(b"="));
            if let Some(at) = scheme {
                found.extend(params.take().and_then(|params| read(&params, proxy)));
                params = element[..at].eq_ignore_ascii_case(b"Digest").then(|| element[at..].to_vec());
            } else if let Some(params) = &mut params {
                params.push(b';');
                params.extend_from_slice(element);
            }
            if found.len() >= MOST {
                break;
            }
        }
        found.extend(params.and_then(|params| read(&params, proxy)));
    }
    found
}

/// Reads the parameters of a Digest challenge, separated by semicolons.
fn read(params: &[u8], proxy: bool) -> Option<Challenge> {
    let params = Params::of(params);
    let raw = |name: &[u8]| params.get(name).map(unquoted);
    let raw_realm: Box<[u8]> = raw(b"realm").filter(|realm| realm.len() <= LONGEST)?.into();
    let nonce: Box<[u8]> = raw(b"nonce").filter(|nonce| nonce.len() <= LONGEST)?.into();
    let opaque = match raw(b"opaque") {
        Some(opaque) if opaque.len() > LONGEST => return None,
        opaque => opaque.map(Into::into),
    };
    let algorithm = match raw(b"algorithm") {
        Some(name) => Some(Algorithm::read(name)?),
        None => None,
    };
    let integrity = match raw(b"qop") {
        None => None,
        Some(offers) => {
            let offered =
                |one: &[u8]| offers.split(|&byte| byte == b',').any(|it| it.trim_ascii().eq_ignore_ascii_case(one));
            if !offered(b"auth") && !offered(b"auth-int") {
                return None;
            }
            Some(!offered(b"auth"))
        }
    };
    Some(Challenge {
        proxy,
        realm: text(params.get(b"realm")?).into(),
        raw_realm,
        nonce,
        opaque,
        algorithm,
        integrity,
        stale: raw(b"stale").is_some_and(|stale| stale.eq_ignore_ascii_case(b"true")),
    })
}

/// Without the quotes around it; escapes stay, since the other side hashes what it wrote.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}
