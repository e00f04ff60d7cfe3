//! What a call's body says, as the worker means it.

use std::time::Duration;

use super::environment::Target;
use super::execution::Order;
use super::keyed::Asker;
use super::sandbox::{Job, JobKind};
use super::server::Call;
use crate::domain::ids::{ArgumentsDigest, EnvironmentId, ExecutionId, OwnerDigest};
use crate::domain::placement::Epoch;
use crate::rpc::keyed::KeyedRequest;
use crate::rpc::wire::{self, ExecuteRequest, TaskTerms};
use crate::telemetry::TraceContext;

/// The body is not a message of this version.
pub(super) struct Malformed;

/// An execution as it is asked for.
pub(super) struct Execute {
    pub(super) target: Target,
    pub(super) order: Order,
    /// Whether output is wanted while it runs.
    pub(super) wants_output: bool,
}

/// Reads an execution.
pub(super) fn execute(call: &Call) -> Result<Execute, Malformed> {
    read(call, call.read()?)
}

/// Reads an execution with a key, and who asks for it.
pub(super) fn execute_keyed(call: &Call) -> Result<(Execute, Asker), Malformed> {
    let KeyedRequest { execute, arguments, caller } = call.read()?;
    let asker = Asker { arguments: digest(&arguments)?, caller: caller_name(&caller)? };
    Ok((read(call, execute)?, asker))
}

/// Reads the digest of a keyed call's arguments.
pub(super) fn digest(arguments: &str) -> Result<ArgumentsDigest, Malformed> {
    ArgumentsDigest::from_hex(arguments).ok_or(Malformed)
}

/// Reads which of a keyed call's callers is meant.
pub(super) fn caller_name(caller: &str) -> Result<ExecutionId, Malformed> {
    ExecutionId::from_hex(caller).ok_or(Malformed)
}

fn read(call: &Call, request: ExecuteRequest) -> Result<Execute, Malformed> {
    let kind = match request.job {
        wire::Job::Python { code } => JobKind::Python { code },
        wire::Job::Shell { command } => JobKind::Shell { command },
        wire::Job::Exec { argv } if argv.is_empty() => return Err(Malformed),
        wire::Job::Exec { argv } => JobKind::Exec { argv },
    };
    let job = Job {
        kind,
        timeout: Duration::from_millis(request.timeout_ms),
        variables: call.span.context().map(trace_variables).unwrap_or_default(),
    };
    let (target, execution) = named(&request.target, &request.execution)?;
    let order = Order { execution, job, task: request.task };
    Ok(Execute { target, order, wants_output: request.stream })
}

/// For how long a task must be found, beyond its environment's idle time.
pub(super) fn ttl(terms: TaskTerms) -> Duration {
    Duration::from_millis(terms.ttl_ms.unwrap_or_default())
}

/// Reads which environment is meant, and as whom.
pub(super) fn target(target: &wire::Target) -> Result<Target, Malformed> {
    Ok(Target {
        environment: EnvironmentId::from_hex(&target.environment).ok_or(Malformed)?,
        owner: OwnerDigest::from_hex(&target.owner).ok_or(Malformed)?,
        generation: target.generation,
        epoch: Epoch(target.epoch),
    })
}

/// Reads which of an environment's executions is meant.
pub(super) fn named(
    environment: &wire::Target,
    execution: &str,
) -> Result<(Target, ExecutionId), Malformed> {
    Ok((target(environment)?, ExecutionId::from_hex(execution).ok_or(Malformed)?))
}

/// The trace goes on inside: what code there reports is part of it. Baggage too, untouched: it is its sender's to
/// decide what travels with a call.
fn trace_variables(context: &TraceContext) -> Vec<(String, String)> {
    let parent = context.traceparent();
    let fields = [
        ("TRACEPARENT", parent.as_deref()),
        ("TRACESTATE", context.tracestate()),
        ("BAGGAGE", context.baggage()),
    ];
    let given = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    given.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
