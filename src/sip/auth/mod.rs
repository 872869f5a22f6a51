//! Digest answers to 401 and 407.
//!
//! - RFC 7616 section 3 defines challenge and answer, RFC 8760 brings its algorithms to SIP.
//! - RFC 3261 section 22: 401 is answered in Authorization, 407 in Proxy-Authorization; several realms may ask at once.
//! - Of several challenges of one realm the strongest that we know is answered; `auth` is preferred to `auth-int`,
//!   which is answered where nothing else is offered (RFC 3261 leaves both choices to the client).
//!
//! A password is given to a realm by name and to no other: whoever could name any realm would collect answers to
//! guess passwords from. No password is ever printed.

mod answer;
mod challenge;

pub use answer::{Refusal, Session};
pub use challenge::{Algorithm, Challenge, Hash, challenges};

/// Something that nobody should read in a log.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Hides it.
    pub fn new(secret: impl Into<Box<str>>) -> Self {
        Self(secret.into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Who we are to one realm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// The realm, as its server writes it.
    pub realm: Box<str>,
    /// The user name.
    pub user: Box<str>,
    /// The password.
    pub secret: Secret,
}

/// Who we are to whom.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Credentials(Vec<Credential>);

impl Credentials {
    /// All of them; the first of a realm counts.
    pub fn new(all: Vec<Credential>) -> Self {
        Self(all)
    }

    fn of(&self, realm: &str) -> Option<&Credential> {
        self.0.iter().find(|one| *one.realm == *realm)
    }
}
