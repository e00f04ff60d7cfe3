//! API keys: only their digests are known here.

use std::sync::Arc;

use crate::domain::api_key::ApiKeyDigest;
use crate::domain::digest_map::DigestMap;
use crate::domain::ids::Principal;

/// The keys that are known, and whose they are.
#[derive(Clone, Debug)]
pub struct ApiKeys(Arc<DigestMap<ApiKeyDigest, Principal>>);

impl ApiKeys {
    /// A table of keys.
    pub fn new(keys: impl IntoIterator<Item = (ApiKeyDigest, Principal)>) -> Self {
        Self(Arc::new(keys.into_iter().collect()))
    }

    /// Whose key this is. What the look-up's time tells is about a digest, which cannot be steered.
    pub(super) fn find(&self, key: &[u8]) -> Option<&Principal> {
        self.0.get(&ApiKeyDigest::of(key))
    }
}
