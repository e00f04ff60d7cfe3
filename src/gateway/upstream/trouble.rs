//! What can go wrong with an upstream, and what it means for the call.

use std::time::Duration;

use http::StatusCode;

use super::config::UpstreamName;
use super::exchange::Until;
use super::link::{LinkError, SendError};
use crate::gateway::failure::{Executed, Failure, Fault};
use crate::mcp::Method;

/// Why an upstream gave no answer that can be passed on.
#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::gateway) enum Trouble {
    /// Nothing of the request can have arrived.
    #[error("not reached: {0}")]
    NotSent(String),
    /// Every endpoint failed lately; nothing was sent.
    #[error("its breaker is open")]
    Broken {
        /// When one of them is tried again.
        retry_after: Duration,
    },
    /// The answer did not come in time.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The connection broke after the request was sent.
    #[error("the connection broke: {0}")]
    Cut(String),
    /// It answered with something that is no MCP.
    #[error("answered with HTTP status {0} and no MCP message")]
    NotMcp(StatusCode),
    /// A message is larger than is taken here.
    #[error("a message is larger than {0} bytes")]
    TooLarge(usize),
    /// A message breaks the protocol.
    #[error("answered against the protocol: {0}")]
    Protocol(&'static str),
    /// It has forgotten the session (legacy era).
    #[error("it has forgotten the session")]
    SessionLost,
    /// Every session that may be had with it is in use (legacy era).
    #[error("all of its {0} sessions are in use")]
    SessionsInUse(usize),
}

impl Trouble {
    /// What it means that there is no answer.
    pub(super) fn of(error: LinkError, until: Until) -> Self {
        match error {
            LinkError::Broken(broken) => Self::Broken { retry_after: broken.retry_after },
            LinkError::Send(SendError::NotSent(reason)) => Self::NotSent(chain(&*reason)),
            LinkError::Send(SendError::Unknown(reason)) => {
                until.over().unwrap_or_else(|| Self::Cut(chain(&*reason)))
            }
        }
    }

    /// The same where it came before the client's request was sent: it is said of the discovery or the handshake that
    /// had to be made first.
    pub(super) fn before_sending(self) -> Self {
        match self.executed() {
            Executed::No => self,
            Executed::Maybe | Executed::Yes => Self::NotSent(self.to_string()),
        }
    }

    /// Whether the request can have been acted upon.
    pub(super) fn executed(&self) -> Executed {
        match self {
            Self::NotSent(_) | Self::Broken { .. } | Self::SessionLost | Self::SessionsInUse(_) => {
                Executed::No
            }
            // It refused before it read the request.
            Self::NotMcp(status) if status.is_client_error() => Executed::No,
            _ => Executed::Maybe,
        }
    }

    /// What the client is told. The reason goes to the log; its text may name addresses.
    pub(super) fn into_failure(self, upstream: &UpstreamName, method: Method) -> Failure {
        tracing::warn!(upstream = %upstream, method = method.as_str(), error = %self, "upstream failed");
        let executed = match self.executed() {
            Executed::Maybe if !may_act(method) => Executed::No,
            executed => executed,
        };
        let unavailable = |what: &str, wait: Option<Duration>| {
            Fault::upstream_unavailable(format!("upstream {upstream} {what}"), executed, wait)
        };
        let soon = Some(Duration::from_secs(1));
        let fault = match (&self, executed) {
            (Self::Broken { retry_after }, _) => unavailable(
                "does not answer; its calls fail at once until it does",
                Some(*retry_after),
            ),
            (Self::Deadline(_), _) => Fault::upstream_deadline(
                format!("upstream {upstream} did not answer in time"),
                executed,
            ),
            (Self::NotMcp(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), _) => {
                unavailable("refuses the gateway's credentials", None)
            }
            (Self::NotMcp(_) | Self::Protocol(_) | Self::TooLarge(_), Executed::No) => {
                unavailable("gave an answer that cannot be used", None)
            }
            (Self::SessionsInUse(_), _) => {
                unavailable("has as many sessions in use as the gateway may open with it", soon)
            }
            (_, Executed::No) => unavailable("does not answer", soon),
            (_, Executed::Maybe | Executed::Yes) => Fault::upstream_outcome_unknown(format!(
                "upstream {upstream} gave no usable answer: whether it acted is not known"
            )),
        };
        fault.into()
    }
}

/// Whether a request of this method can change something, so that it must not be made again unasked.
fn may_act(method: Method) -> bool {
    matches!(method, Method::CallTool | Method::UpdateTask | Method::CancelTask)
}

/// An error with its causes: what is below says the most.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_before_a_request_was_sent_has_not_run_it() {
        let check = |trouble: Trouble, stays: bool| {
            let text = trouble.to_string();
            let before = trouble.before_sending();
            assert_eq!(before.executed(), Executed::No, "{text}");
            assert_eq!(before.to_string() == text, stays, "{text}: {before}");
        };
        check(Trouble::Deadline(Duration::from_secs(1)), false);
        check(Trouble::Cut("reset".to_owned()), false);
        check(Trouble::Protocol("no result"), false);
        check(Trouble::TooLarge(1), false);
        check(Trouble::NotMcp(StatusCode::BAD_GATEWAY), false);
        check(Trouble::NotMcp(StatusCode::UNAUTHORIZED), true);
        check(Trouble::Broken { retry_after: Duration::from_secs(1) }, true);
        check(Trouble::SessionsInUse(1), true);
        // It is what a request is made again after.
        check(Trouble::SessionLost, true);
    }
}
