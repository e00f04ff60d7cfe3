//! What a sandbox uses at this moment: exactly from its control group, else by looking at each process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};

use super::cgroup::Group;
use super::wire::Counting;
use crate::worker::sandbox::Limits;

/// Kernel ticks of processor time in a second, on every Linux that user space can see.
const TICKS: u64 = 100;
/// A workspace with deeper directories than this counts as too large, lest something hides there.
const DEEPEST: u32 = 100;

/// What to look at; a measurement takes it to a thread that may block.
#[derive(Debug)]
pub(super) struct Gauge {
    pub(super) group: Group,
    /// Whether the group limits memory; otherwise we have to watch it.
    pub(super) memory_enforced: bool,
    /// Who limits processes.
    pub(super) counted_by: Counting,
    /// The pid of init on the host.
    pub(super) init: i32,
    /// Opened when the sandbox was made, so it is the same directory under any name.
    pub(super) workspace: OwnedFd,
    pub(super) limits: Limits,
}

/// One measurement.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) tasks: u64,
    pub(super) memory_exceeded: bool,
    pub(super) too_many: bool,
    pub(super) disk: Option<DiskUsage>,
}

/// What is in the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskUsage {
    pub(super) bytes: u64,
    pub(super) entries: u64,
    /// How long it took to find out.
    pub(super) effort: Duration,
}

impl DiskUsage {
    pub(super) fn exceeds(&self, limits: &Limits) -> bool {
        self.bytes > limits.workspace_bytes || self.entries > limits.workspace_entries
    }

    pub(super) fn grew_since(&self, earlier: &Self) -> bool {
        self.bytes > earlier.bytes || self.entries > earlier.entries
    }
}

/// Whether to look through the workspace, which takes longer than all the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Processes,
    ProcessesAndDisk,
}

impl Gauge {
    pub(super) fn measure(&self, scope: Scope) -> Usage {
        let (cpu, tasks) = (self.group.cpu_time(), self.group.tasks());
        let by_hand = cpu.is_none() || tasks.is_none() || !self.memory_enforced;
        let seen = if by_hand { processes(self.init, &self.limits) } else { Processes::default() };
        let disk = match scope {
            Scope::Processes => None,
            // A workspace that cannot be read is being changed: the next look will tell.
            Scope::ProcessesAndDisk => disk_usage(self.workspace.as_fd(), &self.limits).ok(),
        };
        let tasks = tasks.unwrap_or(seen.tasks);
        Usage {
            cpu: cpu.unwrap_or(seen.cpu),
            tasks,
            too_many: self.counted_by == Counting::Init && tasks > self.limits.processes,
            memory_exceeded: !self.memory_enforced && seen.exceeds(self.limits.memory_bytes),
            disk,
        }
    }

    /// How many processes there are now.
    pub(super) fn tasks(&self) -> u64 {
        self.group.tasks().unwrap_or_else(|| processes(self.init, &self.limits).tasks)
    }
}

/// All processes under init.
#[derive(Debug, Default)]
struct Processes {
    pids: Vec<i32>,
    cpu: Duration,
    tasks: u64,
    /// Resident pages of each, counted again for each that shares them; see [`resident_bytes`].
    resident_bytes: u64,
}

impl Processes {
    /// The cheap figure counts shared pages several times; only the dear one is a reason to act.
    ///
    /// gVisor has no dear one: what is shared there counts for each.
    fn exceeds(&self, limit: u64) -> bool {
        self.resident_bytes > limit && {
            if !Path::new("/proc/self/smaps_rollup").exists() {
                return true;
            }
            let proportional = self.pids.iter().filter_map(|pid| proportional_bytes(*pid));
            proportional.sum::<u64>() > limit
        }
    }
}

fn processes(init: i32, limits: &Limits) -> Processes {
    let mut found = Processes::default();
    let mut waiting = vec![init];
    // There cannot be many more than the limit; what is born while we look is for the next look.
    let most = usize::try_from(limits.processes).unwrap_or(usize::MAX).saturating_mul(2);
    while let Some(pid) = waiting.pop() {
        if found.pids.len() > most {
            break;
        }
        let base = Path::new("/proc").join(pid.to_string());
        let Ok(tasks) = fs::read_dir(base.join("task")) else { continue };
        for task in tasks.flatten() {
            found.tasks += 1;
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            waiting.extend(children.split_ascii_whitespace().filter_map(|c| c.parse::<i32>().ok()));
        }
        let stat = fs::read_to_string(base.join("stat")).unwrap_or_default();
        found.cpu += cpu_time(&stat).unwrap_or_default();
        let status = fs::read_to_string(base.join("status")).unwrap_or_default();
        found.resident_bytes += resident_bytes(&status);
        found.pids.push(pid);
    }
    found
}

