//! Modes, times and owners of files, where sandboxes have the worker's uid and Landlock does not look.
//!
//! The kernel lets a file's owner change them by a name, or a descriptor, that gives no right to write.
//! Code may do so with its own files only: the launcher does it for it if the file is in the workspace.

use std::fs::{self, File, Permissions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::Fault;
use super::notification::{self, Call};

/// Every call that changes an attribute of a file that it need not be able to write; which arguments
/// say of what file, and which, counted from zero, the change.
const CALLS: &[(libc::c_long, Object, Change)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, Object::Name { follow: true }, Change::Mode(1)),
    (libc::SYS_fchmod, Object::Descriptor, Change::Mode(1)),
    (libc::SYS_fchmodat, Object::NameAt { flags: None }, Change::Mode(2)),
    (FCHMODAT2, Object::NameAt { flags: Some(3) }, Change::Mode(2)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_utime, Object::Name { follow: true }, Change::Times(1, Precision::Seconds)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_utimes, Object::Name { follow: true }, Change::Times(1, Precision::Microseconds)),
    #[cfg(target_arch = "x86_64")]
    (
        libc::SYS_futimesat,
        Object::NameAt { flags: None },
        Change::Times(2, Precision::Microseconds),
    ),
    (
        libc::SYS_utimensat,
        Object::NameAt { flags: Some(3) },
        Change::Times(2, Precision::Nanoseconds),
    ),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chown, Object::Name { follow: true }, Change::Owner(1)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lchown, Object::Name { follow: false }, Change::Owner(1)),
    (libc::SYS_fchown, Object::Descriptor, Change::Owner(1)),
    (libc::SYS_fchownat, Object::NameAt { flags: Some(4) }, Change::Owner(2)),
];
/// The same number on every architecture.
const FCHMODAT2: libc::c_long = 452;

/// How a call says which file it is for.
#[derive(Clone, Copy)]
enum Object {
    /// By a name, its first argument.
    Name { follow: bool },
    /// By a directory and a name, its first two, and flags, if it has any.
    NameAt { flags: Option<usize> },
    /// By a descriptor, its first.
    Descriptor,
}

/// What a call changes, and from which argument on it says to what.
#[derive(Clone, Copy)]
enum Change {
    Mode(usize),
    Times(usize, Precision),
    Owner(usize),
}

/// In what a call counts the parts of a second.
#[derive(Clone, Copy)]
enum Precision {
    Seconds,
    Microseconds,
    Nanoseconds,
}

/// All that a mode may have. No code in here is given rights by a program's setuid or setgid bit (it has
/// `no_new_privs`), and outside they would lend the worker's uid. A file may be *created* with them: nobody
/// but the worker, whose directory it is, comes to where it could be run.
const MODE_BITS: u32 = 0o1777;

/// Hands these calls of this process and its descendants over to whoever is at the other end.
pub(super) fn hand_over(launcher: &UnixStream) -> Result<(), Fault> {
    notification::hand_over(CALLS.iter().map(|(call, ..)| *call), launcher)
}

/// Does what was handed over, until nobody is left who could ask.
pub(super) fn serve(init: &UnixStream, workspace: &Path) {
    let Ok(workspace) = workspace.canonicalize() else { return };
    notification::serve(init, |call| perform(call, &workspace));
}

fn perform(call: &Call<'_>, workspace: &Path) -> Result<(), Errno> {
    let known = CALLS.iter().find(|(number, ..)| *number == call.number());
    let (_, object, change) = known.ok_or(Errno::ENOSYS)?;
    let file = object.open(call)?;
    let wanted = change.read(call)?;
    call.waits()?;
    let by_number = format!("/proc/self/fd/{}", file.as_raw_fd());
    if !fs::read_link(&by_number).is_ok_and(|path| path.starts_with(workspace)) {
        return Err(Errno::EPERM);
    }
    wanted.make(file, &by_number)
}

