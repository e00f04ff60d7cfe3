//! Control groups: exact limits on all processes of a sandbox together, where we may make groups.
//!
//! Version 2 is one tree with files for everything. Version 1, and hosts with both, have a tree for
//! each controller; a sandbox then has a group in each.

mod oom;
mod places;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::worker::sandbox::Limits;
pub(super) use oom::OomKills;
use places::{delegate, places};

/// What a group of ours is called, before the worker's pid and a number.
const PREFIX: &str = "baton-";
/// How many were made: by this process, in which there may be several runtimes.
static MADE: AtomicU64 = AtomicU64::new(0);
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
    abandoned: Arc<Mutex<Vec<Group>>>,
}

/// The groups of one sandbox, to be read.
#[derive(Clone, Debug)]
pub(super) struct Group {
    directories: BTreeMap<Controller, (Version, PathBuf)>,
}

/// The groups of one sandbox, to be removed at its end.
///
/// Dropped while processes are in them, they go when the next ones are made.
#[derive(Debug)]
pub(super) struct GroupLease {
    group: Group,
    abandoned: Arc<Mutex<Vec<Group>>>,
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
            let parents = BTreeMap::from([(*controller, place.clone())]);
            let alone = Self { parents, abandoned: Arc::default() };
            match alone.create(&Limits::default()) {
                Ok(lease) => lease.group.remove_once(),
                Err(_) => false,
            }
        });
        found
    }

    pub(super) fn has(&self, controller: Controller) -> bool {
        self.parents.contains_key(&controller)
    }

    pub(super) fn create(&self, limits: &Limits) -> io::Result<GroupLease> {
        self.abandoned().retain(|group| !group.remove_once());
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
            Ok(()) => Ok(GroupLease { group, abandoned: Arc::clone(&self.abandoned) }),
            Err(error) => {
                group.remove_once();
                Err(error)
            }
        }
    }

    fn abandoned(&self) -> MutexGuard<'_, Vec<Group>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupLease {
    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    /// Removes the groups once they are empty, which their processes' end makes them.
    pub(super) async fn remove(self) {
        const ATTEMPTS: u32 = 100;
        const PAUSE: Duration = Duration::from_millis(10);
        for _ in 0..ATTEMPTS {
            if self.group.remove_once() {
                return;
            }
            // The kernel lets a group go a moment after its last process; there is no event for it.
            tokio::time::sleep(PAUSE).await;
        }
        tracing::warn!(group = ?self.group, "a control group stays behind: it is not empty");
    }
}

impl Drop for GroupLease {
    fn drop(&mut self) {
        if !self.group.remove_once() {
            let mut abandoned = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
            abandoned.push(self.group.clone());
        }
    }
}

impl Group {
    /// The files through which a process enters.
    pub(super) fn entrances(&self) -> Vec<PathBuf> {
        self.distinct().map(|directory| directory.join("cgroup.procs")).collect()
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
        keyed(&self.read(controller, file)?, key)
    }
}

/// The number behind a key.
fn keyed(content: &str, key: &str) -> Option<u64> {
    content.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
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
    // The kernel takes nothing smaller.
    let quota = quota.map(|micros| micros.max(1000));
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
