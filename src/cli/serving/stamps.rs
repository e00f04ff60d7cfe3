//! Whether files have changed, told by what the file system says of them.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What tells one state of a file from another without reading it. Through links: a Kubernetes volume changes by one.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// The files that are watched, and how they were.
#[derive(Debug)]
pub(super) struct Stamps {
    files: Vec<PathBuf>,
    /// When they were read.
    read: Vec<Stamp>,
    /// When they were last looked at.
    seen: Vec<Stamp>,
}

impl Stamps {
    /// How these files are now.
    pub(super) fn of<'a>(files: impl Iterator<Item = &'a Path>) -> Self {
        let mut files: Vec<PathBuf> = files.map(Path::to_owned).collect();
        files.sort();
        files.dedup();
        let now = stamps(&files);
        Self { files, read: now.clone(), seen: now }
    }

    /// Looks again. A change counts once, when two looks have seen the same: a file that is just being written
    /// would be read in half.
    pub(super) fn have_changed(&mut self) -> bool {
        self.look(stamps(&self.files))
    }

    /// Watches these from now on; those that were watched before count from when they were read.
    pub(super) fn watch<'a>(&mut self, files: impl Iterator<Item = &'a Path>) {
        let before = std::mem::replace(self, Self::of(files));
        for (place, file) in self.files.iter().enumerate() {
            if let Some(old) = before.files.iter().position(|it| it == file) {
                (self.read[place], self.seen[place]) = (before.read[old], before.seen[old]);
            }
        }
    }

    fn look(&mut self, now: Vec<Stamp>) -> bool {
        let settled = now == self.seen;
        let changed = settled && now != self.read;
        if changed {
            self.read.clone_from(&now);
        }
        self.seen = now;
        changed
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let it = file.metadata().ok()?;
        Some((it.dev(), it.ino(), it.size(), it.mtime(), it.mtime_nsec()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(size: u64) -> Vec<Stamp> {
        vec![Some((1, 1, size, 0, 0))]
    }

    #[test]
    fn a_change_counts_once_and_when_it_has_settled() {
        let mut stamps = Stamps { files: vec!["f".into()], read: state(1), seen: state(1) };
        assert!(!stamps.look(state(1)));
        assert!(!stamps.look(state(2)), "perhaps half of it");
        assert!(!stamps.look(state(3)), "still being written");
        assert!(stamps.look(state(3)));
        assert!(!stamps.look(state(3)));
        assert!(!stamps.look(vec![None]), "between a removal and a rename");
        assert!(!stamps.look(state(3)), "back as it was");
        assert!(!stamps.look(vec![None]) && stamps.look(vec![None]), "gone");
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        let folder = std::env::temp_dir().join(format!("baton-stamps-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (one, other) = (folder.join("one"), folder.join("other"));
        let (link, swap) = (folder.join("link"), folder.join("swap"));
        std::fs::write(&one, "a").unwrap();
        std::fs::write(&other, "b").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let mut stamps = Stamps::of([link.as_path()].into_iter());
        assert!(!stamps.have_changed());
        std::os::unix::fs::symlink(&other, &swap).unwrap();
        std::fs::rename(&swap, &link).unwrap();
        assert!(!stamps.have_changed() && stamps.have_changed());
        stamps.watch([link.as_path(), one.as_path()].into_iter());
        assert!(!stamps.have_changed());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
