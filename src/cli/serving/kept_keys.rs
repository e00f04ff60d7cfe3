//! Keys that `baton dev` makes once and keeps in its data directory.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::Stopped;
use crate::domain::keyring::SecretKey;

/// Makes a directory that only this user can look into, if it is not there.
pub(super) fn make_private(dir: &Path) -> Result<(), Stopped> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| format!("--data-dir {}: {error}", dir.display()).into())
}

/// The keys that were given, else the one of this file, which is made if it is not there.
pub(super) fn given_or_kept(given: &[SecretKey], path: &Path) -> Result<Vec<SecretKey>, Stopped> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let key = match std::fs::read_to_string(path) {
        Ok(line) => SecretKey::parse(&line).map_err(|error| at(path, &error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path).map_err(|error| at(path, &error))?
        }
        Err(error) => return Err(at(path, &error)),
    };
    Ok(vec![key])
}

/// Writes a new key beside the file and moves it there, so that half a key is never found.
fn make(path: &Path) -> io::Result<SecretKey> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    let key = SecretKey::from_bytes(bytes);
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(key.reveal().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    Ok(key)
}

fn at(path: &Path, error: &dyn std::error::Error) -> Stopped {
    format!("{}: {error}", path.display()).into()
}
