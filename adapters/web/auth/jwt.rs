//! JSON Web Tokens: RFC 7519, signed as RFC 7515 says.
//!
//! - The key decides which algorithm a token may name, never the token: RFC 8725 section 3.1. `none` is no algorithm.
//! - `exp` is required, and a number.
//! - Encrypted tokens (RFC 7516) are not read, nor tokens with a `crit` header.

use super::config::{self, Algorithm};
use super::der::{self, PublicKey};
use super::jwks::{self, Remote};
use super::keys::{Hash, hash_of};
use super::principal::ANYBODY;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// No token is longer, bytes.
pub(super) const MOST_BYTES: usize = 8 * 1024;
/// No file with keys is longer, bytes.
pub(super) const MOST_FILE: u64 = 256 * 1024;
/// RFC 7518 section 3.2.
const LEAST_SECRET: usize = 32;

/// Why a token is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// It is no signed token.
    Malformed(&'static str),
    /// Its algorithm is none that is accepted from its key.
    Algorithm,
    /// It names a key that is not known, or none where that is needed.
    Kid(&'static str),
    Signature,
    Expired,
    /// A claim is missing, wrong, or of the wrong type.
    Claim(&'static str, &'static str),
    /// The keys cannot be had.
    Unavailable,
}

impl Fault {
    /// The check that failed, as metrics and problems name it.
    pub(super) fn check(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Algorithm => "alg",
            Self::Kid(_) => "kid",
            Self::Signature => "signature",
            Self::Expired => "exp",
            Self::Claim(name, _) => name,
            Self::Unavailable => "keys",
        }
    }

    pub(super) fn detail(&self) -> String {
        let what = match self {
            Self::Malformed(what) | Self::Kid(what) | Self::Claim(_, what) => what,
            Self::Algorithm => "the token is not signed by an algorithm that is accepted here",
            Self::Signature => "the signature is not that of a key known here",
            Self::Expired => "the token has expired",
            Self::Unavailable => "the keys that tokens are checked with cannot be fetched at the moment",
        };
        format!("{}: {what}", self.check())
    }
}

/// A key that tokens are checked with.
#[derive(Clone)]
pub(super) struct Key {
    /// Its name in a key set.
    pub kid: Option<String>,
    pub material: Material,
    /// Of what it was read from.
    hash: Hash,
    /// Turns true when it is known no longer.
    over: Arc<AtomicBool>,
}

impl Key {
    /// The key that stands in `text`.
    pub(super) fn new(kid: Option<String>, material: Material, text: &[u8]) -> Self {
        Self { kid, material, hash: hash_of(text), over: Arc::default() }
    }
}

#[derive(Clone)]
pub(super) enum Material {
    Hmac(hmac::Key),
    Public(PublicKey),
    /// Modulus and exponent, without leading zeros.
    Rsa(Vec<u8>, Vec<u8>),
}

impl Material {
    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hmac(_) => Algorithm::HS256,
            Self::Public(PublicKey::Rsa(_)) | Self::Rsa(..) => Algorithm::RS256,
            Self::Public(PublicKey::P256(_)) => Algorithm::ES256,
            Self::Public(PublicKey::Ed25519(_)) => Algorithm::EdDSA,
        }
    }

    fn verifies(&self, message: &[u8], tag: &[u8]) -> bool {
        let rsa = &signature::RSA_PKCS1_2048_8192_SHA256;
        let verified = match self {
            Self::Hmac(key) => hmac::verify(key, message, tag),
            Self::Rsa(n, e) => RsaPublicKeyComponents { n, e }.verify(rsa, message, tag),
            Self::Public(PublicKey::Rsa(key)) => UnparsedPublicKey::new(rsa, key).verify(message, tag),
            Self::Public(PublicKey::P256(key)) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key).verify(message, tag)
            }
            Self::Public(PublicKey::Ed25519(key)) => {
                UnparsedPublicKey::new(&signature::ED25519, key).verify(message, tag)
            }
        };
        verified.is_ok()
    }
}

/// What a good token says.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    /// `sub`.
    pub name: String,
    /// Milliseconds since the epoch.
    pub expires: u64,
    /// The claim `presence`, or null.
    pub presence: Value,
    /// Turns true when the key that the token was checked with is known no longer.
    pub over: Arc<AtomicBool>,
}

/// Checks tokens.
pub(super) struct Jwt {
    keys: Source,
    config: config::Jwt,
}

enum Source {
    File(RwLock<Arc<[Key]>>),
    Remote(Arc<Remote>),
}

impl Jwt {
    /// Reads the keys. The error names a setting below `[web]`.
    pub(super) fn new(config: &config::Jwt) -> Result<Self, String> {
        let keys = match config.jwks_url.is_empty() {
            true => Source::File(RwLock::new(keys(config)?)),
            false => Source::Remote(Arc::new(Remote::new(config)?)),
        };
        Ok(Self { keys, config: config.clone() })
    }

