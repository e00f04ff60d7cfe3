//! A journal's entry as it stands on disk: one line that says what it is, then the outcome if there is one.
//!
//! Both are in one file, so that there is no state without its outcome; a start reads first lines only.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::ids::{ArgumentsDigest, ExecutionId, Timestamp};
use crate::domain::task::{TaskFailure, TaskState};
use crate::rpc::task::JobKind;
use crate::worker::files::{HALF, private_dir, replace, sync_dir};

/// The version that is written. Fields may be added with a default; anything else is another version.
const VERSION: u32 = 1;
/// Longest first line.
const MAX_HEAD: u64 = 4096;

/// What is known of an execution that is a task, or has an idempotency key, but for its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) struct Head {
    /// Of one that has a key, the key's digest.
    pub(in crate::worker) execution: ExecutionId,
    /// What a repeat must be called with, if it has a key.
    pub(in crate::worker) key: Option<ArgumentsDigest>,
    /// Whether a client may have been told of it as a task.
    pub(in crate::worker) is_task: bool,
    pub(in crate::worker) kind: JobKind,
    pub(in crate::worker) created: Timestamp,
    /// When the state last changed.
    pub(in crate::worker) updated: Timestamp,
    /// Until when it must be found, if it is a task. On disk it lags behind: polls move it on in memory alone.
    pub(in crate::worker) keep_until: Timestamp,
    pub(in crate::worker) state: TaskState,
}

/// Writes an entry so that either the old one or the new one survives whatever happens. Returns its size.
pub(super) fn write(directory: &Path, head: &Head, outcome: &[u8]) -> io::Result<u64> {
    if !directory.exists() {
        private_dir(directory)?;
        let parent = directory.parent().expect("a journal lies beside its environment's record");
        // The next write tries both again.
        sync_dir(parent).inspect_err(|_| {
            fs::remove_dir(directory).ok();
        })?;
    }
    let mut content = first_line(head);
    content.extend_from_slice(outcome);
    replace(&path(directory, head.execution), &content)?;
    Ok(content.len() as u64)
}

/// The outcome of a task that has one.
pub(super) fn outcome(directory: &Path, execution: ExecutionId) -> io::Result<Vec<u8>> {
    let mut content = fs::read(path(directory, execution))?;
    let end = content.iter().position(|byte| *byte == b'\n').ok_or(io::ErrorKind::InvalidData)?;
    content.drain(..=end);
    Ok(content)
}

/// Removes an entry; one that is not there is removed already.
pub(super) fn remove(directory: &Path, execution: ExecutionId) -> io::Result<()> {
    match fs::remove_file(path(directory, execution)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What lies in a journal's directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Every entry that reads, and its size.
    pub(super) heads: Vec<(Head, u64)>,
    /// Of which executions there are entries that do not. They are left as they are, for people to look at.
    pub(super) unread: HashSet<ExecutionId>,
}

/// Lists a journal. What an earlier start did not write to its end is removed, for nothing else would.
pub(super) fn list(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == HALF) {
            fs::remove_file(&path)
                .unwrap_or_else(|error| tracing::warn!(path = %path.display(), %error, "it stays"));
            continue;
        }
        let name = path.file_stem().and_then(|name| name.to_str());
        let is_entry = path.extension().is_some_and(|extension| extension == "json");
        let Some(execution) = name.and_then(ExecutionId::from_hex).filter(|_| is_entry) else {
            continue;
        };
        match read(&path) {
            Ok((head, size)) if head.execution == execution => listing.heads.push((head, size)),
            Ok(_) => {
                tracing::error!(path = %path.display(), "another execution's entry");
                listing.unread.insert(execution);
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "left on disk unread");
                listing.unread.insert(execution);
            }
        }
    }
    Ok(listing)
}

fn read(path: &Path) -> io::Result<(Head, u64)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut line = Vec::new();
    BufReader::new(file).take(MAX_HEAD).read_until(b'\n', &mut line)?;
    Ok((head(&line)?, size))
}

/// Reads a first line.
pub(in crate::worker) fn head(line: &[u8]) -> io::Result<Head> {
    let stored: Stored = serde_json::from_slice(line)?;
    Ok(stored.read().ok_or(io::ErrorKind::InvalidData)?)
}

/// The first line of an entry, its end included.
pub(in crate::worker) fn first_line(head: &Head) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Stored::from(head)).expect("an entry's head is JSON");
    line.push(b'\n');
    line
}

fn path(directory: &Path, execution: ExecutionId) -> PathBuf {
    directory.join(format!("{execution}.json"))
}

/// Ids are hexadecimal, moments in milliseconds since the Unix epoch.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    execution: String,
    /// Hexadecimal, where there is a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default = "is_task")]
    is_task: bool,
    kind: JobKind,
    created_ms: u64,
    updated_ms: u64,
    keep_until_ms: u64,
    state: StoredState,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
enum StoredState {
    Working,
    Completed,
    Failed { reason: String },
    Cancelled,
}

/// Once all were.
fn is_task() -> bool {
    true
}

impl From<&Head> for Stored {
    fn from(head: &Head) -> Self {
        Self {
            version: VERSION,
            execution: head.execution.to_string(),
            key: head.key.map(|arguments| arguments.to_string()),
            is_task: head.is_task,
            kind: head.kind,
            created_ms: head.created.as_millis(),
            updated_ms: head.updated.as_millis(),
            keep_until_ms: head.keep_until.as_millis(),
            state: head.state.into(),
        }
    }
}

