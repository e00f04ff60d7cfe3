//! What an execution's end is to a model.

use serde_json::{Value, json};

use super::ToolAnswer;
use crate::domain::ids::Timestamp;
use crate::gateway::failure::Executed;
use crate::gateway::locate;
use crate::rpc::task::JobKind;
use crate::rpc::wire::Ended;

/// What a call returns whose execution ended so.
pub(in crate::gateway) fn answer(kind: JobKind, ended: Ended) -> ToolAnswer {
    let mut structured = json!({
        "stdout": ended.stdout,
        "stderr": ended.stderr,
        "exitCode": ended.exit_code,
        "executionTimeInMilliseconds": milliseconds(ended.duration_us),
        "truncated": ended.truncated,
        "idleExpiresAt": Timestamp::from_millis(ended.idle_deadline_ms).to_rfc3339(),
    });
    if let Some(result) = ended.execution_result {
        structured["executionResult"] = result.into();
    }
    if let Some(hint) = ended.hint {
        structured["hint"] = hint.into();
    }
    if let Some(limit) = &ended.terminated_by {
        structured["terminatedBy"] = limit.as_str().into();
    }
    if ended.variables_lost {
        structured["environment"] = locate::restarted_notice("this-call");
    } else if let Some(restarted) = &ended.restarted {
        structured["environment"] = locate::restarted_notice(&restarted.reason);
    }
    // The user's own code failed: an exception, or a limit that stopped it. A shell command's exit code is its result.
    let failed = match kind {
        JobKind::Python => ended.exit_code != 0,
        JobKind::Shell | JobKind::Exec => false,
    };
    let failed = failed || ended.terminated_by.is_some();
    if failed {
        structured["executed"] = Executed::Yes.as_str().into();
        structured["retryable"] = false.into(); // by itself: the model may well write other code
    }
    let answer = ToolAnswer::of(structured).with_images(ended.images);
    if failed { answer.failed() } else { answer }
}

fn milliseconds(micros: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "executions are far shorter than 2^52 µs")]
    let millis = micros as f64 / 1000.0;
    millis.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_python_is_an_error_and_a_failed_command_is_a_result() {
        let ended = Ended { exit_code: 1, ..Ended::default() };
        assert!(answer(JobKind::Python, ended.clone()).is_error());
        assert!(!answer(JobKind::Shell, ended).is_error());
    }
}