    /// Reads the file again. What was granted by keys that have gone is over; nothing changes if there is a mistake in
    /// it. The error names a setting below `[web]`.
    pub(super) fn reload(&self) -> Result<(), String> {
        let Source::File(known) = &self.keys else { return Ok(()) };
        let new = keys(&self.config)?;
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        let same = |key: &Key| known.iter().find(|old| old.hash == key.hash).unwrap_or(key).clone();
        let new: Arc<[Key]> = new.iter().map(same).collect();
        for gone in known.iter().filter(|old| !new.iter().any(|key| key.hash == old.hash)) {
            gone.over.store(true, Ordering::Relaxed);
        }
        *known = new;
        Ok(())
    }

    /// Checks a token. `now` is the time of day since the epoch. Waits only where a key set has to be fetched.
    pub(super) async fn check(&self, token: &str, now: Duration) -> Result<Claims, Fault> {
        let token = Token::read(token)?;
        if !accepts(&self.config, token.algorithm) {
            return Err(Fault::Algorithm);
        }
        let key = match &self.keys {
            Source::File(keys) => token.key(&keys.read().unwrap_or_else(PoisonError::into_inner))?,
            Source::Remote(remote) => match token.key(&remote.keys()) {
                Ok(key) => key,
                Err(fault @ Fault::Algorithm) => return Err(fault),
                Err(_) => token.key(&remote.newer().await?)?,
            },
        };
        if !key.material.verifies(token.message.as_bytes(), &token.tag) {
            return Err(Fault::Signature);
        }
        self.claims(&token.claims, now.as_secs_f64(), key.over)
    }

    /// RFC 7519 section 4.1.
    fn claims(&self, claims: &Map<String, Value>, now: f64, over: Arc<AtomicBool>) -> Result<Claims, Fault> {
        let config::Jwt { issuer, audience, leeway, .. } = &self.config;
        let leeway = leeway.as_secs_f64();
        let exp = claims.get("exp").ok_or(Fault::Claim("exp", "the token has none"))?;
        let exp = exp.as_f64().filter(|exp| (0.0..1e12).contains(exp));
        let exp = exp.ok_or(Fault::Claim("exp", "it is no number of seconds since the epoch"))?;
        if exp + leeway <= now {
            return Err(Fault::Expired);
        }
        if let Some(nbf) = claims.get("nbf") {
            let nbf = nbf.as_f64().ok_or(Fault::Claim("nbf", "it is no number of seconds since the epoch"))?;
            if nbf > now + leeway {
                return Err(Fault::Claim("nbf", "the token is not valid yet"));
            }
        }
        if !issuer.is_empty() && claims.get("iss").and_then(Value::as_str) != Some(issuer) {
            return Err(Fault::Claim("iss", "the token is by another issuer"));
        }
        let is_ours = |aud: &Value| !audience.is_empty() && aud.as_str() == Some(audience);
        let ours = match claims.get("aud") {
            None => audience.is_empty(),
            Some(Value::Array(all)) => all.iter().any(is_ours),
            Some(one) => is_ours(one),
        };
        if !ours {
            return Err(Fault::Claim("aud", "the token is for somebody else"));
        }
        let name = claims.get("sub").and_then(Value::as_str);
        let name = name.filter(|name| is_name(name));
        Ok(Claims {
            name: name
                .ok_or(Fault::Claim("sub", "a name of 1 to 128 bytes is needed, other than anonymous"))?
                .to_owned(),
            expires: ((exp + leeway) * 1000.0) as u64,
            presence: claims.get("presence").cloned().unwrap_or(Value::Null),
            over,
        })
    }
}

/// The keys in the file that is named. The error names a setting below `[web]`.
fn keys(config: &config::Jwt) -> Result<Arc<[Key]>, String> {
    let one = |material, text: &[u8]| Arc::from([Key::new(None, material, text)]);
    let keys = if !config.secret_file.as_os_str().is_empty() {
        let secret = secret(&config.secret_file)?;
        one(Material::Hmac(hmac::Key::new(hmac::HMAC_SHA256, &secret)), &secret)
    } else if !config.public_key_file.as_os_str().is_empty() {
        let name = &config.public_key_file;
        let text = file("jwt.public_key_file", name)?;
        let key = der::public_key(&String::from_utf8_lossy(&text));
        let key = key.map_err(|what| format!("auth.jwt.public_key_file: {} {what}", name.display()))?;
        one(Material::Public(key), &text)
    } else {
        let keys = jwks::read(&file("jwt.jwks_file", &config.jwks_file)?);
        keys.map_err(|what| format!("auth.jwt.jwks_file: {what}"))?
    };
    match keys.iter().any(|key| accepts(config, key.material.algorithm())) {
        true => Ok(keys),
        false => Err("auth.jwt.algorithms: none of them is of a key that is given".into()),
    }
}