impl Stored {
    fn read(self) -> Option<Head> {
        if self.version != VERSION {
            return None;
        }
        let key = match &self.key {
            Some(arguments) => Some(ArgumentsDigest::from_hex(arguments)?),
            None => None,
        };
        Some(Head {
            key,
            is_task: self.is_task,
            execution: ExecutionId::from_hex(&self.execution)?,
            kind: self.kind,
            created: Timestamp::from_millis(self.created_ms),
            updated: Timestamp::from_millis(self.updated_ms),
            keep_until: Timestamp::from_millis(self.keep_until_ms),
            state: self.state.read()?,
        })
    }
}

impl From<TaskState> for StoredState {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Working => Self::Working,
            TaskState::Completed => Self::Completed,
            TaskState::Failed { reason } => Self::Failed { reason: reason.as_str().to_owned() },
            TaskState::Cancelled => Self::Cancelled,
        }
    }
}

impl StoredState {
    fn read(self) -> Option<TaskState> {
        Some(match self {
            Self::Working => TaskState::Working,
            Self::Completed => TaskState::Completed,
            Self::Failed { reason } => TaskState::Failed { reason: TaskFailure::parse(&reason)? },
            Self::Cancelled => TaskState::Cancelled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::testing::TempDir;

    fn head(byte: u8, state: TaskState) -> Head {
        let at = Timestamp::from_millis;
        let execution = ExecutionId::from_bytes([byte; 16]);
        let (created, updated, keep_until) = (at(1), at(2), at(3));
        let (kind, key, is_task) = (JobKind::Shell, None, true);
        Head { execution, key, is_task, kind, created, updated, keep_until, state }
    }

    #[test]
    fn an_entry_reads_back_in_every_state() {
        let dir = TempDir::new();
        let journal = dir.path().join("tasks");
        assert_eq!(list(&journal).unwrap(), Listing::default());
        let states = [
            TaskState::Working,
            TaskState::Completed,
            TaskState::Failed { reason: TaskFailure::OutcomeLost },
            TaskState::Cancelled,
        ];
        let heads = (1..).zip(states).map(|(byte, state)| head(byte, state));
        let key = Some(ArgumentsDigest::from_bytes([7; 16]));
        let keyed = Head { key, is_task: false, ..head(9, TaskState::Working) };
        let heads = heads.chain([keyed]);
        let mut written: Vec<(Head, u64)> =
            heads.map(|head| (head, write(&journal, &head, b"").unwrap())).collect();
        let mut found = list(&journal).unwrap().heads;
        found.sort_by_key(|(head, _)| head.execution);
        assert_eq!(found, written);
        for (head, _) in written.drain(..) {
            remove(&journal, head.execution).unwrap();
            remove(&journal, head.execution).unwrap();
        }
        assert_eq!(list(&journal).unwrap(), Listing::default());
    }

    #[test]
    fn an_entry_of_before_there_were_keys_is_a_tasks() {
        let dir = TempDir::new();
        let head = head(1, TaskState::Working);
        write(dir.path(), &head, b"").unwrap();
        let path = path(dir.path(), head.execution);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(r#""is_task":true,"#, "")).unwrap();
        assert_eq!(list(dir.path()).unwrap().heads[0].0, head);
    }

    #[test]
    fn an_outcome_stands_behind_the_first_line() {
        let dir = TempDir::new();
        let head = head(1, TaskState::Completed);
        for text in [&b"{\"a\":\n1}"[..], b""] {
            let size = write(dir.path(), &head, text).unwrap();
            assert_eq!(outcome(dir.path(), head.execution).unwrap(), text);
            assert_eq!(list(dir.path()).unwrap().heads, [(head, size)]);
        }
    }

    #[test]
    fn what_does_not_read_is_left_where_it_is() {
        let dir = TempDir::new();
        let good = head(1, TaskState::Working);
        write(dir.path(), &good, b"").unwrap();
        let text = fs::read_to_string(path(dir.path(), good.execution)).unwrap();
        let other = text.replace("\"version\":1", "\"version\":2");
        let spoilt: [(u8, &[u8]); 4] =
            [(2, b""), (3, &[b'x'; 9000]), (4, text.as_bytes()), (5, other.as_bytes())];
        for (byte, content) in spoilt {
            fs::write(path(dir.path(), ExecutionId::from_bytes([byte; 16])), content).unwrap();
        }
        let found = list(dir.path()).unwrap();
        assert_eq!(found.heads.iter().map(|(head, _)| *head).collect::<Vec<_>>(), [good]);
        assert_eq!(
            found.unread,
            spoilt.map(|(byte, _)| ExecutionId::from_bytes([byte; 16])).into()
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 5);
    }

    #[test]
    fn what_was_not_written_to_its_end_is_removed() {
        let dir = TempDir::new();
        let whole = head(1, TaskState::Working);
        write(dir.path(), &whole, b"").unwrap();
        let half = path(dir.path(), ExecutionId::from_bytes([2; 16])).with_extension(HALF);
        fs::write(&half, b"{").unwrap();
        assert_eq!(list(dir.path()).unwrap().heads.len(), 1);
        assert!(!half.exists());
    }
}
