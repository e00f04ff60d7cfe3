//! Each property of a pool, judged by the table.

use serde_json::Value;

use super::expression::{Origin, Scope};
use super::shown::cut;
use super::table::{Kind, Rule, TABLE, Unit};
use super::template::Pool;
use crate::cli::settings::table::settings;
use crate::cli::settings::{Role, Setting, Shape};

/// The longest value that is repeated in the list.
const MAX_SHOWN: usize = 60;
/// The longest path likewise: names are the file's.
const MAX_PATH: usize = 200;

/// How many properties are looked at; the service knows some sixty. In a file many may refer to one large value.
const MAX_PROPERTIES: usize = 1000;

const ONLY_A_DEPLOYMENT: &str =
    "only a deployment can tell its value → give the output of `az containerapp sessionpool show`";
const UNKNOWN_PROPERTY: &str =
    "this version does not know it → look up what it does, and decide whether you need it here";
const TOO_MANY: &str = "no pool has so many properties, the rest was not read → give the output of `az containerapp sessionpool show`";
const UNKNOWN_VALUE: &str = "this version does not know the value → look up what it does, and decide whether you need it here";

/// What became of one property.
#[derive(Debug)]
pub(super) struct Judgement {
    /// Where it stands, as the file writes it.
    pub(super) path: String,
    /// Its value, where that is a number or one of a few words.
    pub(super) value: Option<String>,
    /// Who says so.
    pub(super) origin: Origin,
    /// What it is here.
    pub(super) kind: Kind,
    /// Why, and what to do.
    pub(super) why: String,
    /// The settings that it makes.
    pub(super) lines: Vec<Line>,
    rank: usize,
}

impl Judgement {
    /// Of a property that nothing is known of.
    fn new(path: &str, origin: Origin) -> Self {
        let (kind, rank) = (Kind::Unknown, TABLE.len());
        let (why, lines) = (String::new(), Vec::new());
        Self { path: shown(path), value: None, origin, kind, why, lines, rank }
    }

    /// What is the same in a default value need not be so in the pool.
    fn doubted(self) -> Self {
        match self.origin {
            Origin::Written => self,
            Origin::Default => Self { kind: self.kind.max(Kind::Differs), ..self },
        }
    }
}

/// One line of a configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Whose it is.
    pub(super) role: Role,
    /// The setting.
    pub(super) setting: &'static Setting,
    /// Its value.
    pub(super) value: u64,
}

/// Judges every property of a pool, each once, in the order of the table.
pub(super) fn judge(pool: &Pool<'_>) -> Vec<Judgement> {
    let mut walk = Walk { scope: &pool.scope, judgements: Vec::new(), left: MAX_PROPERTIES };
    for (name, value) in pool.resource.iter() {
        walk.visit(name, &name.to_ascii_lowercase(), value, Origin::Written);
    }
    let mut judgements = walk.judgements;
    judgements.sort_by_key(|it| it.rank);
    without_exit(&mut judgements);
    settle(&mut judgements);
    judgements.into_iter().map(Judgement::doubted).collect()
}

struct Walk<'a> {
    scope: &'a Scope<'a>,
    judgements: Vec<Judgement>,
    /// How many properties may still be looked at.
    left: usize,
}

