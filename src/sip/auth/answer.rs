//! Answers: what Authorization and Proxy-Authorization say.

use super::challenge::{Challenge, challenges};
use super::{Credentials, Secret};
use crate::wire::{Message, write};

/// At most this many realms are answered in one request.
const MOST_REALMS: usize = 4;
/// How often in a row one request is answered anew.
const ROUNDS: u8 = 4;

/// Why a challenge was not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// Nothing that we can answer: another scheme, an unknown algorithm, a realm that we have no credentials for.
    Unknown,
    /// What we answered was wrong, or is asked for without end.
    Wrong,
}

/// The challenges that one subscription or publication has met, ready to be answered ahead.
#[derive(Debug, Default)]
pub struct Session {
    met: Vec<Met>,
    rounds: u8,
}

#[derive(Debug)]
struct Met {
    challenge: Challenge,
    user: Box<str>,
    secret: Secret,
    cnonce: u64,
    /// How often the nonce has been used.
    count: u32,
    /// It was answered in the request that is out.
    answered: bool,
}

impl Session {
    /// A request got 401 or 407. `Ok`: send it again, with what [`Self::write`] adds. `cnonce` must be unguessable.
    pub fn challenged(&mut self, answer: Message<'_>, credentials: &Credentials, cnonce: u64) -> Result<(), Refusal> {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds > ROUNDS {
            return Err(Refusal::Wrong);
        }
        let mut best: Vec<Challenge> = Vec::new();
        for challenge in challenges(answer) {
            let same = best.iter_mut().find(|one| one.proxy == challenge.proxy && one.realm == challenge.realm);
            match same {
                Some(one) if challenge.algorithm().hash > one.algorithm().hash => *one = challenge,
                Some(_) => {}
                None => best.push(challenge),
            }
        }
        let mut met_any = false;
        for challenge in best {
            let Some(credential) = credentials.of(&challenge.realm) else { continue };
            let known = self
                .met
                .iter()
                .position(|one| one.challenge.proxy == challenge.proxy && one.challenge.realm == challenge.realm);
            if let Some(at) = known {
                if self.met[at].answered && !challenge.stale {
                    return Err(Refusal::Wrong);
                }
                self.met.swap_remove(at);
            } else if self.met.len() == MOST_REALMS {
                return Err(Refusal::Unknown);
            }
            let (user, secret) = (credential.user.clone(), credential.secret.clone());
            self.met.push(Met { challenge, user, secret, cnonce, count: 0, answered: true });
            met_any = true;
        }
        if met_any { Ok(()) } else { Err(Refusal::Unknown) }
    }

    /// A request got an answer other than 401 and 407: the next challenge is a new matter.
    pub fn settled(&mut self) {
        self.rounds = 0;
        self.met.iter_mut().for_each(|one| one.answered = false);
    }

    /// Whether there is anything to add to a request.
    pub fn is_empty(&self) -> bool {
        self.met.is_empty()
    }

    /// Appends the header lines that answer all challenges met so far.
    pub fn write(&mut self, method: &str, uri: &[u8], body: &[u8], out: &mut Vec<u8>) {
        for one in &mut self.met {
            one.count = one.count.saturating_add(1);
            one.write(method, uri, body, out);
        }
    }
}

impl Met {
    fn write(&self, method: &str, uri: &[u8], body: &[u8], out: &mut Vec<u8>) {
        let Challenge { proxy, raw_realm, nonce, opaque, algorithm, integrity, .. } = &self.challenge;
        let named = self.challenge.algorithm();
        let hash = named.hash;
        let (cnonce, count) = (format!("{:016x}", self.cnonce), format!("{:08x}", self.count));
        let (cnonce, count) = (cnonce.as_bytes(), count.as_bytes());
        let mut first = hash.hex(&[self.user.as_bytes(), b":", raw_realm, b":", self.secret.0.as_bytes()]);
        if named.session {
            first = hash.hex(&[first.as_bytes(), b":", nonce, b":", cnonce]);
        }
        let second = match integrity {
            Some(true) => hash.hex(&[method.as_bytes(), b":", uri, b":", hash.hex(&[body]).as_bytes()]),
            _ => hash.hex(&[method.as_bytes(), b":", uri]),
        };
        let quality: Option<&[u8]> = integrity.map(|both| if both { &b"auth-int"[..] } else { b"auth" });
        let response = match quality {
            Some(quality) => hash.hex(&[
                first.as_bytes(),
                b":",
                nonce,
                b":",
                count,
                b":",
                cnonce,
                b":",
                quality,
                b":",
                second.as_bytes(),
            ]),
            None => hash.hex(&[first.as_bytes(), b":", nonce, b":", second.as_bytes()]),
        };
        out.extend_from_slice(if *proxy { b"Proxy-Authorization" } else { b"Authorization" });
        out.extend_from_slice(b": Digest username=");
        write::quoted(out, self.user.as_bytes());
        for (name, value) in [(&b", realm=\""[..], &raw_realm[..]), (b", nonce=\"", nonce), (b", uri=\"", uri)] {
            out.extend_from_slice(name);
            write::value(out, value);
            out.push(b'"');
        }
        out.extend_from_slice(b", response=\"");
        out.extend_from_slice(response.as_bytes());
        out.push(b'"');
        if let Some(algorithm) = algorithm {
            out.extend_from_slice(b", algorithm=");
            out.extend_from_slice(algorithm.name().as_bytes());
        }
        if named.session || quality.is_some() {
            out.extend_from_slice(b", cnonce=\"");
            out.extend_from_slice(cnonce);
            out.push(b'"');
        }
        if let Some(quality) = quality {
            out.extend_from_slice(b", qop=");
            out.extend_from_slice(quality);
            out.extend_from_slice(b", nc=");
            out.extend_from_slice(count);
        }
        if let Some(opaque) = opaque {
            out.extend_from_slice(b", opaque=\"");
            write::value(out, opaque);
            out.push(b'"');
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests;
