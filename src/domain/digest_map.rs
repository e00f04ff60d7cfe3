//! Maps by digest: nobody can choose one, so none needs to be hashed once more.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by digests.
pub type DigestMap<K, V> = HashMap<K, V, BuildHasherDefault<DigestHasher>>;

/// Takes the first bytes of a digest for its hash.
#[derive(Clone, Debug, Default)]
pub struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, digest: &[u8]) {
        let first = digest.first_chunk().expect("a digest is longer than a hash");
        self.0 = u64::from_ne_bytes(*first);
    }

    /// The length of a digest, which tells nothing.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::TenantDigest;

    #[test]
    fn digests_that_begin_alike_are_told_apart() {
        let digest =
            |last| TenantDigest::from_bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0, last]);
        let map: DigestMap<_, _> = (0..100).map(|last| (digest(last), last)).collect();
        assert!((0..100).all(|last| map[&digest(last)] == last));
        assert!(!map.contains_key(&digest(100)));
    }
}
