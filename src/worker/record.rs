//! What an environment is, as it stands on disk.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::environment::{EnvironmentState, GoneReason, Interruption};
use crate::domain::ids::{EnvironmentId, OwnerDigest, TenantDigest, Timestamp};
use crate::domain::placement::Epoch;
use crate::rpc::wire::Claim;

/// The version that is written. Fields may be added with a default; anything else is another version.
const VERSION: u32 = 1;

/// Longest ticket, in hexadecimal digits. The worker cannot read it and only keeps it.
const MAX_TICKET: usize = 256;

/// Everything about an environment but its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) environment: EnvironmentId,
    pub(super) tenant: TenantDigest,
    pub(super) owner: OwnerDigest,
    pub(super) epoch: Epoch,
    /// When its maximum life ends.
    pub(super) not_after: Timestamp,
    /// The gateway's proof that it is ours.
    pub(super) ticket: Box<str>,
    pub(super) created: Timestamp,
    pub(super) idle_timeout: Duration,
    /// On disk it lags behind by up to [`super::environment::COARSE`].
    pub(super) last_used: Timestamp,
    /// Handles of an older generation have been revoked.
    pub(super) generation: u16,
    pub(super) state: EnvironmentState,
}

/// The text on disk is no record of this version.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("it is not a record")]
    Json(#[from] serde_json::Error),
    #[error("it is a record of version {0}, and this worker reads version {VERSION}")]
    Version(u32),
    #[error("a field of it does not read")]
    Field,
}

impl Record {
    /// The record of an environment that a gateway gives us; `None` if the claim does not read.
    pub(super) fn new(claim: &Claim, idle_timeout: Duration, now: Timestamp) -> Option<Self> {
        let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if claim.ticket.len() > MAX_TICKET || !hexadecimal(&claim.ticket) {
            return None;
        }
        Some(Self {
            environment: EnvironmentId::from_hex(&claim.environment)?,
            tenant: TenantDigest::from_hex(&claim.tenant)?,
            owner: OwnerDigest::from_hex(&claim.owner)?,
            epoch: Epoch(claim.epoch),
            not_after: Timestamp::from_millis(claim.not_after_ms),
            ticket: claim.ticket.as_str().into(),
            created: now,
            idle_timeout,
            last_used: now,
            generation: 0,
            state: EnvironmentState::Ready,
        })
    }

    /// What the worker shows of it to a gateway.
    pub(super) fn claim(&self) -> Claim {
        Claim {
            environment: self.environment.to_string(),
            tenant: self.tenant.to_string(),
            owner: self.owner.to_string(),
            epoch: self.epoch.0,
            not_after_ms: self.not_after.as_millis(),
            ticket: self.ticket.to_string(),
        }
    }

    /// When it ends if nobody calls it.
    pub(super) fn idle_deadline(&self) -> Timestamp {
        self.last_used.after(self.idle_timeout).min(self.not_after)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&Stored::from(self)).expect("a record is JSON")
    }

    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, RecordError> {
        // The version first: what another version means by its fields is not ours to guess.
        let Versioned { version } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        serde_json::from_slice::<Stored>(bytes)?.read().ok_or(RecordError::Field)
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Ids are hexadecimal, moments in milliseconds since the Unix epoch.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    claim: Claim,
    created_ms: u64,
    idle_timeout_ms: u64,
    last_used_ms: u64,
    generation: u16,
    state: StoredState,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
enum StoredState {
    Ready,
    Running,
    Interrupted { reason: String },
    Gone { reason: String, since_ms: u64 },
}

impl From<&Record> for Stored {
    fn from(record: &Record) -> Self {
        Self {
            version: VERSION,
            claim: record.claim(),
            created_ms: record.created.as_millis(),
            idle_timeout_ms: u64::try_from(record.idle_timeout.as_millis()).unwrap_or(u64::MAX),
            last_used_ms: record.last_used.as_millis(),
            generation: record.generation,
            state: record.state.into(),
        }
    }
}

impl Stored {
    fn read(self) -> Option<Record> {
        let idle_timeout = Duration::from_millis(self.idle_timeout_ms);
        let created = Timestamp::from_millis(self.created_ms);
        Some(Record {
            last_used: Timestamp::from_millis(self.last_used_ms),
            generation: self.generation,
            state: self.state.read()?,
            ..Record::new(&self.claim, idle_timeout, created)?
        })
    }
}

impl From<EnvironmentState> for StoredState {
    fn from(state: EnvironmentState) -> Self {
        match state {
            EnvironmentState::Ready => Self::Ready,
            EnvironmentState::Running => Self::Running,
            EnvironmentState::Interrupted { reason } => {
                Self::Interrupted { reason: reason.as_str().to_owned() }
            }
            EnvironmentState::Gone { reason, since } => {
                Self::Gone { reason: reason.as_str().to_owned(), since_ms: since.as_millis() }
            }
        }
    }
}

impl StoredState {
    fn read(self) -> Option<EnvironmentState> {
        Some(match self {
            Self::Ready => EnvironmentState::Ready,
            Self::Running => EnvironmentState::Running,
            Self::Interrupted { reason } => {
                EnvironmentState::Interrupted { reason: Interruption::parse(&reason)? }
            }
            Self::Gone { reason, since_ms } => EnvironmentState::Gone {
                reason: GoneReason::parse(&reason)?,
                since: Timestamp::from_millis(since_ms),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(5_000);

    fn claim() -> Claim {
        Claim {
            environment: "01".repeat(16),
            tenant: "02".repeat(16),
            owner: "03".repeat(16),
            epoch: 1,
            not_after_ms: 60_000,
            ticket: "ab".repeat(21),
        }
    }

    fn record() -> Record {
        Record::new(&claim(), Duration::from_mins(5), NOW).unwrap()
    }

    #[test]
    fn a_record_reads_back_in_every_state() {
        let states = [
            EnvironmentState::Ready,
            EnvironmentState::Running,
            EnvironmentState::Interrupted { reason: Interruption::SandboxLost },
            EnvironmentState::Gone { reason: GoneReason::Expired, since: NOW },
        ];
        for state in states {
            let record = Record {
                state,
                generation: 7,
                last_used: NOW.after(Duration::from_secs(1)),
                ..record()
            };
            assert_eq!(Record::from_json(&record.to_json()).unwrap(), record);
        }
        assert_eq!(record().claim(), claim());
    }

    #[test]
    fn a_claim_that_does_not_read_makes_no_record() {
        let spoil: [fn(&mut Claim); 4] = [
            |claim| claim.environment.push('0'),
            |claim| claim.owner.clear(),
            |claim| claim.tenant.replace_range(..1, "G"),
            |claim| claim.ticket = "../..".to_owned(),
        ];
        for spoil in spoil {
            let mut claim = claim();
            spoil(&mut claim);
            assert_eq!(Record::new(&claim, Duration::ZERO, NOW), None, "{claim:?}");
        }
    }

    #[test]
    fn other_versions_and_halves_of_a_record_do_not_read() {
        let json = record().to_json();
        let other =
            String::from_utf8(json.clone()).unwrap().replace("\"version\":1", "\"version\":2");
        assert!(matches!(Record::from_json(other.as_bytes()), Err(RecordError::Version(2))));
        for length in 0..json.len() {
            assert!(Record::from_json(&json[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn the_maximum_life_ends_what_is_not_idle() {
        assert_eq!(record().idle_deadline(), Timestamp::from_millis(60_000));
        let short = Record { idle_timeout: Duration::from_secs(1), ..record() };
        assert_eq!(short.idle_deadline(), Timestamp::from_millis(6_000));
    }
}