/// `proc_pid_stat(5)`: utime, stime, and those of children that have been waited for.
fn cpu_time(stat: &str) -> Option<Duration> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    // The field after the name is the third; utime is the fourteenth.
    let ticks: u64 = after_name
        .split_ascii_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

/// Memory that is of no file, or all of it where the kernel makes no difference, as gVisor's.
fn resident_bytes(status: &str) -> u64 {
    match kibibytes(status, "RssAnon:") {
        Some(anonymous) => anonymous + kibibytes(status, "RssShmem:").unwrap_or_default(),
        None => kibibytes(status, "VmRSS:").unwrap_or_default(),
    }
}

fn proportional_bytes(pid: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(kibibytes(&rollup, "Pss_Anon:")? + kibibytes(&rollup, "Pss_Shmem:").unwrap_or_default())
}

fn kibibytes(content: &str, key: &str) -> Option<u64> {
    let value = content.lines().find_map(|line| line.strip_prefix(key))?;
    Some(value.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Adds up a directory without following a link in it.
fn disk_usage(workspace: impl AsFd, limits: &Limits) -> io::Result<DiskUsage> {
    let began = Instant::now();
    let mut usage = DiskUsage { bytes: 0, entries: 0, effort: Duration::ZERO };
    let root = Dir::openat(workspace.as_fd(), ".", DIRECTORY, Mode::empty())?;
    add_up(root, DEEPEST, limits, &mut usage)?;
    usage.effort = began.elapsed();
    Ok(usage)
}

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn add_up(mut dir: Dir, depth: u32, limits: &Limits, usage: &mut DiskUsage) -> io::Result<()> {
    let here = dir.as_fd().try_clone_to_owned()?;
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        usage.entries += 1;
        if usage.entries > limits.workspace_entries {
            return Ok(());
        }
        // It may be gone since it was listed, or be somebody's who lets nobody look.
        let Ok(stat) = fstatat(&here, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
        usage.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
            continue;
        }
        let Some(depth) = depth.checked_sub(1) else {
            usage.entries = u64::MAX;
            return Ok(());
        };
        // Without O_PATH gVisor follows a link that has taken the directory's place.
        let place = openat(&here, name, DIRECTORY | OFlag::O_PATH, Mode::empty());
        if let Ok(below) = place.and_then(|it| Dir::openat(it, ".", DIRECTORY, Mode::empty())) {
            add_up(below, depth, limits, usage)?;
        }
        if usage.entries > limits.workspace_entries {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_workspace_is_added_up_without_following_its_links() {
        let root = std::env::temp_dir().join(format!("baton-usage-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), vec![1; 100_000]).unwrap();
        symlink("/usr", root.join("a/usr")).unwrap();
        let limits = Limits::default();
        let measure = || disk_usage(fs::File::open(&root).unwrap(), &limits).unwrap();
        let usage = measure();
        assert_eq!(usage.entries, 4);
        assert!((100_000..200_000).contains(&usage.bytes), "{usage:?}");

        let mut deep = root.clone();
        deep.extend(std::iter::repeat_n("d", usize::try_from(DEEPEST).unwrap() + 1));
        fs::create_dir_all(&deep).unwrap();
        assert!(measure().exceeds(&limits), "what is too deep to count is too much");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn memory_is_found_in_what_each_kernel_says_of_it() {
        let linux = "VmRSS:\t 900 kB\nRssAnon:\t 200 kB\nRssFile:\t 600 kB\nRssShmem:\t 100 kB\n";
        assert_eq!(resident_bytes(linux), 300 << 10);
        assert_eq!(resident_bytes("VmSize:\t10680 kB\nVmRSS:\t4376 kB\n"), 4376 << 10);
        assert_eq!(resident_bytes("State:\tZ (zombie)\n"), 0);
    }

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 0 10 0 0 0 150 50 25 25 20 0 1 0";
        assert_eq!(cpu_time(stat), Some(Duration::from_millis(2500)));
    }
}
