//! How a call to a worker fails, and what may be done then.

use std::time::Duration;

use super::auth::WrongMac;
use super::frames::FrameError;
use super::wire::Refusal;

/// What a lower layer says went wrong.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A call that brought no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// No byte of it can have arrived.
    #[error("the call was not sent")]
    NotSent {
        /// Why not.
        #[source]
        source: Cause,
    },
    /// It was sent at least in part, and the answer was lost: it may have run.
    #[error("the call was sent, and its outcome is unknown")]
    OutcomeUnknown {
        /// How the answer was lost.
        #[source]
        source: Cause,
    },
    /// No answer came in time: it may have run, or still run.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The answer is not the worker's. The call may have run.
    #[error("the answer is not the worker's")]
    Untrusted {
        /// What is wrong with it.
        #[source]
        source: Cause,
    },
    /// The worker says that it did not act on the call.
    #[error("the worker did not act on the call: {0:?}")]
    Refused(Refusal),
}

/// What may be done next. A call that may have run is never sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Send it again: it did not run.
    Retry,
    /// Learn anew where the environment is, then send it again: it did not run.
    Relocate,
    /// Tell the client.
    GiveUp,
}

impl WorkerError {
    /// What may be done next.
    pub fn recovery(&self) -> Recovery {
        match self {
            Self::NotSent { .. } => Recovery::Retry,
            Self::Refused(refusal) => match refusal {
                Refusal::Stale | Refusal::Stopping => Recovery::Retry,
                Refusal::WrongIncarnation { .. } | Refusal::Unproven { .. } => Recovery::Relocate,
                Refusal::Malformed => Recovery::GiveUp,
            },
            Self::OutcomeUnknown { .. } | Self::Deadline(_) | Self::Untrusted { .. } => {
                Recovery::GiveUp
            }
        }
    }

    /// Whether the worker may have acted on the call.
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Refused(_) => false,
            Self::OutcomeUnknown { .. } | Self::Deadline(_) | Self::Untrusted { .. } => true,
        }
    }

    pub(super) fn lost(source: impl Into<Cause>) -> Self {
        Self::OutcomeUnknown { source: source.into() }
    }
}

impl From<WrongMac> for WorkerError {
    fn from(wrong: WrongMac) -> Self {
        Self::Untrusted { source: Box::new(wrong) }
    }
}

impl From<FrameError> for WorkerError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Truncated => Self::lost(error),
            FrameError::TooLong(_)
            | FrameError::Unexpected(_)
            | FrameError::Payload(_)
            | FrameError::Mac(_) => Self::Untrusted { source: Box::new(error) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_run_is_not_sent_again() {
        let check = |error: WorkerError, recovery| {
            assert_eq!(error.recovery(), recovery, "{error}");
            assert!(!error.may_have_run() || recovery == Recovery::GiveUp, "{error}");
        };
        check(WorkerError::NotSent { source: "refused".into() }, Recovery::Retry);
        check(WorkerError::lost("reset"), Recovery::GiveUp);
        check(WorkerError::Deadline(Duration::ZERO), Recovery::GiveUp);
        check(WrongMac.into(), Recovery::GiveUp);
        check(FrameError::Truncated.into(), Recovery::GiveUp);
        check(WorkerError::Refused(Refusal::Stale), Recovery::Retry);
        check(WorkerError::Refused(Refusal::Stopping), Recovery::Retry);
        check(WorkerError::Refused(Refusal::Malformed), Recovery::GiveUp);
        let other = Refusal::WrongIncarnation { incarnation: 2 };
        check(WorkerError::Refused(other), Recovery::Relocate);
        let unread = Refusal::Unproven { incarnation: 2 };
        check(WorkerError::Refused(unread), Recovery::Relocate);
    }
}
