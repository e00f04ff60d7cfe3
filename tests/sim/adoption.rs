//! An environment moves between two workers that stand still: what an adoption will do, done to their disks.

use std::fs;
use std::path::Path;

use baton::domain::ids::{EnvironmentId, OwnerDigest, TenantDigest, Timestamp, WorkerId};
use baton::domain::placement::{Epoch, Holding, Placement};
use baton::domain::ticket::Ticket;
use serde_json::Value;

use crate::dice::Dice;
use crate::hosts::signing;

/// Gives every other environment of a worker to another one, or to itself, under the next epoch.
pub fn adopt(root: &Path, from: &str, to: &str, dice: &Dice) {
    let directory = |worker: &str| root.join(worker).join("environments");
    let entries = fs::read_dir(directory(from)).into_iter().flatten().flatten();
    let mut environments: Vec<_> = entries.map(|it| it.file_name()).collect();
    environments.sort();
    for name in environments {
        if dice.percent(50) {
            continue;
        }
        let old = directory(from).join(&name);
        let Ok(record) = fs::read(old.join("record.json")) else { continue };
        let mut record: Value = serde_json::from_slice(&record).expect("a record is JSON");
        if record["state"]["is"] == "gone" {
            continue;
        }
        raise(&mut record["claim"], to);
        fs::write(old.join("record.json"), record.to_string()).expect("it was written before");
        if from != to {
            fs::create_dir_all(directory(to)).expect("a directory can be made");
            fs::rename(&old, directory(to).join(&name)).expect("one file system has both");
        }
    }
}

/// The claim of the worker that adopts, with a gateway's ticket for it.
fn raise(claim: &mut Value, worker: &str) {
    let text = |name: &str| claim[name].as_str().expect("a text");
    let number = |name: &str| claim[name].as_u64().expect("a number");
    let epoch = number("epoch") + 1;
    let holding = Holding {
        environment: EnvironmentId::from_hex(text("environment")).expect("an id"),
        tenant: TenantDigest::from_hex(text("tenant")).expect("a digest"),
        owner: OwnerDigest::from_hex(text("owner")).expect("a digest"),
        placement: Placement {
            worker: WorkerId::parse(worker).expect("a name"),
            epoch: Epoch(epoch),
        },
        not_after: Timestamp::from_millis(number("not_after_ms")),
    };
    let ticket = Ticket::seal(&holding, &signing()).to_bytes();
    let hexadecimal = |hex: String, byte: &u8| format!("{hex}{byte:02x}");
    claim["ticket"] = ticket.iter().fold(String::new(), hexadecimal).into();
    claim["epoch"] = epoch.into();
}
