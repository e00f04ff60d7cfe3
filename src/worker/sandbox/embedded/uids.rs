//! Kernel uids: a sandbox of a root worker has one of its own, so that a way out leads nowhere.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Where they begin if the host has that many: past the users and the dynamic ids of most systems.
const PREFERRED: Range<u32> = 200_000..1_200_000;

/// The uids that sandboxes of this worker may have.
#[derive(Clone, Debug)]
pub(super) struct Uids {
    /// None without root: then a sandbox has the worker's own.
    range: Option<Range<u32>>,
    live: Arc<Mutex<HashSet<u32>>>,
}

/// A uid that no other living sandbox of this worker has.
#[derive(Debug)]
pub(super) struct UidLease {
    uid: u32,
    live: Arc<Mutex<HashSet<u32>>>,
}

impl UidLease {
    pub(super) fn uid(&self) -> u32 {
        self.uid
    }
}

impl Drop for UidLease {
    fn drop(&mut self) {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.uid);
    }
}

impl Uids {
    /// What this process has to give, by its uid map.
    pub(super) fn find() -> io::Result<Self> {
        let range = if nix::unistd::geteuid().is_root() {
            let map = std::fs::read_to_string("/proc/self/uid_map")?;
            Some(
                usable(&map)
                    .ok_or_else(|| io::Error::other("no uids beside root are mapped here"))?,
            )
        } else {
            None
        };
        Ok(Self { range, live: Arc::default() })
    }

    pub(super) fn own_uid_each(&self) -> bool {
        self.range.is_some()
    }

    /// Gives the workspace to a uid, the one it had before if there was one.
    pub(super) fn claim(&self, workspace: &Path) -> io::Result<Option<UidLease>> {
        let Some(range) = &self.range else { return Ok(None) };
        let directory = open_directory(workspace)?;
        let owner = directory.metadata()?.uid();
        if range.contains(&owner) {
            return match self.lease(owner) {
                Some(lease) => Ok(Some(lease)),
                None => Err(io::Error::other("a living sandbox has this workspace or its uid")),
            };
        }
        let lease = self.fresh(range)?;
        fchown(&directory, Some(lease.uid), Some(lease.uid))?;
        directory.set_permissions(Permissions::from_mode(0o700))?;
        Ok(Some(lease))
    }

    fn fresh(&self, range: &Range<u32>) -> io::Result<UidLease> {
        const ATTEMPTS: u32 = 100;
        for _ in 0..ATTEMPTS {
            // Random, so that workspaces of earlier lives of this worker hardly ever share one.
            let random = getrandom::u32().map_err(io::Error::other)?;
            let uid = range.start + random % (range.end - range.start);
            if let Some(lease) = self.lease(uid) {
                return Ok(lease);
            }
        }
        Err(io::Error::other("all uids are taken"))
    }

    fn lease(&self, uid: u32) -> Option<UidLease> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.insert(uid).then(|| UidLease { uid, live: Arc::clone(&self.live) })
    }
}

/// Opens a directory that is one itself, not a link to one.
pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    // Without O_PATH gVisor follows a link that leads to a directory.
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let place = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

/// The preferred range if all of it is mapped, else the upper half of the largest mapped one.
fn usable(uid_map: &str) -> Option<Range<u32>> {
    let mapped: Vec<Range<u32>> = uid_map
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
            let (inside, _outside, count) =
                (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
            Some(inside..inside.saturating_add(count))
        })
        .collect();
    if mapped.iter().any(|range| range.contains(&PREFERRED.start) && PREFERRED.end <= range.end) {
        return Some(PREFERRED);
    }
    let largest = mapped.into_iter().max_by_key(ExactSizeIterator::len)?;
    let half = largest.start + (largest.end - largest.start) / 2;
    (half < largest.end && half > 0).then_some(half..largest.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_the_preferred_uids_and_a_container_what_is_mapped() {
        assert_eq!(usable("         0          0 4294967295"), Some(PREFERRED));
        assert_eq!(usable("0 100000 65536"), Some(32768..65536));
        assert_eq!(usable("0 1000 1"), None);
    }
}
