//! `baton migrate`: a session pool of Azure Container Apps into our configuration.
//!
//! In reading order: `input` makes JSON of a file, `template` finds the pools in it, with what of its `expression`s can
//! be known; `table` says of each property of a pool what it is here, `judge` applies that, and `report` writes it; `shown` is
//! what of the file's text may be written.

mod expression;
mod input;
mod judge;
mod report;
mod shown;
mod table;
mod template;
#[cfg(test)]
mod tests;

use super::command::{Refusal, suggestion};
use super::console::Console;
use super::settings::{Loaded, MigrateSettings, Surroundings};
use shown::{cut, shell_word};
use template::{MAX_NAME, Pool};

/// A configuration, and what there is to say about it.
#[derive(Debug)]
pub struct Migration {
    configuration: String,
    list: String,
}

impl Migration {
    /// Reads the file that is named, and chooses its pool.
    pub(super) fn read(
        loaded: Loaded<MigrateSettings>,
        around: &dyn Surroundings,
    ) -> Result<Self, Refusal> {
        let MigrateSettings { pool, role } = loaded.settings;
        let [file] = &loaded.words[..] else {
            return Err(Refusal::new(format!("which file?\n{USAGE}")));
        };
        let json = input::read(file, around).map_err(|error| Refusal::new(error.to_string()))?;
        let pool = chosen(template::pools(&json), pool.as_deref(), file)?;
        let judgements = judge::judge(&pool);
        Ok(Self {
            configuration: report::configuration(&pool.name, &judgements, role),
            list: report::list(&pool.name, &judgements),
        })
    }

    /// The configuration goes to standard output, the list to standard error: `> baton.toml` takes the one and shows
    /// the other.
    pub fn print(&self, console: &mut dyn Console) {
        console.err(&self.list);
        console.out(&self.configuration);
    }
}

/// How many pools a refusal names.
const MAX_NAMED: usize = 20;
/// How many are compared with a name that none has.
const MAX_COMPARED: usize = 1000;
/// Characters of a file's own name that are repeated; no path is longer.
const MAX_FILE: usize = 4096;

const USAGE: &str = "  baton migrate FILE > baton.toml
  az containerapp sessionpool show --name NAME --resource-group GROUP | baton migrate -";

fn chosen<'a>(
    mut pools: Vec<Pool<'a>>,
    name: Option<&str>,
    file: &str,
) -> Result<Pool<'a>, Refusal> {
    let file = cut(file, MAX_FILE);
    if pools.is_empty() {
        return Err(Refusal::new(format!(
            "{file}: there is no Microsoft.App/sessionPools in it → give a template that has one, the output of \
             `az containerapp sessionpool show`, or a pool's properties"
        )));
    }
    let names: Vec<&str> = pools.iter().map(|it| it.name.as_str()).collect();
    let more = if names.len() > MAX_NAMED { ", …" } else { "" };
    let listed = format!("{}{more}", names[..names.len().min(MAX_NAMED)].join(", "));
    let Some(name) = name.map(|it| cut(it, MAX_NAME)) else {
        return if pools.len() == 1 {
            Ok(pools.remove(0))
        } else {
            Err(Refusal::new(format!(
                "{file}: there are {} session pools in it ({listed}) → choose one: baton migrate {} --pool={}",
                names.len(),
                shell_word(&file),
                shell_word(names[0]),
            )))
        };
    };
    let near = suggestion(&name, &names[..names.len().min(MAX_COMPARED)]);
    let mut fitting = pools.into_iter().filter(|it| it.name.eq_ignore_ascii_case(&name));
    match (fitting.next(), fitting.next()) {
        (Some(pool), None) => Ok(pool),
        (Some(_), Some(_)) => Err(Refusal::new(format!(
            "{file}: two session pools are named \"{name}\" → leave one of them in the file"
        ))),
        (None, _) => Err(Refusal::new(format!(
            "{file}: there is no session pool \"{name}\"{near} → choose one of {listed}"
        ))),
    }
}
