//! Arguments into one command, ready to run.

use std::ffi::OsString;
use std::fmt;

use super::call::{Call, arguments};
use super::help;
use super::key::KeyRequest;
use super::migrate::Migration;
use super::settings::{
    self, DevSettings, DoctorSettings, GatewaySettings, Loaded, Problems, Surroundings,
    WorkerSettings, nearest,
};

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    /// Gateway, worker and directory in one process.
    Dev(Box<Loaded<DevSettings>>),
    /// One gateway replica.
    Gateway(Box<Loaded<GatewaySettings>>),
    /// One worker.
    Worker(Box<Loaded<WorkerSettings>>),
    /// Checks a deployment.
    Doctor(Box<Loaded<DoctorSettings>>),
    /// Makes a key.
    Key(KeyRequest),
    /// Calls a tool.
    Call(Call),
    /// Makes a configuration of a session pool.
    Migrate(Migration),
    /// Prints a text.
    Show(String),
}

/// Why nothing is done; the message says everything that is wrong.
#[derive(Debug)]
pub struct Refusal(String);

impl Refusal {
    /// A refusal with its message.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Problems> for Refusal {
    fn from(problems: Problems) -> Self {
        Self(problems.to_string())
    }
}

/// The subcommands.
pub(super) const COMMANDS: [&str; 8] =
    ["dev", "gateway", "worker", "doctor", "key", "call", "migrate", "help"];

impl Command {
    /// Reads the arguments after the program's name.
    pub fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        around: &dyn Surroundings,
    ) -> Result<Self, Refusal> {
        let arguments = arguments.into_iter().map(|it| {
            it.into_string().map_err(|it| Refusal::new(format!("{} is not UTF-8", it.display())))
        });
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        let (command, rest) = match arguments.split_first() {
            Some((first, rest)) if !first.starts_with('-') => (first.as_str(), rest),
            // `baton --listen …` is `baton dev --listen …`.
            _ => ("dev", &arguments[..]),
        };
        let asks = |flags: &[&str]| {
            rest.iter().take_while(|it| *it != "--").any(|it| flags.contains(&it.as_str()))
        };
        if asks(&["--version", "-V"]) {
            return Ok(Self::Show(help::version()));
        }
        if asks(&["--help", "-h"]) {
            let subject = if arguments.len() == rest.len() { "" } else { command };
            return help::about(subject).map(Self::Show);
        }
        match command {
            "dev" => Ok(Self::Dev(Box::new(settings::dev(rest, around)?))),
            "gateway" => Ok(Self::Gateway(Box::new(settings::gateway(rest, around)?))),
            "worker" => Ok(Self::Worker(Box::new(settings::worker(rest, around)?))),
            "doctor" => Ok(Self::Doctor(Box::new(settings::doctor(rest, around)))),
            "key" => KeyRequest::read(settings::key(rest, around)?, around).map(Self::Key),
            "call" => arguments::read(settings::call(rest, around)?, around).map(Self::Call),
            "migrate" => {
                Migration::read(settings::migrate(rest, around)?, around).map(Self::Migrate)
            }
            "help" => help::about(rest.first().map_or("", String::as_str)).map(Self::Show),
            unknown => Err(Refusal::new(format!(
                "baton has no command \"{}\"{}\n`baton help` lists them",
                unknown.escape_debug(),
                suggestion(unknown, &COMMANDS),
            ))),
        }
    }
}

/// `, did you mean "worker"?`, or nothing.
pub(super) fn suggestion(word: &str, known: &[&str]) -> String {
    let near = nearest(word, known.iter().copied());
    near.map(|near| format!(", did you mean \"{near}\"?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings::fake::Fake;

    fn parse(arguments: &str) -> Result<Command, Refusal> {
        Command::parse(arguments.split_whitespace().map(OsString::from), &Fake::new())
    }

    fn refusal(arguments: &str) -> String {
        parse(arguments).unwrap_err().to_string()
    }

    fn shown(arguments: &str) -> String {
        match parse(arguments).unwrap() {
            Command::Show(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_command_it_is_dev() {
        assert!(matches!(parse(""), Ok(Command::Dev(_))));
        let Ok(Command::Dev(dev)) = parse("--listen 127.0.0.1:0") else { panic!("not dev") };
        assert_eq!(dev.settings.process.listen.port(), 0);
    }

    #[test]
    fn an_unknown_command_is_told_its_neighbour() {
        assert!(refusal("wroker").contains("did you mean \"worker\"?"));
        assert!(refusal("serve").contains("`baton help` lists them"));
        assert!(refusal("help wroker").contains("did you mean \"worker\"?"));
    }

    #[test]
    fn help_is_given_for_whatever_it_is_asked_of() {
        for subject in [
            "", "gateway", "worker", "dev", "doctor", "key", "call", "migrate", "config",
            "markdown",
        ] {
            assert!(!shown(&format!("help {subject}")).is_empty(), "{subject}");
        }
        assert!(shown("gateway --redis x --help").contains("--signing-key-file FILE"));
        assert!(shown("--help").contains("baton doctor"));
        assert_eq!(shown("--version"), format!("baton {}\n", env!("CARGO_PKG_VERSION")));
        for command in COMMANDS {
            assert!(shown("help").contains(&format!("baton {command}")), "{command}");
        }
    }

    #[test]
    fn a_wrong_setting_is_a_refusal() {
        assert!(refusal("gateway").contains("--signing-key-file: is needed"));
        assert!(refusal("key signin").contains("did you mean \"signing\"?"));
    }
}
