//! API keys: only their SHA-256 is known here.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::domain::ids::Principal;

/// SHA-256 of an API key. A fast hash is right: the keys have 256 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiKeyHash([u8; 32]);

impl ApiKeyHash {
    /// The hash of a key.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// A hash from the configuration.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for ApiKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyHash(…)")
    }
}

/// The keys that are known, and whose they are.
#[derive(Clone, Debug)]
pub struct ApiKeys(Arc<HashMap<ApiKeyHash, Principal>>);

impl ApiKeys {
    /// A table of keys.
    pub fn new(keys: impl IntoIterator<Item = (ApiKeyHash, Principal)>) -> Self {
        Self(Arc::new(keys.into_iter().collect()))
    }

    /// Whose key this is. What the look-up's time tells is about a hash, which cannot be steered.
    pub fn find(&self, key: &[u8]) -> Option<&Principal> {
        self.0.get(&ApiKeyHash::of(key))
    }
}
