//! The worker's directory.
//!
//! ```text
//! lock                              held while a worker uses the directory
//! incarnation                       how often it was started, as a number that only grows
//! environments/<id>/record.json     what the environment is
//! environments/<id>/journal/        its tasks and calls with a key: what was started, and how it ended
//! environments/<id>/workspace/      its files, all that its sandbox sees of this
//! pool/<n>/                         workspaces of sandboxes that wait for an environment
//! scratch/                          the sandbox runtime's own short-lived files
//! trash/<n>/                        what is being removed
//! ```
//!
//! Pool, scratch and trash are emptied at each start. Only its owner may enter the directory.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::files::{open_up, private_dir, private_file, replace, sync_dir};
use super::record::Record;
use crate::domain::ids::{EnvironmentId, Incarnation, Timestamp};

const RECORD: &str = "record.json";
const WORKSPACE: &str = "workspace";
const JOURNAL: &str = "journal";

/// Why a worker cannot use its directory.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another process holds the lock.
    #[error("{path} is in use by another worker")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Something else lies there; taking it over would shut its owners out.
    #[error("{path} has files of others: name a directory of its own with --data-dir")]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{path} cannot be used")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The worker's directory, locked as long as this lives.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    /// Of the directories on the way to a workspace.
    mode: u32,
    next: AtomicU64,
    _lock: File,
}

