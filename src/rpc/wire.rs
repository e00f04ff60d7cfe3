//! Messages between gateways and workers.
//!
//! The version is in the path. A field may be added with a default; anything else is a new version, served
//! beside the old one for a release.

use serde::{Deserialize, Serialize};

pub use super::refusal::{NotStarted, Queue, Refusal, Restarted};
use super::task::Task;

/// Path of [`CreateRequest`].
pub const CREATE: &str = "/rpc/v1/create";
/// Path of [`ExecuteRequest`]; the reply is a stream of frames.
pub const EXECUTE: &str = "/rpc/v1/execute";
/// Path of [`CancelRequest`].
pub const CANCEL: &str = "/rpc/v1/cancel";
/// Path of [`CloseRequest`].
pub const CLOSE: &str = "/rpc/v1/close";
/// Path of [`FindRequest`].
pub const FIND: &str = "/rpc/v1/find";
/// Path of [`ListRequest`].
pub const LIST: &str = "/rpc/v1/list";
/// Path of [`Heartbeat`], on a gateway's internal listener.
pub const HEARTBEAT: &str = "/v1/heartbeat";

/// Asks a worker to take a new environment. Safe to repeat: the environment's id decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRequest {
    /// The environment and the gateway's proof of it.
    pub claim: Claim,
    /// How long it may be idle, in milliseconds; each call begins the time anew.
    pub idle_timeout_ms: u64,
}

/// An environment as a worker shows that it was given it. Ids are hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The environment.
    pub environment: String,
    /// Digest of its tenant.
    pub tenant: String,
    /// Digest of its owner.
    pub owner: String,
    /// The epoch it was given under.
    pub epoch: u64,
    /// When its maximum life ends, in milliseconds since the Unix epoch.
    pub not_after_ms: u64,
    /// The gateway's seal over all of it and the worker's name, hexadecimal.
    pub ticket: String,
}

/// Answer to [`CreateRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum CreateReply {
    /// The environment's record is on the worker's disk.
    Created,
    /// The worker takes nothing new: it is full or about to stop.
    Refused {
        /// Why, for logs.
        why: String,
    },
}

/// Runs code in an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteRequest {
    /// Which environment, as whom.
    pub target: Target,
    /// Names this execution, for [`CancelRequest`].
    pub execution: String,
    /// What is run.
    pub job: Job,
    /// How long it may run, in milliseconds.
    pub timeout_ms: u64,
    /// Whether output is wanted while it runs; the end carries all of it anyway.
    pub stream: bool,
    /// Makes a task of it before it starts, as [`super::task::DetachRequest`] does later; it says so when asked again.
    #[serde(default)]
    pub task: Option<TaskTerms>,
}

/// On which terms an execution is a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskTerms {
    /// For how long from now it must be found, in milliseconds; absent: as long as the environment may be idle. The
    /// environment's maximum life ends it earlier.
    pub ttl_ms: Option<u64>,
    /// What becomes of it if the worker cannot keep it as a task.
    #[serde(default)]
    pub otherwise: Otherwise,
}

/// What becomes of an execution that cannot be a task from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// It runs as its connection's.
    #[default]
    RunAsCall,
    /// It is not begun: its client asked for a task, and reads nothing else.
    Refuse,
}

/// Which environment a call means, and the checks that go with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The environment.
    pub environment: String,
    /// Digest of who calls; the worker compares it with the record.
    pub owner: String,
    /// The generation of the handle; an older one than the record's has been revoked.
    pub generation: u16,
    /// The epoch under which the gateway believes the worker holds it.
    pub epoch: u64,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Job {
    /// Python, in the environment's interpreter.
    Python {
        /// The source.
        code: String,
    },
    /// A line for `sh -c`, in a process of its own.
    Shell {
        /// The line.
        command: String,
    },
    /// A program and its arguments, without a shell.
    Exec {
        /// The program first.
        argv: Vec<String>,
    },
}

/// One frame of the reply to [`ExecuteRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of standard output, while it runs.
    Stdout(bytes::Bytes),
    /// Bytes of standard error, while it runs.
    Stderr(bytes::Bytes),
    /// It ended. The last frame before the MAC.
    Ended(Box<Ended>),
    /// Nothing was started. The only frame before the MAC.
    NotStarted(NotStarted),
    /// It was started before, by a call with the same key, and is so. The only frame before the MAC.
    Replayed(Box<Task>),
}

