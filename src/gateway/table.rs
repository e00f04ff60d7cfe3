//! The table of workers on disk, so that a replica that starts while Redis is away still finds them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::ids::{Incarnation, Timestamp, WorkerId};
use crate::domain::placement::{Sighting, WorkerReport, WorkerState};

/// Version of the file's form.
const VERSION: u32 = 1;
const NAME: &str = "workers.json";

/// The file, and what it holds.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    written: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    workers: Vec<Row>,
}

/// A worker and where it is: what changes from beat to beat is not kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Row {
    worker: String,
    incarnation: u64,
    url: String,
    capacity: u32,
}

impl Table {
    /// The table in a data directory.
    pub(super) fn in_dir(dir: &Path) -> Self {
        Self { path: dir.join(NAME), written: Vec::new() }
    }

    /// The workers that were there when the file was written. A file that cannot be read is as good as none.
    pub(super) fn read(&self) -> Vec<Sighting> {
        let Ok(bytes) = std::fs::read(&self.path) else { return Vec::new() };
        match serde_json::from_slice::<File>(&bytes) {
            Ok(file) if file.version == VERSION => {
                file.workers.into_iter().filter_map(Row::sighting).collect()
            }
            Ok(_) | Err(_) => {
                tracing::warn!(path = %self.path.display(), "table of workers not understood");
                Vec::new()
            }
        }
    }

    /// Writes the table if it changed. A disk that refuses costs only the cold start.
    pub(super) async fn write(&mut self, sightings: &[Sighting]) {
        let mut rows: Vec<Row> = sightings.iter().map(Row::of).collect();
        rows.sort();
        if rows == self.written {
            return;
        }
        let file = File { version: VERSION, workers: rows.clone() };
        let bytes = serde_json::to_vec(&file).expect("a table is plain JSON");
        let temporary = self.path.with_extension("tmp");
        let written = async {
            tokio::fs::write(&temporary, bytes).await?;
            tokio::fs::rename(&temporary, &self.path).await
        };
        match written.await {
            Ok(()) => self.written = rows,
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "table of workers not written");
            }
        }
    }
}

impl Row {
    fn of(sighting: &Sighting) -> Self {
        let report = &sighting.report;
        Self {
            worker: report.worker.to_string(),
            incarnation: report.incarnation.0,
            url: report.url.clone(),
            capacity: report.capacity,
        }
    }

    fn sighting(self) -> Option<Sighting> {
        let report = WorkerReport {
            worker: WorkerId::parse(&self.worker).ok()?,
            incarnation: Incarnation(self.incarnation),
            url: self.url,
            state: WorkerState::Serving,
            capacity: self.capacity,
            environments: 0,
            running: 0,
            list_digest: [0; 16],
        };
        // Not heard yet: it is called for what it holds, and gets nothing new.
        Some(Sighting { report, seen: Timestamp::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn workers_are_found_again_but_get_nothing_new() {
        let dir = std::env::temp_dir().join(format!("baton-table-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let row = Row { worker: "w1".into(), incarnation: 7, url: "http://w1".into(), capacity: 9 };
        let sighting = row.clone().sighting().unwrap();
        Table::in_dir(&dir).write(&[sighting]).await;
        let read = Table::in_dir(&dir).read();
        assert_eq!(read.iter().map(Row::of).collect::<Vec<_>>(), [row]);
        assert_eq!(read[0].seen, Timestamp::default());
        std::fs::write(dir.join(NAME), "{half").unwrap();
        assert!(Table::in_dir(&dir).read().is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