impl Disk {
    /// Makes what is missing, locks it, and empties what did not survive.
    pub(super) fn open(root: &Path) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Io { path: root.to_owned(), source };
        let root = std::path::absolute(root).map_err(failed)?;
        private_dir(&root).map_err(failed)?;
        if !is_ours(&root).map_err(failed)? {
            return Err(DiskError::Foreign { path: root });
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let lock = private_file(&root.join("lock")).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => DiskError::InUse { path: root.clone() },
            fs::TryLockError::Error(source) => failed(source),
        })?;
        let disk = Self { root, mode: 0o700, next: AtomicU64::new(0), _lock: lock };
        disk.prepare().map_err(failed)?;
        Ok(disk)
    }

    /// Lets others pass on their way to a workspace, which they can neither list nor enter unless it is theirs: for
    /// code that has a uid of its own and no mounts, and so reaches its workspace by its path.
    pub(super) fn let_pass(mut self) -> Result<Self, DiskError> {
        self.mode = 0o711;
        let environments = self.root.join("environments");
        let mut ways = vec![self.root.clone(), environments.clone(), self.root.join("scratch")];
        let opened = fs::read_dir(&environments).and_then(|entries| {
            for entry in entries {
                ways.push(entry?.path());
            }
            ways.iter()
                .try_for_each(|way| fs::set_permissions(way, fs::Permissions::from_mode(self.mode)))
        });
        opened.map_err(|source| DiskError::Io { path: self.root.clone(), source })?;
        Ok(self)
    }

    fn prepare(&self) -> io::Result<()> {
        for name in ["environments", "trash", "pool", "scratch"] {
            private_dir(&self.root.join(name))?;
        }
        // What lies in the trash keeps its name until it is gone, so new names begin above.
        for entry in fs::read_dir(self.root.join("trash"))? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok()).unwrap_or(0);
            self.next.fetch_max(number + 1, Ordering::Relaxed);
        }
        for name in ["trash", "pool", "scratch"] {
            for entry in fs::read_dir(self.root.join(name))? {
                let path = entry?.path();
                if let Err(error) = self.remove_tree(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove what is left over");
                }
            }
        }
        Ok(())
    }

    /// The number of this start: above the last one's, and not below the time, so that a lost file does no harm.
    pub(super) fn next_incarnation(&self, now: Timestamp) -> Result<Incarnation, DiskError> {
        let path = self.root.join("incarnation");
        let next = || {
            let last = match fs::read_to_string(&path) {
                Ok(text) => text.trim().parse().unwrap_or(0),
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(error),
            };
            let next = now.as_millis().max(last + 1);
            replace(&path, next.to_string().as_bytes())?;
            Ok(Incarnation(next))
        };
        next().map_err(|source| DiskError::Io { path: path.clone(), source })
    }

    /// Every environment on the disk. One that cannot be read is left as it is, for people to look at.
    pub(super) fn recover(&self) -> Result<Vec<Record>, DiskError> {
        let environments = self.root.join("environments");
        let failed = |source| DiskError::Io { path: environments.clone(), source };
        let mut records = Vec::new();
        for entry in fs::read_dir(&environments).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(id) = name.and_then(EnvironmentId::from_hex) else { continue };
            match fs::read(path.join(RECORD)) {
                Ok(bytes) => match Record::from_json(&bytes) {
                    Ok(record) if record.environment == id => records.push(record),
                    Ok(_) => tracing::error!(environment = id.log_name(), "another one's record"),
                    Err(error) => {
                        tracing::error!(environment = id.log_name(), %error, "left on disk unread");
                    }
                },
                // Its creation was never answered.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if !path.join(WORKSPACE).exists() {
                        self.remove_tree(&path).map_err(failed)?;
                    }
                }
                Err(error) => {
                    tracing::error!(environment = id.log_name(), %error, "left on disk unread");
                }
            }
        }
        Ok(records)
    }

    /// Writes a record so that either the old one or the new one survives whatever happens.
    pub(super) fn save(&self, record: &Record) -> io::Result<()> {
        let directory = self.environment(record.environment);
        let is_new = !directory.exists();
        if is_new {
            private_dir(&directory)?;
            fs::set_permissions(&directory, fs::Permissions::from_mode(self.mode))?;
        }
        replace(&directory.join(RECORD), &record.to_json())?;
        if is_new {
            sync_dir(&self.root.join("environments"))?;
        }
        Ok(())
    }

    /// Where an environment's files are, or would be.
    pub(super) fn workspace(&self, environment: EnvironmentId) -> PathBuf {
        self.environment(environment).join(WORKSPACE)
    }

    /// Where an environment's tasks are, or would be.
    pub(super) fn journal(&self, environment: EnvironmentId) -> PathBuf {
        self.environment(environment).join(JOURNAL)
    }

    /// Makes a workspace for an environment that has none yet.
    pub(super) fn make_workspace(&self, environment: EnvironmentId) -> io::Result<PathBuf> {
        let path = self.workspace(environment);
        private_dir(&path)?;
        Ok(path)
    }

    /// Makes a workspace for a sandbox that waits for an environment.
    pub(super) fn make_spare_workspace(&self) -> io::Result<PathBuf> {
        let path = self.root.join("pool").join(self.number());
        private_dir(&path)?;
        Ok(path)
    }

    /// Gives a spare workspace to an environment that has none yet.
    pub(super) fn adopt(&self, spare: &Path, environment: EnvironmentId) -> io::Result<()> {
        fs::rename(spare, self.workspace(environment))
    }

    pub(super) fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// Removes an environment's files and tasks; its record stays.
    pub(super) fn remove_contents(&self, environment: EnvironmentId) -> io::Result<()> {
        self.remove_tree(&self.workspace(environment))?;
        self.remove_tree(&self.journal(environment))
    }

    /// Removes every trace of an environment.
    pub(super) fn remove(&self, environment: EnvironmentId) -> io::Result<()> {
        self.remove_tree(&self.environment(environment))
    }

    /// Removes a tree that may be hostile: as deep as its maker liked, and without permissions. Directories are
    /// moved to the trash one by one, so that neither the stack nor a path grows with the depth.
    pub(super) fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let Some(first) = self.discard(path)? else { return Ok(()) };
        let mut directories = vec![first];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    directories.extend(self.discard(&entry.path())?);
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
            fs::remove_dir(&directory)?;
        }
        Ok(())
    }

    /// Moves a directory to the trash and returns where it is now; anything else is removed at once.
    fn discard(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return fs::remove_file(path).map(|()| None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        open_up(path)?;
        let place = self.root.join("trash").join(self.number());
        fs::rename(path, &place)?;
        Ok(Some(place))
    }

    fn number(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }

    fn environment(&self, environment: EnvironmentId) -> PathBuf {
        self.root.join("environments").join(environment.to_string())
    }
}

