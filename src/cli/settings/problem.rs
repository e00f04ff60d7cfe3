//! What is wrong with the settings, all of it in one message, each with its mend.

use std::fmt;

/// Why a text is not the value it should be. Says nothing of the text itself, which may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// What it is not: follows on "it".
    pub what: String,
    /// What to write instead.
    pub mend: String,
}

impl Wrong {
    /// What the text is not, and the mend.
    pub(super) fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }
}

/// One thing that is wrong, where, and the mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    at: String,
    wrong: Wrong,
}

impl Problem {
    /// Something is wrong at a flag, a variable, a key of a file.
    pub fn new(at: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { at: at.into(), wrong: Wrong::new(what, mend) }
    }

    /// Where it is wrong.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// What is wrong.
    pub fn what(&self) -> &str {
        &self.wrong.what
    }

    /// What to do.
    pub fn mend(&self) -> &str {
        &self.wrong.mend
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.at, self.wrong.what, self.wrong.mend)
    }
}

/// Everything that stops a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    command: &'static str,
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(command: &'static str, list: Vec<Problem>) -> Self {
        Self { command, list }
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let things = if self.list.len() == 1 { "one thing is" } else { "these things are" };
        writeln!(f, "baton {} does not start: {things} wrong", self.command)?;
        self.list.iter().try_for_each(|problem| writeln!(f, "  {problem}"))?;
        write!(f, "`baton help {}` explains every flag", self.command)
    }
}

/// The nearest of some names, if one is near: a letter or two away, or the beginning of only one.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    let ranked = known.iter().map(|it| (distance(name, it), *it));
    let near = ranked.filter(|(distance, _)| *distance <= allowed).min_by_key(|(d, _)| *d);
    let mut longer = known.iter().filter(|it| name.len() >= 3 && it.starts_with(name));
    let only = longer.next().filter(|_| longer.next().is_none());
    near.map(|(_, it)| it).or(only.copied())
}

/// How many letters must be put in, left out, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                best = best.min(rows[i - 1][j - 1] + same);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["listen", "redis", "signing-key-file", "api-key"];
        let check = |name, expected| assert_eq!(nearest(name, known), expected, "{name}");
        check("lisen", Some("listen"));
        check("lsiten", Some("listen"));
        check("signing-keyfile", Some("signing-key-file"));
        check("api_key", Some("api-key"));
        check("signing", Some("signing-key-file"));
        check("port", None);
        check("", None);
    }
}
