//! JSON Web Key Sets, RFC 7517: read, and fetched anew when they seem to have changed.

use super::config;
use super::der::PublicKey;
use super::jwt::{Fault, Key, MOST_FILE, Material, file};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// More keys of a set are not looked at.
const MOST_KEYS: usize = 100;
/// The least time between two attempts to fetch.
const PAUSE: Duration = Duration::from_secs(30);
/// A set that is older is fetched again when it is next asked for, so that keys taken out of it lose their power.
const FRESH: Duration = Duration::from_secs(600);
/// How long one attempt takes at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads a set. Keys of other types, on other curves, for encryption, or without what they need are left out.
pub(super) fn read(text: &[u8]) -> Result<Arc<[Key]>, &'static str> {
    let set: Value = serde_json::from_slice(text).map_err(|_| "it is not JSON")?;
    let keys = set["keys"].as_array().ok_or("it has no list `keys`")?;
    let keys: Arc<[Key]> = keys.iter().filter_map(key).take(MOST_KEYS).collect();
    if keys.is_empty() { Err("it holds no public key of RSA, P-256 or Ed25519 for signatures") } else { Ok(keys) }
}

fn key(key: &Value) -> Option<Key> {
    let text = |name: &str| key[name].as_str();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    if text("use").is_some_and(|one| one != "sig") {
        return None;
    }
    let (material, algorithms): (_, &[&str]) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let positive = |mut number: Vec<u8>| {
                number.drain(..number.iter().take_while(|byte| **byte == 0).count());
                (!number.is_empty()).then_some(number)
            };
            (Material::Rsa(positive(number("n")?)?, positive(number("e")?)?), &["RS256"])
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (number("x")?, number("y")?);
            if (x.len(), y.len()) != (32, 32) {
                return None;
            }
            (Material::Public(PublicKey::P256([&[4], &*x, &*y].concat())), &["ES256"])
        }
        ("OKP", Some("Ed25519")) => {
            let x = number("x").filter(|x| x.len() == 32)?;
            (Material::Public(PublicKey::Ed25519(x)), &["EdDSA", "Ed25519"])
        }
        _ => return None,
    };
    if text("alg").is_some_and(|one| !algorithms.contains(&one)) {
        return None;
    }
    Some(Key::new(text("kid").map(Into::into), material, key.to_string().as_bytes()))
}

/// A set behind a URL.
pub(super) struct Remote {
    url: String,
    agent: ureq::Agent,
    keys: RwLock<Set>,
    /// Whoever holds it fetches; when that was last tried.
    fetching: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Clone, Default)]
struct Set {
    keys: Arc<[Key]>,
    fetched: Option<Instant>,
}

impl Remote {
    pub(super) fn new(config: &config::Jwt) -> Result<Self, String> {
        let mut tls = TlsConfig::builder();
        if !config.ca_file.as_os_str().is_empty() {
            let text = file("jwt.ca_file", &config.ca_file)?;
            let certificates = parse_pem(&text).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            let certificates: Vec<_> = certificates.collect();
            if certificates.is_empty() {
                return Err(format!("auth.jwt.ca_file: {} holds no certificate", config.ca_file.display()));
            }
            tls = tls.root_certs(RootCerts::Specific(Arc::new(certificates)));
        }
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .https_only(config.jwks_url.starts_with("https://"))
            .max_redirects(3)
            .tls_config(tls.build())
            .build();
        Ok(Self {
            url: config.jwks_url.clone(),
            agent: agent.into(),
            keys: RwLock::default(),
            fetching: tokio::sync::Mutex::default(),
        })
    }

    /// The keys that are known; a set that has become old is fetched meanwhile.
    pub(super) fn keys(self: &Arc<Self>) -> Arc<[Key]> {
        let Set { keys, fetched } = self.set();
        if fetched.is_some_and(|at| at.elapsed() > FRESH) && self.fetching.try_lock().is_ok() {
            let remote = Arc::clone(self);
            tokio::spawn(async move { remote.newer().await });
        }
        keys
    }

    /// The keys, fetched if that was not just tried. Those who ask at the same time wait for one attempt together.
    pub(super) async fn newer(&self) -> Result<Arc<[Key]>, Fault> {
        let mut tried = self.fetching.lock().await;
        if tried.is_none_or(|at| at.elapsed() >= PAUSE) {
            *tried = Some(Instant::now());
            let (agent, url) = (self.agent.clone(), self.url.clone());
            let fetched = tokio::task::spawn_blocking(move || fetch(&agent, &url)).await;
            match fetched.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(keys) => {
                    let mut set = self.keys.write().unwrap_or_else(PoisonError::into_inner);
                    *set = Set { keys, fetched: Some(Instant::now()) };
                }
                // The old ones stay.
                Err(error) => tracing::warn!(url = self.url, error, "the key set cannot be fetched"),
            }
        }
        let Set { keys, fetched } = self.set();
        if fetched.is_some() { Ok(keys) } else { Err(Fault::Unavailable) }
    }

    fn set(&self) -> Set {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn fetch(agent: &ureq::Agent, url: &str) -> Result<Arc<[Key]>, String> {
    let mut answer = agent.get(url).call().map_err(|error| error.to_string())?;
    let text = answer.body_mut().with_config().limit(MOST_FILE).read_to_vec().map_err(|error| error.to_string())?;
    read(&text).map_err(Into::into)
}
