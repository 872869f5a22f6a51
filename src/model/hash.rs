//! Keyed hashing: maps whose order a peer cannot choose, and short checks that a peer cannot forge.

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher128};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};

/// The key of all hashes of one shard, given at construction: equal seeds make equal runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seed(pub u64, pub u64);

/// A map keyed by peers' bytes.
pub type Map<K, V> = HashMap<K, V, Seed>;
/// A set keyed by peers' bytes.
pub type Set<K> = HashSet<K, Seed>;

impl BuildHasher for Seed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

impl Seed {
    /// A 128-bit fingerprint of `parts`; the lengths count, so that ("ab", "c") differs from ("a", "bc").
    pub fn fingerprint(&self, parts: &[&[u8]]) -> u128 {
        let mut hasher = SipHasher128::new_with_keys(self.0, self.1);
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }

    /// A 64-bit keyed check over three numbers, for identifiers that come back to us.
    pub fn check(&self, a: u64, b: u64, c: u64) -> u64 {
        let mut hasher = self.build_hasher();
        hasher.write_u64(a);
        hasher.write_u64(b);
        hasher.write_u64(c);
        hasher.finish()
    }
}
