//! Given text into values, one setting at a time; what is wrong is noted, and reading goes on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::gateway::UpstreamSet;

use super::api_keys::{self, ApiKeyGrant};
use super::given::Gathered;
use super::problem::{Problem, Problems, Wrong};
use super::setting::{Role, Setting, Shape};
use super::shown;
use super::surroundings::Surroundings;
use super::table;
use super::value;

/// Reads the settings of one role.
///
/// A wrong value is noted and the default stands in for it, so that the rest can be read and everything that is
/// wrong is told at once. What was read with one is thrown away by [`Reader::finish`].
pub(super) struct Reader<'a> {
    pub(super) around: &'a dyn Surroundings,
    role: Role,
    gathered: &'a Gathered,
    notes: RefCell<Notes>,
}

#[derive(Default)]
struct Notes {
    problems: Vec<Problem>,
    wrong: BTreeSet<&'static str>,
    read: BTreeSet<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(role: Role, gathered: &'a Gathered, around: &'a dyn Surroundings) -> Self {
        // The doctor reads several roles from one gathering, and tells what is wrong with that once.
        let problems = if gathered.role == role { gathered.problems.clone() } else { Vec::new() };
        let notes = Notes { problems, ..Notes::default() };
        Self { around, role, gathered, notes: RefCell::new(notes) }
    }

    /// A setting with a default.
    pub(super) fn one<T>(&self, flag: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> T {
        let default = || {
            let text = setting(flag).default_value(self.role).expect("it has a default");
            parse(text).expect("a default is a good value")
        };
        self.perhaps(flag, &parse).unwrap_or_else(default)
    }

    /// A setting that may be absent.
    pub(super) fn perhaps<T>(
        &self,
        flag: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.texts(flag).first().and_then(|text| self.judge(flag, text, parse(text)))
    }

    /// A setting that may be given more than once.
    pub(super) fn list<T>(&self, flag: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Vec<T> {
        let texts = self.texts(flag);
        texts.iter().filter_map(|text| self.judge(flag, text, parse(text))).collect()
    }

    /// A whole number; the table holds its range.
    pub(super) fn number<T: TryFrom<u64>>(&self, flag: &str) -> T {
        let number = self.one(flag, |text| value::number(text, range(flag)));
        T::try_from(number).ok().expect("the table's range fits the type")
    }

    /// A whole number of seconds.
    pub(super) fn seconds(&self, flag: &str) -> Duration {
        self.one(flag, |text| value::seconds(text, range(flag)))
    }

    /// A whole number of units, in bytes.
    pub(super) fn bytes(&self, flag: &str) -> u64 {
        let unit = if flag.contains("-mebibytes") { 1 << 20 } else { 1 << 10 };
        self.number::<u64>(flag) * unit
    }

    /// A switch.
    pub(super) fn switch(&self, flag: &str) -> bool {
        self.one(flag, value::truth)
    }

    /// What files hold, one line each; their text is secret.
    pub(super) fn key_files<T, E: std::error::Error>(
        &self,
        flag: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        self.list(flag, |path| {
            let text = self.around.read(Path::new(path)).map_err(|error| {
                let mend = "give the file of `baton key`, readable by this user";
                Wrong::new(format!("cannot be read ({error})"), mend)
            })?;
            parse(&text).map_err(|error| Wrong::new("is no key file", error.to_string()))
        })
    }

    /// API keys: a flag's or a variable's, else the file's tables.
    pub(super) fn api_keys(&self) -> Vec<ApiKeyGrant> {
        match self.list("api-key", api_keys::from_flag) {
            keys if keys.is_empty() => self.gathered.api_keys.clone(),
            keys => keys,
        }
    }

    /// Other MCP servers: the file's tables, for there is no other way to say so much of one.
    pub(super) fn upstreams(&self) -> UpstreamSet {
        self.gathered.upstreams.clone().into()
    }

    /// Whether somebody said something, right or wrong.
    pub(super) fn is_given(&self, flag: &str) -> bool {
        self.gathered.given.contains_key(flag)
    }

    /// A rule between settings; silent if one of them is wrong already.
    pub(super) fn rule(&self, flags: &[&str], holds: bool, what: &str, mend: &str) {
        let known = flags.iter().any(|flag| self.notes.borrow().wrong.contains(flag));
        if !holds && !known {
            self.note(flags[0], Wrong::new(what, mend));
        }
    }

    /// A setting that must be given. Holds if its value was wrong, which has been told.
    pub(super) fn needed(&self, flag: &str, mend: &str) {
        self.rule(&[flag], self.is_given(flag), "is needed", mend);
    }

    /// What was read, if nothing is wrong.
    pub(super) fn finish<T>(self, settings: Option<T>) -> Result<T, Problems> {
        let notes = self.notes.into_inner();
        // One that nobody reads would be accepted and ignored.
        let unread = table::settings().find(|it| {
            it.roles.contains(&self.role) && it.flag != "config" && !notes.read.contains(it.flag)
        });
        debug_assert!(unread.is_none(), "nobody reads {unread:?}");
        match settings {
            Some(settings) if notes.problems.is_empty() => Ok(settings),
            _ => Err(Problems::new(self.gathered.role.as_str(), notes.problems)),
        }
    }

    fn texts(&self, flag: &str) -> Vec<String> {
        let setting = setting(flag);
        self.notes.borrow_mut().read.insert(setting.flag);
        match self.gathered.given.get(flag) {
            Some(given) => given.values.clone(),
            None => setting.default_value(self.role).map(str::to_owned).into_iter().collect(),
        }
    }

    fn judge<T>(&self, flag: &str, text: &str, result: Result<T, Wrong>) -> Option<T> {
        let setting = setting(flag);
        result
            .map_err(|wrong| {
                self.notes.borrow_mut().wrong.insert(setting.flag);
                self.note(flag, told(setting, text, wrong));
            })
            .ok()
    }

    fn note(&self, flag: &str, wrong: Wrong) {
        let at = match self.gathered.given.get(flag) {
            Some(given) => given.origin.to_string(),
            None => format!("--{flag}"),
        };
        self.notes.borrow_mut().problems.push(Problem::new(at, wrong.what, wrong.mend));
    }
}

/// What is wrong with a given text, which is repeated unless it is secret.
fn told(setting: &Setting, text: &str, wrong: Wrong) -> Wrong {
    let shown = if setting.is_secret() { None } else { shown::quoted(text) };
    match shown {
        Some(shown) => Wrong::new(format!("{shown} {}", wrong.what), wrong.mend),
        None if setting.names_file() => shown::not_a_path(&wrong.what),
        None => Wrong::new(format!("it {}", wrong.what), wrong.mend),
    }
}

fn range(flag: &str) -> (u64, u64) {
    match setting(flag).shape {
        Shape::Number(least, most) => (least, most),
        _ => unreachable!("{flag} is read as a number and is none"),
    }
}

fn setting(flag: &str) -> &'static Setting {
    table::settings().find(|it| it.flag == flag).expect("it is in the table")
}
