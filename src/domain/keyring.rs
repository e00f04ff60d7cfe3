//! Keys in rotation: the first signs, all of them verify.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::ids::{Principal, WorkerId};

/// What a seal is for; a token sealed for one purpose opens for no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The name of an environment, as clients hold it.
    Environment,
    /// The name of a tally of the sample tools.
    Tally,
    /// A worker's right to an environment.
    Ticket,
    /// Where the next page of a list begins.
    Cursor,
    /// The state of a multi round-trip request.
    RequestState,
    /// The name of a task.
    Task,
    /// What one replica hands on to another.
    Relay,
    /// The id of a request to a client.
    Question,
}

impl Purpose {
    /// The label under the MAC; ends in NUL, so that none is the beginning of another.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Environment => b"baton-environment-v1\0",
            Self::Tally => b"baton-tally-v1\0",
            Self::Ticket => b"baton-ticket-v1\0",
            Self::Cursor => b"baton-cursor-v1\0",
            Self::RequestState => b"baton-request-state-v1\0",
            Self::Task => b"baton-task-v1\0",
            Self::Relay => b"baton-relay-v1\0",
            Self::Question => b"baton-question-v1\0",
        }
    }
}

/// Length of a seal in bytes: HMAC-SHA256 cut to 160 bits.
pub const SEAL_LEN: usize = 20;

/// A seal: which key made it, and the MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The key's id.
    pub key_id: u8,
    /// The MAC, cut to 160 bits.
    pub mac: [u8; SEAL_LEN],
}

/// 32 secret bytes: a signing key or a root of worker keys.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

/// A key file's line is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The line is not base64 of 32 bytes.
    #[error("a key is one line: base64 of 32 random bytes (make one with `baton key`)")]
    NotAKey,
    /// The line of a worker's key is not `ID:KEY`.
    #[error(
        "a worker's key is one line: its id, a colon, and base64 of 32 bytes (`baton key worker`)"
    )]
    NotAWorkerKey,
    /// A keyring without a key.
    #[error("at least one signing key is needed")]
    NoKey,
    /// Two keys of a keyring have the same id.
    #[error("two signing keys share the key id {0:#04x}: make one of them anew")]
    SameId(u8),
}