impl Object {
    /// The file as its process would find it, without a look at what it is.
    fn open(self, call: &Call<'_>) -> Result<OwnedFd, Errno> {
        let descriptor = |index| call.number_at(index).cast_signed();
        let (directory, name, flags) = match self {
            Self::Descriptor => return opened(call, descriptor(0), OFlag::empty()),
            Self::Name { follow: true } => (libc::AT_FDCWD, call.word(0), 0),
            Self::Name { follow: false } => {
                (libc::AT_FDCWD, call.word(0), libc::AT_SYMLINK_NOFOLLOW)
            }
            Self::NameAt { flags } => (descriptor(0), call.word(1), flags.map_or(0, descriptor)),
        };
        if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL);
        }
        // utimensat(2): without a name it is the descriptor's file. Other calls fail then, which helps nobody.
        if name == 0 {
            return opened(call, directory, OFlag::empty());
        }
        let name = call.path(name)?;
        if name.as_os_str().is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
            return opened(call, directory, OFlag::empty());
        }
        let follow = match flags & libc::AT_SYMLINK_NOFOLLOW {
            0 => OFlag::empty(),
            _ => OFlag::O_NOFOLLOW,
        };
        // By /proc one would come to our descriptors instead of its own.
        let how =
            OpenHow::new().flags(AS_PATH | follow).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
        if name.is_absolute() {
            openat2(AT_FDCWD, &name, how)
        } else {
            openat2(opened(call, directory, OFlag::O_DIRECTORY)?, &name, how)
        }
    }
}

/// No reading, no writing, nothing that waits.
const AS_PATH: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// What a descriptor of the process is open to.
fn opened(call: &Call<'_>, descriptor: i32, kind: OFlag) -> Result<OwnedFd, Errno> {
    let path = match descriptor {
        libc::AT_FDCWD => call.proc("cwd"),
        descriptor => call.proc(&format!("fd/{descriptor}")),
    };
    match open(&path, AS_PATH | kind, Mode::empty()) {
        Err(Errno::ENOENT) => Err(Errno::EBADF),
        other => other,
    }
}

/// What shall become of a file.
enum Wanted {
    Mode(u32),
    Times([TimeSpec; 2]),
    Owner(u32, u32),
}

impl Change {
    fn read(self, call: &Call<'_>) -> Result<Wanted, Errno> {
        Ok(match self {
            Self::Mode(index) => Wanted::Mode(call.number_at(index)),
            Self::Owner(index) => Wanted::Owner(call.number_at(index), call.number_at(index + 1)),
            Self::Times(index, precision) => match call.word(index) {
                0 => Wanted::Times([TimeSpec::UTIME_NOW; 2]),
                address => Wanted::Times(precision.read(call, address)?),
            },
        })
    }
}

impl Precision {
    fn read(self, call: &Call<'_>, address: u64) -> Result<[TimeSpec; 2], Errno> {
        let per_part = match self {
            Self::Seconds => {
                return Ok(call.numbers::<2>(address)?.map(|seconds| TimeSpec::new(seconds, 0)));
            }
            Self::Microseconds => 1000,
            Self::Nanoseconds => 1,
        };
        let [accessed, accessed_part, modified, modified_part] = call.numbers(address)?;
        let time = |seconds, part: i64| match part.checked_mul(per_part) {
            Some(nanoseconds) => Ok(TimeSpec::new(seconds, nanoseconds)),
            None => Err(Errno::EINVAL),
        };
        Ok([time(accessed, accessed_part)?, time(modified, modified_part)?])
    }
}

impl Wanted {
    /// `by_number` leads to the file also where it is a link.
    fn make(&self, file: OwnedFd, by_number: &str) -> Result<(), Errno> {
        match self {
            Self::Mode(mode) => {
                fs::set_permissions(by_number, Permissions::from_mode(mode & MODE_BITS))
                    .map_err(|error| errno(&error))
            }
            Self::Times([accessed, modified]) => {
                utimensat(AT_FDCWD, by_number, accessed, modified, UtimensatFlags::FollowSymlink)
            }
            // What copies files says whose they are, and means no change. A group of the worker's is not for code to give.
            Self::Owner(uid, gid) => {
                const AS_IT_IS: u32 = u32::MAX;
                let is = File::from(file).metadata().map_err(|error| errno(&error))?;
                let same = |wanted, is| wanted == AS_IT_IS || wanted == is;
                if same(*uid, is.uid()) && same(*gid, is.gid()) {
                    Ok(())
                } else {
                    Err(Errno::EPERM)
                }
            }
        }
    }
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EPERM, Errno::from_raw)
}
