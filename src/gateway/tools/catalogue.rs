//! The tools' definitions, as models read them.
//!
//! Names and arguments of the environment tools are those of the platform that is being replaced. Schemas stay flat:
//! no `anyOf`, `oneOf` or type lists, which some agent platforms refuse. No output schema requires a member, for a
//! tool error's `structuredContent` has others, and some clients check it all the same.

use std::time::Duration;

use serde_json::{Value, json};

use super::{EnvironmentPolicy, Tool};
use crate::mcp::{JsonBuf, ToolAnnotations, ToolDefinition};

/// The definitions of these tools, in the order given.
pub(super) fn define(tool: Tool, policy: &EnvironmentPolicy) -> ToolDefinition {
    match tool {
        Tool::LaunchShell | Tool::LaunchPythonEnvironment => launch(tool, policy),
        Tool::RunPython => run_python(policy),
        Tool::RunShell => run_shell(policy),
        Tool::CloseEnvironment => close(),
        Tool::ListEnvironments => list(),
        Tool::Whoami => whoami(),
        Tool::LookupFact => lookup_fact(),
        Tool::ComputePrimes => compute_primes(),
        Tool::Tally => tally(),
    }
}

fn launch(tool: Tool, policy: &EnvironmentPolicy) -> ToolDefinition {
    let description = format!(
        "Creates an isolated Linux environment that runs shell commands and Python, and returns its environmentId. \
         Pass that id verbatim to runPythonCodeInRemoteEnvironment and runShellCommandInRemoteEnvironment: variables, \
         imports and files under /workspace stay from call to call. There is no network access. The environment is \
         deleted after {} without a call, and in any case after {}.",
        in_words(policy.idle_timeout),
        in_words(policy.max_life),
    );
    let title = if tool == Tool::LaunchShell { "Launch a shell" } else { "Launch Python" };
    definition(tool, title, &description, &json!({}), &[])
        .with_output_schema(object(
            &json!({
                "environmentId": text("The environment's id: pass it verbatim to the other tools"),
                "expiresAt": text("When the environment is deleted at the latest (RFC 3339)"),
                "idleTimeoutSeconds": integer("Seconds without a call after which it is deleted"),
                "replayed": replayed(),
            }),
            &[],
        ))
        .with_annotations(ToolAnnotations::default().additive().closed_world())
}

fn run_python(policy: &EnvironmentPolicy) -> ToolDefinition {
    let description = format!(
        "Runs Python code in an environment's own interpreter. Variables, imports and the working directory stay from \
         call to call. Returns what was printed (stdout, stderr), the value of the last expression (executionResult) \
         and the exit code; open matplotlib figures come back as images. Files belong under /workspace. {}",
        limits(policy),
    );
    definition(
        Tool::RunPython,
        "Run Python code",
        &description,
        &json!({
            "environmentId": environment_id(),
            "pythonCode": text("The Python source to run"),
            "timeoutSeconds": timeout(policy),
        }),
        &["environmentId", "pythonCode"],
    )
    .with_output_schema(object(&outcome(true), &[]))
    .with_annotations(ToolAnnotations::default().destructive().closed_world())
}

fn run_shell(policy: &EnvironmentPolicy) -> ToolDefinition {
    let description = format!(
        "Runs a command in an environment, in a new process in /workspace. Give exactly one of shellCommand (one line \
         for sh) and execCommandAndArgs (a program and its arguments, without a shell). Returns stdout, stderr and the \
         exit code. {}",
        limits(policy),
    );
    definition(
        Tool::RunShell,
        "Run a shell command",
        &description,
        &json!({
            "environmentId": environment_id(),
            "shellCommand": text("A command line for sh, for example: ls -l | head"),
            "execCommandAndArgs": {
                "type": "array",
                "items": {"type": "string"},
                "description": "A program and its arguments, for example: [\"python3\", \"main.py\"]",
            },
            "timeoutSeconds": timeout(policy),
        }),
        &["environmentId"],
    )
    .with_output_schema(object(&outcome(false), &[]))
    .with_annotations(ToolAnnotations::default().destructive().closed_world())
}

fn close() -> ToolDefinition {
    definition(
        Tool::CloseEnvironment,
        "Close an environment",
        "Deletes an environment with its files and variables, and makes room for another. Closing it again is no error.",
        &json!({"environmentId": environment_id()}),
        &["environmentId"],
    )
    .with_output_schema(object(
        &json!({"closed": {"type": "boolean", "description": "True: it is gone now"}}),
        &[],
    ))
    .with_annotations(ToolAnnotations::default().destructive().idempotent().closed_world())
}

fn list() -> ToolDefinition {
    let environment = object(
        &json!({
            "environmentId": text("Its id, to be passed verbatim to the other tools"),
            "state": text("ready, running or interrupted (files kept, variables gone)"),
            "createdAt": text("When it was created (RFC 3339)"),
            "lastUsedAt": text("When it was last called (RFC 3339)"),
            "idleExpiresAt": text("When it is deleted if nobody calls it (RFC 3339)"),
            "expiresAt": text("When it is deleted at the latest (RFC 3339)"),
        }),
        &[],
    );
    definition(
        Tool::ListEnvironments,
        "List my environments",
        "Lists your own environments with their ids, states and times: to go on with one whose id was lost.",
        &json!({}),
        &[],
    )
    .with_output_schema(object(
        &json!({
            "environments": {"type": "array", "items": environment, "description": "All of yours"},
            "partial": {"type": "boolean", "description": "True if a worker did not answer in time"},
        }),
        &[],
    ))
    .with_annotations(ToolAnnotations::default().read_only().closed_world())
}

