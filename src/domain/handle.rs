//! What a client holds instead of a session.

use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::ids::{EnvironmentId, Principal, TallyId, Timestamp};
use super::keyring::{Keyring, Purpose, SEAL_LEN, Seal};

/// A kind of thing that a handle can name.
pub trait Named: Copy {
    /// What the token begins with.
    const PREFIX: &'static str;
    /// What the seal is for.
    const PURPOSE: Purpose;
    /// The id of 16 bytes.
    fn from_bytes(bytes: [u8; 16]) -> Self;
    /// The id's 16 bytes.
    fn to_bytes(self) -> [u8; 16];
}

impl Named for EnvironmentId {
    const PREFIX: &'static str = "bte_";
    const PURPOSE: Purpose = Purpose::Environment;
    fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_bytes(bytes)
    }
    fn to_bytes(self) -> [u8; 16] {
        *self.as_bytes()
    }
}

impl Named for TallyId {
    const PREFIX: &'static str = "btn_";
    const PURPOSE: Purpose = Purpose::Tally;
    fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_bytes(bytes)
    }
    fn to_bytes(self) -> [u8; 16] {
        *self.as_bytes()
    }
}

/// Names one thing, for one principal, until it expires. Holding one means every check passed.
///
/// The token is the kind's prefix and base64url of 45 bytes: format version 1, key id 1, generation 2,
/// id 16, not-after in unix seconds 5, MAC 20; integers big-endian; 64 characters in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle<T> {
    id: T,
    generation: u16,
    not_after: Timestamp,
    checked: PhantomData<()>,
}

/// Why a token does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// It does not have the form of a handle: a model invented or mangled it.
    #[error("not a handle of the expected form")]
    Malformed,
    /// The seal is not ours, or not for this principal. Unknown and foreign are one answer.
    #[error("no such handle for this caller")]
    NotYours,
    /// It was good until its time ran out.
    #[error("the handle has expired")]
    Expired,
}

const VERSION: u8 = 1;
const FIELDS_LEN: usize = 25;
const BYTES_LEN: usize = FIELDS_LEN + SEAL_LEN;
/// Characters of a token.
pub const TOKEN_LEN: usize = 64;

impl<T: Named> Handle<T> {
    /// A new handle, good until `not_after` (kept to the second, rounded up).
    pub fn issue(id: T, generation: u16, not_after: Timestamp) -> Self {
        let seconds = not_after.as_millis().div_ceil(1000).min((1 << 40) - 1);
        let not_after = Timestamp::from_millis(seconds * 1000);
        Self { id, generation, not_after, checked: PhantomData }
    }

    /// Opens a token that a client sent. No I/O; constant time in the seal.
    pub fn open(
        token: &str,
        owner: &Principal,
        keys: &Keyring,
        now: Timestamp,
    ) -> Result<Self, HandleError> {
        let bytes = Self::decode(token).ok_or(HandleError::Malformed)?;
        let (fields, mac) = bytes.split_at(FIELDS_LEN);
        let mut seal = Seal { key_id: fields[1], mac: [0; SEAL_LEN] };
        seal.mac.copy_from_slice(mac);
        if !keys.verifies(&seal, T::PURPOSE, owner, &[fields]) {
            return Err(HandleError::NotYours);
        }
        let handle = Self::read(fields);
        if handle.not_after <= now {
            return Err(HandleError::Expired);
        }
        Ok(handle)
    }

    /// The token for `owner`.
    pub fn seal(&self, owner: &Principal, keys: &Keyring) -> String {
        let mut bytes = [0; BYTES_LEN];
        self.write(&mut bytes[..FIELDS_LEN]);
        bytes[1] = keys.signing_key_id(); // it is under the MAC
        let seal = keys.seal(T::PURPOSE, owner, &[&bytes[..FIELDS_LEN]]);
        bytes[FIELDS_LEN..].copy_from_slice(&seal.mac);
        let mut token = String::with_capacity(TOKEN_LEN);
        token.push_str(T::PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut token);
        token
    }

    /// What it names.
    pub fn id(&self) -> T {
        self.id
    }

    /// Which generation of the name; an older one than the thing's own has been revoked.
    pub fn generation(&self) -> u16 {
        self.generation
    }

