//! The file system of a sandbox: a small read-only root of bind mounts and sized temporary ones.
//!
//! A bind mount is *taken* (cloned, detached, made read-only) while its source can still be reached,
//! and *planted* into the new root later, when the host's tree may already be out of reach.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::super::WORKSPACE;
use super::super::wire::{Boot, Ceilings};
use super::{Fault, Step};

/// Where the new root is put together; any directory that every host has would do.
const BASE: &str = "/tmp";

/// What of the host's `/etc` programs need and no secret is in.
const ETC: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
];

/// What we write into `/etc` ourselves, so that nothing of the host's users shows.
const ETC_FILES: &[(&str, &str)] = &[
    (
        "passwd",
        "root:x:0:0::/:/usr/sbin/nologin\nuser:x:1000:1000::/workspace:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
    ),
    ("group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"),
    ("hostname", "sandbox\n"),
    ("hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ("resolv.conf", "# A sandbox has no network.\n"),
];

/// Top-level directories that are links into `/usr` on some hosts and directories on others.
const SYSTEM: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];

/// Parts of `/proc` that steer the host: read-only inside, as a second wall behind the uid.
const PROC_READ_ONLY: &[&str] = &["sys", "sysrq-trigger", "irq", "bus", "fs"];
/// Files of `/proc` that tell about the host.
const PROC_MASKED: &[&str] = &["kcore", "keys", "timer_list", "sched_debug", "latency_stats"];

/// Files in a temporary file system: they take memory that its size does not count.
const INODES: u32 = 50_000;

/// What may be done with a bind mount from inside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadOnly,
    Device,
    Writable,
}

impl Access {
    fn attributes(self) -> u64 {
        match self {
            Self::ReadOnly => {
                libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV
            }
            Self::Device => libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
            Self::Writable => libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        }
    }
}

/// A bind mount on its way from the host's tree into the new one.
struct Sapling {
    source: PathBuf,
    /// Relative to the new root.
    target: PathBuf,
    access: Access,
    optional: bool,
    taken: Option<OwnedFd>,
}

/// All bind mounts of a sandbox, and the links beside them.
pub(super) struct Forest {
    saplings: Vec<Sapling>,
    links: Vec<(PathBuf, String)>,
}

impl Forest {
    pub(super) fn plan(boot: &Boot) -> Self {
        let mut forest = Self { saplings: Vec::new(), links: Vec::new() };
        forest.add("/usr", "usr", Access::ReadOnly, false);
        for name in SYSTEM {
            let path = Path::new("/").join(name);
            match fs::read_link(&path) {
                Ok(target) => forest.links.push((target, (*name).to_owned())),
                Err(_) => forest.add(path, name, Access::ReadOnly, true),
            }
        }
        // Where every distribution has it: programs and people ask it which system this is.
        forest.links.push(("../usr/lib/os-release".into(), "etc/os-release".to_owned()));
        for name in ETC {
            let target = Path::new("etc").join(name);
            forest.add(Path::new("/").join(&target), target, Access::ReadOnly, true);
        }
        for name in DEVICES {
            let target = Path::new("dev").join(name);
            forest.add(Path::new("/").join(&target), target, Access::Device, false);
        }
        for tree in &boot.trees {
            let target = tree.target.strip_prefix("/").unwrap_or(&tree.target);
            forest.add(&tree.source, target, Access::ReadOnly, false);
        }
        let workspace = WORKSPACE.trim_start_matches('/');
        forest.add(&boot.workspace, workspace, Access::Writable, false);
        forest
    }

    fn add(
        &mut self,
        source: impl Into<PathBuf>,
        target: impl Into<PathBuf>,
        access: Access,
        optional: bool,
    ) {
        let (source, target) = (source.into(), target.into());
        self.saplings.push(Sapling { source, target, access, optional, taken: None });
    }

