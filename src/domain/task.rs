//! Tasks: calls that go on after they were answered (SEP-2663, "Tasks"), and the ids that clients poll them by.

use super::ids::{EnvironmentId, ExecutionId, Principal, Timestamp};
use super::keyring::Keyring;
use super::sealed::{self, Kind, SealedError};

/// Where a task of ours is in its life (SEP-2663, "Task Status"). It asks its client nothing, so it never waits for input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// It goes on.
    Working,
    /// It brought a result, be it one that says what went wrong.
    Completed,
    /// There is no result and will be none.
    Failed {
        /// What became of it.
        reason: TaskFailure,
    },
    /// Its client did not want it any more.
    Cancelled,
}

/// Why a task has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskFailure {
    /// The worker restarted while it ran.
    WorkerRestarted,
    /// Its sandbox was given up, and did not say how it ended.
    SandboxLost,
    /// It ran to its end, but the worker's disk did not take the outcome.
    OutcomeLost,
    /// The worker's disk has an entry of it that does not read.
    EntryUnread,
}

impl TaskFailure {
    const ALL: [Self; 4] =
        [Self::WorkerRestarted, Self::SandboxLost, Self::OutcomeLost, Self::EntryUnread];

    /// The word for it in results and on disk.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkerRestarted => "worker-restarted",
            Self::SandboxLost => "sandbox-lost",
            Self::OutcomeLost => "outcome-lost",
            Self::EntryUnread => "entry-unread",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// A step that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task that is {from:?} cannot {step}")]
pub struct IllegalStep {
    /// The step.
    pub step: &'static str,
    /// The state it was tried in.
    pub from: TaskState,
}

impl TaskState {
    /// It has its result.
    pub fn complete(self) -> Result<Self, IllegalStep> {
        self.go("complete", Self::Completed)
    }

    /// It ended without a result.
    pub fn fail(self, reason: TaskFailure) -> Result<Self, IllegalStep> {
        self.go("fail", Self::Failed { reason })
    }

    /// Its client gave it up.
    pub fn cancel(self) -> Result<Self, IllegalStep> {
        self.go("cancel", Self::Cancelled)
    }

    /// Whether it has ended, and so stays as it is.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Working => false,
            Self::Completed | Self::Failed { .. } | Self::Cancelled => true,
        }
    }

    fn go(self, step: &'static str, to: Self) -> Result<Self, IllegalStep> {
        if self.is_terminal() { Err(IllegalStep { step, from: self }) } else { Ok(to) }
    }
}

/// What a `taskId` names. Its seal binds it to one principal, so holding one means that it was handed to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskId {
    /// An execution in one of our environments.
    Execution {
        /// The environment.
        environment: EnvironmentId,
        /// The generation of the handle it was started with.
        generation: u16,
        /// The execution.
        execution: ExecutionId,
    },
    /// A task of an upstream server.
    Upstream {
        /// The upstream's name in the configuration.
        upstream: String,
        /// What it calls the task.
        task: String,
    },
}

/// The first byte of what is sealed tells the variants apart.
const EXECUTION: u8 = 0;
const UPSTREAM: u8 = 1;

impl TaskId {
    /// The text for `owner`, good until `not_after`; `None` only if an upstream's own id is longer than what is sealed.
    /// Context bytes are none: the id alone is all that a client sends.
    pub fn seal(&self, owner: &Principal, not_after: Timestamp, keys: &Keyring) -> Option<String> {
        sealed::seal(Kind::Task, owner, b"", &self.encode(), not_after, keys)
    }

    /// Opens what a client sent. No I/O.
    pub fn open(
        text: &str,
        owner: &Principal,
        keys: &Keyring,
        now: Timestamp,
    ) -> Result<Self, SealedError> {
        let bytes = sealed::open(Kind::Task, text, owner, b"", keys, now)?;
        Self::decode(&bytes).ok_or(SealedError::Malformed)
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Execution { environment, generation, execution } => {
                let generation = generation.to_be_bytes();
                [&[EXECUTION][..], &generation, environment.as_bytes(), execution.as_bytes()]
                    .concat()
            }
            Self::Upstream { upstream, task } => {
                // Names of upstreams have no NUL.
                [&[UPSTREAM][..], upstream.as_bytes(), b"\0", task.as_bytes()].concat()
            }
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&tag, bytes) = bytes.split_first()?;
        match tag {
            EXECUTION => {
                let (generation, bytes) = bytes.split_first_chunk()?;
                let (environment, bytes) = bytes.split_first_chunk()?;
                Some(Self::Execution {
                    environment: EnvironmentId::from_bytes(*environment),
                    generation: u16::from_be_bytes(*generation),
                    execution: ExecutionId::from_bytes(bytes.try_into().ok()?),
                })
            }
            UPSTREAM => {
                let (upstream, task) = str::from_utf8(bytes).ok()?.split_once('\0')?;
                Some(Self::Upstream { upstream: upstream.to_owned(), task: task.to_owned() })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Name;
    use crate::domain::keyring::SecretKey;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const LATER: Timestamp = Timestamp::from_millis(2_000_000);
    const ID: TaskId = TaskId::Execution {
        environment: EnvironmentId::from_bytes([1; 16]),
        generation: 7,
        execution: ExecutionId::from_bytes([2; 16]),
    };

    #[test]
    fn what_has_ended_takes_no_step() {
        let reason = TaskFailure::WorkerRestarted;
        for ended in [TaskState::Completed, TaskState::Failed { reason }, TaskState::Cancelled] {
            let steps = [ended.complete(), ended.fail(reason), ended.cancel()];
            assert!(steps.iter().all(Result::is_err) && ended.is_terminal(), "{steps:?}");
        }
    }

    #[test]
    fn what_goes_on_may_end() {
        assert_eq!(TaskState::Working.complete(), Ok(TaskState::Completed));
        assert_eq!(TaskState::Working.cancel(), Ok(TaskState::Cancelled));
        for reason in TaskFailure::ALL {
            assert_eq!(TaskState::Working.fail(reason), Ok(TaskState::Failed { reason }));
            assert_eq!(TaskFailure::parse(reason.as_str()), Some(reason));
        }
    }

    #[test]
    fn an_id_opens_for_its_owner_until_its_time_is_up() {
        let keys = Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).unwrap();
        let owner =
            |subject| Principal::verified(Name::parse("t").unwrap(), Name::parse(subject).unwrap());
        let text = ID.seal(&owner("s"), LATER, &keys).unwrap();
        assert_eq!(TaskId::open(&text, &owner("s"), &keys, NOW), Ok(ID));
        let theirs = TaskId::Upstream { upstream: "u".to_owned(), task: "a\0b".to_owned() };
        let sealed = theirs.seal(&owner("s"), LATER, &keys).unwrap();
        assert_eq!(TaskId::open(&sealed, &owner("s"), &keys, NOW), Ok(theirs));
        let foreign = TaskId::open(&text, &owner("other"), &keys, NOW);
        assert_eq!(foreign, Err(SealedError::NotYours));
        assert_eq!(TaskId::open(&text, &owner("s"), &keys, LATER), Err(SealedError::Expired));
    }

    #[test]
    fn what_another_version_sealed_does_not_read() {
        let bytes = ID.encode();
        assert_eq!(TaskId::decode(&bytes), Some(ID));
        for length in 0..bytes.len() {
            assert_eq!(TaskId::decode(&bytes[..length]), None, "{length}");
        }
        let mut other = bytes.clone();
        other[0] = 2;
        assert_eq!(TaskId::decode(&other), None);
        assert_eq!(TaskId::decode(&[&bytes[..], &[0]].concat()), None);
    }
}
