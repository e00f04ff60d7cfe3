//! The runtime that needs nothing but Linux: our own launcher, init and agent.
//!
//! ```text
//! worker ── control ── init (pid 1 of the sandbox) ── shell calls
//!   │  └─ launcher      └ starts, reaps, kills ────── interpreter: agent.py
//!   └───── cells and results ────────────────────────────┘
//! ```
//!
//! The worker starts the *launcher*: this binary again. It gives itself a uid, namespaces and mounts
//! ([`launcher`]) and leaves *init*, which obeys the worker alone. Cells go straight to the agent.

mod agent;
mod call;
mod capabilities;
mod cgroup;
mod control;
mod frames;
mod launcher;
mod mend;
mod outlet;
mod python;
mod session;
mod spawner;
mod uids;
mod usage;
mod watch;
mod wire;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use async_trait::async_trait;
use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::worker::sandbox::{
    Capabilities, ProbeError, Runtime, Sandbox, SandboxError, Settings, Spec,
};
use capabilities::capabilities;
use cgroup::{Controller, Groups};
use python::Interpreter;
use session::{Parts, Session};
use spawner::Spawner;
use uids::Uids;
use wire::{Boot, Ceilings, Counting, Isolation, Tree};

pub(super) use mend::mend;

/// How the launcher's processes know that they are not the worker.
const LAUNCHER_ARGUMENT: &str = "__sandbox-init";
/// Where code inside finds its workspace.
const WORKSPACE: &str = "/workspace";
/// How the interpreter reads its program: the descriptor that init puts after the channel's.
const AGENT_PROGRAM: &str = "/proc/self/fd/4";

/// Without it code could end its init, and what it leaves behind, or without root the worker, would be anybody's.
const NO_LANDLOCK: &str = "confined needs Linux 6.12 with landlock among its LSMs (boot parameter lsm=), and in a \
     container a seccomp profile that allows landlock_create_ruleset, as engines' own do";

/// Takes over the process if it was started as a launcher; must run before there is a second thread.
pub fn intercept() -> Option<ExitCode> {
    let argument = std::env::args_os().nth(1)?;
    (argument == LAUNCHER_ARGUMENT).then(launcher::run)
}

/// Whether the kernel is gVisor's: no other one has this file.
fn on_gvisor() -> bool {
    Path::new("/proc/sentry-meminfo").exists()
}

/// What the kernel has of Landlock, which is a second wall in namespaces and the first without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Landlock {
    /// Nothing, or its first version, which refuses every rename from one directory to another.
    Unsuitable,
    /// Rules for files.
    Files,
    /// Also for signals and abstract sockets.
    FilesAndSignals,
}

impl Landlock {
    fn find() -> Self {
        let created = |files: ABI, scope: Option<ABI>| {
            let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
            let rules = rules.handle_access(AccessFs::from_all(files))?;
            match scope {
                Some(scope) => rules.scope(Scope::from_all(scope))?.create().map(drop),
                None => rules.create().map(drop),
            }
        };
        if created(ABI::V6, Some(ABI::V6)).is_ok() {
            Self::FilesAndSignals
        } else if created(ABI::V2, None).is_ok() {
            Self::Files
        } else {
            Self::Unsuitable
        }
    }
}

/// Sandboxes by namespaces, or by process limits alone.
#[derive(Debug)]
pub(super) struct Embedded {
    capabilities: Capabilities,
    isolation: Isolation,
    landlock: Landlock,
    launcher: PathBuf,
    packages: Option<PathBuf>,
    interpreter: Interpreter,
    /// The compiled agent; sealed, since every interpreter gets it.
    program: OwnedFd,
    groups: Groups,
    uids: Uids,
    spawner: Spawner,
}

impl Embedded {
    /// Isolation by namespaces.
    pub(super) const NAMESPACES: &str = "embedded";
    /// Isolation by what a process can give up, in the host's namespaces.
    pub(super) const CONFINED: &str = "confined";

