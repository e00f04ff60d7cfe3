//! The values of one table of the file, taken key by key; what is wrong is noted, and reading goes on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use toml::{Table, Value};

use super::problem::{Wrong, nearest};
use super::value;

/// Reads one table, and the tables in it.
pub(super) struct Fields<'a> {
    table: &'a Table,
    /// What stands before its keys in messages: empty, or `tools.`.
    path: String,
    asked: RefCell<BTreeSet<&'a str>>,
    wrongs: RefCell<Vec<Wrong>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        Self::within(table, String::new())
    }

    fn within(table: &'a Table, path: String) -> Self {
        Self { table, path, asked: RefCell::default(), wrongs: RefCell::default() }
    }

    /// A value that may be absent.
    pub(super) fn perhaps<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'a Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.asked.borrow_mut().insert(key);
        match read(self.table.get(key)?) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.wrong(key, wrong);
                None
            }
        }
    }

    /// A text that may be absent.
    pub(super) fn text<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&'a str) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.perhaps(key, |value| {
            let wrong = || Wrong::new("is not a text", format!("write {key} = \"…\""));
            parse(value.as_str().ok_or_else(wrong)?)
        })
    }

    /// Texts; none where it is absent.
    pub(super) fn texts<T>(
        &self,
        key: &'static str,
        (least, most): (usize, usize),
        parse: impl Fn(&'a str) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let wrong =
            || Wrong::new("is not a list of texts", format!("write {key} = [\"…\", \"…\"]"));
        let read = |value: &'a Value| {
            let list = value.as_array().ok_or_else(wrong)?;
            if !(least..=most).contains(&list.len()) {
                let what = format!("has {} entries", list.len());
                return Err(Wrong::new(what, format!("write {least} to {most}")));
            }
            list.iter().map(|it| parse(it.as_str().ok_or_else(wrong)?)).collect()
        };
        self.perhaps(key, read).unwrap_or_default()
    }

    /// A switch; off where it is absent.
    pub(super) fn switch(&self, key: &'static str) -> bool {
        let wrong = || Wrong::new("is neither true nor false", "write true or false");
        self.perhaps(key, |value| value.as_bool().ok_or_else(wrong)).unwrap_or_default()
    }

    /// A whole number, which may be negative.
    pub(super) fn number(&self, key: &'static str, (least, most): (i32, i32)) -> Option<i32> {
        let mend = format!("write a whole number from {least} to {most}");
        self.perhaps(key, |value| {
            let number = value.as_integer().and_then(|it| i32::try_from(it).ok());
            let number = number.filter(|it| (least..=most).contains(it));
            number.ok_or_else(|| Wrong::new("is not in range", mend))
        })
    }

    /// A whole number of seconds.
    pub(super) fn seconds(&self, key: &'static str, range: (u64, u64), or: Duration) -> Duration {
        let read = |value: &Value| match value {
            Value::Integer(number) => value::seconds(&number.to_string(), range),
            Value::String(text) => value::seconds(text, range),
            _ => value::seconds("", range),
        };
        self.perhaps(key, read).unwrap_or(or)
    }

    /// A table in the table; empty where it is absent. What is wrong in it is noted here.
    pub(super) fn inner<T>(&self, key: &'static str, read: impl FnOnce(&Fields<'_>) -> T) -> T {
        let wrong = || Wrong::new("is not a table", format!("write {key} = {{ … }}"));
        let empty = Table::new();
        let table = self.perhaps(key, |value| value.as_table().ok_or_else(wrong));
        let inner = Fields::within(table.unwrap_or(&empty), format!("{}{key}.", self.path));
        let value = read(&inner);
        self.wrongs.borrow_mut().extend(inner.finish());
        value
    }

    /// Every key and its text; for tables whose keys are names of the operator's.
    pub(super) fn named_texts(&self, mut each: impl FnMut(&str, &str) -> Result<(), Wrong>) {
        for (key, value) in self.table {
            self.asked.borrow_mut().insert(key);
            let wrong = || Wrong::new("is not a text", format!("write {key} = \"…\""));
            let outcome = value.as_str().ok_or_else(wrong).and_then(|text| each(key, text));
            if let Err(wrong) = outcome {
                self.wrong(key, wrong);
            }
        }
    }

    /// How many keys it has.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether somebody said something, right or wrong.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Notes what is wrong with a key.
    pub(super) fn wrong(&self, key: &str, wrong: Wrong) {
        let Wrong { what, mend } = wrong;
        self.wrongs
            .borrow_mut()
            .push(Wrong::new(format!("{}{}: {what}", self.path, key.escape_debug()), mend));
    }

    /// All that is wrong, keys that nobody asked for included.
    pub(super) fn finish(self) -> Vec<Wrong> {
        let Self { table, path, asked, wrongs } = self;
        let (asked, mut wrongs) = (asked.into_inner(), wrongs.into_inner());
        for key in table.keys().filter(|key| !asked.contains(key.as_str())) {
            let mend = match nearest(&key.replace('-', "_"), asked.iter().copied()) {
                Some(near) => format!("did you mean {path}{near}?"),
                None => "`baton help config` lists the keys".to_owned(),
            };
            wrongs.push(Wrong::new(format!("{path}{}: no such key", key.escape_debug()), mend));
        }
        wrongs
    }
}