impl SecretKey {
    /// A key of these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a key file: one line, base64 of 32 bytes.
    pub fn parse(line: &str) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(line.trim()).map_err(|_| KeyError::NotAKey)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::NotAKey)
    }

    /// The key as its file's line; only for the command that prints keys.
    pub fn reveal(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// The key's public id: the first byte of SHA-256("baton-kid" ‖ key).
    pub fn id(&self) -> u8 {
        Sha256::new_with_prefix(b"baton-kid").chain_update(self.0).finalize()[0]
    }

    fn keyed(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(&self.0).expect("HMAC takes keys of any length")
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// The signing keys of a deployment: the first signs, the others still verify.
#[derive(Clone)]
pub struct Keyring {
    audience: Box<str>,
    keys: Vec<(u8, Hmac<Sha256>)>,
}

impl Keyring {
    /// A keyring for one audience; the first key signs. No key, or two with one id, is an error.
    pub fn new(audience: &str, keys: &[SecretKey]) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::NoKey);
        }
        let mut ring: Vec<(u8, Hmac<Sha256>)> = Vec::with_capacity(keys.len());
        for key in keys {
            let id = key.id();
            if ring.iter().any(|(known, _)| *known == id) {
                return Err(KeyError::SameId(id));
            }
            ring.push((id, key.keyed()));
        }
        Ok(Self { audience: audience.into(), keys: ring })
    }

    /// The id of the key that signs.
    pub fn signing_key_id(&self) -> u8 {
        self.keys[0].0
    }

    /// Seals `message` for one purpose and one owner.
    pub fn seal(&self, purpose: Purpose, owner: &Principal, message: &[&[u8]]) -> Seal {
        self.seal_with(purpose, &[owner.tenant().as_bytes(), owner.subject().as_bytes()], message)
    }

    /// Whether this keyring made the seal for that purpose, owner and message. Constant time.
    pub fn verifies(
        &self,
        seal: &Seal,
        purpose: Purpose,
        owner: &Principal,
        message: &[&[u8]],
    ) -> bool {
        let parties = [owner.tenant().as_bytes(), owner.subject().as_bytes()];
        self.verifies_with(seal, purpose, &parties, message)
    }

    /// Seals a statement of the system itself, which no principal owns.
    pub(super) fn seal_own(&self, purpose: Purpose, message: &[&[u8]]) -> Seal {
        self.seal_with(purpose, &[], message)
    }

    /// Whether this keyring made a statement of the system itself. Constant time.
    pub(super) fn verifies_own(&self, seal: &Seal, purpose: Purpose, message: &[&[u8]]) -> bool {
        self.verifies_with(seal, purpose, &[], message)
    }

    fn seal_with(&self, purpose: Purpose, parties: &[&[u8]], message: &[&[u8]]) -> Seal {
        let (key_id, key) = &self.keys[0];
        let full = self.mac(key, purpose, parties, message).finalize().into_bytes();
        let mut mac = [0; SEAL_LEN];
        mac.copy_from_slice(&full[..SEAL_LEN]);
        Seal { key_id: *key_id, mac }
    }

    fn verifies_with(
        &self,
        seal: &Seal,
        purpose: Purpose,
        parties: &[&[u8]],
        message: &[&[u8]],
    ) -> bool {
        let Some((_, key)) = self.keys.iter().find(|(id, _)| *id == seal.key_id) else {
            return false;
        };
        self.mac(key, purpose, parties, message).verify_truncated_left(&seal.mac).is_ok()
    }

    fn mac(
        &self,
        key: &Hmac<Sha256>,
        purpose: Purpose,
        parties: &[&[u8]],
        message: &[&[u8]],
    ) -> Hmac<Sha256> {
        let mut mac = key.clone();
        mac.update(purpose.label());
        for part in std::iter::once(self.audience.as_bytes()).chain(parties.iter().copied()) {
            let length = u16::try_from(part.len()).expect("names are at most 128 characters");
            mac.update(&length.to_be_bytes());
            mac.update(part);
        }
        for part in message {
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<u8> = self.keys.iter().map(|(id, _)| *id).collect();
        f.debug_struct("Keyring").field("audience", &self.audience).field("keys", &ids).finish()
    }
}

/// The secret that one worker shares with the gateways: HKDF(root, worker id).
#[derive(Clone)]
pub struct WorkerKey {
    worker: WorkerId,
    secret: SecretKey,
}

impl WorkerKey {
    /// Derives a worker's key from a root key.
    pub fn derive(root: &SecretKey, worker: &WorkerId) -> Self {
        let mut secret = [0; 32];
        Hkdf::<Sha256>::new(Some(b"baton-worker-key-v1"), &root.0)
            .expand(worker.as_str().as_bytes(), &mut secret)
            .expect("32 bytes are within what HKDF-SHA256 gives");
        Self { worker: worker.clone(), secret: SecretKey(secret) }
    }

    /// Reads a worker's key file: one line, `ID:KEY`.
    pub fn parse(line: &str) -> Result<Self, KeyError> {
        let (id, key) = line.trim().split_once(':').ok_or(KeyError::NotAWorkerKey)?;
        let worker = WorkerId::parse(id).map_err(|_| KeyError::NotAWorkerKey)?;
        let secret = SecretKey::parse(key).map_err(|_| KeyError::NotAWorkerKey)?;
        Ok(Self { worker, secret })
    }

    /// The key as its file's line; only for the command that prints keys.
    pub fn reveal(&self) -> String {
        format!("{}:{}", self.worker, self.secret.reveal())
    }

    /// The worker it belongs to.
    pub fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// A MAC under this key, begun with `label`: each direction of the rpc has its own.
    pub fn mac(&self, label: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.secret.keyed();
        mac.update(label);
        mac.update(&[0]);
        mac
    }
}

