//! The `[web.auth]` section.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The `[web.auth]` section: who may use the feed and the HTTP API. With neither keys nor `jwt` there is no authority:
/// everybody who can reach the listener may do everything.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// API keys: for services, and for wallboards, which have keys of their own that may only read.
    pub keys: Vec<Key>,
    /// A file with more of them, as `[[keys]]`; read again when the gateway is told to.
    pub keys_file: PathBuf,
    /// JSON Web Tokens, RFC 7519.
    pub jwt: Jwt,
    /// What browsers have instead of a token.
    pub session: Session,
    /// How long a ticket waits to be used.
    #[serde(with = "humantime_serde")]
    pub ticket_life: Duration,
    /// Failed attempts a minute from one network address; beyond, all its attempts are answered 429 for a while.
    pub failures_per_minute: u32,
    /// Reverse proxies: the last entry of their X-Forwarded-For is the address that failed attempts are counted for.
    pub proxies: Vec<IpAddr>,
    /// Who may read `/metrics` where there is an authority.
    pub metrics: Audience,
}

/// Who may read something.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Principals with `admin`.
    Admin,
    /// These, and everybody on this machine. A reverse proxy on it is everybody.
    Loopback,
    /// Everybody.
    Open,
}

/// An entry of `[[web.auth.keys]]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What its bearer is called.
    pub name: String,
    /// `sha256:` and the hash of the key in hexadecimal.
    pub hash: String,
    /// What it may read.
    #[serde(default)]
    pub read: Vec<Grant>,
    /// What it may publish.
    #[serde(default)]
    pub write: Vec<Grant>,
    /// Whether it may see connections, watchers and explanations, and change the directory.
    #[serde(default)]
    pub admin: bool,
}

/// A grant: which states.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// An address, `sip:*@domain`, `*@domain`, `group:NAME`, or `*`.
    pub r: String,
    /// Kinds such as `dialog`; left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<String>>,
    /// How much of them. Means nothing where it is about publishing.
    #[serde(default)]
    pub view: View,
}

/// How much of a state.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// Everything.
    #[default]
    Full,
    /// Numbers of others shortened to three digits, no names.
    Masked,
    /// The state only.
    Busy,
}

/// The `[web.auth.jwt]` section. At most one of the first four is given.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jwt {
    /// A file with a secret of at least 32 bytes: HS256. White space at its end does not count.
    pub secret_file: PathBuf,
    /// A PEM file with a public key: RS256, ES256 or EdDSA, whichever it is for.
    pub public_key_file: PathBuf,
    /// A file with a JSON Web Key Set, RFC 7517.
    pub jwks_file: PathBuf,
    /// Where a JSON Web Key Set is fetched from; again when a token names a key that is not in it, at most twice a
    /// minute.
    pub jwks_url: String,
    /// A PEM file with the certificates that may sign the server's; empty: those that browsers trust.
    pub ca_file: PathBuf,
    /// What `iss` must be; empty: anything.
    pub issuer: String,
    /// What `aud` must name; empty: a token that has one is refused.
    pub audience: String,
    /// How far clocks may be apart.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// Which of HS256, RS256, ES256 and EdDSA are accepted, as far as the keys allow; empty: all.
    pub algorithms: Vec<Algorithm>,
}

/// A signature algorithm, RFC 7518 section 3.1 and RFC 8037.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HS256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// The `[web.auth.session]` section.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Session {
    /// How long a session lasts without being used.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// How long it lasts at most. It never outlives the token that it was made from.
    #[serde(with = "humantime_serde")]
    pub life: Duration,
    /// Sessions at once; beyond, the one that was used longest ago ends.
    pub most: usize,
    /// Whether browsers may send the cookie over https only.
    pub secure: bool,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            keys_file: PathBuf::new(),
            jwt: Jwt::default(),
            session: Session::default(),
            ticket_life: Duration::from_secs(30),
            failures_per_minute: 20,
            proxies: Vec::new(),
            metrics: Audience::Admin,
        }
    }
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            secret_file: PathBuf::new(),
            public_key_file: PathBuf::new(),
            jwks_file: PathBuf::new(),
            jwks_url: String::new(),
            ca_file: PathBuf::new(),
            issuer: String::new(),
            audience: String::new(),
            leeway: Duration::from_secs(30),
            algorithms: Vec::new(),
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self { idle: day, life: 30 * day, most: 10_000, secure: false }
    }
}

impl Auth {
    /// Whether anybody has to sign in.
    pub fn is_configured(&self) -> bool {
        !self.keys.is_empty() || !self.keys_file.as_os_str().is_empty() || self.jwt.sources() > 0
    }

    /// What to change, naming the key below `[web]`, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        check_keys(&self.keys).map_err(|(index, what)| format!("auth.keys[{index}]: {what}"))?;
        let Jwt { jwks_url, leeway, .. } = &self.jwt;
        if self.jwt.sources() > 1 {
            return Err("auth.jwt: give one of secret_file, public_key_file, jwks_file and jwks_url".into());
        }
        if !jwks_url.is_empty() && !jwks_url.starts_with("https://") && !jwks_url.starts_with("http://") {
            return Err(format!("auth.jwt.jwks_url: `{jwks_url}` is no URL such as https://id.example.com/keys"));
        }
        if *leeway > Duration::from_secs(600) {
            return Err("auth.jwt.leeway: more than ten minutes".into());
        }
        let least = [
            ("ticket_life", self.ticket_life.as_secs() as usize),
            ("failures_per_minute", self.failures_per_minute as usize),
            ("session.idle", self.session.idle.as_secs() as usize),
            ("session.life", self.session.life.as_secs() as usize),
            ("session.most", self.session.most),
        ];
        let Session { idle, life, .. } = self.session;
        if [idle, life, self.ticket_life].iter().any(|time| *time > super::MOST_LIFE) {
            return Err("auth.session: nothing lasts longer than ten years".into());
        }
        match least.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(format!("auth.{key}: too small")),
            None => Ok(()),
        }
    }
}

/// Which key is wrong, by its place, and why.
pub(super) fn check_keys(keys: &[Key]) -> Result<(), (usize, String)> {
    let mut names = HashSet::new();
    for (index, Key { name, hash, read, write, .. }) in keys.iter().enumerate() {
        let bad = |what: String| Err((index, what));
        if !super::jwt::is_name(name) || !names.insert(name) {
            return bad("a key needs a name of its own, of at most 128 bytes, other than `anonymous`".into());
        }
        if super::keys::hash(hash).is_none() {
            return bad(format!("`{name}` has no hash such as `lamplighter token key` prints"));
        }
        let mut grants = read.iter().chain(write);
        if let Some(Grant { r, .. }) = grants.find(|grant| !super::principal::is_selector(&grant.r)) {
            return bad(format!("`{r}` selects nothing: write an address, sip:*@domain, group:NAME or *"));
        }
    }
    Ok(())
}

impl Jwt {
    /// How many sources of keys are given.
    pub(super) fn sources(&self) -> usize {
        let files = [&self.secret_file, &self.public_key_file, &self.jwks_file];
        files.iter().filter(|file| !file.as_os_str().is_empty()).count() + usize::from(!self.jwks_url.is_empty())
    }
}