/// Whether nothing lies there that neither a worker nor a gateway with the same setting writes.
fn is_ours(root: &Path) -> io::Result<bool> {
    const OURS: [&str; 8] =
        ["lock", "environments", "pool", "scratch", "trash", "workers", "worker", "lost+found"];
    // A worker was here before: whatever else came since, it came to a worker's directory.
    if root.join("incarnation").exists() {
        return Ok(true);
    }
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        let stem = Path::new(&name).file_stem().and_then(|stem| stem.to_str());
        let is_key = Path::new(&name).extension().is_some_and(|extension| extension == "key");
        if !is_key && stem.is_none_or(|stem| !OURS.contains(&stem)) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;
    use crate::rpc::wire::Claim;
    use crate::worker::testing::TempDir;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn record(byte: &str) -> Record {
        let claim = Claim {
            environment: byte.repeat(16),
            tenant: "02".repeat(16),
            owner: "03".repeat(16),
            epoch: 1,
            not_after_ms: 60_000,
            ticket: String::new(),
        };
        Record::new(&claim, Duration::from_mins(5), NOW).unwrap()
    }

    #[test]
    fn a_directory_of_others_is_not_taken_over() {
        let dir = TempDir::new();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("workers.json"), b"{}").unwrap();
        fs::write(dir.path().join("signing.key"), b"k").unwrap();
        drop(Disk::open(dir.path()).unwrap());
        fs::write(dir.path().join("notes.txt"), b"n").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(Disk::open(dir.path()), Err(DiskError::Foreign { .. })));
        let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "it is left as it was");
    }

    #[test]
    fn a_link_in_a_directorys_place_keeps_its_targets_mode() {
        let (dir, other) = (TempDir::new(), TempDir::new());
        fs::set_permissions(other.path(), fs::Permissions::from_mode(0o755)).unwrap();
        symlink(other.path(), dir.path().join("link")).unwrap();
        assert!(open_up(&dir.path().join("link")).is_err());
        let mode = fs::metadata(other.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn a_directory_has_one_worker_at_a_time() {
        let dir = TempDir::new();
        let disk = Disk::open(dir.path()).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(Disk::open(dir.path()), Err(DiskError::InUse { .. })));
        drop(disk);
        assert!(Disk::open(dir.path()).is_ok());
    }

    #[test]
    fn incarnations_only_grow() {
        let dir = TempDir::new();
        let disk = Disk::open(dir.path()).unwrap();
        assert_eq!(disk.next_incarnation(NOW).unwrap(), Incarnation(1_000));
        assert_eq!(disk.next_incarnation(NOW).unwrap(), Incarnation(1_001));
        assert_eq!(disk.next_incarnation(Timestamp::from_millis(5)).unwrap(), Incarnation(1_002));
    }

    #[test]
    fn records_are_there_after_a_restart() {
        let dir = TempDir::new();
        let disk = Disk::open(dir.path()).unwrap();
        let (one, mut two) = (record("01"), record("02"));
        disk.save(&one).unwrap();
        disk.save(&two).unwrap();
        two.generation = 4;
        disk.save(&two).unwrap();
        drop(disk);
        let mut found = Disk::open(dir.path()).unwrap().recover().unwrap();
        found.sort_by_key(|record| record.environment);
        assert_eq!(found, [one, two]);
    }

    #[test]
    fn what_a_crash_leaves_half_done_harms_no_environment() {
        let dir = TempDir::new();
        let disk = Disk::open(dir.path()).unwrap();
        disk.save(&record("01")).unwrap();
        let environments = dir.path().join("environments");
        fs::write(environments.join("01".repeat(16)).join("record.half"), b"{\"vers").unwrap();
        let unread = environments.join("02".repeat(16));
        fs::create_dir_all(unread.join("workspace")).unwrap();
        fs::write(unread.join("record.json"), b"{\"vers").unwrap();
        let unanswered = environments.join("03".repeat(16));
        fs::create_dir(&unanswered).unwrap();
        assert_eq!(disk.recover().unwrap(), [record("01")]);
        assert!(unread.join("workspace").exists() && !unanswered.exists());
    }

    #[test]
    fn hostile_trees_are_removed() {
        let dir = TempDir::new();
        let disk = Disk::open(dir.path()).unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, b"kept").unwrap();
        let workspace = disk.make_workspace(record("01").environment).unwrap();
        symlink(&outside, workspace.join("link")).unwrap();
        symlink(dir.path(), workspace.join("dirlink")).unwrap();
        let mut deep = workspace.clone();
        for _ in 0..500 {
            deep.push("d");
            fs::create_dir(&deep).unwrap();
        }
        fs::set_permissions(workspace.join("d"), fs::Permissions::from_mode(0o000)).unwrap();
        disk.remove_contents(record("01").environment).unwrap();
        assert!(!workspace.exists() && outside.exists());
        assert_eq!(fs::read_dir(dir.path().join("trash")).unwrap().count(), 0);
        disk.remove_contents(record("01").environment).unwrap();
    }

    #[test]
    fn a_start_takes_the_rubbish_out() {
        let dir = TempDir::new();
        let disk = Disk::open(dir.path()).unwrap();
        let spare = disk.make_spare_workspace().unwrap();
        fs::create_dir_all(dir.path().join("trash/7/d")).unwrap();
        drop(disk);
        let disk = Disk::open(dir.path()).unwrap();
        assert!(!spare.exists() && !dir.path().join("trash/7").exists());
        let spare = disk.make_spare_workspace().unwrap();
        disk.save(&record("01")).unwrap();
        disk.adopt(&spare, record("01").environment).unwrap();
        assert!(disk.workspace(record("01").environment).exists() && !spare.exists());
    }
}