impl Walk<'_> {
    /// `path` as it is written, `key` as the table has it, `around` who says that there is what it stands in.
    fn visit(&mut self, path: &str, key: &str, value: &Value, around: Origin) {
        // What a command line prints of a property that is not set.
        if !self.may_look(path) || value.is_null() {
            return;
        }
        let rank = TABLE.iter().position(|known| known.path == key);
        if let Some(rank) = rank {
            let judgement = judged(TABLE[rank].rule, path, value, around, self.scope);
            return self.judgements.push(Judgement { rank, ..judgement });
        }
        let resolved = self.scope.resolve(value);
        let origin = resolved.as_ref().map_or(around, |it| it.origin.max(around));
        let value = resolved.as_ref().map(|it| &*it.value);
        let inner = |mark: &str| {
            key.len() <= MAX_PATH
                && TABLE.iter().any(|it| it.path.starts_with(&format!("{key}{mark}")))
        };
        match value {
            Some(Value::Object(members)) if inner(".") => {
                for (name, value) in members {
                    if self.left == 0 {
                        return;
                    }
                    let key = format!("{key}.{}", name.to_ascii_lowercase());
                    self.visit(&format!("{path}.{name}"), &key, value, origin);
                }
            }
            Some(Value::Array(elements)) if inner("[]") => {
                for (index, value) in elements.iter().enumerate() {
                    if self.left == 0 {
                        return;
                    }
                    let mark = if index == 0 { "[]" } else { "[*]" };
                    let (path, key) = (format!("{path}[{index}]"), format!("{key}{mark}"));
                    self.visit(&path, &key, value, origin);
                }
            }
            _ => {
                let is_known = inner(".") || inner("[]");
                let why = if is_known { ONLY_A_DEPLOYMENT } else { UNKNOWN_PROPERTY };
                self.unknown(path, origin, why);
            }
        }
    }

    /// Whether there is a look left; the first property that there is none for is told.
    fn may_look(&mut self, path: &str) -> bool {
        if self.left == 1 {
            self.unknown(path, Origin::Written, TOO_MANY);
        }
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }

    fn unknown(&mut self, path: &str, origin: Origin, why: &str) {
        self.judgements.push(Judgement { why: why.to_owned(), ..Judgement::new(path, origin) });
    }
}

/// Judges a property by its rule.
fn judged(rule: Rule, path: &str, value: &Value, around: Origin, scope: &Scope<'_>) -> Judgement {
    let resolved = scope.resolve(value);
    let origin = resolved.as_ref().map_or(around, |it| it.origin.max(around));
    let value = resolved.as_ref().map(|it| &*it.value);
    let blank = |origin| Judgement::new(path, origin);
    match rule {
        Rule::Any(kind, why) => Judgement { kind, why: why.to_owned(), ..blank(around) },
        Rule::Word(words) => word(blank(origin), words, value),
        Rule::Number(unit, made, kind, why) => {
            number(Judgement { kind, why: why.to_owned(), ..blank(origin) }, unit, made, value)
        }
    }
}

fn word(blank: Judgement, words: &[(&str, Kind, &str)], value: Option<&Value>) -> Judgement {
    let Some(word) = value.map(text) else {
        return Judgement { why: ONLY_A_DEPLOYMENT.to_owned(), ..blank };
    };
    let found = words.iter().find(|it| word.eq_ignore_ascii_case(it.0));
    let (kind, why) = found.map_or((Kind::Unknown, UNKNOWN_VALUE), |it| (it.1, it.2));
    Judgement { value: Some(cut(&word, MAX_SHOWN)), kind, why: why.to_owned(), ..blank }
}

fn number(fits: Judgement, unit: Unit, made: &[(Role, &str)], value: Option<&Value>) -> Judgement {
    let number = value.map(|it| unit.read(it).ok_or("it is no number that can be read"));
    let number = match number.unwrap_or(Err("only a deployment can tell its value")) {
        Ok(number) => number,
        Err(what) => {
            let keys = made.iter().filter_map(|(_, flag)| setting(flag).file_key());
            let keys = keys.collect::<Vec<_>>().join(" and ");
            return Judgement {
                kind: Kind::Unknown,
                why: format!("{what} → write {keys} yourself"),
                ..fits
            };
        }
    };
    let lines: Vec<Line> = made.iter().map(|it| line(it.0, it.1, number)).collect();
    let value = value.map(|it| cut(&text(it), MAX_SHOWN));
    match lines.iter().find(|it| it.value != number) {
        None => Judgement { value, lines, ..fits },
        Some(bent) => {
            let why =
                format!("{} (of what the setting takes, {} is the nearest)", fits.why, bent.value);
            Judgement { value, kind: fits.kind.max(Kind::Differs), why, lines, ..fits }
        }
    }
}

