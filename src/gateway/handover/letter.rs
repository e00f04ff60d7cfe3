//! What is handed over, and the proof that a replica did it.
//!
//! The proof is one header: base64url of the time in unix milliseconds 8 · nonce 16 · key id 1 · MAC 20. The MAC is made
//! with the signing keyring, for this purpose and the principal; it is over the path, the replica that is to take it,
//! time, nonce, and the digest of the whole letter.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::PATH;
use crate::domain::ids::{Name, Principal, Timestamp};
use crate::domain::keyring::{Keyring, Purpose, SEAL_LEN, Seal};
use crate::rpc::auth::Nonce;
use crate::rpc::replays::Replays;

/// Carries the proof.
pub(super) const PROOF: HeaderName = HeaderName::from_static("baton-handover");
/// Time, nonce, key id, MAC.
const PROOF_LEN: usize = 8 + 16 + 1 + SEAL_LEN;
/// Headers that MCP needs, besides its own.
const KEPT: [&str; 6] =
    ["content-type", "accept", "idempotency-key", "traceparent", "tracestate", "baggage"];

/// A client's message, and who sent it.
#[derive(Debug)]
pub(super) struct Letter {
    /// Who was verified.
    pub principal: Principal,
    /// The headers that MCP needs.
    pub headers: HeaderMap,
    /// The message.
    pub message: Bytes,
}

/// What stands before the message.
#[derive(Serialize, Deserialize)]
struct Head {
    /// Tenant and subject; none of an anonymous caller.
    principal: Option<(String, String)>,
    headers: Vec<(String, String)>,
}

/// Why a letter is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    /// It is no letter, or nobody of ours wrote it, or not for this replica.
    #[error("this is no handover by a replica with one of our signing keys")]
    Unproven,
    /// It was taken before, or the replicas' clocks are too far apart.
    #[error("this handover is old, or a copy: do the replicas' clocks agree?")]
    NotFresh,
}

impl Letter {
    /// The same message with those of its headers that MCP needs.
    pub(super) fn new(principal: Principal, headers: &HeaderMap, message: Bytes) -> Self {
        let is_kept =
            |name: &HeaderName| KEPT.contains(&name.as_str()) || name.as_str().starts_with("mcp-");
        let kept = headers.iter().filter(|(name, _)| is_kept(name));
        let headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { principal, headers, message }
    }

    /// The letter's bytes and its proof, for this replica alone.
    pub(super) fn seal(&self, to: &str, keys: &Keyring, now: Timestamp) -> (Bytes, HeaderValue) {
        let bytes = self.write();
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).expect("the kernel gives random bytes");
        let statement = statement(to, now, nonce, &bytes);
        let seal = keys.seal(Purpose::Relay, &self.principal, &[&statement]);
        let time = now.as_millis().to_be_bytes();
        let proof = [&time[..], &nonce, &[seal.key_id], &seal.mac].concat();
        let proof = HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(proof));
        (bytes, proof.expect("base64url is header text"))
    }

    /// The letter, if a replica of ours wrote it for this one, a moment ago, and it comes for the first time.
    pub(super) fn open(
        bytes: Bytes,
        proof: Option<&HeaderValue>,
        here: &str,
        (keys, replays): (&Keyring, &Replays),
        now: Timestamp,
    ) -> Result<Self, NotTaken> {
        let proof = proof.and_then(|it| URL_SAFE_NO_PAD.decode(it.as_bytes()).ok());
        let proof: [u8; PROOF_LEN] =
            proof.and_then(|it| it.try_into().ok()).ok_or(NotTaken::Unproven)?;
        let (time, rest) = proof.split_at(8);
        let (nonce, rest) = rest.split_at(16);
        let sent = time.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let sent = Timestamp::from_millis(sent);
        let nonce: [u8; 16] = nonce.try_into().expect("it was split there");
        let mac = rest[1..].try_into().expect("it was split there");
        let statement = statement(here, sent, nonce, &bytes);
        let letter = Self::read(bytes).ok_or(NotTaken::Unproven)?;
        let seal = Seal { key_id: rest[0], mac };
        if !keys.verifies(&seal, Purpose::Relay, &letter.principal, &[&statement]) {
            return Err(NotTaken::Unproven);
        }
        replays.accept(sent, Nonce::from_bytes(nonce), now).map_err(|_| NotTaken::NotFresh)?;
        Ok(letter)
    }

    /// The head's length in four bytes, the head, the message.
    fn write(&self) -> Bytes {
        let principal = match &self.principal {
            Principal::Anonymous => None,
            known @ Principal::Verified { .. } => {
                Some((known.tenant().to_owned(), known.subject().to_owned()))
            }
        };
        // What is not text was in no header that counts: the request was parsed here.
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let headers = self.headers.iter();
        let headers =
            headers.filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect();
        let head = serde_json::to_vec(&Head { principal, headers }).expect("strings serialize");
        let length = u32::try_from(head.len()).expect("headers are bounded").to_be_bytes();
        [&length[..], &head, &self.message].concat().into()
    }

    fn read(mut bytes: Bytes) -> Option<Self> {
        let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
        let end = usize::try_from(length).ok()?.checked_add(4)?;
        let head: Head = serde_json::from_slice(bytes.get(4..end)?).ok()?;
        let principal = match head.principal {
            None => Principal::Anonymous,
            Some((tenant, subject)) => {
                Principal::verified(Name::parse(&tenant).ok()?, Name::parse(&subject).ok()?)
            }
        };
        let mut headers = HeaderMap::new();
        for (name, value) in head.headers {
            headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        }
        Some(Self { principal, headers, message: bytes.split_off(end) })
    }
}

