//! `TOOL key=value …` into a tool and its arguments.

use std::path::Path;

use serde_json::{Map, Value};

use crate::cli::command::Refusal;
use crate::cli::settings::{CallSettings, Loaded, Surroundings};

use super::{Call, Target};

/// The tools that run in an environment, which a person may have forgotten to launch.
const NEED_AN_ENVIRONMENT: [&str; 2] =
    ["runPythonCodeInRemoteEnvironment", "runShellCommandInRemoteEnvironment"];

/// Reads the words of `baton call`; the refusal lists all that cannot be read.
pub(crate) fn read(
    loaded: Loaded<CallSettings>,
    around: &dyn Surroundings,
) -> Result<Call, Refusal> {
    let settings = loaded.settings;
    let Some((tool, words)) = loaded.words.split_first() else {
        return Ok(Call { settings, target: Target::List });
    };
    let mut arguments = Map::new();
    let mut wrong = Vec::new();
    if tool.contains('=') {
        wrong.push(format!("\"{tool}\" is an argument → name the tool first"));
    }
    for word in words {
        match argument(word, around) {
            Ok((key, _)) if arguments.contains_key(&key) => {
                wrong.push(format!("{key} is given twice → give it once"));
            }
            Ok((key, value)) => drop(arguments.insert(key, value)),
            Err(what) => wrong.push(what),
        }
    }
    let names_one = arguments.contains_key("environmentId");
    if NEED_AN_ENVIRONMENT.contains(&tool.as_str()) && !names_one && !settings.new {
        wrong.push(
            "no environmentId → add --new for an environment of its own, or launch one \
             (baton call launchShell) and add environmentId=ITS-ID"
                .into(),
        );
    }
    if names_one && settings.new {
        wrong.push("environmentId and --new → choose one".into());
    }
    if settings.idempotency_key.is_some() && settings.new {
        wrong.push(
            "--idempotency-key and --new → choose one: a repeat needs the same environment".into(),
        );
    }
    if wrong.is_empty() {
        Ok(Call { settings, target: Target::Tool { name: tool.clone(), arguments } })
    } else {
        let wrong = wrong.join("\n  ");
        Err(Refusal::new(format!(
            "baton call cannot begin:\n  {wrong}\n`baton help call` shows how"
        )))
    }
}

/// `key=text`, `key:=JSON` or `key=@FILE`.
fn argument(word: &str, around: &dyn Surroundings) -> Result<(String, Value), String> {
    let Some((key, text)) = word.split_once('=') else {
        return Err(format!("\"{}\" is no argument → write key=value", word.escape_debug()));
    };
    if let Some(key) = key.strip_suffix(':') {
        let value = serde_json::from_str(text).map_err(|error| {
            format!("{key} is not JSON ({error}) → write {key}=TEXT for a text")
        })?;
        return Ok((key.to_owned(), value));
    }
    let value = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some(file) => {
            let path = if file == "-" { "/dev/stdin" } else { file };
            around.read(Path::new(path)).map_err(|error| {
                format!("{key}: {file} cannot be read ({error}) → write {key}:='\"@…\"' for a text that begins so")
            })?
        }
    };
    Ok((key.to_owned(), Value::String(value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::settings::fake::Fake;
    use crate::cli::settings::{self};

    fn read_words(words: &[&str]) -> Result<Call, String> {
        let around = Fake::new().file("x.py", "print(1)\n");
        let words: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
        read(settings::call(&words, &around).unwrap(), &around).map_err(|it| it.to_string())
    }

    fn check(words: &[&str], expected: &Value) {
        match read_words(words).unwrap().target {
            Target::Tool { arguments, .. } => assert_eq!(Value::from(arguments), *expected),
            Target::List => panic!("no tool"),
        }
    }

    #[test]
    fn values_are_text_json_or_a_file() {
        check(&["t"], &json!({}));
        check(
            &["t", "a=1", "b:=1", "c:=[\"x\"]", "d="],
            &json!({"a": "1", "b": 1, "c": ["x"], "d": ""}),
        );
        check(&["t", "code=@x.py"], &json!({"code": "print(1)\n"}));
        check(&["t", "code=a=b --json"], &json!({"code": "a=b --json"}));
        check(&["t", "--", "--a=b"], &json!({"--a": "b"}));
    }

    #[test]
    fn without_a_tool_it_lists_them() {
        assert!(matches!(read_words(&[]).unwrap().target, Target::List));
    }

    #[test]
    fn everything_that_cannot_be_read_is_told_at_once() {
        let text = read_words(&["t", "a:=x", "b", "c=@none", "d=1", "d=2"]).unwrap_err();
        for part in
            ["a is not JSON", "\"b\" is no argument", "none cannot be read", "d is given twice"]
        {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn code_without_an_environment_is_told_the_two_ways() {
        let run = "runPythonCodeInRemoteEnvironment";
        let text = read_words(&[run, "pythonCode=1"]).unwrap_err();
        assert!(text.contains("--new") && text.contains("baton call launchShell"), "{text}");
        assert!(read_words(&[run, "pythonCode=1", "--new"]).unwrap().settings.new);
        assert!(read_words(&[run, "pythonCode=1", "environmentId=bte_x"]).is_ok());
        assert!(read_words(&[run, "environmentId=bte_x", "--new"]).is_err());
        let keyed = [run, "pythonCode=1", "--new", "--idempotency-key", "k"];
        assert!(read_words(&keyed).unwrap_err().contains("same environment"));
    }
}
