//! What was given, and where: flags before variables before the file.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use toml::Table;

use crate::gateway::Upstream;

use super::api_keys::ApiKeyGrant;
use super::problem::{Problem, Wrong, nearest};
use super::setting::{Role, Setting, Shape};
use super::surroundings::Surroundings;
use super::table::settings;
use super::{file, flags, shown};

/// The text of one setting, as it was given.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) values: Vec<String>,
    pub(super) origin: Origin,
}

/// Where a text was given, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Flag(&'static str),
    Variable(String),
    File { key: String, file: String },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Variable(name) => f.write_str(name),
            Self::File { key, file } => write!(f, "{key} in {file}"),
        }
    }
}

/// Everything that was given to one command, before anyone looks at the values.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) role: Role,
    pub(super) given: BTreeMap<&'static str, Given>,
    /// The file's `[[api_key]]` tables.
    pub(super) api_keys: Vec<ApiKeyGrant>,
    /// The file's `[[upstream]]` tables.
    pub(super) upstreams: Vec<Arc<Upstream>>,
    /// The files that these name.
    pub(super) named_files: Vec<String>,
    /// All else in the file, as it stands there: what only a restart changes.
    pub(super) fixed: Table,
    /// The arguments that are no flags.
    pub(super) words: Vec<String>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl Gathered {
    /// Gathers what is given for `role`: the first source that has a setting wins whole.
    pub(super) fn new(role: Role, arguments: &[String], around: &dyn Surroundings) -> Self {
        let mut gathered = Self {
            role,
            given: BTreeMap::new(),
            api_keys: Vec::new(),
            upstreams: Vec::new(),
            named_files: Vec::new(),
            fixed: Table::new(),
            words: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        flags::gather(&mut gathered, arguments);
        gathered.variables(around);
        if let Some(config) = gathered.given.get("config") {
            let (path, origin) = (config.values[0].clone(), config.origin.to_string());
            match around.read(Path::new(&path)) {
                Ok(text) => file::gather(&mut gathered, &path, &text, around),
                Err(error) => gathered.problems.push(unreadable(origin, &path, &error)),
            }
        }
        gathered
    }

    /// For a command that takes flags only: every other word is a problem.
    pub(super) fn without_words(mut self) -> Self {
        let words = std::mem::take(&mut self.words);
        // A key without quotes around it is many words, and the last may be short.
        let secret = words.iter().any(|it| shown::looks_secret(it));
        for word in words {
            let mend = format!("`baton help {}` lists the flags", self.role.as_str());
            let word = shown::quoted(&word).filter(|_| !secret);
            let at = word.unwrap_or_else(|| "a word that is not shown".to_owned());
            self.problems.push(Problem::new(at, "no flag", mend));
        }
        self
    }

    /// The setting of that flag, if this command takes it.
    pub(super) fn setting(&self, flag: &str) -> Option<&'static Setting> {
        settings().find(|it| it.flag == flag && it.belongs_to(self.role))
    }

    /// Notes values, unless an earlier source has some.
    pub(super) fn give(&mut self, setting: &Setting, values: Vec<String>, origin: Origin) {
        self.given.entry(setting.flag).or_insert(Given { values, origin });
    }

    fn variables(&mut self, around: &dyn Surroundings) {
        let known: Vec<(String, &Setting)> =
            settings().filter_map(|it| Some((it.variable()?, it))).collect();
        let ours = around.variables().iter().filter(|(name, _)| name.starts_with("BATON_"));
        for (name, text) in ours {
            let Some((_, setting)) = known.iter().find(|(variable, _)| variable == name) else {
                // Kubernetes makes some for a service of that name, so they stop nothing.
                let near = nearest(name, known.iter().map(|(name, _)| name.as_str()));
                let hint = near.map(|it| format!(", did you mean {it}?")).unwrap_or_default();
                self.warnings.push(format!("{name} is no setting{hint}"));
                continue;
            };
            // Compose files turn an absent variable into an empty one.
            if text.is_empty() || !setting.belongs_to(self.role) {
                continue;
            }
            let values = match setting.shape {
                Shape::Many(_) | Shape::ManyNamed(_) => {
                    text.split(',').map(|it| it.trim().to_owned()).collect()
                }
                Shape::Switch | Shape::One(_) | Shape::Number(..) => vec![text.clone()],
            };
            self.give(setting, values, Origin::Variable(name.clone()));
        }
    }
}

/// What to say of a configuration file that is none. One line of TOML may hold a secret as well as many.
fn unreadable(origin: String, path: &str, error: &io::Error) -> Problem {
    let what = format!("cannot be read ({error})");
    let Some(shown) = shown::quoted(path).filter(|_| path.parse::<Table>().is_err()) else {
        let Wrong { what, mend } = shown::not_a_path(&what);
        return Problem::new(origin, what, mend);
    };
    Problem::new(origin, format!("{shown} {what}"), "give the path of a TOML file")
}

/// What to say of a setting that another command has.
pub(super) fn belongs_elsewhere(setting: &Setting, role: Role) -> (String, String) {
    let owners: Vec<String> =
        setting.roles.iter().map(|it| format!("`baton {}`", it.as_str())).collect();
    let what = format!("not a setting of `baton {}`", role.as_str());
    (what, format!("leave it out: it belongs to {}", owners.join(", ")))
}