fn statement(to: &str, time: Timestamp, nonce: [u8; 16], letter: &[u8]) -> Vec<u8> {
    let mut statement = Vec::with_capacity(128);
    for part in ["POST", PATH, to] {
        statement.extend((part.len() as u64).to_be_bytes());
        statement.extend(part.as_bytes());
    }
    statement.extend(time.as_millis().to_be_bytes());
    statement.extend(nonce);
    statement.extend(Sha256::digest(letter));
    statement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keyring::SecretKey;

    const NOW: Timestamp = Timestamp::from_millis(1_795_250_494_000);

    fn ring(byte: u8) -> Keyring {
        Keyring::new("baton", &[SecretKey::from_bytes([byte; 32])]).unwrap()
    }

    fn letter() -> Letter {
        let name = |text| Name::parse(text).unwrap();
        let mut headers = HeaderMap::new();
        for (key, value) in
            [("mcp-method", "tools/call"), ("accept", "a/b"), ("x-ms-apikey", "k"), ("cookie", "c")]
        {
            headers.insert(key, HeaderValue::from_static(value));
        }
        let principal = Principal::verified(name("t"), name("s"));
        Letter::new(principal, &headers, Bytes::from_static(b"{}"))
    }

    fn open(bytes: &Bytes, proof: &HeaderValue, here: &str, now: Timestamp) -> Option<NotTaken> {
        let replays = Replays::default();
        Letter::open(bytes.clone(), Some(proof), here, (&ring(1), &replays), now).err()
    }

    #[test]
    fn a_letter_opens_once_and_carries_no_credential() {
        let (bytes, proof) = letter().seal("r1", &ring(1), NOW);
        let (keys, replays) = (ring(1), Replays::default());
        let take = || Letter::open(bytes.clone(), Some(&proof), "r1", (&keys, &replays), NOW);
        let taken = take().unwrap();
        assert_eq!((taken.principal.subject(), &taken.message[..]), ("s", &b"{}"[..]));
        let names: Vec<&str> = taken.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["mcp-method", "accept"]);
        assert_eq!(take().err(), Some(NotTaken::NotFresh));
    }

    #[test]
    fn an_anonymous_caller_stays_one() {
        let anonymous = Letter { principal: Principal::Anonymous, ..letter() };
        let (bytes, proof) = anonymous.seal("r1", &ring(1), NOW);
        assert_eq!(open(&bytes, &proof, "r1", NOW), None);
    }

    #[test]
    fn what_was_altered_or_is_for_another_or_old_is_not_taken() {
        let (bytes, proof) = letter().seal("r1", &ring(1), NOW);
        assert_eq!(open(&bytes, &proof, "r2", NOW), Some(NotTaken::Unproven));
        let late = Timestamp::from_millis(NOW.as_millis() + 31_000);
        assert_eq!(open(&bytes, &proof, "r1", late), Some(NotTaken::NotFresh));
        let (_, forged) = letter().seal("r1", &ring(2), NOW);
        assert_eq!(open(&bytes, &forged, "r1", NOW), Some(NotTaken::Unproven));
        for at in 0..bytes.len() {
            let mut altered = bytes.to_vec();
            altered[at] ^= 1;
            assert_eq!(open(&altered.into(), &proof, "r1", NOW), Some(NotTaken::Unproven), "{at}");
        }
        for at in 0..proof.len() {
            let mut altered = proof.as_bytes().to_vec();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            if altered != proof.as_bytes() {
                let altered = HeaderValue::from_bytes(&altered).unwrap();
                assert!(open(&bytes, &altered, "r1", NOW).is_some(), "{at}");
            }
        }
        let empty = Letter::open(Bytes::new(), None, "r1", (&ring(1), &Replays::default()), NOW);
        assert_eq!(empty.err(), Some(NotTaken::Unproven));
    }
}