/// A word, a truth or a number as it would stand in a text.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |it| it.trim().to_owned())
}

impl Unit {
    /// The number in a value, which some write as a text.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite and not negative; one that is too large becomes the largest"
    )]
    fn read(self, value: &Value) -> Option<u64> {
        let text = text(value);
        let (digits, factor) = match self {
            Self::One => return text.parse().ok(),
            Self::Processors => {
                text.strip_suffix('m').map_or((text.as_str(), 1000.0), |it| (it, 1.0))
            }
            Self::Bytes => {
                const MEBIBYTE: f64 = 1_048_576.0;
                let units = [
                    ("Gi", 1024.0),
                    ("Mi", 1.0),
                    ("Ki", 1.0 / 1024.0),
                    ("G", 1e9 / MEBIBYTE),
                    ("M", 1e6 / MEBIBYTE),
                ];
                let found = units
                    .iter()
                    .find_map(|(unit, mebibytes)| Some((text.strip_suffix(unit)?, *mebibytes)));
                found.unwrap_or((text.as_str(), 1.0 / MEBIBYTE))
            }
        };
        let number = digits.trim().parse::<f64>().ok()? * factor;
        (number.is_finite() && number >= 0.0).then(|| number.ceil() as u64)
    }
}

/// A setting's line with the value, or with the nearest that the setting may have.
fn line(role: Role, flag: &str, value: u64) -> Line {
    let setting = setting(flag);
    let value = match setting.shape {
        Shape::Number(least, most) => value.clamp(least, most),
        _ => value,
    };
    Line { role, setting, value }
}

fn setting(flag: &str) -> &'static Setting {
    settings().find(|it| it.flag == flag).expect("the table names settings that there are")
}

/// A pool whose sessions had no idle time keeps its environments for their whole life.
fn without_exit(judgements: &mut [Judgement]) {
    let exit = |it: &str| it.eq_ignore_ascii_case("OnContainerExit");
    let exit = judgements.iter().find(|it| it.value.as_deref().is_some_and(exit));
    let Some(origin) = exit.map(|it| it.origin) else { return };
    let timed = judgements
        .iter()
        .flat_map(|it| &it.lines)
        .any(|it| it.setting.flag == "idle-timeout-seconds");
    let life = judgements
        .iter_mut()
        .find(|it| it.lines.iter().any(|it| it.setting.flag == "max-life-seconds"));
    if let Some(life) = life.filter(|_| !timed) {
        life.origin = life.origin.max(origin);
        life.lines.push(line(Role::Gateway, "idle-timeout-seconds", life.lines[0].value));
    }
}

/// Of two properties that make one setting the first decides.
fn settle(judgements: &mut [Judgement]) {
    let mut decided: Vec<Line> = Vec::new();
    for judgement in judgements {
        let before = |it: &Line| decided.iter().find(|other| other.setting.flag == it.setting.flag);
        let (again, first): (Vec<Line>, Vec<Line>) =
            judgement.lines.iter().partition(|it| before(it).is_some());
        if let Some(other) =
            again.iter().find_map(|it| before(it).filter(|other| other.value != it.value))
        {
            judgement.kind = judgement.kind.max(Kind::Differs);
            judgement.why =
                format!("another property sets this to {} → see which of them holds", other.value);
        }
        decided.extend(&first);
        judgement.lines = first;
    }
}

/// A path without the word that all begin with.
fn shown(path: &str) -> String {
    let bare = path.get(.."properties.".len()).filter(|it| it.eq_ignore_ascii_case("properties."));
    cut(bare.map_or(path, |it| &path[it.len()..]), MAX_PATH)
}
