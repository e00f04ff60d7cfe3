//! Where settings came from, so that they can be read again and compared.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::given::Gathered;

/// The arguments and files of one command's settings.
#[derive(Clone)]
pub struct Source {
    arguments: Vec<String>,
    config: Option<PathBuf>,
    named: Vec<PathBuf>,
    fixed: Table,
}

impl Source {
    pub(super) fn new(arguments: &[String], gathered: &mut Gathered) -> Self {
        let config = gathered.given.get("config").map(|it| PathBuf::from(&it.values[0]));
        let named = std::mem::take(&mut gathered.named_files).into_iter().map(PathBuf::from);
        let fixed = std::mem::take(&mut gathered.fixed);
        Self { arguments: arguments.to_vec(), config, named: named.collect(), fixed }
    }

    /// What was written behind the command.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The file that `--config` names, and those that it names for what a reload changes; none without it.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.config.iter().chain(&self.named).map(PathBuf::as_path)
    }

    /// The keys of the file that say something else in a later reading, and that only a restart heeds.
    pub fn fixed_differences(&self, later: &Self) -> Vec<String> {
        let mut keys = BTreeSet::new();
        differences("", &self.fixed, &later.fixed, &mut keys);
        keys.into_iter().collect()
    }
}

fn differences(path: &str, before: &Table, after: &Table, keys: &mut BTreeSet<String>) {
    let added = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(added) {
        match (before.get(key), after.get(key)) {
            (Some(Value::Table(before)), Some(Value::Table(after))) => {
                differences(&format!("{path}{key}."), before, after, keys);
            }
            (before, after) => {
                if before != after {
                    keys.insert(format!("{path}{key}"));
                }
            }
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments and values may be secrets.
        f.debug_struct("Source").field("config", &self.config).finish_non_exhaustive()
    }
}
