//! The `baton` program.

use std::process::ExitCode;

use baton::cli::settings::System;
use baton::cli::{Command, refuse, run};

fn main() -> ExitCode {
    match Command::parse(std::env::args_os().skip(1), &System::read()) {
        Ok(command) => run(command),
        Err(refusal) => refuse(&refusal),
    }
}
