//! Every error of ours, walked: each says whether the code ran and whether to come back, and when.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::{Value, json};

use super::{Executed, Fault, ToolError, TurnedAway, fail, turn_away};
use crate::domain::environment::GoneReason;
use crate::domain::task::TaskFailure;
use crate::gateway::identity::Unauthenticated;
use crate::gateway::locate;
use crate::gateway::observe::KNOWN_CODES;
use crate::gateway::tools;
use crate::mcp::{Era, ErrorCode, Identity, LegacyVersion, Reply, RequestId};
use crate::rpc::task::JobKind;
use crate::rpc::wire::{Ended, NotStarted, Queue, Restarted};

const WAIT: Duration = Duration::from_millis(1);

/// Whoever says a number of ours.
enum Says {
    Fault(Fault),
    /// Of a call with an idempotency key.
    Keyed(Fault),
    Tool(ToolError),
}

/// Every way to say a number. A new number does not compile without a line here.
fn said(code: ErrorCode) -> Vec<Says> {
    let text = || "why".to_owned();
    let faults = match code {
        ErrorCode::ParseError
        | ErrorCode::InvalidRequest
        | ErrorCode::MethodNotFound
        | ErrorCode::InvalidParams
        | ErrorCode::HeaderMismatch
        | ErrorCode::MissingRequiredClientCapability
        | ErrorCode::UnsupportedProtocolVersion => return Vec::new(), // JSON-RPC's and MCP's own
        ErrorCode::InternalError => [Executed::No, Executed::Maybe].map(Fault::internal).into(),
        ErrorCode::KeyConflict | ErrorCode::QuotaExceeded => {
            let error = ToolError::not_begun("why").with_code(code);
            return vec![Says::Tool(error.clone()), Says::Tool(error.retry_after(WAIT))];
        }
        ErrorCode::RateLimited => {
            [Duration::ZERO, WAIT].map(|wait| Fault::rate_limited(text(), wait)).into()
        }
        ErrorCode::OutcomeUnknown => vec![
            Fault::outcome_unknown(),
            Fault::upstream_outcome_unknown(text()),
            Fault::task_failed(TaskFailure::WorkerRestarted),
            Fault::task_failed(TaskFailure::SandboxLost),
            Fault::task_failed(TaskFailure::OutcomeLost),
            Fault::task_failed(TaskFailure::EntryUnread),
        ],
        ErrorCode::Overloaded => vec![
            Fault::overloaded(),
            ToolError::not_begun("why").retry_after(WAIT).into_fault().unwrap(),
        ],
        ErrorCode::WorkerUnreachable => vec![Fault::worker_unreachable("why")],
        ErrorCode::DirectoryAway => vec![Fault::directory_away()],
        ErrorCode::UpstreamUnavailable => vec![
            Fault::upstream_unavailable(text(), Executed::No, Some(WAIT)),
            Fault::upstream_unavailable(text(), Executed::No, None),
            Fault::upstream_unavailable(text(), Executed::Maybe, None),
        ],
        ErrorCode::DeadlineExceeded => vec![
            Fault::deadline(),
            Fault::upstream_deadline(text(), Executed::No),
            Fault::upstream_deadline(text(), Executed::Maybe),
        ],
    };
    let keyed: Vec<_> = match code {
        ErrorCode::OutcomeUnknown => vec![Fault::outcome_unknown().repeatable()],
        ErrorCode::DeadlineExceeded => {
            vec![Fault::deadline().repeatable(), Fault::launch_under_way()]
        }
        _ => Vec::new(),
    };
    faults.into_iter().map(Says::Fault).chain(keyed.into_iter().map(Says::Keyed)).collect()
}

/// In the order of [`KNOWN_CODES`].
const CODES: [ErrorCode; 17] = [
    ErrorCode::ParseError,
    ErrorCode::InvalidRequest,
    ErrorCode::MethodNotFound,
    ErrorCode::InvalidParams,
    ErrorCode::InternalError,
    ErrorCode::HeaderMismatch,
    ErrorCode::MissingRequiredClientCapability,
    ErrorCode::UnsupportedProtocolVersion,
    ErrorCode::KeyConflict,
    ErrorCode::RateLimited,
    ErrorCode::QuotaExceeded,
    ErrorCode::OutcomeUnknown,
    ErrorCode::Overloaded,
    ErrorCode::WorkerUnreachable,
    ErrorCode::DirectoryAway,
    ErrorCode::UpstreamUnavailable,
    ErrorCode::DeadlineExceeded,
];

#[test]
fn every_error_of_ours_says_whether_it_ran_and_when_to_come_back() {
    assert_eq!(CODES.map(ErrorCode::number), KNOWN_CODES);
    for code in CODES {
        for says in said(code) {
            match says {
                Says::Fault(fault) => check(&check_fault(code, &fault)),
                Says::Keyed(fault) => {
                    let data = check_fault(code, &fault);
                    check_when(&data);
                    assert_eq!(
                        (&data["executed"], &data["retryable"]),
                        (&json!("maybe"), &json!(true))
                    );
                }
                Says::Tool(error) => {
                    assert_eq!(error.data()["code"], code.number());
                    check(&error.data());
                }
            }
        }
    }
}

