//! What can go wrong, and how each is said: nothing else knows a status code.

#[cfg(test)]
mod audit;
mod fault;
mod response;
mod tool_error;
mod upstream_error;

use std::time::Duration;

use crate::mcp::Rejection;

pub(super) use fault::Fault;
pub(super) use response::{TurnedAway, accepted, fail, json_response, pass_on, reject, turn_away};
pub(super) use tool_error::ToolError;
pub(super) use upstream_error::UpstreamError;

/// Whether the caller's code ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Executed {
    /// It did not, and will not.
    No,
    /// Nobody here can tell.
    Maybe,
    /// It did.
    Yes,
}

impl Executed {
    /// The word for it in `data.executed`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Maybe => "maybe",
            Self::Yes => "yes",
        }
    }
}

/// Why a request has no ordinary result; the kind says who acts next.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is wrong: its sender must change it.
    Rejected(Rejection),
    /// The model can put it right: a result with `isError`.
    Tool(ToolError),
    /// Ours, or too much at once: logged here, and the client learns only the code.
    Fault(Fault),
    /// An upstream's own error, which goes to the client as it is.
    Upstream(UpstreamError),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<ToolError> for Failure {
    fn from(error: ToolError) -> Self {
        Self::Tool(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
}
