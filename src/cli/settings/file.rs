//! The TOML file: the same settings, by keys.

use std::sync::Arc;

use toml::{Table, Value};

use super::api_keys;
use super::given::{Gathered, Origin, belongs_elsewhere};
use super::problem::{Problem, Wrong, nearest};
use super::setting::{Role, Setting, Shape};
use super::surroundings::Surroundings;
use super::table::settings;
use super::upstream_headers::Sources;
use super::upstreams;

/// The tables of other MCP servers, which no flag and no variable could hold.
const UPSTREAM: &str = "upstream";

/// Takes the settings out of a file's text.
pub(super) fn gather(gathered: &mut Gathered, file: &str, text: &str, around: &dyn Surroundings) {
    match text.parse::<Table>() {
        Ok(mut table) => {
            File { gathered, path: file, around }.walk("", &table);
            table.remove(UPSTREAM);
            gathered.fixed = table;
        }
        // The error's own text shows the line, which may hold a secret.
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let what = format!("not TOML: {}", error.message());
            let problem = Problem::new(format!("{file} line {line}"), what, "correct the line");
            gathered.problems.push(problem);
        }
    }
}

struct File<'a> {
    gathered: &'a mut Gathered,
    path: &'a str,
    around: &'a dyn Surroundings,
}

impl File<'_> {
    fn walk(&mut self, path: &str, table: &Table) {
        for (key, value) in table {
            let key = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let inner = format!("{key}.");
            let known = settings().find(|it| it.file_key().as_deref() == Some(&key));
            let leads_on =
                settings().any(|it| it.file_key().is_some_and(|it| it.starts_with(&inner)));
            match (known, value) {
                (Some(setting), _) if !setting.belongs_to(self.gathered.role) => {
                    let (what, mend) = belongs_elsewhere(setting, self.gathered.role);
                    self.problem(&key, &what, &mend);
                }
                (Some(setting), value) if setting.flag == "api-key" => self.api_keys(&key, value),
                (Some(setting), value) => self.take(setting, &key, value),
                (None, value) if key == UPSTREAM => self.upstreams(&key, value),
                (None, Value::Table(table)) if leads_on => self.walk(&key, table),
                (None, _) => self.unknown(&key),
            }
        }
    }

    fn take(&mut self, setting: &Setting, key: &str, value: &Value) {
        let values = match (setting.shape, value) {
            (Shape::Many(_) | Shape::ManyNamed(_), Value::Array(values)) => {
                values.iter().map(scalar).collect::<Option<Vec<_>>>()
            }
            (Shape::ManyNamed(_), Value::Table(table)) => table
                .iter()
                .map(|(name, value)| Some(format!("{name}={}", scalar(value)?)))
                .collect::<Option<Vec<_>>>(),
            (_, value) => scalar(value).map(|text| vec![text]),
        };
        let origin = Origin::File { key: key.into(), file: self.path.into() };
        match values {
            Some(values) => self.gathered.give(setting, values, origin),
            None if setting.shape.is_list() => {
                self.problem(key, "not a list of texts", &format!("write {key} = [\"…\", \"…\"]"));
            }
            None => self.problem(key, "not a single value", &format!("write {key} = \"…\"")),
        }
    }

    fn api_keys(&mut self, key: &str, value: &Value) {
        let mend = "write [[api_key]] with hash, tenant and subject: `baton key api` prints them";
        for (at, table) in self.tables(key, value, mend) {
            match api_keys::from_table(table) {
                Ok(grant) => self.gathered.api_keys.push(grant),
                Err(wrongs) => self.wrongs(&at, wrongs),
            }
        }
    }

    fn upstreams(&mut self, key: &str, value: &Value) {
        if !matches!(self.gathered.role, Role::Gateway | Role::Dev | Role::Doctor) {
            let what = format!("not a setting of `baton {}`", self.gathered.role.as_str());
            return self.problem(
                key,
                &what,
                "leave it out: it belongs to `baton gateway`, `baton dev`",
            );
        }
        let mend = "write [[upstream]] with name and url: `baton help config` shows one";
        let mut tables = self.tables(key, value, mend);
        if tables.len() > upstreams::MAX_UPSTREAMS {
            let most = upstreams::MAX_UPSTREAMS;
            let what = format!("there are {} of them", tables.len());
            self.problem(key, &what, &format!("write at most {most}"));
            tables.truncate(most);
        }
        let mut sources = Sources { around: self.around, files: Vec::new() };
        for (at, table) in tables {
            match upstreams::from_table(table, &mut sources) {
                Ok(upstream) => self.gathered.upstreams.push(Arc::new(upstream)),
                Err(wrongs) => self.wrongs(&at, wrongs),
            }
        }
        self.gathered.named_files = sources.files;
        let names = self.gathered.upstreams.clone();
        for name in upstreams::repeated(names.iter().map(|it| &it.name)) {
            self.problem(key, &format!("two are named \"{name}\""), "give each a name of its own");
        }
    }

    /// The tables of a list, each with the place that messages name.
    fn tables<'a>(&mut self, key: &str, value: &'a Value, mend: &str) -> Vec<(String, &'a Table)> {
        let tables: Option<Vec<&Table>> =
            value.as_array().and_then(|list| list.iter().map(Value::as_table).collect());
        let Some(tables) = tables else {
            self.problem(key, "not a list of tables", mend);
            return Vec::new();
        };
        let at = |index| format!("[[{key}]] number {} in {}", index + 1, self.path);
        tables.into_iter().enumerate().map(|(index, table)| (at(index), table)).collect()
    }

    fn wrongs(&mut self, at: &str, wrongs: Vec<Wrong>) {
        let problems = wrongs.into_iter().map(|it| Problem::new(at, it.what, it.mend));
        self.gathered.problems.extend(problems);
    }

    fn unknown(&mut self, key: &str) {
        let keys: Vec<String> = settings()
            .filter(|it| it.belongs_to(self.gathered.role))
            .filter_map(Setting::file_key)
            .collect();
        let flag_like = key.replace('-', "_");
        let keys = keys.iter().map(String::as_str);
        let near = nearest(&flag_like, keys.chain(std::iter::once(UPSTREAM)));
        let mend = match near {
            Some(near) => format!("did you mean {near}?"),
            None => format!("`baton help {}` lists the settings", self.gathered.role.as_str()),
        };
        self.problem(key, "no such key", &mend);
    }

    fn problem(&mut self, key: &str, what: &str, mend: &str) {
        let at = Origin::File { key: key.into(), file: self.path.into() };
        self.gathered.problems.push(Problem::new(at.to_string(), what, mend));
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}