/// What every fault says, and the answers that carry it; its data.
fn check_fault(code: ErrorCode, fault: &Fault) -> Value {
    let error = fault.error();
    let data = &error["data"];
    assert_eq!(error["code"], code.number());
    assert_eq!(data["overloaded"], code == ErrorCode::Overloaded, "{error}");
    let id = RequestId::from(1);
    let modern = fail(fault, Era::Modern, &id);
    let legacy = fail(fault, Era::Legacy(LegacyVersion::November2025), &id);
    assert_eq!(legacy.status(), StatusCode::OK);
    let tells_when = data["retryable"] == true;
    assert!(!tells_when || legacy.headers().contains_key(RETRY_AFTER), "{error}");
    let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    let comes_back = data["retryable"] == true || busy.contains(&modern.status());
    assert_eq!(modern.headers().contains_key(RETRY_AFTER), comes_back, "{error}");
    assert!(data["executed"] == "no" || modern.status() == StatusCode::OK, "a proxy resends it");
    data.clone()
}

/// What every error says of a call without an idempotency key.
fn check(data: &Value) {
    check_when(data);
    let may_repeat = data["executed"] == "no" || data["retryable"] == false;
    assert!(may_repeat, "what may have run is not sent again: {data}");
}

/// What every error says.
fn check_when(data: &Value) {
    let executed = data["executed"].as_str().unwrap_or_default();
    assert!(["no", "maybe", "yes"].contains(&executed), "{data}");
    let retryable = data["retryable"].as_bool().unwrap_or_else(|| panic!("{data}"));
    assert_eq!(data["retryAfterMs"].as_u64().is_some_and(|wait| wait > 0), retryable, "{data}");
}

#[test]
fn every_call_that_was_not_begun_says_so() {
    let queue_full = |queue| NotStarted::QueueFull { retry_after_ms: 1, queue };
    let all = [
        NotStarted::NotMine,
        NotStarted::Gone { reason: "lost".to_owned() },
        NotStarted::WrongEpoch { epoch: 1 },
        NotStarted::Foreign,
        NotStarted::Restarted(Restarted { reason: "sandbox-lost".to_owned() }),
        queue_full(Queue::Environment),
        queue_full(Queue::Worker),
        NotStarted::NoSandbox { why: "why".to_owned() },
        NotStarted::Cancelled,
        NotStarted::NotKept,
        NotStarted::KeyConflict,
        NotStarted::KeysFull { retry_after_ms: 1 },
        NotStarted::KeyNotKept,
    ];
    for why in &all {
        // A new reason does not compile before it is above.
        match why {
            NotStarted::NotMine | NotStarted::WrongEpoch { .. } => {
                assert!(locate::not_begun(why).is_none(), "another worker may begin it");
            }
            NotStarted::Gone { .. }
            | NotStarted::Foreign
            | NotStarted::Restarted(_)
            | NotStarted::QueueFull { .. }
            | NotStarted::NoSandbox { .. }
            | NotStarted::Cancelled
            | NotStarted::NotKept
            | NotStarted::KeyConflict
            | NotStarted::KeysFull { .. }
            | NotStarted::KeyNotKept => {
                let data = locate::not_begun(why).unwrap().data();
                assert_eq!(data["executed"], "no");
                check(&data);
            }
        }
    }
    for error in [locate::unknown_environment(), locate::gone_error(GoneReason::Expired)] {
        check(&error.data());
    }
    check(&ToolError::cancelled().data());
}

#[test]
fn code_that_failed_says_that_it_ran() {
    let ended = Ended { exit_code: 1, ..Ended::default() };
    let result = tools::answer(JobKind::Python, ended).into_result();
    let identity = Identity::new("baton", "1", "replica");
    let reply = Reply::new(Era::Modern, &identity, &result).to(&RequestId::from(1));
    let reply: Value = serde_json::from_slice(&reply).unwrap();
    let result = &reply["result"];
    assert_eq!(result["isError"], json!(true));
    assert_eq!(result["structuredContent"]["executed"], "yes");
    check(&result["structuredContent"]);
}

#[test]
fn whoever_is_turned_away_for_a_while_is_told_for_how_long() {
    let all = [
        TurnedAway::Unauthenticated(Unauthenticated::Missing),
        TurnedAway::Guessing,
        TurnedAway::Host,
        TurnedAway::Origin,
        TurnedAway::Method,
        TurnedAway::NoRoom,
        TurnedAway::TooLarge(1),
        TurnedAway::Slow,
        TurnedAway::Broken,
        TurnedAway::NotFound,
    ];
    for reason in all {
        let response = turn_away(reason);
        // A new reason does not compile before it is above.
        let status = match reason {
            TurnedAway::Guessing => Some(StatusCode::TOO_MANY_REQUESTS),
            TurnedAway::NoRoom => Some(StatusCode::SERVICE_UNAVAILABLE),
            TurnedAway::Unauthenticated(_)
            | TurnedAway::Host
            | TurnedAway::Origin
            | TurnedAway::Method
            | TurnedAway::TooLarge(_)
            | TurnedAway::Slow
            | TurnedAway::Broken
            | TurnedAway::NotFound => None,
        };
        assert_eq!(response.headers().contains_key(RETRY_AFTER), status.is_some(), "{reason}");
        assert_eq!(status.unwrap_or(response.status()), response.status());
        assert!(!response.status().is_server_error() || status.is_some(), "{reason}");
    }
}

#[test]
fn those_who_were_shed_do_not_come_back_all_at_once() {
    let wait = || Fault::overloaded().error()["data"]["retryAfterMs"].as_u64().unwrap();
    let waits: std::collections::BTreeSet<u64> = (0..100).map(|_| wait()).collect();
    assert!(waits.len() > 50, "{waits:?}");
    assert!(waits.iter().all(|wait| (500..2_500).contains(wait)));
}
