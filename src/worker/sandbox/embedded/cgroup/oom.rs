//! How often the kernel ended a process of a sandbox for want of memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::{Controller, Group, Version, keyed};

/// More than the file ever says.
const LONGEST: usize = 512;

/// The file that counts it, if there is one. It stays open, for each call asks at its end, while its client waits.
#[derive(Debug)]
pub(in crate::worker::sandbox::embedded) struct OomKills(Option<File>);

impl OomKills {
    pub(in crate::worker::sandbox::embedded) fn of(group: &Group) -> Self {
        let counted =
            group.directories.get(&Controller::Memory).and_then(|(version, directory)| {
                let file = match version {
                    Version::One => "memory.oom_control",
                    Version::Two => "memory.events",
                };
                File::open(directory.join(file)).ok()
            });
        Self(counted)
    }

    /// How often until now.
    pub(in crate::worker::sandbox::embedded) fn count(&self) -> u64 {
        let mut content = [0; LONGEST];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut content, 0).ok());
        let text = str::from_utf8(&content[..read.unwrap_or(0)]).unwrap_or_default();
        keyed(text, "oom_kill").unwrap_or(0)
    }
}
