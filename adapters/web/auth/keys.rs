//! API keys: 256 random bits each, of which only the hash is kept. A key that is random needs no slow hash.

use super::config;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Says what it is to whoever finds one, and to scanners for secrets.
const PREFIX: &str = "lk_";

/// A SHA-256 hash.
pub(super) type Hash = [u8; 32];

/// The hash of a secret.
pub(super) fn hash_of(secret: impl AsRef<[u8]>) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, secret.as_ref()).as_ref());
    hash
}

/// Reads `sha256:` and 64 hexadecimal digits.
pub(super) fn hash(text: &str) -> Option<Hash> {
    let digits = text.strip_prefix("sha256:")?;
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = Hash::default();
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

/// 256 random bits in 43 letters; `None`: the system has none.
pub(super) fn random() -> Option<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// A new key, and its hash as the configuration wants it; `None`: the system has no random numbers.
pub fn new_key() -> Option<(String, String)> {
    let key = format!("{PREFIX}{}", random()?);
    let hash = hash_of(&key).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Some((key, format!("sha256:{hash}")))
}

/// A key that is known.
pub(super) struct Known {
    hash: Hash,
    pub key: config::Key,
    /// Turns true when it is known no longer.
    pub over: Arc<AtomicBool>,
}

/// The keys of the configuration and of the file that it names.
pub(super) struct Keys {
    fixed: Vec<config::Key>,
    file: PathBuf,
    now: RwLock<Arc<[Arc<Known>]>>,
}

/// What is in the file.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Content {
    keys: Vec<config::Key>,
}

impl Keys {
    /// Reads the file. The error names the setting below `[web]`.
    pub(super) fn new(config: &config::Auth) -> Result<Self, String> {
        let (fixed, file) = (config.keys.clone(), config.keys_file.clone());
        let keys = Self { fixed, file, now: RwLock::new(Arc::new([])) };
        keys.reload()?;
        Ok(keys)
    }

    /// Reads the file again. Keys that have gone or may do something else now are over; nothing changes if there is a
    /// mistake in it.
    pub(super) fn reload(&self) -> Result<(), String> {
        let mut all = self.fixed.clone();
        if !self.file.as_os_str().is_empty() {
            let wrong = |what: &dyn std::fmt::Display| format!("auth.keys_file: {}: {what}", self.file.display());
            let text = super::jwt::file("keys_file", &self.file)?;
            let text = str::from_utf8(&text).map_err(|error| wrong(&error))?;
            let content: Result<Content, toml::de::Error> = toml::from_str(text);
            all.extend(content.map_err(|error| wrong(&error.message()))?.keys);
            config::check_keys(&all).map_err(|(_, what)| wrong(&what))?;
        }
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let known = |key: config::Key| {
            if let Some(same) = now.iter().find(|known| known.key == key) {
                return Some(Arc::clone(same));
            }
            Some(Arc::new(Known { hash: hash(&key.hash)?, key, over: Arc::default() }))
        };
        let new: Arc<[_]> = all.into_iter().filter_map(known).collect();
        for gone in now.iter().filter(|known| !new.iter().any(|other| Arc::ptr_eq(known, other))) {
            gone.over.store(true, Ordering::Relaxed);
        }
        *now = new;
        Ok(())
    }

    /// The entry of a key. Takes equally long for every key that is offered.
    pub(super) fn find(&self, key: &str) -> Option<Arc<Known>> {
        let (offered, mut found) = (hash_of(key), None);
        let now = Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner));
        for known in now.iter() {
            let both = known.hash.iter().zip(&offered);
            if both.fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b))) == 0 {
                found = Some(Arc::clone(known));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_hash_and_no_other_is() {
        let ((one, one_hash), (other, _)) = (new_key().unwrap(), new_key().unwrap());
        let entry = config::Key { name: "crm".into(), hash: one_hash.clone(), ..Default::default() };
        let old = config::Key { name: "old".into(), hash: format!("sha256:{:064}", 0), ..entry.clone() };
        let keys = Keys::new(&config::Auth { keys: vec![old, entry], ..Default::default() }).unwrap();
        assert_eq!(keys.find(&one).map(|known| known.key.name.clone()).as_deref(), Some("crm"));
        assert!(keys.find(&other).is_none() && keys.find("").is_none() && keys.find(&one_hash).is_none());
        assert!(keys.find(&one[..one.len() - 1]).is_none());
    }

    #[test]
    fn keys_are_long_and_hashes_are_those_of_sha256() {
        let (key, hash) = new_key().unwrap();
        assert_eq!((key.len(), hash.len(), &key[..3]), (46, 71, "lk_"));
        // FIPS 180-2 appendix B.1.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(super::hash(abc), Some(hash_of("abc")));
        assert_eq!(super::hash(&abc.to_uppercase().replace("SHA", "sha")), Some(hash_of("abc")));
        for bad in ["", "sha256:", "sha256:ba78", &abc[7..], &abc.replace('b', "g"), &abc.replace("ba", "é")] {
            assert_eq!(super::hash(bad), None, "{bad}");
        }
    }

    /// A file of this test.
    struct File(PathBuf);

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_key_that_is_taken_out_of_the_file_is_over() {
        let file = File(std::env::temp_dir().join(format!("lamplighter-keys-{}.toml", std::process::id())));
        let ((lobby, lobby_hash), (desk, desk_hash)) = (new_key().unwrap(), new_key().unwrap());
        let entry = |name: &str, hash: &str, admin: bool| {
            format!("[[keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nadmin = {admin}\n")
        };
        let write = |text: String| std::fs::write(&file.0, text).unwrap();
        write(entry("lobby", &lobby_hash, false) + &entry("desk", &desk_hash, false));
        let keys = Keys::new(&config::Auth { keys_file: file.0.clone(), ..Default::default() }).unwrap();
        let (one, other) = (keys.find(&lobby).unwrap(), keys.find(&desk).unwrap());
        let over = |known: &Known| known.over.load(Ordering::Relaxed);
        // What is wrong changes nothing.
        for wrong in ["[", "key = 1", "[[keys]]", "[[keys]]\nname = \"x\"\nhash = \"y\"\n"] {
            write(wrong.into());
            assert!(keys.reload().is_err_and(|what| what.starts_with("auth.keys_file: ")), "{wrong}");
        }
        write(entry("lobby", &lobby_hash, false) + &entry("lobby", &desk_hash, false));
        assert!(keys.reload().is_err());
        assert!(keys.find(&lobby).is_some() && !over(&one) && !over(&other));
        // One stays, of the other only the name and the hash do.
        write(entry("desk", &desk_hash, true) + &entry("lobby", &lobby_hash, false));
        keys.reload().unwrap();
        assert!(!over(&one) && over(&other) && keys.find(&desk).is_some_and(|known| known.key.admin));
        write(String::new());
        keys.reload().unwrap();
        assert!(over(&one) && keys.find(&lobby).is_none());
    }
}
