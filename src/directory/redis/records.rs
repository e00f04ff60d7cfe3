//! What is written into Redis, with its version, and how it is read back.
//!
//! Replicas of two releases share one Redis during an upgrade. A field may be added; anything else is a new
//! version, which the release before must have learned to read. `epoch` and `incarnation` are compared as text by the
//! scripts: 20 digits in every version.

use serde::{Deserialize, Serialize};

use crate::directory::{
    Audience, Change, DirectoryError, DirectoryEvent, Launch, LaunchClaim, List, MAX_CHANGES,
};
use crate::domain::ids::{
    EnvironmentId, Incarnation, OwnerDigest, TenantDigest, Timestamp, WorkerId,
};
use crate::domain::placement::{Epoch, Placement, Sighting, WorkerReport, WorkerState};

const VERSION: u32 = 1;

/// A fencing number as the scripts compare it.
pub(super) fn fencing(number: u64) -> String {
    format!("{number:020}")
}

/// A moment as the scripts read it: Lua numbers and scores are exact up to here.
pub(super) fn moment(at: Timestamp) -> u64 {
    const MOST: u64 = (1 << 53) - 1;
    at.as_millis().min(MOST)
}

/// A 16-byte digest in hexadecimal.
pub(super) fn digest(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

#[derive(Serialize, Deserialize)]
struct ReportRecord {
    v: u32,
    worker: String,
    incarnation: u64,
    url: String,
    draining: bool,
    capacity: u32,
    environments: u32,
    running: u32,
    list_digest: String,
}

/// A worker's report as `reports` holds it.
pub(super) fn report(report: &WorkerReport) -> String {
    let record = ReportRecord {
        v: VERSION,
        worker: report.worker.to_string(),
        incarnation: report.incarnation.0,
        url: report.url.clone(),
        draining: report.state == WorkerState::Draining,
        capacity: report.capacity,
        environments: report.environments,
        running: report.running,
        list_digest: digest(&report.list_digest),
    };
    serde_json::to_string(&record).expect("a record of numbers and text has a JSON form")
}

/// Reads a report back. One that cannot be read fails the whole fleet: a shorter fleet would look like the truth.
pub(super) fn sighting(seen: u64, text: &str) -> Result<Sighting, DirectoryError> {
    let read = || {
        let record: ReportRecord = serde_json::from_str(text).ok()?;
        let report = WorkerReport {
            worker: WorkerId::parse(&record.worker).ok()?,
            incarnation: Incarnation(record.incarnation),
            url: record.url,
            state: if record.draining { WorkerState::Draining } else { WorkerState::Serving },
            capacity: record.capacity,
            environments: record.environments,
            running: record.running,
            list_digest: u128::from_str_radix(&record.list_digest, 16).ok()?.to_be_bytes(),
        };
        (record.v == VERSION).then_some(report)
    };
    let report = read().ok_or_else(|| unreadable("a worker's report"))?;
    Ok(Sighting { report, seen: Timestamp::from_millis(seen) })
}

/// The fields of an environment's record that [`placement`] reads.
pub(super) const PLACEMENT: [&str; 4] = ["v", "worker", "epoch", "released"];

/// The fields as Redis answers them.
pub(super) type PlacementFields = (Option<u32>, Option<String>, Option<String>, Option<String>);

/// Reads a placement back; there is none where there is no record, or the environment has been released.
pub(super) fn placement(fields: PlacementFields) -> Result<Option<Placement>, DirectoryError> {
    let (version, worker, epoch, released) = fields;
    let Some(version) = version else { return Ok(None) };
    let read = || {
        let worker = WorkerId::parse(worker.as_deref()?).ok()?;
        let epoch = Epoch(epoch?.parse().ok()?);
        (version == VERSION).then_some(Placement { worker, epoch })
    };
    let placement = read().ok_or_else(|| unreadable("an environment's placement"))?;
    Ok(released.is_none().then_some(placement))
}

/// Reads what a claim to a launch came to.
pub(super) fn launch_claim(
    word: &str,
    environment: &str,
    not_after: u64,
) -> Result<LaunchClaim, DirectoryError> {
    let environment = EnvironmentId::from_hex(environment);
    let launch = environment
        .map(|environment| Launch { environment, not_after: Timestamp::from_millis(not_after) });
    match (word, launch) {
        ("yours", Some(launch)) => Ok(LaunchClaim::Yours(launch)),
        ("made", Some(launch)) => Ok(LaunchClaim::Made(launch)),
        ("under-way", _) => Ok(LaunchClaim::UnderWay),
        _ => Err(unreadable("the environment that a key names")),
    }
}

/// Reads an entry of a worker's index: the tenant, and the moment it was written.
pub(super) fn indexed(entry: &str) -> Result<(TenantDigest, u64), DirectoryError> {
    let read = || {
        let (tenant, at) = entry.split_once(' ')?;
        Some((TenantDigest::from_hex(tenant)?, at.parse().ok()?))
    };
    read().ok_or_else(|| unreadable("an entry of a worker's index"))
}

/// The most bytes that an event's message has, which is room for [`MAX_CHANGES`]; a longer one is not looked at.
const MAX_EVENT: usize = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct EventRecord {
    v: u32,
    replica: String,
    changes: Vec<ChangeRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
enum ChangeRecord {
    /// For everybody where there is no owner.
    List {
        list: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
    },
    Environment {
        environment: String,
        owner: String,
    },
    Everything,
}

impl ChangeRecord {
    fn of(change: &Change) -> Self {
        match change {
            Change::List { list, audience } => Self::List {
                list: list.as_str().to_owned(),
                owner: match audience {
                    Audience::Everybody => None,
                    Audience::Owner(owner) => Some(owner.to_string()),
                },
            },
            Change::Environment { environment, owner } => {
                Self::Environment { environment: environment.to_string(), owner: owner.to_string() }
            }
            Change::Everything => Self::Everything,
        }
    }

    fn read(self) -> Option<Change> {
        Some(match self {
            Self::List { list, owner } => Change::List {
                list: List::ALL.into_iter().find(|it| it.as_str() == list)?,
                audience: match owner {
                    None => Audience::Everybody,
                    Some(owner) => Audience::Owner(OwnerDigest::from_hex(&owner)?),
                },
            },
            Self::Environment { environment, owner } => Change::Environment {
                environment: EnvironmentId::from_hex(&environment)?,
                owner: OwnerDigest::from_hex(&owner)?,
            },
            Self::Everything => Change::Everything,
        })
    }
}

/// An event as its channel carries it.
pub(super) fn event(event: &DirectoryEvent) -> String {
    let changes = event.changes.iter().map(ChangeRecord::of).collect();
    let record = EventRecord { v: VERSION, replica: event.replica.clone(), changes };
    serde_json::to_string(&record).expect("a record of numbers and text has a JSON form")
}

/// Reads an event back.
pub(super) fn told(message: &[u8]) -> Option<DirectoryEvent> {
    if message.len() > MAX_EVENT {
        return None;
    }
    let record: EventRecord = serde_json::from_slice(message).ok()?;
    if record.v != VERSION || record.changes.len() > MAX_CHANGES {
        return None;
    }
    let changes = record.changes.into_iter().map(ChangeRecord::read).collect::<Option<_>>()?;
    Some(DirectoryEvent { replica: record.replica, changes })
}

/// What a script or a record should not have held.
pub(super) fn unreadable(what: &str) -> DirectoryError {
    DirectoryError::Unreadable { what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_report() -> WorkerReport {
        WorkerReport {
            worker: WorkerId::parse("w1").unwrap(),
            incarnation: Incarnation(u64::MAX),
            url: "http://w1".to_owned(),
            state: WorkerState::Draining,
            capacity: 3,
            environments: 2,
            running: 1,
            list_digest: [7; 16],
        }
    }

    #[test]
    fn a_report_reads_back() {
        let read = sighting(5, &report(&a_report())).unwrap();
        assert_eq!(read, Sighting { report: a_report(), seen: Timestamp::from_millis(5) });
    }

    #[test]
    fn a_field_of_a_later_release_is_passed_over_and_a_later_version_is_refused() {
        let text = report(&a_report());
        assert!(sighting(5, &text.replacen('{', r#"{"zone":"b","#, 1)).is_ok());
        assert!(sighting(5, &text.replace(r#""v":1"#, r#""v":2"#)).is_err());
        assert!(sighting(5, "").is_err());
    }

    #[test]
    fn an_event_reads_back_and_what_is_none_does_not() {
        let owner = OwnerDigest::from_bytes([2; 16]);
        let audiences = [Audience::Everybody, Audience::Owner(owner)];
        let lists = List::ALL.into_iter().zip(audiences.into_iter().cycle());
        let mut changes: Vec<_> =
            lists.map(|(list, audience)| Change::List { list, audience }).collect();
        changes.push(Change::Everything);
        let environment = EnvironmentId::from_bytes([1; 16]);
        changes.resize(MAX_CHANGES, Change::Environment { environment, owner });
        let sent = DirectoryEvent { replica: "r".repeat(128), changes };
        let text = event(&sent);
        assert_eq!(told(text.as_bytes()), Some(sent), "{text}");
        assert!(told(text.replacen('{', r#"{"zone":"b","#, 1).as_bytes()).is_some());
        for unknown in [
            text.replace(r#""v":1"#, r#""v":2"#),
            text.replacen(r#""is":""#, r#""is":"x"#, 1),
            text.replacen('[', r#"[{"is":"everything"},"#, 1),
            format!("{text}{}", " ".repeat(MAX_EVENT)),
            String::new(),
        ] {
            assert_eq!(told(unknown.as_bytes()), None, "{unknown}");
        }
    }

    #[test]
    fn fencing_numbers_sort_as_text() {
        assert!(fencing(9) < fencing(10) && fencing(u64::MAX - 1) < fencing(u64::MAX));
    }
}
