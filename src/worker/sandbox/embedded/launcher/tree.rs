//! Who is alive inside, how many they are, and how to end all of it but one branch.
//!
//! Init's working directory is a `/proc`: its own in namespaces, else the host's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use std::{fs, io};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a sweep looks again for what was born while it looked.
const ROUNDS: u32 = 200;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(1);

/// Ends every process under init except these and their descendants; false if some would not end.
pub(super) fn sweep(keep: &[Pid]) -> bool {
    let mut before = None;
    for _ in 0..ROUNDS {
        // What cannot be looked at is not clean.
        let seen = Tree::look().ok().map(|tree| tree.others(keep));
        if let Some(others) = &seen {
            for (pid, _) in others.iter().filter(|(_, lives)| **lives) {
                // It may have ended by itself.
                kill(Pid::from_raw(*pid), Signal::SIGKILL).ok();
            }
            // Of one that forks and ends, again and again, a look may see only the dead; but each look sees more.
            if before == seen && others.values().all(|lives| !lives) {
                return true;
            }
        }
        before = seen;
        std::thread::sleep(BETWEEN_ROUNDS);
    }
    false
}

/// Processes and threads of a process and its descendants; counting ends past `most`.
pub(super) fn tasks(root: i32, most: u64) -> u64 {
    let mut found = 0;
    let mut waiting = vec![root];
    while let Some(pid) = waiting.pop() {
        let Ok(tasks) = fs::read_dir(format!("{pid}/task")) else { continue };
        for task in tasks.flatten() {
            found += 1;
            if found > most {
                return found;
            }
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            waiting.extend(children.split_ascii_whitespace().filter_map(|c| c.parse::<i32>().ok()));
        }
    }
    found
}

/// Every process there is, by its pid.
struct Tree(BTreeMap<i32, Entry>);

struct Entry {
    parent: i32,
    /// One that only waits to be reaped does not.
    lives: bool,
}

impl Tree {
    fn look() -> io::Result<Self> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(".")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|it| it.parse().ok()) else {
                continue;
            };
            match fs::read_to_string(format!("{pid}/stat")) {
                Ok(stat) => {
                    if let Some(entry) = Entry::read(pid, &stat) {
                        found.insert(pid, entry);
                    }
                }
                Err(error) if is_gone_or_foreign(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self(found))
    }

    /// All under init but these and what comes from them, and whether each lives.
    fn others(&self, keep: &[Pid]) -> BTreeMap<i32, bool> {
        let mut kept = BTreeSet::new();
        for pid in keep {
            kept.insert(pid.as_raw());
            kept.extend(self.descendants(pid.as_raw()));
        }
        let all = self.descendants(Pid::this().as_raw());
        all.difference(&kept).map(|pid| (*pid, self.0[pid].lives)).collect()
    }

    /// All that come from `root`, without itself.
    fn descendants(&self, root: i32) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        let mut last = usize::MAX;
        while last != found.len() {
            last = found.len();
            let more = self
                .0
                .iter()
                .filter(|(_, it)| it.parent == root || found.contains(&it.parent))
                .map(|(pid, _)| *pid);
            found = more.collect();
        }
        found
    }
}

impl Entry {
    /// From `proc_pid_stat(5)`.
    fn read(pid: i32, stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, and may have any byte in it.
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
        // A process is called dead when its first thread is.
        let lives = !matches!(fields.next()?, "Z" | "X") || has_more_threads(pid);
        Some(Self { parent: fields.next()?.parse().ok()?, lives })
    }
}

fn has_more_threads(pid: i32) -> bool {
    fs::read_dir(format!("{pid}/task")).is_ok_and(|tasks| tasks.take(2).count() == 2)
}

/// Reaped meanwhile, or one of others' that the host's `/proc` hides from us.
fn is_gone_or_foreign(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::EACCES | libc::EPERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: i32 = i32::MAX;

    fn tree(parents: &[(i32, i32)]) -> Tree {
        let entry = |&(pid, parent)| (pid, Entry { parent, lives: true });
        Tree(parents.iter().map(entry).collect())
    }

    #[test]
    fn a_name_may_look_like_fields() {
        let read = |stat| Entry::read(NOBODY, stat).map(|it| (it.parent, it.lives));
        assert_eq!(read("7 (a) S 1 (b) R 5 7 7 0"), Some((5, true)));
        assert_eq!(read("7 (sh) Z 5 7"), Some((5, false)));
        assert_eq!(read("nonsense"), None);
    }

    #[test]
    fn descendants_are_found_through_every_generation() {
        let tree = tree(&[(2, 1), (9, 2), (3, 9), (4, 1), (5, 4)]);
        assert_eq!(tree.descendants(2), BTreeSet::from([3, 9]));
        assert_eq!(tree.descendants(1), BTreeSet::from([2, 3, 4, 5, 9]));
    }

    #[test]
    fn others_come_from_init_and_from_none_that_is_kept() {
        let own = Pid::this().as_raw();
        let tree = tree(&[(NOBODY, own), (1_000_001, NOBODY), (1_000_002, own), (1_000_003, 1)]);
        let others = tree.others(&[Pid::from_raw(NOBODY)]);
        assert_eq!(others, BTreeMap::from([(1_000_002, true)]));
    }
}