fn whoami() -> ToolDefinition {
    definition(
        Tool::Whoami,
        "Who am I",
        "Says which replica serves this request, and as whom you call.",
        &json!({}),
        &[],
    )
    .with_annotations(ToolAnnotations::default().read_only().closed_world())
}

fn lookup_fact() -> ToolDefinition {
    definition(
        Tool::LookupFact,
        "Look up a fact",
        "Looks up a fact about stateless MCP by its topic; an unknown topic returns the known ones.",
        &json!({"topic": text("The topic, for example: mcp")}),
        &["topic"],
    )
    .with_annotations(ToolAnnotations::default().read_only().closed_world())
}

fn compute_primes() -> ToolDefinition {
    definition(
        Tool::ComputePrimes,
        "Count primes",
        "Counts the primes up to a limit: work for the processor, for load tests.",
        &json!({"limit": integer("Up to which number; 5000 if not given, 5000000 at most")}),
        &[],
    )
    .with_annotations(ToolAnnotations::default().read_only().closed_world())
}

fn tally() -> ToolDefinition {
    definition(
        Tool::Tally,
        "Keep a tally",
        "Adds an amount to a running total and returns the total. Without tally it begins a new one at 0 and returns \
         its name: pass that in the next call, to whichever replica. An operationId makes a call safe to repeat: it \
         is counted once.",
        &json!({
            "amount": integer("What to add; negative to take away"),
            "tally": text("The tally's name, verbatim from an earlier result"),
            "operationId": text("A name of your choice for this addition, 1 to 128 characters"),
        }),
        &["amount"],
    )
    .with_annotations(ToolAnnotations::default().additive().closed_world())
}

fn definition(
    tool: Tool,
    title: &str,
    description: &str,
    properties: &Value,
    required: &[&str],
) -> ToolDefinition {
    ToolDefinition::new(tool.name(), description, object(properties, required)).with_title(title)
}

fn object(properties: &Value, required: &[&str]) -> JsonBuf {
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    JsonBuf::of(&schema)
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn integer(description: &str) -> Value {
    json!({"type": "integer", "description": description})
}

fn environment_id() -> Value {
    text("The environmentId that launchShell returned, verbatim (64 characters, begins with bte_)")
}

fn timeout(policy: &EnvironmentPolicy) -> Value {
    let (default, most) = (policy.default_timeout.as_secs(), policy.max_timeout.as_secs());
    let description = format!("Seconds it may run; {default} if not given, {most} at most");
    json!({"type": "integer", "minimum": 1, "maximum": most, "description": description})
}

fn outcome(python: bool) -> Value {
    let mut members = json!({
        "stdout": text("Standard output"),
        "stderr": text("Standard error, with the traceback of an exception"),
        "exitCode": integer("0 for success"),
        "executionTimeInMilliseconds": {"type": "number", "description": "How long it ran"},
        "truncated": {"type": "boolean", "description": "Whether output was cut at the limit"},
        "terminatedBy": text("The limit that stopped it, if one did: wallTime, memory, cpu, processes, disk; or workerStopping, cancelled, interrupted"),
        "replayed": replayed(),
        "hint": text("What may help with an error, such as the packages that are installed"),
        "idleExpiresAt": text("When the environment is deleted if nobody calls it (RFC 3339)"),
    });
    if python {
        members["executionResult"] = text("repr() of the last expression's value");
    }
    members
}

fn replayed() -> Value {
    json!({"type": "boolean", "description": "True: a call with this idempotency key was made before, and this is its result"})
}

fn limits(policy: &EnvironmentPolicy) -> String {
    format!(
        "It may run {} unless timeoutSeconds says otherwise; there is no network access; long output is cut.",
        in_words(policy.default_timeout)
    )
}

/// A length of time as people say it.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        s if s >= 7200 && s % 3600 == 0 => (s / 3600, "hours"),
        s if s >= 120 && s % 60 == 0 => (s / 60, "minutes"),
        1 => (1, "second"),
        s => (s, "seconds"),
    };
    format!("{count} {unit}")
}

#[cfg(test)]
mod tests {
    use super::super::test_policy;
    use super::*;

    fn schemas(tool: Tool) -> Value {
        serde_json::from_str(define(tool, &test_policy()).render().get()).unwrap()
    }

    /// Every object within a schema.
    fn walk(schema: &Value, visit: &mut dyn FnMut(&Value)) {
        visit(schema);
        match schema {
            Value::Object(members) => members.values().for_each(|it| walk(it, visit)),
            Value::Array(items) => items.iter().for_each(|it| walk(it, visit)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_is_one_that_agent_platforms_take() {
        for tool in Tool::ALL {
            let definition = schemas(tool);
            let name = definition["name"].as_str().unwrap();
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{name}");
            assert!(definition["description"].as_str().unwrap().len() < 1024, "{name}");
            walk(&json!([definition["inputSchema"], definition["outputSchema"]]), &mut |part| {
                for banned in ["anyOf", "oneOf", "allOf", "$ref"] {
                    assert!(part.get(banned).is_none(), "{name}: {banned}");
                }
                assert!(!part["type"].is_array(), "{name}: a list of types");
                for (property, schema) in part["properties"].as_object().into_iter().flatten() {
                    assert!(schema["type"].is_string(), "{name}: {property} has no type");
                    assert!(
                        schema["description"].is_string(),
                        "{name}: {property} is not described"
                    );
                }
            });
        }
    }

    #[test]
    fn times_are_said_in_words() {
        for (seconds, words) in
            [(1, "1 second"), (90, "90 seconds"), (300, "5 minutes"), (86_400, "24 hours")]
        {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
