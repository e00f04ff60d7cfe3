//! Files and directories of this user alone, written so that a crash leaves the old one or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

pub(super) fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a directory one's own to enter. Code that still runs inside may put a link in its place at any moment, so
/// the mode is set on what was opened, and no link is opened.
pub(super) fn open_up(path: &Path) -> io::Result<()> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let directory = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let opened = format!("/proc/self/fd/{}", directory.as_raw_fd());
    fs::set_permissions(opened, fs::Permissions::from_mode(0o700))
}

pub(super) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// What a file is called that is not yet whole.
pub(super) const HALF: &str = "half";

/// Replaces a file's content in one step. What could not be written whole is removed: it would only fill the disk.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let half = path.with_extension(HALF);
    let replaced = write(&half, content).and_then(|()| fs::rename(&half, path));
    if replaced.is_err() {
        fs::remove_file(&half).ok();
    }
    replaced?;
    sync_dir(path.parent().expect("files lie in a directory"))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = private_file(path)?;
    file.write_all(content)?;
    file.sync_all()
}

pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::testing::TempDir;

    #[test]
    fn what_cannot_be_replaced_leaves_no_half() {
        let dir = TempDir::new();
        let path = dir.path().join("a.json");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"b").is_err());
        assert!(!path.with_extension(HALF).exists());
        fs::remove_dir(&path).unwrap();
        replace(&path, b"c").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"c");
    }
}
