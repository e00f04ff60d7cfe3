//! Control groups: exact limits on all processes of a sandbox together, where we may make groups.
//!
//! Version 2 is one tree with files for everything. Version 1, and hosts with both, have a tree for
//! each controller; a sandbox then has a group in each.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::worker::sandbox::Limits;

/// What a group of ours is called, before the worker's pid and a number.
const PREFIX: &str = "baton-";
/// Beyond the processes of a call: the launcher, init, and a margin to end the rest with.
const SPARE_PROCESSES: u64 = 16;
/// The period in which a share of processor time is given out.
const PERIOD_MICROS: u64 = 100_000;

/// What a group can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    Memory,
    Pids,
    Cpu,
    Cpuacct,
}

impl Controller {
    const ALL: [Self; 4] = [Self::Memory, Self::Pids, Self::Cpu, Self::Cpuacct];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
        }
    }
}

/// Which of the two interfaces a directory has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The directories in which this worker may make groups.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    parents: BTreeMap<Controller, (Version, PathBuf)>,
}

/// The groups of one sandbox.
#[derive(Clone, Debug)]
pub(super) struct Group {
    directories: BTreeMap<Controller, (Version, PathBuf)>,
}

impl Groups {
    /// Finds where groups can be made, by making one.
    pub(super) fn find() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let places = places(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        let mut found = Self::default();
        for (controller, (version, parent)) in places {
            if version == Version::Two && !delegate(&parent, controller) {
                continue;
            }
            sweep(&parent);
            found.parents.insert(controller, (version, parent));
        }
        found.parents.retain(|controller, place| {
            let alone = Self { parents: BTreeMap::from([(*controller, place.clone())]) };
            match alone.create(&Limits::default()) {
                Ok(group) => group.remove_once(),
                Err(_) => false,
            }
        });
        found
    }

    pub(super) fn has(&self, controller: Controller) -> bool {
        self.parents.contains_key(&controller)
    }

    pub(super) fn create(&self, limits: &Limits) -> io::Result<Group> {
        // Of the process, not of one runtime: several may be in it.
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let mut group = Group { directories: BTreeMap::new() };
        for (controller, (version, parent)) in &self.parents {
            let directory = parent.join(&name);
            // One tree of version 2 for all controllers, or one of version 1 for two of them.
            let made = group.distinct().any(|made| made == directory);
            if !made && let Err(error) = fs::create_dir(&directory) {
                group.remove_once();
                return Err(error);
            }
            group.directories.insert(*controller, (*version, directory));
        }
        match group.limit(limits) {
            Ok(()) => Ok(group),
            Err(error) => {
                group.remove_once();
                Err(error)
            }
        }
    }
}

impl Group {
    /// The files through which a process enters.
    pub(super) fn entrances(&self) -> Vec<PathBuf> {
        self.distinct().map(|directory| directory.join("cgroup.procs")).collect()
    }

    /// How often the kernel ended a process in here for want of memory.
    pub(super) fn oom_kills(&self) -> u64 {
        let file = match self.version(Controller::Memory) {
            Some(Version::One) => "memory.oom_control",
            Some(Version::Two) => "memory.events",
            None => return 0,
        };
        self.keyed(Controller::Memory, file, "oom_kill").unwrap_or(0)
    }