/// How an execution ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Standard output, at most the worker's limit, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// The exit code; 128 and the signal's number where a signal ended it.
    pub exit_code: i32,
    /// `repr` of the last expression's value (Python only).
    pub execution_result: Option<String>,
    /// Figures and other images.
    pub images: Vec<Image>,
    /// Whether output was cut at the limit.
    pub truncated: bool,
    /// The limit that stopped it.
    pub terminated_by: Option<String>,
    /// Whether it took the interpreter's variables with it.
    pub variables_lost: bool,
    /// How long it ran, in microseconds.
    pub duration_us: u64,
    /// Says that variables were lost before this call (shell calls run all the same).
    pub restarted: Option<Restarted>,
    /// When the environment ends if nobody calls it, in milliseconds since the Unix epoch.
    pub idle_deadline_ms: u64,
    /// What may save the model a turn, such as which packages there are.
    #[serde(default)]
    pub hint: Option<String>,
}

/// An image that code produced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `image/png` and the like.
    pub mime_type: String,
    /// The bytes in base64.
    pub data: String,
}

/// Stops an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// Its environment.
    pub environment: String,
    /// The execution.
    pub execution: String,
    /// Who no longer wants it, where it has a key: it stops if nobody else waits for it. Absent: it stops.
    #[serde(default)]
    pub caller: Option<String>,
}

/// Ends an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseRequest {
    /// Which, as whom.
    pub target: Target,
}

/// Answer to [`CloseRequest`] and [`CancelRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "why")]
pub enum Done {
    /// It is done, or was already.
    Done,
    /// Nothing was done.
    NotDone(NotStarted),
}

/// Asks whether the worker holds an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindRequest {
    /// The environment.
    pub environment: String,
}

/// Answer to [`FindRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum FindReply {
    /// It does.
    Held {
        /// The gateway's proof; it checks it again.
        claim: Claim,
    },
    /// It did, and the environment is no more.
    Gone {
        /// `deleted`, `expired` or `lost`.
        reason: String,
    },
    /// It does not know it.
    NotMine,
}

/// Asks for the environments of an owner, or of a whole tenant where no owner is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRequest {
    /// Digest of the tenant.
    pub tenant: String,
    /// Digest of the owner.
    pub owner: Option<String>,
    /// Asks for this one alone.
    #[serde(default)]
    pub environment: Option<String>,
}

/// Answer to [`ListRequest`], oldest first, at most [`MAX_LISTED`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListReply {
    /// The environments.
    pub environments: Vec<Listed>,
}

/// How many environments one [`ListReply`] names.
pub const MAX_LISTED: usize = 1000;

/// One environment of a list. Moments are in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The environment.
    pub environment: String,
    /// The generation that handles must have.
    pub generation: u16,
    /// `ready`, `running` or `interrupted`.
    pub state: String,
    /// When it was created.
    pub created_ms: u64,
    /// When it was last called.
    pub last_used_ms: u64,
    /// When it ends if nobody calls it.
    pub idle_deadline_ms: u64,
    /// When its maximum life ends.
    pub not_after_ms: u64,
}

/// What a worker says of itself, to each gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Where its rpc is reached.
    pub url: String,
    /// Whether it is about to stop.
    pub draining: bool,
    /// How many environments it may hold.
    pub capacity: u32,
    /// How many it holds.
    pub environments: u32,
    /// How many executions run.
    pub running: u32,
    /// Digest of its list, hexadecimal.
    pub list_digest: String,
    /// The list, where the last answer asked for it.
    pub list: Option<Vec<Claim>>,
    /// Environments whose time was over a moment ago, as they were claimed. A report repeats what the one before said.
    #[serde(default)]
    pub expired: Vec<Claim>,
}

/// A gateway's answer to [`Heartbeat`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// The internal addresses of all replicas: report to each.
    pub gateways: Vec<String>,
    /// Whether the list is wanted, now.
    pub list_wanted: bool,
    /// Whether a newer incarnation of this worker has been heard: stop.
    pub fenced: bool,
    /// The gateway's time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_enum_reads_back() {
        fn check<T>(value: &T)
        where
            T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
        {
            let json = serde_json::to_string(value).unwrap();
            assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), value, "{json}");
        }
        let all = [
            NotStarted::NotMine,
            NotStarted::Gone { reason: "deleted".to_owned() },
            NotStarted::WrongEpoch { epoch: 2 },
            NotStarted::Foreign,
            NotStarted::Restarted(Restarted { reason: "worker-restarted".to_owned() }),
            NotStarted::QueueFull { retry_after_ms: 1, queue: Queue::Worker },
            NotStarted::NoSandbox { why: "full".to_owned() },
            NotStarted::Cancelled,
            NotStarted::NotKept,
            NotStarted::KeyConflict,
            NotStarted::KeysFull { retry_after_ms: 1 },
            NotStarted::KeyNotKept,
        ];
        for why in all {
            check(&why);
            check(&Done::NotDone(why));
        }
        check(&Done::Done);
        check(&CreateReply::Refused { why: "full".to_owned() });
        check(&FindReply::NotMine);
        check(&Refusal::WrongIncarnation { incarnation: 2 });
        check(&Refusal::Unproven { incarnation: 2 });
        check(&Job::Exec { argv: vec!["true".to_owned()] });
    }
}
