//! What is the gateway's to mend, or passes by itself.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::{Executed, millis};
use crate::domain::task::TaskFailure;
use crate::mcp::{ErrorCode, RequestId, render_error};

/// Something of ours that does not work now, or work that is too much now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Fault {
    code: ErrorCode,
    message: Cow<'static, str>,
    executed: Executed,
    pub(super) retry_after: Option<Duration>,
}

/// When to come back where nobody knows better.
const SOON: Duration = Duration::from_secs(1);
/// When to come back after an overload: not all at once.
const COME_BACK_MS: std::ops::Range<u64> = 500..2_500;

impl Fault {
    /// This replica has as much to do as it may.
    pub(in crate::gateway) fn overloaded() -> Self {
        let message = Cow::Borrowed("overloaded: nothing was run; try again after retryAfterMs");
        Self::passing(ErrorCode::Overloaded, message, Executed::No, come_back())
    }

    /// This was asked too often.
    pub(in crate::gateway) fn rate_limited(message: String, retry_after: Duration) -> Self {
        let wait = retry_after.max(Duration::from_millis(1));
        Self::passing(ErrorCode::RateLimited, message.into(), Executed::No, wait)
    }

    /// Something that is worth trying again after this long.
    pub(super) fn passing(
        code: ErrorCode,
        message: Cow<'static, str>,
        executed: Executed,
        wait: Duration,
    ) -> Self {
        Self { code, message, executed, retry_after: Some(wait) }
    }

    /// No worker could be reached for this; nothing was started.
    pub(in crate::gateway) fn worker_unreachable(message: &'static str) -> Self {
        Self::new(ErrorCode::WorkerUnreachable, message, Executed::No)
    }

    /// The directory is away, and this cannot be done without it.
    pub(in crate::gateway) fn directory_away() -> Self {
        let message = "the directory is away, so a quota cannot be checked: try again shortly";
        Self::new(ErrorCode::DirectoryAway, message, Executed::No)
    }

    /// An environment that a key names is being created still.
    pub(in crate::gateway) fn launch_under_way() -> Self {
        let message = "the first call with this idempotency key goes on";
        Self::new(ErrorCode::DeadlineExceeded, message, Executed::Maybe).repeatable()
    }

    /// The answer did not come in time; the work may have been done.
    pub(in crate::gateway) fn deadline() -> Self {
        let message = "the worker did not answer in time; the code may have run";
        Self {
            retry_after: None,
            ..Self::new(ErrorCode::DeadlineExceeded, message, Executed::Maybe)
        }
    }

    /// The connection to the worker broke after the call was sent.
    pub(in crate::gateway) fn outcome_unknown() -> Self {
        let message = "the connection to the worker broke: whether the code ran is not known";
        Self { retry_after: None, ..Self::new(ErrorCode::OutcomeUnknown, message, Executed::Maybe) }
    }

    /// A task that has no result.
    pub(in crate::gateway) fn task_failed(reason: TaskFailure) -> Self {
        let (message, executed) = match reason {
            TaskFailure::WorkerRestarted => (
                "the worker restarted while this ran: how far it came is not known; files are kept, variables are gone",
                Executed::Maybe,
            ),
            TaskFailure::SandboxLost => (
                "the sandbox was lost while this ran: how far it came is not known; files are kept, variables are gone",
                Executed::Maybe,
            ),
            TaskFailure::EntryUnread => (
                "what the worker noted of it cannot be read: whether it ran is not known",
                Executed::Maybe,
            ),
            TaskFailure::OutcomeLost => {
                ("this ran to its end, but the worker could not keep its outcome", Executed::Yes)
            }
        };
        let code = ErrorCode::OutcomeUnknown;
        Self { code, message: message.into(), executed, retry_after: None }
    }

    /// An upstream does not do what it is there for, in words that say which and how.
    pub(in crate::gateway) fn upstream_unavailable(
        message: String,
        executed: Executed,
        retry_after: Option<Duration>,
    ) -> Self {
        let code = ErrorCode::UpstreamUnavailable;
        Self { code, message: message.into(), executed, retry_after }
    }

    /// An upstream did not answer in time.
    pub(in crate::gateway) fn upstream_deadline(message: String, executed: Executed) -> Self {
        let code = ErrorCode::DeadlineExceeded;
        Self { code, message: message.into(), executed, retry_after: None }
    }

    /// An upstream may have done what was asked, and nobody can tell.
    pub(in crate::gateway) fn upstream_outcome_unknown(message: String) -> Self {
        let (code, executed) = (ErrorCode::OutcomeUnknown, Executed::Maybe);
        Self { code, message: message.into(), executed, retry_after: None }
    }

    /// A bug of ours; what it was is in the log.
    pub(in crate::gateway) fn internal(executed: Executed) -> Self {
        Self {
            retry_after: None,
            ..Self::new(ErrorCode::InternalError, "internal error", executed)
        }
    }

    /// The same of a call with an idempotency key, which may be repeated whatever became of it.
    #[must_use]
    pub(in crate::gateway) fn repeatable(self) -> Self {
        let message = format!("{}; repeat the call with the same key to learn it", self.message);
        Self { message: message.into(), retry_after: Some(SOON), ..self }
    }

    fn new(code: ErrorCode, message: &'static str, executed: Executed) -> Self {
        Self { code, message: message.into(), executed, retry_after: Some(SOON) }
    }

    /// Whether the caller's code ran.
    pub(in crate::gateway) fn executed(&self) -> Executed {
        self.executed
    }

    /// The number a client sees.
    pub(in crate::gateway) fn code(&self) -> ErrorCode {
        self.code
    }

    fn data(&self) -> Value {
        let mut data = json!({
            "executed": self.executed.as_str(),
            "retryable": self.retry_after.is_some(),
            "overloaded": self.code == ErrorCode::Overloaded,
        });
        if let Some(wait) = self.retry_after {
            data["retryAfterMs"] = millis(wait).into();
        }
        data
    }

    /// What a person reads.
    pub(in crate::gateway) fn message(&self) -> &str {
        &self.message
    }

    /// The JSON-RPC error, for a task that ended with it.
    pub(in crate::gateway) fn error(&self) -> Value {
        json!({"code": self.code.number(), "message": self.message, "data": self.data()})
    }

    /// The JSON-RPC error response.
    pub(in crate::gateway) fn body(&self, id: Option<&RequestId>) -> Vec<u8> {
        render_error(id, self.code, &self.message, Some(&self.data()))
    }

    pub(super) fn status(&self) -> StatusCode {
        // Proxies send a 5xx again, and this may have run.
        if self.executed != Executed::No {
            return StatusCode::OK;
        }
        match self.code {
            ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Overloaded
            | ErrorCode::WorkerUnreachable
            | ErrorCode::DirectoryAway
            | ErrorCode::UpstreamUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A moment of [`COME_BACK_MS`], another one each time.
fn come_back() -> Duration {
    let mut random = [0; 2];
    getrandom::fill(&mut random).expect("the kernel gives random bytes");
    let spread = COME_BACK_MS.end - COME_BACK_MS.start;
    Duration::from_millis(COME_BACK_MS.start + u64::from(u16::from_le_bytes(random)) % spread)
}
