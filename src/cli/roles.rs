//! Runs a command to its end.

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use super::command::{Command, Refusal};
use super::console::{Console, Terminal};
use super::doctor;
use super::serving;
use super::settings::Loaded;

/// A wrong command line, as shells have it.
const MISUSE: u8 = 2;

/// Runs a command; gives the process's exit code.
pub fn run(command: Command) -> ExitCode {
    let mut console = Terminal;
    match command {
        Command::Dev(loaded) => serving::dev(warned(*loaded)),
        Command::Gateway(loaded) => serving::gateway(warned(*loaded)),
        Command::Worker(loaded) => serving::worker(warned(*loaded).settings),
        Command::Doctor(loaded) => {
            ExitCode::from(runtime().block_on(doctor::run(*loaded, &mut console)))
        }
        Command::Call(call) => ExitCode::from(runtime().block_on(call.run(&mut console))),
        Command::Key(request) => {
            let mut random = [0; 32];
            getrandom::fill(&mut random).expect("the system has random bytes");
            request.print(random, &mut console);
            ExitCode::SUCCESS
        }
        Command::Migrate(migration) => {
            migration.print(&mut console);
            ExitCode::SUCCESS
        }
        Command::Show(text) => {
            console.out(&text);
            ExitCode::SUCCESS
        }
    }
}

/// Says why nothing is run.
pub fn refuse(refusal: &Refusal) -> ExitCode {
    Terminal.err(&format!("{refusal}\n"));
    ExitCode::from(MISUSE)
}

/// Tells the warnings.
fn warned<T>(loaded: Loaded<T>) -> Loaded<T> {
    for warning in &loaded.warnings {
        Terminal.err(&format!("baton: {warning}\n"));
    }
    loaded
}

pub(super) fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().expect("a process has threads and timers")
}
