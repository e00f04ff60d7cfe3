//! What a caller without a token of an identity provider shows: an API key.

use std::fmt;

use sha2::{Digest, Sha256};

/// An API key as a caller shows it. Only its digest is ever kept.
///
/// Ours are `btk_`, 43 characters of base62 for 256 random bits, and 6 of their CRC-32, so that a key cut short or
/// mistyped is told from a foreign one, and a scanner for leaked secrets can be sure. Operators may bring their own.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Box<str>);

/// The text can be no API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API key has 1 to 256 printable ASCII characters, no space at either end")]
pub struct NotAnApiKey;

const PREFIX: &str = "btk_";
const SECRET_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl ApiKey {
    /// Longest key, in characters.
    pub const MAX: usize = 256;

    /// Takes any text that can be sent in a header, ours or not.
    pub fn parse(text: &str) -> Result<Self, NotAnApiKey> {
        let fits = (1..=Self::MAX).contains(&text.len()) && text.trim() == text;
        let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if fits && printable { Ok(Self(text.into())) } else { Err(NotAnApiKey) }
    }

    /// A new key of ours.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        let secret = base62(bytes);
        let checksum = checksum(secret.as_bytes());
        Self(format!("{PREFIX}{secret}{checksum}").into())
    }

    /// Whether it begins like one of ours and cannot be one: mistyped, or cut short.
    pub fn is_damaged(&self) -> bool {
        let Some(rest) = self.0.strip_prefix(PREFIX) else { return false };
        let Some((secret, sum)) = rest.split_at_checked(SECRET_LEN) else { return true };
        sum != checksum(secret.as_bytes())
    }

    /// What is kept of it and compared.
    pub fn digest(&self) -> ApiKeyDigest {
        ApiKeyDigest::of(self.0.as_bytes())
    }

    /// The key as text; only for the one who sends it, and for the command that prints a new one.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// SHA-256 of an API key, as configurations hold it. A key has 256 random bits, so no salt is needed and
/// looking one up by its digest tells nothing of the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKeyDigest([u8; 32]);

/// The text is no digest of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash of an API key is 64 hexadecimal digits of SHA-256 (`baton key api` prints it)")]
pub struct NotADigest;

impl ApiKeyDigest {
    /// The digest of what a caller showed.
    pub fn of(shown: &[u8]) -> Self {
        Self(Sha256::digest(shown).into())
    }

    /// Reads 64 hexadecimal digits, of either case.
    pub fn parse(text: &str) -> Result<Self, NotADigest> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return Err(NotADigest);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
            let (high, low) = high.zip(low).ok_or(NotADigest)?;
            *byte = u8::try_from(high << 4 | low).map_err(|_| NotADigest)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ApiKeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ApiKeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeyDigest({self})")
    }
}

/// 256 bits as 43 digits: the bytes are one big number, divided by 62 again and again.
fn base62(mut number: [u8; 32]) -> String {
    let mut digits = [0; SECRET_LEN];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("the quotient of a digit is a digit");
            rest = value % 62;
        }
        *digit = BASE62[rest as usize];
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

fn checksum(secret: &[u8]) -> String {
    let mut rest = crc32(secret);
    let mut digits = [0; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// CRC-32 as in zip and Ethernet, bit by bit: it runs once for each key that is made or shown.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes
        .iter()
        .fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_keys_have_one_length_and_read_back() {
        for bytes in [[0; 32], [0xFF; 32], [7; 32]] {
            let key = ApiKey::from_random(bytes);
            assert_eq!(key.reveal().len(), 53);
            assert_eq!(ApiKey::parse(key.reveal()), Ok(key.clone()));
            assert!(!key.is_damaged());
        }
        assert_eq!(&ApiKey::from_random([0; 32]).reveal()[..47], format!("btk_{}", "0".repeat(43)));
    }

    #[test]
    fn a_changed_or_missing_character_is_noticed() {
        let good = ApiKey::from_random([7; 32]);
        for place in 4..good.reveal().len() {
            let mut text = good.reveal().to_owned();
            let other = if &text[place..=place] == "x" { "y" } else { "x" };
            text.replace_range(place..=place, other);
            assert!(ApiKey::parse(&text).unwrap().is_damaged(), "{text}");
            assert!(ApiKey::parse(&good.reveal()[..place]).unwrap().is_damaged(), "{place}");
        }
    }

    #[test]
    fn operators_bring_any_printable_key() {
        for good in ["k", "my secret, really", "sk-1234", &"k".repeat(256)] {
            assert!(!ApiKey::parse(good).unwrap().is_damaged(), "{good}");
        }
        for bad in ["", " ", " k", "k\n", "ключ", "a\tb", &"k".repeat(257)] {
            assert_eq!(ApiKey::parse(bad), Err(NotAnApiKey), "{bad}");
        }
    }

    #[test]
    fn the_digest_is_sha256_and_reads_back() {
        let digest = ApiKey::parse("abc").unwrap().digest();
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(ApiKeyDigest::parse(text), Ok(digest));
        assert_eq!(ApiKeyDigest::parse(&text.to_uppercase()), Ok(digest));
        for bad in ["", "abc", &text[1..], &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(ApiKeyDigest::parse(bad), Err(NotADigest), "{bad}");
        }
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn keys_do_not_print() {
        assert!(!format!("{:?}", ApiKey::parse("secret").unwrap()).contains("secret"));
    }
}
