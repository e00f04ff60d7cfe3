//! How a worker says that it did not begin what it was asked for, or did not look at the call at all.

use serde::{Deserialize, Serialize};

/// Why nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum NotStarted {
    /// The worker does not hold the environment; somebody else may.
    NotMine,
    /// It held the environment, which is no more.
    Gone {
        /// `deleted`, `expired` or `lost`.
        reason: String,
    },
    /// It holds the environment under another epoch.
    WrongEpoch {
        /// The right one.
        epoch: u64,
    },
    /// The handle's generation has been revoked, or the owner is another: to the caller, unknown.
    Foreign,
    /// The variables were lost since the last call; told once instead of running Python code without them.
    Restarted(Restarted),
    /// As many calls wait as may.
    QueueFull {
        /// When a place may be free, in milliseconds.
        retry_after_ms: u64,
        /// For what they wait. (Gateways that do not know the word take it for the environment.)
        #[serde(default)]
        queue: Queue,
    },
    /// The worker could not start a sandbox.
    NoSandbox {
        /// Why, for the model: no paths, no internals.
        why: String,
    },
    /// The call was cancelled while it waited.
    Cancelled,
    /// It was to be a task or nothing, and the worker can keep none ([`super::wire::Otherwise::Refuse`]).
    NotKept,
    /// Its key names another call.
    KeyConflict,
    /// As many keys are kept as may, and all of them are young.
    KeysFull {
        /// When one may go, in milliseconds.
        retry_after_ms: u64,
    },
    /// The worker's disk did not take the key.
    KeyNotKept,
}

/// For what calls wait at a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queue {
    /// Other calls of the same environment.
    #[default]
    Environment,
    /// Executions of any environment: the worker runs as many as it may.
    Worker,
}

/// Notice that the interpreter is a new one: files are kept, variables are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarted {
    /// What took the old one away.
    pub reason: String,
}

/// Why a worker did not look at a call, or a gateway at a report; the answer's status is not 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Refusal {
    /// The message's time is too far from the receiver's, which the answer's header tells.
    Stale,
    /// The worker was started anew since: what it holds may be in another state.
    WrongIncarnation {
        /// The right one.
        incarnation: u64,
    },
    /// The message is not proven by the key that the worker has: sealed as a statement about it, not as its reply.
    Unproven {
        /// The start of the worker that says so.
        incarnation: u64,
    },
    /// The worker is about to stop and starts nothing any more.
    Stopping,
    /// The path or the body is not one of this version.
    Malformed,
}
