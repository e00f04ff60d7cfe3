//! Settings: every one is a flag, a variable `BATON_<FLAG>` and a key of the TOML file, from one table.
//!
//! In reading order: [`Setting`] is one, [`table`] holds them all; `given` gathers what was said (`flags`, variables,
//! `file`), the first source that has a setting wins whole; `reader` makes values of the text (`value`) and notes
//! every [`Problem`], with what of a text may be `shown`; the structs that roles start from are in `common`, `gateway`, `worker`, `dev` and `tools`; [`render`] is the help.

mod api_keys;
mod common;
mod dev;
mod directory;
mod fields;
mod file;
mod flags;
mod gateway;
mod given;
mod problem;
mod rate;
mod reader;
pub mod render;
mod setting;
mod shown;
mod source;
mod surroundings;
pub mod table;
#[cfg(test)]
mod tests;
mod tools;
mod upstream_headers;
mod upstreams;
mod value;
mod worker;

pub use api_keys::{ApiKeyGrant, Authentication};
pub use common::{ConnectionSettings, LogFormat, ProcessSettings, TelemetrySettings};
pub use dev::DevSettings;
pub use gateway::{EdgeSettings, EnvironmentSettings, GatewaySettings, RateSettings};
pub use problem::{Problem, Problems, nearest};
pub use setting::{Role, Setting, Shape};
pub use source::Source;
#[cfg(test)]
pub(crate) use surroundings::fake;
pub use surroundings::{MAX_FILE_BYTES, Surroundings, System};
pub use tools::{CallSettings, DoctorSettings, KeySettings, MigrateSettings};
pub use worker::{RuntimeChoice, SandboxLimits, SandboxSettings, WorkerSettings};

use given::Gathered;
use reader::Reader;

/// The settings of one command, all checked.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The settings.
    pub settings: T,
    /// The arguments that are no flags.
    pub words: Vec<String>,
    /// What is odd and stops nothing.
    pub warnings: Vec<String>,
    /// Where they came from.
    pub source: Source,
}

type Loading<T> = Result<Loaded<T>, Problems>;

/// The settings of `baton gateway`.
pub fn gateway(arguments: &[String], around: &dyn Surroundings) -> Loading<GatewaySettings> {
    serving(Role::Gateway, arguments, around, |read| Some(GatewaySettings::read(read)))
}

/// The settings of `baton worker`.
pub fn worker(arguments: &[String], around: &dyn Surroundings) -> Loading<WorkerSettings> {
    serving(Role::Worker, arguments, around, WorkerSettings::read)
}

/// The settings of `baton dev`.
pub fn dev(arguments: &[String], around: &dyn Surroundings) -> Loading<DevSettings> {
    serving(Role::Dev, arguments, around, |read| Some(DevSettings::read(read)))
}

/// The settings of `baton call`; its words are the tool and the arguments.
pub fn call(arguments: &[String], around: &dyn Surroundings) -> Loading<CallSettings> {
    let gathered = Gathered::new(Role::Call, arguments, around);
    let settings = finish(Role::Call, &gathered, around, |read| Some(CallSettings::read(read)))?;
    Ok(loaded(settings, arguments, gathered))
}

/// The settings of `baton key`; its word is the kind of key.
pub fn key(arguments: &[String], around: &dyn Surroundings) -> Loading<KeySettings> {
    let gathered = Gathered::new(Role::Key, arguments, around);
    let settings = finish(Role::Key, &gathered, around, |read| Some(KeySettings::read(read)))?;
    Ok(loaded(settings, arguments, gathered))
}

/// The settings of `baton migrate`; its word is the file.
pub fn migrate(arguments: &[String], around: &dyn Surroundings) -> Loading<MigrateSettings> {
    let gathered = Gathered::new(Role::Migrate, arguments, around);
    let settings =
        finish(Role::Migrate, &gathered, around, |read| Some(MigrateSettings::read(read)))?;
    Ok(loaded(settings, arguments, gathered))
}

/// The settings of `baton doctor`, which reads those of every role that is set up. What is wrong is a finding.
pub fn doctor(arguments: &[String], around: &dyn Surroundings) -> Loaded<DoctorSettings> {
    let gathered = Gathered::new(Role::Doctor, arguments, around).without_words();
    loaded(DoctorSettings::read(&gathered, around), arguments, gathered)
}

fn serving<T>(
    role: Role,
    arguments: &[String],
    around: &dyn Surroundings,
    read: impl FnOnce(&Reader<'_>) -> Option<T>,
) -> Loading<T> {
    let gathered = Gathered::new(role, arguments, around).without_words();
    let settings = finish(role, &gathered, around, read)?;
    Ok(loaded(settings, arguments, gathered))
}

fn finish<T>(
    role: Role,
    gathered: &Gathered,
    around: &dyn Surroundings,
    read: impl FnOnce(&Reader<'_>) -> Option<T>,
) -> Result<T, Problems> {
    let reader = Reader::new(role, gathered, around);
    let settings = read(&reader);
    reader.finish(settings)
}

fn loaded<T>(settings: T, arguments: &[String], mut gathered: Gathered) -> Loaded<T> {
    let source = Source::new(arguments, &mut gathered);
    Loaded { settings, words: gathered.words, warnings: gathered.warnings, source }
}
