//! The file system of a sandbox: a small read-only root of bind mounts and sized temporary ones.
//!
//! A bind mount is *taken* ([`detached`], made read-only) while its source can still be reached, and
//! *planted* into the new root later, when the host's tree may already be out of reach. A kernel that
//! has no calls for this gets the same tree from [`classic`] ones.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::super::WORKSPACE;
use super::super::wire::{Boot, Ceilings};
use super::{Fault, Step, classic, detached};

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

/// What no `/proc` of ours has.
const PROC: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

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
    fn flags(self) -> MsFlags {
        match self {
            Self::ReadOnly => MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Self::Device => MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
            Self::Writable => MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        }
    }
}

/// Which system calls make bind mounts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// What is taken is a mount.
    Detached,
    /// What is taken is the source, opened.
    Classic,
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
    calls: Calls,
}

impl Forest {
    pub(super) fn plan(boot: &Boot) -> Self {
        let mut forest = Self { saplings: Vec::new(), links: Vec::new(), calls: Calls::Detached };
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
            let taken = match self.calls {
                Calls::Detached => detached::copy(&sapling.source, sapling.access.flags()),
                Calls::Classic => classic::open(&sapling.source),
            };
            match taken {
                Ok(fd) => sapling.taken = Some(fd),
                Err(error) if sapling.optional && error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).step(format!("taking {}", sapling.source.display()));
                }
            }
        }
        Ok(())
    }

    /// As [`Self::take`], also on a kernel without the calls for it.
    ///
    /// Only for where the forest is planted too: an opened source is of one mount namespace.
    pub(super) fn take_here(&mut self) -> Result<(), Fault> {
        match self.take() {
            Err(fault) if fault.source.raw_os_error() == Some(libc::ENOSYS) => {
                self.calls = Calls::Classic;
                self.take()
            }
            other => other,
        }
    }

    /// Puts the new root together and makes it ours; nothing of the old one remains.
    ///
    /// Returns a `/proc` for init alone.
    pub(super) fn plant(self, ceilings: &Ceilings) -> Result<OwnedFd, Fault> {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).step("making / private")?;
        // While the host's is in sight: the kernel gives none to who sees only a masked one.
        let proc = match self.calls {
            Calls::Detached => detached::proc(PROC)?,
            Calls::Classic => classic::proc(PROC, Path::new(BASE))?,
        };
        mount_tmpfs(BASE, "size=2m,mode=755", MsFlags::MS_NOEXEC)?;
        std::env::set_current_dir(BASE).step("entering the new root")?;
        for directory in ["proc", "dev", "tmp", "etc"] {
            fs::create_dir(directory).step(format!("making /{directory}"))?;
        }
        for (target, name) in &self.links {
            symlink(target, name).step(format!("linking /{name}"))?;
        }
        self.calls.mount_open_tmpfs("tmp", ceilings.tmp_bytes, MsFlags::empty())?;
        mount_tmpfs("dev", "size=64k,mode=755", MsFlags::MS_NOEXEC)?;
        for sapling in self.saplings {
            let name = sapling.target.display().to_string();
            sapling.plant(self.calls).step(format!("mounting /{name}"))?;
        }
        furnish_dev(self.calls, ceilings)?;
        mount_proc(self.calls)?;
        for (name, content) in ETC_FILES {
            fs::write(Path::new("etc").join(name), content).step(format!("writing /etc/{name}"))?;
        }
        for directory in [".", "dev"] {
            self.calls
                .make_read_only(Path::new(directory))
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
    fn plant(self, calls: Calls) -> io::Result<()> {
        let Some(taken) = self.taken else { return Ok(()) };
        let taken = File::from(taken);
        if taken.metadata()?.is_dir() {
            fs::create_dir_all(&self.target)?;
        } else {
            if let Some(parent) = self.target.parent() {
                fs::create_dir_all(parent)?;
            }
            File::create(&self.target)?;
        }
        calls.plant(&taken.into(), &self.target, self.access)
    }
}

impl Calls {
    fn plant(self, taken: &OwnedFd, target: &Path, access: Access) -> io::Result<()> {
        match self {
            Self::Detached => detached::attach(taken, target),
            Self::Classic => classic::bind(taken, target, access.flags()),
        }
    }

    /// Puts a read-only view of `source` over `target`, if there is something to cover.
    fn cover(self, source: &Path, target: &Path) -> io::Result<()> {
        let taken = match self {
            Self::Detached => detached::copy(source, Access::ReadOnly.flags()),
            Self::Classic => classic::open(source),
        };
        match taken {
            Ok(taken) => self.plant(&taken, target, Access::ReadOnly),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Adds to the attributes of the one mount at a path.
    fn make_read_only(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Detached => detached::make_read_only(path),
            Self::Classic => classic::make_read_only(path),
        }
    }

    /// A temporary file system that everybody inside may fill.
    fn mount_open_tmpfs(self, target: &str, bytes: u64, extra: MsFlags) -> Result<(), Fault> {
        let size = format!("size={bytes},mode=1777");
        let counted = mount_tmpfs(target, &format!("{size},nr_inodes={INODES}"), extra);
        match (self, counted) {
            // gVisor of 2024 does not count files; the memory they take is its own, and so the pod's.
            (Self::Classic, Err(fault)) if fault.source.raw_os_error() == Some(libc::EINVAL) => {
                mount_tmpfs(target, &size, extra)
            }
            (_, counted) => counted,
        }
    }
}

fn furnish_dev(calls: Calls, ceilings: &Ceilings) -> Result<(), Fault> {
    fs::create_dir("dev/shm").step("making /dev/shm")?;
    calls.mount_open_tmpfs("dev/shm", ceilings.shm_bytes, MsFlags::MS_NOEXEC)?;
    for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{target}"), Path::new("dev").join(name))
            .step(format!("linking /dev/{name}"))?;
    }
    Ok(())
}

fn mount_proc(calls: Calls) -> Result<(), Fault> {
    // hidepid=2 hides init, the one process inside that cannot be traced by the others.
    mount(Some("proc"), "proc", Some("proc"), PROC, Some("hidepid=2")).step("mounting /proc")?;
    if calls == Calls::Classic && !classic::has_option(Path::new("proc"), "hidepid").step("proc")? {
        // gVisor takes the option and hides nothing: init's directory is covered instead.
        let lid = MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC;
        mount_tmpfs("proc/1", "size=4k,mode=555", lid)?;
    }
    for name in PROC_READ_ONLY {
        let path = Path::new("proc").join(name);
        calls.cover(&path, &path).step(format!("making /proc/{name} read-only"))?;
    }
    for name in PROC_MASKED {
        let path = Path::new("proc").join(name);
        if path.exists() {
            calls.cover(Path::new("dev/null"), &path).step(format!("masking /proc/{name}"))?;
        }
    }
    Ok(())
}

fn mount_tmpfs(target: &str, options: &str, extra: MsFlags) -> Result<(), Fault> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | extra;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))
        .step(format!("mounting a tmpfs on {target}"))
}
