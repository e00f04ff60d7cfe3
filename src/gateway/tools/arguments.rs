//! The arguments of each tool, checked once.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::gateway::failure::ToolError;
use crate::mcp::JsonBuf;

/// Reads the arguments of a call; absent ones are an empty object.
pub(super) fn read<T: DeserializeOwned>(
    tool: &str,
    arguments: Option<&JsonBuf>,
) -> Result<T, ToolError> {
    let text = arguments.map_or("{}", JsonBuf::get);
    serde_json::from_str(text).map_err(|error| {
        let what = what_is_wrong(text, &error);
        // It names what it did not know, which may be as long as a body.
        let what = &what[..what.floor_char_boundary(400)];
        ToolError::not_begun(format!(
            "The arguments do not fit {tool}: {what}. Correct them and call {tool} again."
        ))
    })
}

/// The error in a model's words: with the argument it stands in, and without Rust's names for types.
fn what_is_wrong(text: &str, error: &serde_json::Error) -> String {
    // The position is within the arguments alone and would only puzzle.
    let what = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let what = what.strip_suffix(&position).unwrap_or(&what);
    let what = [("u64", "an integer from 0"), ("i64", "an integer"), ("a sequence", "a list")]
        .iter()
        .find_map(|(said, meant)| {
            Some(format!("{}expected {meant}", what.strip_suffix(said)?.strip_suffix("expected ")?))
        })
        .unwrap_or_else(|| what.to_owned());
    match argument_at(text, error) {
        Some(argument) => format!("{argument}: {what}"),
        None => what,
    }
}

/// The argument in whose value the error stands; none for one that is missing or unknown.
fn argument_at(text: &str, error: &serde_json::Error) -> Option<String> {
    let arguments: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    let lines = text.split_inclusive('\n').take(error.line().checked_sub(1)?);
    let position = lines.map(str::len).sum::<usize>() + error.column();
    let holds = |value: &RawValue| {
        let begin = value.get().as_ptr().addr() - text.as_ptr().addr();
        (begin..=begin + value.get().len()).contains(&position)
    };
    arguments.into_iter().find(|(_, value)| holds(value)).map(|(name, _)| name)
}

/// No arguments at all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Arguments of `runPythonCodeInRemoteEnvironment`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RunPython {
    pub(super) environment_id: String,
    pub(super) python_code: String,
    pub(super) timeout_seconds: Option<u64>,
}

/// Arguments of `runShellCommandInRemoteEnvironment`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RunShell {
    pub(super) environment_id: String,
    pub(super) shell_command: Option<String>,
    pub(super) exec_command_and_args: Option<Vec<String>>,
    pub(super) timeout_seconds: Option<u64>,
}

/// Arguments of `closeEnvironment`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Close {
    pub(super) environment_id: String,
}

/// Arguments of `lookup_fact`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LookupFact {
    pub(super) topic: String,
}

/// Arguments of `compute_primes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ComputePrimes {
    pub(super) limit: Option<u64>,
}

/// Arguments of `tally`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Tally {
    pub(super) amount: i64,
    #[serde(rename = "tally")]
    pub(super) handle: Option<String>,
    pub(super) operation_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &str) -> Result<RunPython, ToolError> {
        read("runPythonCodeInRemoteEnvironment", JsonBuf::parse(arguments).as_ref())
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |arguments: &str, named: &str| {
            let text = run(arguments).unwrap_err().text().to_owned();
            assert!(text.contains(named) && !text.contains("line 1"), "{text}");
        };
        check("{}", "environmentId");
        check(r#"{"environmentId": "a"}"#, "pythonCode");
        check(
            r#"{"environmentId": 1, "pythonCode": ""}"#,
            "environmentId: invalid type: integer `1`",
        );
        check(r#"{"environmentId": 1, "pythonCode": ""}"#, "expected a string");
        let late = "{\"environmentId\": \"a\",\n \"pythonCode\":\n [\"1\"], \"timeoutSeconds\": 1}";
        check(late, "pythonCode: invalid type: sequence, expected a string.");
        let as_text = r#"{"environmentId": "a", "timeoutSeconds": "10", "pythonCode": ""}"#;
        check(as_text, r#"timeoutSeconds: invalid type: string "10", expected an integer from 0."#);
        check(r#"{"environmentId": "a", "pythonCode": "", "code": ""}"#, "`code`");
        check(r#"{"environmentId": "a", "pythonCode": "", "timeoutSeconds": -1}"#, "-1");
    }

    #[test]
    fn no_arguments_are_an_empty_object() {
        assert!(read::<Nothing>("launchShell", None).is_ok());
    }
}
