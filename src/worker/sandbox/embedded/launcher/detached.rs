//! Bind mounts that are made before they have a place: by the calls of Linux 5.12.
//!
//! A mount is complete, with its attributes, before any path leads to it; and it outlives the reach
//! of its source, so root takes one and plants it as somebody else.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::mount::MsFlags;

use super::{Fault, Step};

/// The same attributes in the words of mount(2) and of `mount_setattr(2)`.
const ATTRIBUTES: &[(MsFlags, u64)] = &[
    (MsFlags::MS_RDONLY, libc::MOUNT_ATTR_RDONLY),
    (MsFlags::MS_NOSUID, libc::MOUNT_ATTR_NOSUID),
    (MsFlags::MS_NODEV, libc::MOUNT_ATTR_NODEV),
    (MsFlags::MS_NOEXEC, libc::MOUNT_ATTR_NOEXEC),
];

/// A detached copy of the mounts at and under a path, all with these attributes.
pub(super) fn copy(path: &Path, flags: MsFlags) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let how = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | u32::try_from(libc::AT_RECURSIVE).unwrap_or_default();
    // SAFETY: open_tree(2) reads a C string that lives through the call; the descriptor is new and ours.
    let tree =
        unsafe { owned(libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), how))? };
    set_attributes(&tree, attributes(flags), Reach::Whole)?;
    Ok(tree)
}

/// Gives a detached mount its place.
pub(super) fn attach(tree: &OwnedFd, target: &Path) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_bytes())?;
    // SAFETY: move_mount(2) reads two C strings that live through the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    checked(done)
}

/// Makes the one mount at a path read-only.
pub(super) fn make_read_only(path: &Path) -> io::Result<()> {
    set_attributes(&File::open(path)?, libc::MOUNT_ATTR_RDONLY, Reach::This)
}

/// A proc of this pid namespace, opened but mounted nowhere, in which nothing is hidden from init.
pub(super) fn proc(flags: MsFlags) -> Result<OwnedFd, Fault> {
    let name = c"proc";
    // SAFETY: fsopen(2) reads a C string, fsconfig(2) and fsmount(2) take numbers and null pointers.
    // The descriptors are new and ours.
    unsafe {
        let context = libc::syscall(libc::SYS_fsopen, name.as_ptr(), libc::FSOPEN_CLOEXEC);
        let context = owned(context).step("fsopen(proc)")?;
        let null = std::ptr::null::<libc::c_void>();
        let created = libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            libc::FSCONFIG_CMD_CREATE,
            null,
            null,
            0,
        );
        checked(created).step("fsconfig(proc)")?;
        let mounted = libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            libc::FSMOUNT_CLOEXEC,
            attributes(flags),
        );
        owned(mounted).step("fsmount(proc)")
    }
}

fn attributes(flags: MsFlags) -> u64 {
    let set = ATTRIBUTES.iter().filter(|(flag, _)| flags.contains(*flag));
    set.fold(0, |all, (_, attribute)| all | attribute)
}

/// How far a change of mount attributes goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    This,
    Whole,
}

fn set_attributes(tree: &impl AsFd, attributes: u64, reach: Reach) -> io::Result<()> {
    let flags = match reach {
        Reach::This => libc::AT_EMPTY_PATH,
        Reach::Whole => libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
    };
    let change =
        libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: mount_setattr(2) reads an empty C string and a structure of the size it is told.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    checked(done)
}

fn checked(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// # Safety
///
/// The number must be an error or a descriptor that nothing else owns.
unsafe fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    checked(result)?;
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
