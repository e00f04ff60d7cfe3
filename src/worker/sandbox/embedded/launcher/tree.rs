//! Who is alive inside, how many they are, and how to end all of it but one branch.
//!
//! Init's working directory is a `/proc`: its own in namespaces, else the host's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a sweep looks again for what was born while it looked.
const ROUNDS: u32 = 200;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(1);

/// Ends every process under init except `keep` and its descendants; false if some would not end.
pub(super) fn sweep(keep: Option<Pid>) -> bool {
    for _ in 0..ROUNDS {
        let alive = alive();
        let mut doomed = descendants(&alive, Pid::this().as_raw());
        if let Some(keep) = keep {
            doomed = &doomed - &descendants(&alive, keep.as_raw());
            doomed.remove(&keep.as_raw());
        }
        if doomed.is_empty() {
            return true;
        }
        for pid in doomed {
            // It may have ended by itself.
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
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

/// Parent of each living process; one that only waits to be reaped is not living.
fn alive() -> BTreeMap<i32, i32> {
    let Ok(entries) = fs::read_dir(".") else { return BTreeMap::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| Some((pid, parent(&fs::read_to_string(format!("{pid}/stat")).ok()?)?)))
        .collect()
}

/// The fourth field of `proc_pid_stat(5)`, unless the third says that the process is dead.
fn parent(stat: &str) -> Option<i32> {
    // The second field is the program's name in parentheses, and may have any byte in it.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.next()?.parse().ok()
}

/// All that come from `root`, without itself.
fn descendants(parents: &BTreeMap<i32, i32>, root: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut last = usize::MAX;
    while last != found.len() {
        last = found.len();
        let more = parents
            .iter()
            .filter(|(_, parent)| **parent == root || found.contains(*parent))
            .map(|(pid, _)| *pid);
        found = more.collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_fields() {
        assert_eq!(parent("7 (a) S 1 (b) R 5 7 7 0"), Some(5));
        assert_eq!(parent("7 (sh) Z 5 7"), None);
        assert_eq!(parent("nonsense"), None);
    }

    #[test]
    fn descendants_are_found_through_every_generation() {
        let parents = BTreeMap::from([(2, 1), (9, 2), (3, 9), (4, 1), (5, 4)]);
        assert_eq!(descendants(&parents, 2), BTreeSet::from([3, 9]));
        assert_eq!(descendants(&parents, 1), BTreeSet::from([2, 3, 4, 5, 9]));
    }
}
