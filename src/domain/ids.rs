//! The identities: who asks, what they name, who serves it, and when.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::derived::PrincipalDigests;

/// A moment, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A moment from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// A moment from the system's clock; times before 1970 are 1970.
    pub fn from_system(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The moment `by` later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is still to come.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment as RFC 3339 in UTC, to the second, as results show it.
    pub fn to_rfc3339(self) -> String {
        let (days, second) = (self.as_secs() / 86_400, self.as_secs() % 86_400);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// The Gregorian date of a day counted from 1970-01-01, in years that begin in March.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Who asks: the tenant and subject of a verified credential, or nobody in particular.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// No credential was asked for (dev on loopback): possession of a handle is all there is.
    Anonymous,
    /// A credential was verified.
    Verified(Arc<Verified>),
}

/// Tenant and subject of a verified credential, and their digests, which every request asks for.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Verified {
    tenant: Name,
    subject: Name,
    pub(super) digests: PrincipalDigests,
}

impl Principal {
    /// A verified principal: whose quota and rates count, and who within the tenant.
    pub fn verified(tenant: Name, subject: Name) -> Self {
        let digests = PrincipalDigests::of(tenant.as_str(), subject.as_str());
        Self::Verified(Arc::new(Verified { tenant, subject, digests }))
    }

    /// The tenant's name; empty for the anonymous, which no verified tenant can be.
    pub fn tenant(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::Verified(known) => known.tenant.as_str(),
        }
    }

    /// The subject's name; empty for the anonymous.
    pub fn subject(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::Verified(known) => known.subject.as_str(),
        }
    }
}

/// A name from outside that has been checked: 1 to 128 printable ASCII characters without spaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// The text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 128 printable ASCII characters and no spaces")]
pub struct NotAName;

impl Name {
    /// Longest name, in characters.
    pub const MAX: usize = 128;

    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let fits = (1..=Self::MAX).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(NotAName)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a worker: 1 to 63 of `a-z`, `0-9`, `-`, so that it can be part of a key and of a host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(Arc<str>);

/// The text is no worker id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a worker id has 1 to 63 characters of a-z, 0-9 and -")]
pub struct NotAWorkerId;

impl WorkerId {
    /// Checks a worker id.
    pub fn parse(text: &str) -> Result<Self, NotAWorkerId> {
        let fits = (1..=63).contains(&text.len());
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if fits && text.bytes().all(legal) { Ok(Self(text.into())) } else { Err(NotAWorkerId) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which start of a worker this is; grows with each, and lives on the worker's own disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

macro_rules! id16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From its 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// From 32 lower-case hexadecimal digits; anything else is `None`.
            pub fn from_hex(text: &str) -> Option<Self> {
                let digits = text.as_bytes();
                if digits.len() != 32 {
                    return None;
                }
                let mut bytes = [0; 16];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
                }
                Some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }
    };
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

id16! {
    /// Names an environment within the system; clients see it only sealed in a handle.
    EnvironmentId
}
id16! {
    /// Names one execution, so that it can be cancelled.
    ExecutionId
}
id16! {
    /// Names a tally of the sample tools.
    TallyId
}
id16! {
    /// Names a rate of one tenant that all replicas hold together.
    RateId
}
id16! {
    /// What is called with an idempotency key: a repeat has the same one, another call another.
    ArgumentsDigest
}
id16! {
    /// The idempotency key by which one owner creates an environment.
    LaunchKey
}
id16! {
    /// A tenant in keys and messages, where its name would not be safe.
    TenantDigest
}
id16! {
    /// A tenant and subject in keys and messages.
    OwnerDigest
}

impl EnvironmentId {
    /// The id as logs, spans and metrics show it: 10 hexadecimal digits of its SHA-256.
    pub fn log_name(&self) -> String {
        let hash: [u8; 32] = Sha256::digest(self.0).into();
        let first = hash[..5].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        format!("{first:010x}")
    }
}

// An environment's id is half of the capability to use it, so it stays out of logs.
impl fmt::Debug for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "env:{}", self.log_name())
    }
}

macro_rules! plain_debug {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}
plain_debug!(ExecutionId ArgumentsDigest LaunchKey TallyId RateId TenantDigest OwnerDigest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_rfc3339() {
        let check = |secs: u64, text: &str| {
            assert_eq!(Timestamp::from_millis(secs * 1000).to_rfc3339(), text);
        };
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_795_250_494, "2026-11-21T08:41:34Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
    }

    #[test]
    fn hex_reads_back_and_refuses_all_else() {
        let id = EnvironmentId::from_bytes(*b"0123456789abcdef");
        assert_eq!(EnvironmentId::from_hex(&id.to_string()), Some(id));
        for bad in ["", "00", &"g".repeat(32), &"A".repeat(32), &"0".repeat(33)] {
            assert_eq!(EnvironmentId::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_short_and_printable() {
        for good in ["a", "tenant:1/x", &"n".repeat(128)] {
            assert!(Name::parse(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "ü", "a\n", &"n".repeat(129)] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "Worker", "a_b", "a:b", &"n".repeat(64)] {
            assert!(WorkerId::parse(bad).is_err(), "{bad}");
        }
    }
}