    /// Processor time used since the beginning.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        if let Some(Version::One) = self.version(Controller::Cpuacct) {
            return self.number(Controller::Cpuacct, "cpuacct.usage").map(Duration::from_nanos);
        }
        self.keyed(Controller::Cpu, "cpu.stat", "usage_usec").map(Duration::from_micros)
    }

    /// Processes and threads in here now.
    pub(super) fn tasks(&self) -> Option<u64> {
        self.number(Controller::Pids, "pids.current")
    }

    /// Removes the groups once they are empty, which their processes' end makes them.
    pub(super) async fn remove(self) {
        const ATTEMPTS: u32 = 100;
        const PAUSE: Duration = Duration::from_millis(10);
        for _ in 0..ATTEMPTS {
            if self.remove_once() {
                return;
            }
            // The kernel lets a group go a moment after its last process; there is no event for it.
            tokio::time::sleep(PAUSE).await;
        }
        tracing::warn!(group = ?self, "a control group stays behind: it is not empty");
    }

    fn remove_once(&self) -> bool {
        let gone = |directory: &Path| match fs::remove_dir(directory) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        // All are tried: one that stays must not keep the others.
        self.distinct().filter(|directory| !gone(directory)).count() == 0
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        for (controller, (version, directory)) in &self.directories {
            for (file, value, needed) in settings(*controller, *version, limits) {
                match fs::write(directory.join(file), value) {
                    Err(error) if needed => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn distinct(&self) -> impl Iterator<Item = &Path> {
        let mut last = None;
        let mut directories: Vec<&Path> =
            self.directories.values().map(|(_, directory)| directory.as_path()).collect();
        directories.sort();
        directories
            .into_iter()
            .filter(move |directory| last.replace(*directory) != Some(*directory))
    }

    fn version(&self, controller: Controller) -> Option<Version> {
        self.directories.get(&controller).map(|(version, _)| *version)
    }

    fn read(&self, controller: Controller, file: &str) -> Option<String> {
        let (_, directory) = self.directories.get(&controller)?;
        fs::read_to_string(directory.join(file)).ok()
    }

    fn number(&self, controller: Controller, file: &str) -> Option<u64> {
        self.read(controller, file)?.trim().parse().ok()
    }

    fn keyed(&self, controller: Controller, file: &str, key: &str) -> Option<u64> {
        let content = self.read(controller, file)?;
        content.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
    }
}

/// The files to write for a limit, and whether the limit depends on it.
fn settings(
    controller: Controller,
    version: Version,
    limits: &Limits,
) -> Vec<(&'static str, String, bool)> {
    let memory = limits.memory_bytes.to_string();
    let pids = (limits.processes + SPARE_PROCESSES).to_string();
    let quota = limits.cpu_millis.map(|millis| u64::from(millis) * PERIOD_MICROS / 1000);
    match (controller, version) {
        (Controller::Memory, Version::One) => vec![
            ("memory.limit_in_bytes", memory.clone(), true),
            // Absent where the kernel does not account for swap.
            ("memory.memsw.limit_in_bytes", memory, false),
        ],
        (Controller::Memory, Version::Two) => {
            vec![("memory.max", memory, true), ("memory.swap.max", "0".to_owned(), false)]
        }
        (Controller::Pids, _) => vec![("pids.max", pids, true)],
        (Controller::Cpu, Version::One) => {
            quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string(), true)).into_iter().collect()
        }
        (Controller::Cpu, Version::Two) => quota
            .map(|quota| ("cpu.max", format!("{quota} {PERIOD_MICROS}"), true))
            .into_iter()
            .collect(),
        (Controller::Cpuacct, _) => Vec::new(),
    }
}

/// The worker's own directory in each controller's tree.
fn places(own: &str, mounts: &str) -> BTreeMap<Controller, (Version, PathBuf)> {
    let mut places = BTreeMap::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        for controller in Controller::ALL {
            let (version, mount) = if controllers.is_empty() {
                (Version::Two, find_mount(mounts, "cgroup2", ""))
            } else if controllers.split(',').any(|name| name == controller.name()) {
                (Version::One, find_mount(mounts, "cgroup", controller.name()))
            } else {
                continue;
            };
            let Some((root, point)) = mount else { continue };
            let Ok(below) = Path::new(path).strip_prefix(&root) else { continue };
            // Where both are there, version 1 has the controllers: a tree has what the other lacks.
            let place = (version, point.join(below));
            if version == Version::One || !places.contains_key(&controller) {
                places.insert(controller, place);
            }
        }
    }
    places
}

/// Root and mount point of a cgroup file system, from `proc_pid_mountinfo(5)`.
fn find_mount(mounts: &str, kind: &str, option: &str) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (fs, options) = (right.next()?, right.nth(1)?);
        let fits = fs == kind && (option.is_empty() || options.split(',').any(|o| o == option));
        let mut left = left.split(' ').skip(3);
        fits.then_some((PathBuf::from(left.next()?), PathBuf::from(left.next()?)))
    })
}

/// Version 2: whether groups below may have the controller, or can be allowed to.
fn delegate(parent: &Path, controller: Controller) -> bool {
    // Part of the cpu controller there.
    if controller == Controller::Cpuacct {
        return false;
    }
    let control = parent.join("cgroup.subtree_control");
    let enabled = || {
        let content = fs::read_to_string(&control).unwrap_or_default();
        content.split_whitespace().any(|name| name == controller.name())
    };
    // Refused while processes are in the parent itself, unless it is the root of the tree.
    enabled() || (fs::write(&control, format!("+{}", controller.name())).is_ok() && enabled())
}

/// Removes what workers that are no more left behind; the kernel keeps what is in use.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Not empty after all: somebody else's.
            drop(fs::remove_dir(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 30 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    fn place(own: &str, mounts: &str, controller: Controller) -> Option<(Version, String)> {
        let (version, path) = places(own, mounts).remove(&controller)?;
        Some((version, path.display().to_string()))
    }

    #[test]
    fn on_a_hybrid_host_version_one_has_the_controllers_it_has() {
        let own = "4:memory:/a/b\n2:cpu,cpuacct:/docker/abc\n0::/\n";
        let at = |controller| place(own, HYBRID, controller);
        assert_eq!(
            at(Controller::Memory),
            Some((Version::One, "/sys/fs/cgroup/memory/a/b".to_owned()))
        );
        let cpu = Some((Version::One, "/sys/fs/cgroup/cpu,cpuacct/".to_owned()));
        assert_eq!((at(Controller::Cpu), at(Controller::Cpuacct)), (cpu.clone(), cpu));
        assert_eq!(
            at(Controller::Pids),
            Some((Version::Two, "/sys/fs/cgroup/unified/".to_owned()))
        );
    }

    #[test]
    fn version_two_is_one_place_for_all() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = "0::/system.slice/baton.service\n";
        let expected = "/sys/fs/cgroup/system.slice/baton.service".to_owned();
        assert_eq!(place(own, mounts, Controller::Memory), Some((Version::Two, expected)));
    }

    #[test]
    fn a_group_writes_what_its_version_reads() {
        let limits = Limits { cpu_millis: Some(500), ..Limits::default() };
        let files = |controller, version| {
            settings(controller, version, &limits)
                .into_iter()
                .map(|(f, v, _)| format!("{f}={v}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            files(Controller::Memory, Version::Two),
            ["memory.max=1073741824", "memory.swap.max=0"]
        );
        assert_eq!(files(Controller::Cpu, Version::Two), ["cpu.max=50000 100000"]);
        assert_eq!(files(Controller::Cpu, Version::One), ["cpu.cfs_quota_us=50000"]);
        assert_eq!(files(Controller::Pids, Version::One), ["pids.max=272"]);
    }
}
