//! Arguments into flags, their values, and other words.
//!
//! By hand and not by an argument parser: one that stops at its first error cannot list them all, and one that
//! takes whatever follows as the value makes `--listen --redis URL` a wrong address.

use std::collections::BTreeMap;

use super::given::{Gathered, Given, Origin, belongs_elsewhere};
use super::problem::{Problem, nearest};
use super::setting::Shape;
use super::table::settings;

/// Takes the arguments apart. After `--` everything is a word.
pub(super) fn gather(gathered: &mut Gathered, arguments: &[String]) {
    let mut found: BTreeMap<&'static str, Given> = BTreeMap::new();
    let mut rest = arguments.iter().map(String::as_str).peekable();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            gathered.words.extend(rest.map(str::to_owned));
            break;
        }
        let Some(flag) = argument.strip_prefix("--").filter(|_| is_flag(argument)) else {
            gathered.words.push(argument.to_owned());
            continue;
        };
        let (name, attached) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let Some(setting) = gathered.setting(name) else {
            gathered.problems.push(unknown(gathered, name));
            // Its value, if it looks like one, would only be a second complaint.
            if attached.is_none() {
                rest.next_if(|next| !is_flag(next));
            }
            continue;
        };
        let value = match (setting.shape, attached) {
            (_, Some(value)) => value,
            (Shape::Switch, None) => "true",
            (shape, None) => {
                let Some(value) = rest.next_if(|next| !is_flag(next)) else {
                    let mend = format!("write --{name}={}", shape.placeholder().unwrap_or("VALUE"));
                    let problem = Problem::new(format!("--{name}"), "needs a value", mend);
                    gathered.problems.push(problem);
                    continue;
                };
                value
            }
        };
        let given = found
            .entry(setting.flag)
            .or_insert(Given { values: Vec::new(), origin: Origin::Flag(setting.flag) });
        if !setting.shape.is_list() && !given.values.is_empty() {
            let problem = Problem::new(format!("--{name}"), "given twice", "give it once");
            gathered.problems.push(problem);
        } else {
            given.values.push(value.to_owned());
        }
    }
    for (flag, given) in found {
        gathered.given.insert(flag, given);
    }
}

/// No flag begins with three dashes, and every PEM file with five.
fn is_flag(argument: &str) -> bool {
    argument.starts_with("--") && !argument.starts_with("---")
}

fn unknown(gathered: &Gathered, name: &str) -> Problem {
    let at = format!("--{name}");
    if let Some(setting) = settings().find(|it| it.flag == name) {
        let (what, mend) = belongs_elsewhere(setting, gathered.role);
        return Problem::new(at, what, mend);
    }
    let known = settings().filter(|it| it.belongs_to(gathered.role)).map(|it| it.flag);
    let mend = match nearest(name, known) {
        Some(near) => format!("did you mean --{near}?"),
        None => format!("`baton help {}` lists the flags", gathered.role.as_str()),
    };
    Problem::new(at, "no such flag", mend)
}