    /// Takes every mount that has not been taken yet.
    pub(super) fn take(&mut self) -> Result<(), Fault> {
        for sapling in self.saplings.iter_mut().filter(|sapling| sapling.taken.is_none()) {
            match clone_tree(&sapling.source, sapling.access) {
                Ok(fd) => sapling.taken = Some(fd),
                Err(error) if sapling.optional && error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).step(format!("taking {}", sapling.source.display()));
                }
            }
        }
        Ok(())
    }

    /// Puts the new root together and makes it ours; nothing of the old one remains.
    ///
    /// Returns a `/proc` for init alone.
    pub(super) fn plant(self, ceilings: &Ceilings) -> Result<OwnedFd, Fault> {
        // While the host's is in sight: the kernel gives none to who sees only a masked one.
        let proc = open_private_proc()?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).step("making / private")?;
        mount_tmpfs(BASE, "size=2m,mode=755", MsFlags::MS_NOEXEC)?;
        std::env::set_current_dir(BASE).step("entering the new root")?;
        for directory in ["proc", "dev", "tmp", "etc"] {
            fs::create_dir(directory).step(format!("making /{directory}"))?;
        }
        for (target, name) in &self.links {
            symlink(target, name).step(format!("linking /{name}"))?;
        }
        let tmp = format!("size={},nr_inodes={INODES},mode=1777", ceilings.tmp_bytes);
        mount_tmpfs("tmp", &tmp, MsFlags::empty())?;
        mount_tmpfs("dev", "size=64k,mode=755", MsFlags::MS_NOEXEC)?;
        for sapling in self.saplings {
            let name = sapling.target.display().to_string();
            sapling.plant().step(format!("mounting /{name}"))?;
        }
        furnish_dev(ceilings)?;
        mount_proc()?;
        for (name, content) in ETC_FILES {
            fs::write(Path::new("etc").join(name), content).step(format!("writing /etc/{name}"))?;
        }
        for directory in [".", "dev"] {
            set_attributes(&open(directory)?, libc::MOUNT_ATTR_RDONLY, Reach::This)
                .step(format!("making {directory} read-only"))?;
        }
        // pivot_root(2): with both names ".", the old root ends up on top of the new one.
        nix::unistd::pivot_root(".", ".").step("pivot_root")?;
        umount2(".", MntFlags::MNT_DETACH).step("leaving the host's tree")?;
        std::env::set_current_dir("/").step("entering /")?;
        Ok(proc)
    }
}

impl Sapling {
    fn plant(self) -> io::Result<()> {
        let Some(tree) = self.taken else { return Ok(()) };
        let tree = File::from(tree);
        if tree.metadata()?.is_dir() {
            fs::create_dir_all(&self.target)?;
        } else {
            if let Some(parent) = self.target.parent() {
                fs::create_dir_all(parent)?;
            }
            File::create(&self.target)?;
        }
        move_tree(&tree.into(), &self.target)
    }
}

/// A proc of the new pid namespace, opened but mounted nowhere, in which nothing is hidden from init.
fn open_private_proc() -> Result<OwnedFd, Fault> {
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
        let flags = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        let mounted =
            libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), libc::FSMOUNT_CLOEXEC, flags);
        owned(mounted).step("fsmount(proc)")
    }
}

fn furnish_dev(ceilings: &Ceilings) -> Result<(), Fault> {
    fs::create_dir("dev/shm").step("making /dev/shm")?;
    let shm = format!("size={},nr_inodes={INODES},mode=1777", ceilings.shm_bytes);
    mount_tmpfs("dev/shm", &shm, MsFlags::MS_NOEXEC)?;
    for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{target}"), Path::new("dev").join(name))
            .step(format!("linking /dev/{name}"))?;
    }
    Ok(())
}

fn mount_proc() -> Result<(), Fault> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // hidepid=2 hides init, the one process inside that cannot be traced by the others.
    mount(Some("proc"), "proc", Some("proc"), flags, Some("hidepid=2")).step("mounting /proc")?;
    let over = |source: &Path, target: &Path| match clone_tree(source, Access::ReadOnly) {
        Ok(tree) => move_tree(&tree, target),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    for name in PROC_READ_ONLY {
        let path = Path::new("proc").join(name);
        over(&path, &path).step(format!("making /proc/{name} read-only"))?;
    }
    for name in PROC_MASKED {
        let path = Path::new("proc").join(name);
        if path.exists() {
            over(Path::new("dev/null"), &path).step(format!("masking /proc/{name}"))?;
        }
    }
    Ok(())
}

fn mount_tmpfs(target: &str, options: &str, extra: MsFlags) -> Result<(), Fault> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | extra;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))
        .step(format!("mounting a tmpfs on {target}"))
}

fn open(path: &str) -> Result<OwnedFd, Fault> {
    File::open(path).map(OwnedFd::from).step(format!("opening {path}"))
}

/// A detached copy of the mounts at and under a path.
fn clone_tree(path: &Path, access: Access) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | u32::try_from(libc::AT_RECURSIVE).unwrap_or_default();
    // SAFETY: open_tree(2) reads a C string that lives through the call; the descriptor is new and ours.
    let tree =
        unsafe { owned(libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags))? };
    set_attributes(&tree, access.attributes(), Reach::Whole)?;
    Ok(tree)
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

fn move_tree(tree: &OwnedFd, target: &Path) -> io::Result<()> {
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
