//! What a client holds for us between two requests, besides handles: a list's cursor, the state of a suspended call,
//! the name of a task, the id of a question. Of any length, sealed for one principal until it expires.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::ids::{Principal, Timestamp};
use super::keyring::{Keyring, Purpose, SEAL_LEN, Seal};

/// A kind of thing that a client holds for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Where the next page of a list begins (pagination, "Pagination Model").
    Cursor,
    /// `requestState` of a multi round-trip request (mrtr, "Server Requirements" 4 and 5).
    RequestState,
    /// `taskId` (SEP-2663, "Tasks").
    Task,
    /// The id of a request to a client of the legacy era, which its answer repeats.
    Question,
}

impl Kind {
    /// What the text begins with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Cursor => "btc_",
            Self::RequestState => "bts_",
            Self::Task => "btt_",
            Self::Question => "btq_",
        }
    }

    const fn purpose(self) -> Purpose {
        match self {
            Self::Cursor => Purpose::Cursor,
            Self::RequestState => Purpose::RequestState,
            Self::Task => Purpose::Task,
            Self::Question => Purpose::Question,
        }
    }
}

/// Why a text does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// It does not have the form of what we seal.
    #[error("not of the expected form")]
    Malformed,
    /// The seal is not ours, not for this principal, or not for this kind or context.
    #[error("the seal does not verify")]
    NotYours,
    /// It was good until its time ran out.
    #[error("it has expired")]
    Expired,
}

const VERSION: u8 = 1;
/// Format version 1, key id 1, not-after in unix seconds 5.
const HEAD_LEN: usize = 7;
/// The longest payload in bytes; a header that repeats it must fit into what servers take.
pub const MAX_PAYLOAD: usize = 24 * 1024;

/// Seals `payload` for `owner`, good until `not_after` (kept to the second, rounded up).
///
/// The text is the kind's prefix and base64url of: format version 1, key id 1, not-after 5, payload, MAC 20. The MAC is
/// also over `context`, which is not in the text: who opens it has to know it, such as the digest of the request that
/// the state belongs to. `None` if the payload is longer than [`MAX_PAYLOAD`].
pub fn seal(
    kind: Kind,
    owner: &Principal,
    context: &[u8],
    payload: &[u8],
    not_after: Timestamp,
    keys: &Keyring,
) -> Option<String> {
    if payload.len() > MAX_PAYLOAD {
        return None;
    }
    let seconds = not_after.as_millis().div_ceil(1000).min((1 << 40) - 1);
    let mut bytes = Vec::with_capacity(HEAD_LEN + payload.len() + SEAL_LEN);
    bytes.extend([VERSION, keys.signing_key_id()]);
    bytes.extend(&seconds.to_be_bytes()[3..]);
    bytes.extend(payload);
    let seal = keys.seal(kind.purpose(), owner, &[&bytes, &length(context), context]);
    bytes.extend(seal.mac);
    Some(format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(bytes)))
}

/// Opens what a client handed back and returns the payload. No I/O; constant time in the seal.
pub fn open(
    kind: Kind,
    text: &str,
    owner: &Principal,
    context: &[u8],
    keys: &Keyring,
    now: Timestamp,
) -> Result<Vec<u8>, SealedError> {
    let mut bytes = decode(kind, text).ok_or(SealedError::Malformed)?;
    let (fields, mac) = bytes.split_at(bytes.len() - SEAL_LEN);
    let mut seal = Seal { key_id: fields[1], mac: [0; SEAL_LEN] };
    seal.mac.copy_from_slice(mac);
    if !keys.verifies(&seal, kind.purpose(), owner, &[fields, &length(context), context]) {
        return Err(SealedError::NotYours);
    }
    let seconds = fields[2..HEAD_LEN].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    if Timestamp::from_millis(seconds * 1000) <= now {
        return Err(SealedError::Expired);
    }
    bytes.truncate(bytes.len() - SEAL_LEN);
    bytes.drain(..HEAD_LEN);
    Ok(bytes)
}

