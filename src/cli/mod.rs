//! The command line: settings, keys, `baton call`, `baton doctor`.

pub mod settings;