    /// When it stops being good.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    fn decode(token: &str) -> Option<[u8; BYTES_LEN]> {
        let text = token.strip_prefix(T::PREFIX).filter(|_| token.len() == TOKEN_LEN)?;
        let mut bytes = [0; BYTES_LEN];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (length == BYTES_LEN && bytes[0] == VERSION).then_some(bytes)
    }

    fn write(&self, fields: &mut [u8]) {
        fields[0] = VERSION;
        fields[2..4].copy_from_slice(&self.generation.to_be_bytes());
        fields[4..20].copy_from_slice(&self.id.to_bytes());
        fields[20..25].copy_from_slice(&self.not_after.as_secs().to_be_bytes()[3..]);
    }

    fn read(fields: &[u8]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&fields[4..20]);
        let seconds = fields[20..25].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Self {
            id: T::from_bytes(id),
            generation: u16::from_be_bytes([fields[2], fields[3]]),
            not_after: Timestamp::from_millis(seconds * 1000),
            checked: PhantomData,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::Name;
    use crate::domain::keyring::SecretKey;

    const NOW: Timestamp = Timestamp::from_millis(1_795_250_494_000);

    fn ring() -> Keyring {
        Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).unwrap()
    }

    fn owner() -> Principal {
        Principal::verified(Name::parse("t").unwrap(), Name::parse("s").unwrap())
    }

    fn token() -> String {
        let later = Timestamp::from_millis(NOW.as_millis() + 60_000);
        Handle::issue(EnvironmentId::from_bytes([7; 16]), 3, later).seal(&owner(), &ring())
    }

    fn open(token: &str) -> Result<Handle<EnvironmentId>, HandleError> {
        Handle::open(token, &owner(), &ring(), NOW)
    }

    #[test]
    fn a_handle_reads_back() {
        let token = token();
        assert_eq!(token.len(), TOKEN_LEN);
        let handle = open(&token).unwrap();
        assert_eq!(handle.id(), EnvironmentId::from_bytes([7; 16]));
        assert_eq!(handle.generation(), 3);
        assert_eq!(handle.not_after().as_millis(), NOW.as_millis() + 60_000);
    }

    #[test]
    fn it_opens_for_nobody_else_and_not_after_its_time() {
        let token = token();
        let other = Principal::verified(Name::parse("t").unwrap(), Name::parse("x").unwrap());
        let opened = Handle::<EnvironmentId>::open(&token, &other, &ring(), NOW);
        assert_eq!(opened, Err(HandleError::NotYours));
        let end = Timestamp::from_millis(NOW.as_millis() + 60_000);
        let opened = Handle::<EnvironmentId>::open(&token, &owner(), &ring(), end);
        assert_eq!(opened, Err(HandleError::Expired));
    }

    #[test]
    fn a_handle_of_one_kind_is_not_one_of_another() {
        let renamed = token().replacen("bte_", "btn_", 1);
        let opened = Handle::<TallyId>::open(&renamed, &owner(), &ring(), NOW);
        assert_eq!(opened, Err(HandleError::NotYours));
        assert_eq!(open(&renamed), Err(HandleError::Malformed));
    }

    #[test]
    fn what_models_invent_is_malformed() {
        for invented in ["", "1", "bte_", "trackc-session", &"bte_".repeat(16), &"x".repeat(64)] {
            assert_eq!(open(invented), Err(HandleError::Malformed), "{invented}");
        }
    }

    #[test]
    fn no_other_character_at_any_place_opens() {
        let token = token();
        let alphabet = "ABCXYZabcxyz019-_=+/ é";
        for place in 0..token.len() {
            for other in alphabet.chars().filter(|c| !token[place..].starts_with(*c)) {
                let mut altered = token.clone();
                altered.replace_range(place..=place, other.encode_utf8(&mut [0; 4]));
                assert!(open(&altered).is_err(), "{place} {other}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_opens_and_never_panics(text in "\\PC*") {
            prop_assert!(open(&text).is_err());
        }

        #[test]
        fn forged_bytes_never_open(bytes in any::<[u8; 32]>(), rest in any::<[u8; 13]>()) {
            let mut all = [&bytes[..], &rest[..]].concat();
            all[0] = VERSION;
            all[1] = ring().signing_key_id();
            let forged = format!("bte_{}", URL_SAFE_NO_PAD.encode(all));
            prop_assert!(open(&forged).is_err());
        }
    }
}