fn decode(kind: Kind, text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix(kind.prefix())?;
    if text.len() > (HEAD_LEN + MAX_PAYLOAD + SEAL_LEN).div_ceil(3) * 4 {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    (bytes.len() >= HEAD_LEN + SEAL_LEN && bytes[0] == VERSION).then_some(bytes)
}

/// The context's own length goes under the MAC, or a payload's end could pass for the beginning of a context.
fn length(context: &[u8]) -> [u8; 8] {
    (context.len() as u64).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::Name;
    use crate::domain::keyring::SecretKey;

    const NOW: Timestamp = Timestamp::from_millis(1_795_250_494_000);
    const LATER: Timestamp = Timestamp::from_millis(1_795_250_554_000);
    const KINDS: [Kind; 4] = [Kind::Cursor, Kind::RequestState, Kind::Task, Kind::Question];

    fn ring() -> Keyring {
        Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).unwrap()
    }

    fn owner(subject: &str) -> Principal {
        Principal::verified(Name::parse("t").unwrap(), Name::parse(subject).unwrap())
    }

    fn sealed(kind: Kind, context: &[u8], payload: &[u8]) -> String {
        seal(kind, &owner("s"), context, payload, LATER, &ring()).unwrap()
    }

    fn opened(kind: Kind, context: &[u8], text: &str) -> Result<Vec<u8>, SealedError> {
        open(kind, text, &owner("s"), context, &ring(), NOW)
    }

    #[test]
    fn what_is_sealed_reads_back() {
        for kind in KINDS {
            for payload in [&b""[..], b"a", &vec![0; MAX_PAYLOAD]] {
                let text = sealed(kind, b"c", payload);
                assert!(text.starts_with(kind.prefix()));
                assert_eq!(opened(kind, b"c", &text).unwrap(), payload);
            }
        }
        assert_eq!(
            seal(Kind::Task, &owner("s"), b"", &vec![0; MAX_PAYLOAD + 1], LATER, &ring()),
            None
        );
    }

    #[test]
    fn it_opens_for_its_kind_owner_and_context_alone() {
        let text = sealed(Kind::Task, b"c", b"payload");
        assert_eq!(opened(Kind::Task, b"d", &text), Err(SealedError::NotYours));
        let other = open(Kind::Task, &text, &owner("other"), b"c", &ring(), NOW);
        assert_eq!(other, Err(SealedError::NotYours));
        let as_state = text.replacen("btt_", "bts_", 1);
        assert_eq!(opened(Kind::RequestState, b"c", &as_state), Err(SealedError::NotYours));
        assert_eq!(opened(Kind::Cursor, b"c", &text), Err(SealedError::Malformed));
        let keys = Keyring::new("baton", &[SecretKey::from_bytes([2; 32])]).unwrap();
        let elsewhere = open(Kind::Task, &text, &owner("s"), b"c", &keys, NOW);
        assert_eq!(elsewhere, Err(SealedError::NotYours));
    }

    #[test]
    fn payload_and_context_cannot_trade_bytes() {
        let text = sealed(Kind::Task, b"cd", b"ab");
        assert_eq!(opened(Kind::Task, b"d", &text), Err(SealedError::NotYours));
    }

    #[test]
    fn it_is_good_until_its_time_is_up() {
        let text = sealed(Kind::Cursor, b"", b"x");
        let late = open(Kind::Cursor, &text, &owner("s"), b"", &ring(), LATER);
        assert_eq!(late, Err(SealedError::Expired));
    }

    proptest! {
        #[test]
        fn any_text_is_refused(text in "(btc_|bts_|btt_|)[A-Za-z0-9_=-]{0,120}") {
            for kind in KINDS {
                prop_assert!(opened(kind, b"", &text).is_err());
            }
        }

        #[test]
        fn an_altered_text_is_refused(at in 4_usize..60, by in 1_u8..64) {
            const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let mut text = sealed(Kind::Task, b"", b"a payload of some bytes").into_bytes();
            let at = at % text.len();
            let old = ALPHABET.iter().position(|it| *it == text[at]).unwrap_or(0);
            text[at] = ALPHABET[(old + usize::from(by)) % 64];
            prop_assert!(opened(Kind::Task, b"", str::from_utf8(&text).unwrap()).is_err());
        }
    }
}
