//! Which of a cluster's slots a key is in: CRC16 of its hash tag.

use std::fmt;

/// How many slots every cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// One of [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u16);

impl Slot {
    /// The slot of a key.
    pub(super) fn of(key: &str) -> Self {
        Self(crc16(tag(key).as_bytes()) % SLOTS)
    }

    /// The slot of this number, if there is one.
    pub(super) fn numbered(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    /// Its number.
    pub(super) const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is between the first `{` and the next `}`, unless that is nothing; else all of it.
fn tag(key: &str) -> &str {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    tag.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// CRC-16/XMODEM, as Redis Cluster's specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_where_redis_has_them() {
        // As `CLUSTER KEYSLOT` answers.
        for (key, slot) in [
            ("123456789", 0x31c3),
            ("foo", 12_182),
            ("{foo}bar", 12_182),
            ("a{foo}{bar}", 12_182),
            ("", 0),
        ] {
            assert_eq!(Slot::of(key), Slot(slot), "{key}");
        }
        assert_ne!(Slot::of("{}foo"), Slot::of("{}bar"), "an empty tag is none");
        assert_eq!(Slot::numbered(SLOTS), None);
    }
}