    /// Gets ready to make sandboxes; whether they work is for the caller to try.
    pub(super) async fn prepare(
        name: &'static str,
        settings: &Settings,
    ) -> Result<Self, ProbeError> {
        let isolation =
            if name == Self::CONFINED { Isolation::Process } else { Isolation::Namespaces };
        let interpreter = Interpreter::inspect(settings.python.as_deref()).await?;
        let unavailable = |mend: &'static str| {
            move |source| ProbeError::Unavailable {
                runtime: name,
                mend: mend.to_owned(),
                source: SandboxError::Spawn { source },
            }
        };
        let landlock = Landlock::find();
        if isolation == Isolation::Process && landlock != Landlock::FilesAndSignals {
            let missing = std::io::Error::other("the kernel has no Landlock of version 6 or later");
            return Err(unavailable(NO_LANDLOCK)(missing));
        }
        let packages =
            settings.python_packages.as_ref().map(|path| path.canonicalize()).transpose().map_err(
                |error| ProbeError::Python {
                    python: interpreter.executable.clone(),
                    reason: format!("its packages directory cannot be used: {error}"),
                },
            )?;
        let lacking = unavailable("the worker's process lacks memory or threads");
        let program = sealed(&interpreter.program).map_err(lacking)?;
        let spawner = Spawner::start().map_err(lacking)?;
        let groups = Groups::find();
        let uids = Uids::find()
            .map_err(unavailable("map more uids to this container, or run as a plain user"))?;
        let capabilities = capabilities(name, isolation, landlock, &interpreter, &groups, &uids);
        Ok(Self {
            capabilities,
            isolation,
            landlock,
            launcher: settings.launcher.clone(),
            packages,
            interpreter,
            program,
            groups,
            uids,
            spawner,
        })
    }

    fn boot(&self, spec: &Spec, kernel_uid: Option<u32>, cgroups: Vec<PathBuf>) -> Boot {
        let mut trees = self.interpreter.trees.clone();
        let packages = self.packages.as_ref().map(|source| {
            let target = self.inside(source, python::PACKAGES);
            trees.push(Tree { source: source.clone(), target: PathBuf::from(&target) });
            target
        });
        let limits = &spec.limits;
        let mut agent_arguments =
            vec![limits.output_bytes.to_string(), limits.display_bytes.to_string()];
        agent_arguments.extend(packages.iter().cloned());
        agent_arguments.extend(self.interpreter.sites.iter().cloned());
        let executable = self.interpreter.executable.display().to_string();
        Boot {
            worker_pid: std::process::id().cast_signed(),
            isolation: self.isolation,
            landlock: self.landlock != Landlock::Unsuitable,
            kernel_uid,
            starter: self.isolation == Isolation::Namespaces && !on_gvisor(),
            cgroups,
            workspace: spec.workspace.clone(),
            trees,
            ceilings: Ceilings::new(
                limits,
                self.groups.has(Controller::Memory),
                counting(self.isolation, kernel_uid.is_some(), &self.groups),
            ),
            // Isolated from the environment, without site: it would cost more than all the rest.
            interpreter: [&executable, "-I", "-S", "-X", "utf8"].map(str::to_owned).to_vec(),
            agent_arguments,
            environment: self.environment(&spec.workspace, packages),
        }
    }

    fn environment(&self, workspace: &Path, packages: Option<String>) -> Vec<(String, String)> {
        let home = self.inside(workspace, WORKSPACE);
        let tmp = match self.isolation {
            Isolation::Namespaces => "/tmp".to_owned(),
            Isolation::Process => home.clone(),
        };
        let bin = self.interpreter.executable.parent().unwrap_or(Path::new("/usr/bin"));
        let mut variables = vec![
            (
                "PATH",
                format!(
                    "{}:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
                    bin.display()
                ),
            ),
            ("HOME", home),
            ("USER", "user".to_owned()),
            ("SHELL", "/bin/sh".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("TERM", "dumb".to_owned()),
            ("TMPDIR", tmp.clone()),
            ("XDG_CACHE_HOME", format!("{tmp}/.cache")),
            ("MPLBACKEND", "Agg".to_owned()),
            ("MPLCONFIGDIR", format!("{tmp}/.matplotlib")),
            ("PYTHONUNBUFFERED", "1".to_owned()),
        ];
        variables.extend(packages.map(|packages| ("PYTHONPATH", packages)));
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The name that a host path has inside, where the tree inside is another one.
    fn inside(&self, host: &Path, inside: &str) -> String {
        match self.isolation {
            Isolation::Namespaces => inside.to_owned(),
            Isolation::Process => host.display().to_string(),
        }
    }
}

#[async_trait]
impl Runtime for Embedded {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn create(&self, spec: &Spec) -> Result<Box<dyn Sandbox>, SandboxError> {
        let unusable = |source| SandboxError::Workspace { path: spec.workspace.clone(), source };
        let workspace = uids::open_directory(&spec.workspace).map_err(unusable)?;
        let uid = self.uids.claim(&spec.workspace).map_err(unusable)?;
        let group = self.groups.create(&spec.limits).map_err(|source| SandboxError::Setup {
            step: "making a control group".to_owned(),
            source,
        })?;
        let boot =
            self.boot(spec, uid.as_ref().map(uids::UidLease::uid), group.group().entrances());
        let parts = Parts {
            boot,
            program: self.program.try_clone().map_err(unusable)?,
            limits: spec.limits.clone(),
            workspace: workspace.into(),
            memory_enforced: self.groups.has(Controller::Memory),
            group,
            uid,
        };
        Ok(Session::begin(&self.spawner, &self.launcher, parts).await?)
    }
}

fn counting(isolation: Isolation, own_uid: bool, groups: &Groups) -> Counting {
    match isolation {
        Isolation::Process if !own_uid && !groups.has(Controller::Pids) => Counting::Init,
        Isolation::Process | Isolation::Namespaces => Counting::Kernel,
    }
}

/// A file in memory that nobody can change any more.
fn sealed(content: &[u8]) -> std::io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = memfd_create(c"agent", flags)?;
    let mut file = std::fs::File::from(fd);
    std::io::Write::write_all(&mut file, content)?;
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}
