//! An environment's states and the steps between them.

use super::ids::Timestamp;

/// Where an environment is in its life. The worker that holds it is the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvironmentState {
    /// It exists; no interpreter has been started for it yet, and none was lost.
    Ready,
    /// Its sandbox is there, with the interpreter's variables in it.
    Running,
    /// Its sandbox was lost between calls: files are kept, variables are gone, nobody was told yet.
    Interrupted {
        /// What took the sandbox away.
        reason: Interruption,
    },
    /// It is no more; a tombstone, so that the model is told why.
    Gone {
        /// How it ended.
        reason: GoneReason,
        /// When it ended.
        since: Timestamp,
    },
}

/// What took a sandbox away from an environment that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The worker restarted.
    WorkerRestarted,
    /// The sandbox died between two calls.
    SandboxLost,
}

impl Interruption {
    /// The word for it in results and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkerRestarted => "worker-restarted",
            Self::SandboxLost => "sandbox-lost",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::WorkerRestarted, Self::SandboxLost].into_iter().find(|it| it.as_str() == word)
    }
}

/// How an environment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoneReason {
    /// Its owner closed it.
    Deleted,
    /// It was idle too long, or reached its maximum life.
    Expired,
    /// Its worker could not keep it.
    Lost,
}

impl GoneReason {
    /// The word for it in results and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Lost => "lost",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Deleted, Self::Expired, Self::Lost].into_iter().find(|it| it.as_str() == word)
    }
}

/// A step that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an environment that is {from:?} cannot {step}")]
pub struct IllegalTransition {
    /// The step.
    pub step: &'static str,
    /// The state it was tried in.
    pub from: EnvironmentState,
}

impl EnvironmentState {
    /// A sandbox was started for it.
    pub fn start(self) -> Result<Self, IllegalTransition> {
        match self {
            Self::Ready | Self::Running => Ok(Self::Running),
            // A shell call starts a sandbox too, and the model still has to be told.
            Self::Interrupted { reason } => Ok(Self::Interrupted { reason }),
            from @ Self::Gone { .. } => Err(IllegalTransition { step: "start", from }),
        }
    }

    /// Its sandbox was lost outside of any call. Where there was none, nothing was lost.
    pub fn interrupt(self, reason: Interruption) -> Result<Self, IllegalTransition> {
        match self {
            Self::Ready => Ok(Self::Ready),
            Self::Running => Ok(Self::Interrupted { reason }),
            Self::Interrupted { reason } => Ok(Self::Interrupted { reason }),
            from @ Self::Gone { .. } => Err(IllegalTransition { step: "interrupt", from }),
        }
    }

    /// The model has been told that the variables are gone: by a notice, or by the result of the very call
    /// that lost them.
    pub fn told(self) -> Result<Self, IllegalTransition> {
        match self {
            Self::Ready | Self::Running | Self::Interrupted { .. } => Ok(Self::Ready),
            from @ Self::Gone { .. } => Err(IllegalTransition { step: "tell", from }),
        }
    }

    /// It ends. The first reason stays.
    #[must_use]
    pub fn end(self, reason: GoneReason, now: Timestamp) -> Self {
        match self {
            gone @ Self::Gone { .. } => gone,
            Self::Ready | Self::Running | Self::Interrupted { .. } => {
                Self::Gone { reason, since: now }
            }
        }
    }

    /// Whether it still takes calls.
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Gone { .. })
    }

    /// The word for it in results and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Interrupted { .. } => "interrupted",
            Self::Gone { .. } => "gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(5);
    const INTERRUPTED: EnvironmentState =
        EnvironmentState::Interrupted { reason: Interruption::WorkerRestarted };

    #[test]
    fn a_lost_sandbox_is_told_once() {
        let running = EnvironmentState::Ready.start().unwrap();
        let interrupted = running.interrupt(Interruption::WorkerRestarted).unwrap();
        assert_eq!(interrupted, INTERRUPTED);
        assert_eq!(interrupted.start().unwrap(), INTERRUPTED, "a shell call does not hide it");
        assert_eq!(interrupted.told().unwrap(), EnvironmentState::Ready);
    }

    #[test]
    fn an_environment_without_a_sandbox_loses_nothing() {
        let ready = EnvironmentState::Ready.interrupt(Interruption::SandboxLost);
        assert_eq!(ready, Ok(EnvironmentState::Ready));
    }

    #[test]
    fn what_is_gone_stays_gone_for_its_first_reason() {
        let gone = EnvironmentState::Running.end(GoneReason::Deleted, NOW);
        assert_eq!(gone.end(GoneReason::Expired, Timestamp::from_millis(9)), gone);
        assert!(gone.start().is_err() && gone.told().is_err() && !gone.is_live());
        assert!(gone.interrupt(Interruption::SandboxLost).is_err());
    }
}
