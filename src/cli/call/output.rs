//! A call's output: while it comes, and what is left to say at its end.

use serde_json::Value;

use crate::cli::console::Console;

use super::endpoint::Progress;

/// What has been shown of a call while it ran.
#[derive(Debug, Default)]
pub(super) struct Shown {
    stdout: String,
    stderr: String,
}

impl Shown {
    /// Shows a piece as it comes.
    pub(super) fn progress(&mut self, progress: &Progress, console: &mut dyn Console) {
        let Some(text) = &progress.message else { return };
        match progress.stream() {
            Some("stdout") => {
                self.stdout.push_str(text);
                console.out(text);
            }
            Some("stderr") => {
                self.stderr.push_str(text);
                console.err(text);
            }
            _ => console.err(&format!("{text}\n")),
        }
    }

    /// Shows what is left of the result; gives the exit code.
    pub(super) fn finish(&self, result: &Value, console: &mut dyn Console) -> u8 {
        let structured = &result["structuredContent"];
        let code = exit_code(result);
        if structured["exitCode"].is_null() {
            show_content(result, code != 0, console);
            return code;
        }
        let text = |key: &str| structured[key].as_str().unwrap_or_default();
        if let Some(rest) = left(&self.stdout, text("stdout"), console) {
            console.out(rest);
        }
        if let Some(rest) = left(&self.stderr, text("stderr"), console) {
            console.err(rest);
        }
        if let Some(value) = structured["executionResult"].as_str() {
            console.out(&format!("{value}\n"));
        }
        show_notes(result, console);
        code
    }
}

/// The tool's own exit code, as far as a process can have it; what failed never looks like success.
pub(super) fn exit_code(result: &Value) -> u8 {
    let failed = u8::from(result["isError"] == true);
    match result["structuredContent"]["exitCode"].as_i64() {
        None | Some(0) => failed,
        Some(code) => u8::try_from(code & 0xFF).unwrap_or(1).max(1),
    }
}

/// What of the whole output has not been shown.
fn left<'a>(shown: &str, whole: &'a str, console: &mut dyn Console) -> Option<&'a str> {
    if let Some(rest) = whole.strip_prefix(shown) {
        return Some(rest);
    }
    // The result keeps only the beginning of long output.
    if shown.starts_with(whole) {
        return None;
    }
    console.err("[some output did not arrive while it ran; here is all of it]\n");
    Some(whole)
}

fn show_content(result: &Value, failed: bool, console: &mut dyn Console) {
    let mut lines = String::new();
    for block in result["content"].as_array().into_iter().flatten() {
        if let Some(text) = block["text"].as_str() {
            lines.push_str(text.trim_end());
            lines.push('\n');
        }
    }
    if lines.is_empty() && !result["structuredContent"].is_null() {
        lines = format!("{}\n", result["structuredContent"]);
    }
    if failed {
        console.err(&lines);
    } else {
        console.out(&lines);
    }
    show_notes(result, console);
}

/// What a terminal cannot show, and what a person should know.
fn show_notes(result: &Value, console: &mut dyn Console) {
    let structured = &result["structuredContent"];
    if let Some(limit) = structured["terminatedBy"].as_str() {
        console.err(&format!("[stopped by: {limit}]\n"));
    }
    if structured["truncated"] == true {
        console.err("[the output was cut]\n");
    }
    for block in result["content"].as_array().into_iter().flatten() {
        if let Some(kind) = block["mimeType"].as_str() {
            let bytes = block["data"].as_str().map_or(0, |data| data.len() / 4 * 3);
            console.err(&format!("[{kind}, about {bytes} bytes; --json has it]\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::console::recorder::Recorder;

    fn check(pieces: &[(&str, &str)], result: &Value, expected: (&str, &str, u8)) {
        let (mut shown, mut console) = (Shown::default(), Recorder::default());
        for (stream, text) in pieces {
            let piece = json!({"message": text, "_meta": {"dev.baton/stream": stream}});
            shown.progress(&serde_json::from_value(piece).unwrap(), &mut console);
        }
        let code = shown.finish(result, &mut console);
        assert_eq!((console.out.as_str(), console.err.as_str(), code), expected, "{result}");
    }

    fn ran(stdout: &str, stderr: &str, exit_code: i64) -> Value {
        let structured = json!({"stdout": stdout, "stderr": stderr, "exitCode": exit_code});
        json!({"content": [{"type": "text", "text": "for the model"}], "structuredContent": structured})
    }

    #[test]
    fn output_is_shown_once() {
        check(&[], &ran("a\n", "", 0), ("a\n", "", 0));
        check(&[("stdout", "a\n")], &ran("a\nb\n", "", 0), ("a\nb\n", "", 0));
        check(&[("stdout", "a\nb\n"), ("stderr", "!")], &ran("a\nb\n", "!", 0), ("a\nb\n", "!", 0));
        check(&[("stdout", "a\nb\n")], &ran("a\n", "", 0), ("a\nb\n", "", 0));
    }

    #[test]
    fn output_that_got_lost_on_its_way_is_shown_again() {
        let note = "[some output did not arrive while it ran; here is all of it]\n";
        check(&[("stdout", "b\n")], &ran("a\nb\n", "", 0), ("b\na\nb\n", note, 0));
    }

    #[test]
    fn the_exit_code_is_the_tools() {
        check(&[], &ran("", "", 7), ("", "", 7));
        check(&[], &ran("", "", 256), ("", "", 1));
        check(&[], &ran("", "", -1), ("", "", 255));
        let mut failed = ran("", "", 0);
        failed["isError"] = true.into();
        check(&[], &failed, ("", "", 1));
    }

    #[test]
    fn a_tool_that_runs_nothing_shows_its_text() {
        let text = json!([{"type": "text", "text": "ok"}]);
        check(&[], &json!({"content": text}), ("ok\n", "", 0));
        check(&[], &json!({"content": text, "isError": true}), ("", "ok\n", 1));
        check(&[], &json!({"content": [], "structuredContent": {"a": 1}}), ("{\"a\":1}\n", "", 0));
    }

    #[test]
    fn a_value_a_limit_and_an_image_are_told() {
        let mut result = ran("", "", 0);
        result["structuredContent"]["executionResult"] = "2".into();
        check(&[], &result, ("2\n", "", 0));
        result["structuredContent"]["terminatedBy"] = "wallTime".into();
        result["structuredContent"]["truncated"] = true.into();
        result["content"] = json!([{"type": "image", "mimeType": "image/png", "data": "AAAA"}]);
        let notes = "[stopped by: wallTime]\n[the output was cut]\n[image/png, about 3 bytes; --json has it]\n";
        check(&[], &result, ("2\n", notes, 0));
    }
}
