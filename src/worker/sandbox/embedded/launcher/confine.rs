//! The last steps before foreign code runs: Landlock, no capabilities, seccomp.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use std::io;

use super::super::wire::{Boot, Isolation};
use super::{Fault, Step, identity, seccomp};

/// The newest Landlock that this was written for; older kernels enforce what they know of it.
const LANDLOCK: ABI = ABI::V6;

/// Gives up everything that code inside shall not have. `init_proc` stays readable for init, and what it starts says
/// there who is to end first.
pub(super) fn confine(boot: &Boot, init_proc: Option<BorrowedFd<'_>>) -> Result<(), Fault> {
    identity::drop_capabilities()?;
    if boot.landlock {
        landlock(boot, init_proc).map_err(io::Error::other).step("landlock")?;
    }
    seccomp::install(boot.isolation, boot.ceilings.unmapped_memory)
}

/// Keeps init's signals among its descendants, as a pid namespace would: so it can end all of them at once.
///
/// Theirs stay below their own, later rules: they cannot signal init.
pub(super) fn keep_signals_inside() -> Result<(), Fault> {
    identity::drop_capabilities()?;
    scoped().map_err(io::Error::other).step("landlock")
}

fn scoped() -> Result<(), RulesetError> {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    rules.scope(Scope::Signal)?.create()?.restrict_self().map(drop)
}

fn landlock(boot: &Boot, init_proc: Option<BorrowedFd<'_>>) -> Result<(), RulesetError> {
    let read = AccessFs::from_read(LANDLOCK);
    // Everything but device control: no device inside has a use for it.
    let write = AccessFs::from_all(LANDLOCK) & !AccessFs::IoctlDev;
    let needed = match boot.isolation {
        Isolation::Namespaces => CompatLevel::BestEffort,
        // The first wall, not the second.
        Isolation::Process => CompatLevel::HardRequirement,
    };
    let mut rules = Ruleset::default()
        .set_compatibility(needed)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    match boot.isolation {
        // The tree is ours and read-only already; this is the second wall.
        Isolation::Namespaces => {
            rules = allow(rules, Path::new("/"), read)?;
            for path in [super::super::WORKSPACE, "/tmp", "/dev"] {
                rules = allow(rules, Path::new(path), write)?;
            }
            if let Some(proc) = init_proc {
                rules =
                    rules.add_rule(PathBeneath::new(proc.as_fd(), read | AccessFs::WriteFile))?;
            }
        }
        // The tree is the host's: only what programs need of it.
        Isolation::Process => {
            for path in [
                "/usr",
                "/bin",
                "/sbin",
                "/lib",
                "/lib64",
                "/nix/store",
                "/etc/alternatives",
                "/etc/ld.so.cache",
                "/etc/ssl/certs",
                "/etc/localtime",
                "/etc/passwd",
                "/etc/group",
                "/etc/nsswitch.conf",
                "/dev/urandom",
                "/dev/zero",
            ] {
                rules = allow(rules, Path::new(path), read)?;
            }
            for tree in &boot.trees {
                rules = allow(rules, &tree.source, read)?;
            }
            rules = allow(rules, Path::new("/dev/null"), AccessFs::from_file(LANDLOCK) & write)?;
            rules = allow(rules, &boot.workspace, write)?;
        }
    }
    rules.restrict_self().map(drop)
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    // A path that is absent here needs no rule.
    let Ok(fd) = PathFd::new(path) else { return Ok(rules) };
    let is_dir = path.is_dir();
    let access = if is_dir { access } else { access & AccessFs::from_file(LANDLOCK) };
    rules.add_rule(PathBeneath::new(fd, access))
}
