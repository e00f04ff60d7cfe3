//! Bind mounts by mount(2), for kernels that have no detached ones: gVisor's has no `mount_setattr(2)`.
//!
//! A mount gets its attributes only when it has its place. That is no gap: the place is in the mount
//! namespace of init, which starts nothing before the tree is done; and a mount whose attributes cannot
//! be set ends the set-up.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::statfs;
use nix::sys::statvfs::FsFlags;

use super::{Fault, Step};

/// The same attributes in the words of statfs(2) and of mount(2).
const ATTRIBUTES: &[(FsFlags, MsFlags)] = &[
    (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
    (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
    (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
    (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
];

/// Holds on to a source: the new root may come to lie over its path.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path).map(OwnedFd::from)
}

/// Mounts what was opened, and all that is mounted under it, with these attributes.
pub(super) fn bind(source: &OwnedFd, target: &Path, flags: MsFlags) -> io::Result<()> {
    let source = format!("/proc/self/fd/{}", source.as_raw_fd());
    let recursive = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source.as_str()), target, None::<&str>, recursive, None::<&str>)?;
    let place = target.canonicalize()?;
    let mounts = mounts()?;
    let mut planted = mounts.iter().filter(|mount| mount.place.starts_with(&place)).peekable();
    if planted.peek().is_none() {
        return Err(io::Error::other("the new mount is not in mountinfo"));
    }
    // mount(2): a remount is of one mount, so each is named.
    planted.try_for_each(|mount| mount.add(flags))
}

/// Makes the one mount at a path read-only.
pub(super) fn make_read_only(path: &Path) -> io::Result<()> {
    top(path)?.add(MsFlags::MS_RDONLY)
}

/// Whether the file system at a path was mounted with an option, and knows it.
pub(super) fn has_option(path: &Path, option: &str) -> io::Result<bool> {
    Ok(top(path)?.options.split(',').any(|known| known.starts_with(option)))
}

/// A proc of this pid namespace, opened and then mounted nowhere, in which nothing is hidden from init.
pub(super) fn proc(flags: MsFlags, place: &Path) -> Result<OwnedFd, Fault> {
    mount(Some("proc"), place, Some("proc"), flags, None::<&str>).step("mounting init's /proc")?;
    let proc = File::open(place).step("opening init's /proc")?;
    umount2(place, MntFlags::MNT_DETACH).step("detaching init's /proc")?;
    Ok(proc.into())
}

/// A mount as `/proc/self/mountinfo` has it.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    place: PathBuf,
    /// What its file system was told.
    options: String,
}

impl Mount {
    /// Adds to what it has already: a mount that came from another user namespace may not lose that.
    ///
    /// Times of access stay as they are where a remount does not name them.
    fn add(&self, flags: MsFlags) -> io::Result<()> {
        // Not from mountinfo: gVisor does not put all of them there.
        let has = statfs(&self.place)?.flags();
        let kept = ATTRIBUTES.iter().filter(|(flag, _)| has.contains(*flag));
        let flags = kept.fold(flags, |all, (_, flag)| all | *flag);
        let how = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        Ok(mount(None::<&str>, &self.place, None::<&str>, how | flags, None::<&str>)?)
    }

    /// The fifth field and the last of `proc_pid_mountinfo(5)`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().skip(4);
        let place = unescape(fields.next()?);
        Some(Self { place, options: fields.last()?.to_owned() })
    }
}

/// The mount that a path leads to: the last one at its place lies on top of the others.
fn top(path: &Path) -> io::Result<Mount> {
    let place = path.canonicalize()?;
    let mount = mounts()?.into_iter().rfind(|mount| mount.place == place);
    mount.ok_or_else(|| io::Error::other("nothing is mounted there"))
}

fn mounts() -> io::Result<Vec<Mount>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().filter_map(Mount::parse).collect())
}

/// A blank, a tab, a line's end and a backslash stand there as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = field.as_bytes().iter();
    let mut path = Vec::with_capacity(field.len());
    while let Some(&byte) = bytes.next() {
        let digits = bytes.as_slice().get(..3).filter(|_| byte == b'\\');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(code.unwrap_or(byte));
        if code.is_some() {
            bytes.nth(2);
        }
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_in_what_each_kernel_says_of_it() {
        let check = |line: &str, expected: Option<(&str, &str)>| {
            let expected = expected
                .map(|(place, options)| Mount { place: place.into(), options: options.into() });
            assert_eq!(Mount::parse(line), expected);
        };
        let line = "45 41 0:26 / /tmp/a\\040b\\134c ro,noexec shared:7 - tmpfs none rw,size=2m";
        check(line, Some(("/tmp/a b\\c", "rw,size=2m")));
        // As gVisor of 2022 writes it, with nothing where the tags are.
        let line = "13 8 0:12 / /run rw  - 9p none rw,trans=fd,rfdno=4";
        check(line, Some(("/run", "rw,trans=fd,rfdno=4")));
        check("13 8 0:12 /", None);
    }

    #[test]
    fn a_backslash_without_digits_is_itself() {
        assert_eq!(unescape("a\\9b\\"), PathBuf::from("a\\9b\\"));
    }
}
