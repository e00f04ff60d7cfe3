//! Ids that are digests of what they stand for: the same wherever they are made, and telling nothing of it.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::ids::{
    ArgumentsDigest, EnvironmentId, ExecutionId, LaunchKey, OwnerDigest, Principal, RateId,
    TallyId, TenantDigest,
};

impl Principal {
    /// The tenant as it appears in keys and messages.
    pub fn tenant_digest(&self) -> TenantDigest {
        self.digests().tenant
    }

    /// The tenant and subject as they appear in keys and messages.
    pub fn owner_digest(&self) -> OwnerDigest {
        self.digests().owner
    }

    fn digests(&self) -> &PrincipalDigests {
        static ANONYMOUS: LazyLock<PrincipalDigests> =
            LazyLock::new(|| PrincipalDigests::of("", ""));
        match self {
            Self::Anonymous => &ANONYMOUS,
            Self::Verified(known) => &known.digests,
        }
    }
}

/// What stands for a principal in keys and messages.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PrincipalDigests {
    tenant: TenantDigest,
    owner: OwnerDigest,
}

impl PrincipalDigests {
    pub(super) fn of(tenant: &str, subject: &str) -> Self {
        Self {
            tenant: TenantDigest::from_bytes(digest16(b"baton-tenant", &[tenant])),
            owner: OwnerDigest::from_bytes(digest16(b"baton-owner", &[tenant, subject])),
        }
    }
}

impl RateId {
    /// The rate of this scope, such as a method, and of this name in it.
    pub fn of(scope: &str, name: &str) -> Self {
        Self::from_bytes(digest16(b"baton-rate", &[scope, name]))
    }

    /// The rate of this tenant and subject.
    pub fn of_subject(subject: OwnerDigest) -> Self {
        // Already a digest, of what no scope's name can be.
        Self::from_bytes(*subject.as_bytes())
    }
}

// Of an idempotency key only digests go further than the gateway: its text may be a secret.
impl ExecutionId {
    /// The execution that a key names in an environment, whoever asks for it and however often.
    pub fn of_key(environment: EnvironmentId, key: &str) -> Self {
        Self::from_bytes(digest16(b"baton-keyed-execution", &[&environment.to_string(), key]))
    }
}

impl ArgumentsDigest {
    /// The digest of these parts, in this order.
    pub fn of(parts: &[&str]) -> Self {
        Self::from_bytes(digest16(b"baton-keyed-arguments", parts))
    }
}

impl LaunchKey {
    /// A key as this caller uses it; another caller's is another.
    pub fn of(caller: &Principal, key: &str) -> Self {
        Self::from_bytes(digest16(b"baton-keyed-launch", &[caller.tenant(), caller.subject(), key]))
    }
}

impl TallyId {
    /// The tally that an operation of this caller begins: the same for each repeat of it.
    pub fn derived(caller: &Principal, operation: &str) -> Self {
        Self::from_bytes(digest16(b"baton-tally", &[caller.tenant(), caller.subject(), operation]))
    }
}

fn digest16(label: &[u8], parts: &[&str]) -> [u8; 16] {
    let mut hash = Sha256::new_with_prefix(label);
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut out = [0; 16];
    out.copy_from_slice(&hash.finalize()[..16]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Name;

    #[test]
    fn digests_tell_tenant_from_subject() {
        let name = |text| Name::parse(text).unwrap();
        let one = Principal::verified(name("ab"), name("c"));
        let other = Principal::verified(name("a"), name("bc"));
        assert_ne!(one.owner_digest(), other.owner_digest());
        assert_ne!(Principal::Anonymous.tenant_digest(), one.tenant_digest());
    }

    #[test]
    fn a_key_is_another_one_in_another_environment_and_for_another_caller() {
        let (one, two) = (EnvironmentId::from_bytes([1; 16]), EnvironmentId::from_bytes([2; 16]));
        assert_eq!(ExecutionId::of_key(one, "k"), ExecutionId::of_key(one, "k"));
        assert_ne!(ExecutionId::of_key(one, "k"), ExecutionId::of_key(two, "k"));
        assert_ne!(ExecutionId::of_key(one, "k"), ExecutionId::of_key(one, "K"));
        let name = |text| Name::parse(text).unwrap();
        let caller = Principal::verified(name("t"), name("alice"));
        assert_ne!(LaunchKey::of(&caller, "k"), LaunchKey::of(&Principal::Anonymous, "k"));
        assert_ne!(ArgumentsDigest::of(&["ab", "c"]), ArgumentsDigest::of(&["a", "bc"]));
    }
}
