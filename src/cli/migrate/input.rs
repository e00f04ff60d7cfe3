//! A file into JSON.

use std::io;
use std::path::Path;

use serde_json::Value;

use super::MAX_FILE;
use super::shown::{cut, shell_word};
use crate::cli::settings::Surroundings;

/// Why a file is not read; who reads it knows what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// The file is not there, not ours to read, or too long.
    #[error(
        "{file} cannot be read ({error}) → give a file of at most 1 MiB, or - for standard input"
    )]
    Unreadable { file: String, error: io::Error },
    /// Some shells write UTF-16 when output is redirected.
    #[error(
        "{file} is not UTF-8 → write it anew, in PowerShell with `| Out-File -Encoding utf8 FILE`"
    )]
    Encoding { file: String },
    /// A template before it was compiled.
    #[error(
        "{file} is Bicep → make JSON of it: az bicep build --file {source_file} --stdout | baton migrate -"
    )]
    Bicep { file: String, source_file: String },
    /// Something else.
    #[error("{file} is not JSON: {error} → correct that place")]
    Malformed { file: String, error: serde_json::Error },
}

/// Reads a file, or standard input for `-`.
pub(super) fn read(file: &str, around: &dyn Surroundings) -> Result<Value, InputError> {
    let path = if file == "-" { "/dev/stdin" } else { file };
    let shown = cut(if file == "-" { "standard input" } else { file }, MAX_FILE);
    let text = around.read(Path::new(path)).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => InputError::Encoding { file: shown.clone() },
        _ => InputError::Unreadable { file: shown.clone(), error },
    })?;
    // Some tools mark the beginning of UTF-8.
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text).map_err(|error| {
        if Path::new(path).extension().is_some_and(|it| it == "bicep") || is_bicep(text) {
            let source_file = if file == "-" { "FILE.bicep" } else { file };
            let source_file = shell_word(&cut(source_file, MAX_FILE));
            return InputError::Bicep { file: shown.clone(), source_file };
        }
        InputError::Malformed { file: shown, error }
    })
}

/// Whether a line declares something as only Bicep does.
fn is_bicep(text: &str) -> bool {
    const WORDS: [&str; 6] = ["targetScope", "param", "var", "resource", "module", "@description("];
    text.lines().any(|line| {
        let word = line.split_whitespace().next().unwrap_or_default();
        WORDS.contains(&word) || line.starts_with("@description(")
    })
}