fn accepts(config: &config::Jwt, algorithm: Algorithm) -> bool {
    config.algorithms.is_empty() || config.algorithms.contains(&algorithm)
}

/// Whether a principal may be called that.
pub(super) fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && !name.chars().any(char::is_control) && name != ANYBODY
}

/// A token taken apart; nothing of it has been checked.
struct Token<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    /// What is signed.
    message: &'a str,
    tag: Vec<u8>,
    claims: Map<String, Value>,
}

impl<'a> Token<'a> {
    fn read(token: &'a str) -> Result<Self, Fault> {
        if token.len() > MOST_BYTES {
            return Err(Fault::Malformed("the token is longer than 8192 bytes"));
        }
        let no_token = Fault::Malformed("the token is no signed JSON Web Token");
        let parts = token.rsplit_once('.').and_then(|(message, tag)| Some((message, message.split_once('.')?, tag)));
        let Some((message, (header, claims), tag)) = parts else { return Err(no_token) };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let object = |part: &str| serde_json::from_slice::<Map<String, Value>>(&decode(part)?).ok();
        let (Some(header), Some(claims), Some(tag)) = (object(header), object(claims), decode(tag)) else {
            return Err(no_token);
        };
        if header.contains_key("crit") {
            return Err(Fault::Malformed("the token has critical headers, none of which is understood here"));
        }
        let algorithm = match header.get("alg").and_then(Value::as_str) {
            Some("HS256") => Algorithm::HS256,
            Some("RS256") => Algorithm::RS256,
            Some("ES256") => Algorithm::ES256,
            // RFC 9864 section 2.2.
            Some("EdDSA" | "Ed25519") => Algorithm::EdDSA,
            _ => return Err(Fault::Algorithm),
        };
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Fault::Kid("it is no string")),
        };
        Ok(Self { algorithm, kid, message, tag, claims })
    }

    /// The key that it must be signed with.
    fn key(&self, keys: &[Key]) -> Result<Key, Fault> {
        // A key by itself has no name; what a token calls it does not matter.
        let named = |key: &&Key| key.kid.is_none() || self.kid.is_none() || key.kid == self.kid;
        let mut fitting = keys.iter().filter(named).peekable();
        if fitting.peek().is_none() {
            return Err(Fault::Kid("there is no such key"));
        }
        let mut fitting = fitting.filter(|key| key.material.algorithm() == self.algorithm);
        match (fitting.next(), fitting.next()) {
            (None, _) => Err(Fault::Algorithm),
            (Some(key), None) => Ok(key.clone()),
            (Some(_), Some(_)) => Err(Fault::Kid("several keys fit; the token must say which")),
        }
    }
}

/// Signs a token by the secret of this configuration, for development: `sub` is `name`, `presence` the grants.
pub(super) fn mint(
    config: &config::Jwt,
    name: &str,
    presence: &Value,
    now: Duration,
    life: Duration,
) -> Result<String, String> {
    if config.secret_file.as_os_str().is_empty() {
        return Err("auth.jwt.secret_file: tokens can be made only where the configuration has a secret".into());
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret(&config.secret_file)?);
    let (now, until) = (now.as_secs(), (now + life).as_secs());
    let mut claims = json!({ "sub": name, "iat": now, "exp": until, "presence": presence });
    for (claim, value) in [("iss", &config.issuer), ("aud", &config.audience)] {
        if !value.is_empty() {
            claims[claim] = value.as_str().into();
        }
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(&claims));
    let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    Ok(format!("{message}.{tag}"))
}

/// The secret in a file, at least 32 bytes.
fn secret(name: &Path) -> Result<Vec<u8>, String> {
    let mut secret = file("jwt.secret_file", name)?;
    secret.truncate(secret.trim_ascii_end().len());
    if secret.len() < LEAST_SECRET {
        return Err(format!("auth.jwt.secret_file: {} holds less than {LEAST_SECRET} bytes", name.display()));
    }
    Ok(secret)
}

/// What is in a file of the setting `key`.
pub(super) fn file(key: &str, name: &Path) -> Result<Vec<u8>, String> {
    let wrong = |what: String| format!("auth.{key}: {}: {what}", name.display());
    let metadata = std::fs::metadata(name).map_err(|error| wrong(error.to_string()))?;
    if metadata.len() > MOST_FILE {
        return Err(wrong(format!("longer than {MOST_FILE} bytes")));
    }
    std::fs::read(name).map_err(|error| wrong(error.to_string()))
}
