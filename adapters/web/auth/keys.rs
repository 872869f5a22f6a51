//! API keys: 256 random bits each, of which only the hash is kept. A key that is random needs no slow hash.

use super::config;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Says what it is to whoever finds one, and to scanners for secrets.
const PREFIX: &str = "lk_";

/// A SHA-256 hash.
pub(super) type Hash = [u8; 32];

/// The hash of a secret.
pub(super) fn hash_of(secret: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
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

/// The keys of the configuration.
pub(super) struct Keys(Vec<(Hash, config::Key)>);

impl Keys {
    pub(super) fn new(keys: &[config::Key]) -> Self {
        Self(keys.iter().filter_map(|key| Some((hash(&key.hash)?, key.clone()))).collect())
    }

    /// The entry of a key. Takes equally long for every key that is offered.
    pub(super) fn find(&self, key: &str) -> Option<&config::Key> {
        let offered = hash_of(key);
        let mut found = None;
        for (hash, key) in &self.0 {
            let difference = hash.iter().zip(&offered).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
            if difference == 0 {
                found = Some(key);
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
        let keys =
            Keys::new(&[config::Key { name: "old".into(), hash: format!("sha256:{:064}", 0), ..entry.clone() }, entry]);
        assert_eq!(keys.find(&one).map(|key| &*key.name), Some("crm"));
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
}
