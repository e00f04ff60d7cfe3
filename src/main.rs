//! The `baton` program.

use std::process::ExitCode;

use baton::cli::settings::System;
use baton::cli::{Command, refuse, run};

fn main() -> ExitCode {
    // A sandbox's launcher is this program too, and must be alone in its process: before any thread.
    if let Some(code) = baton::worker::sandbox::embedded::intercept() {
        return code;
    }
    match Command::parse(std::env::args_os().skip(1), &System::read()) {
        Ok(command) => run(command),
        Err(refusal) => refuse(&refusal),
    }
}