impl fmt::Debug for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerKey({})", self.worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Name;

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes([byte; 32])
    }

    fn someone(subject: &str) -> Principal {
        Principal::verified(Name::parse("t").unwrap(), Name::parse(subject).unwrap())
    }

    #[test]
    fn a_seal_holds_for_one_purpose_owner_audience_and_message() {
        let ring = Keyring::new("baton", &[key(1)]).unwrap();
        let seal = ring.seal(Purpose::Environment, &someone("a"), &[b"m"]);
        assert!(ring.verifies(&seal, Purpose::Environment, &someone("a"), &[b"m"]));
        assert!(!ring.verifies(&seal, Purpose::Tally, &someone("a"), &[b"m"]));
        assert!(!ring.verifies(&seal, Purpose::Environment, &someone("b"), &[b"m"]));
        assert!(!ring.verifies(&seal, Purpose::Environment, &Principal::Anonymous, &[b"m"]));
        assert!(!ring.verifies(&seal, Purpose::Environment, &someone("a"), &[b"n"]));
        let elsewhere = Keyring::new("other", &[key(1)]).unwrap();
        assert!(!elsewhere.verifies(&seal, Purpose::Environment, &someone("a"), &[b"m"]));
    }

    #[test]
    fn a_rotated_key_verifies_and_a_retired_one_does_not() {
        let old = Keyring::new("baton", &[key(1)]).unwrap();
        let seal = old.seal(Purpose::Environment, &someone("a"), &[b"m"]);
        let rotated = Keyring::new("baton", &[key(2), key(1)]).unwrap();
        assert!(rotated.verifies(&seal, Purpose::Environment, &someone("a"), &[b"m"]));
        assert_ne!(rotated.seal(Purpose::Environment, &someone("a"), &[b"m"]), seal);
        let retired = Keyring::new("baton", &[key(2)]).unwrap();
        assert!(!retired.verifies(&seal, Purpose::Environment, &someone("a"), &[b"m"]));
    }

    #[test]
    fn two_keys_with_one_id_do_not_make_a_ring() {
        assert!(matches!(Keyring::new("baton", &[key(1), key(1)]), Err(KeyError::SameId(_))));
        assert!(matches!(Keyring::new("baton", &[]), Err(KeyError::NoKey)));
    }

    #[test]
    fn keys_read_back_from_their_files() {
        let root = key(7);
        assert_eq!(SecretKey::parse(&format!("{}\n", root.reveal())).unwrap().0, root.0);
        let worker = WorkerKey::derive(&root, &WorkerId::parse("w1").unwrap());
        let read = WorkerKey::parse(&worker.reveal()).unwrap();
        assert_eq!(read.secret.0, worker.secret.0);
        assert_eq!(read.worker().as_str(), "w1");
        for bad in ["", "w1", "w1:", "W1:AAAA", &root.reveal()] {
            assert!(WorkerKey::parse(bad).is_err(), "{bad}");
        }
        assert!(SecretKey::parse("AAAA").is_err());
    }

    #[test]
    fn each_worker_and_direction_has_its_own_key() {
        let root = key(7);
        let mac = |id: &str, label: &[u8]| {
            let key = WorkerKey::derive(&root, &WorkerId::parse(id).unwrap());
            key.mac(label).finalize().into_bytes()
        };
        assert_ne!(mac("w1", b"request"), mac("w2", b"request"));
        assert_ne!(mac("w1", b"request"), mac("w1", b"reply"));
    }

    #[test]
    fn secrets_do_not_print() {
        let ring = Keyring::new("baton", &[key(0x41)]).unwrap();
        let worker = WorkerKey::derive(&key(0x41), &WorkerId::parse("w1").unwrap());
        let shown = format!("{ring:?} {worker:?} {:?}", key(0x41));
        assert!(!shown.contains("AAAA") && !shown.contains("65, 65"), "{shown}");
    }
}
