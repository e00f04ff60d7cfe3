//! `tally`: a running total under a name that the caller holds.
//!
//! The handle carries the name alone, so an old one replayed rolls nothing back; the total is in the directory.

use std::time::Duration;

use serde_json::json;

use super::{Call, Tool, ToolAnswer, Tools, arguments, random_id};
use crate::directory::Tally;
use crate::domain::handle::Handle;
use crate::domain::ids::{ExecutionId, Name, TallyId};
use crate::gateway::failure::{Failure, Fault, ToolError};

/// How long a tally lives after its last change, and so how long its handle is good.
const TERM: Duration = Duration::from_hours(24);

impl Tools {
    /// Adds to a tally, once for each operation id.
    pub(super) async fn tally(&self, call: &Call) -> Result<ToolAnswer, Failure> {
        let asked: arguments::Tally = arguments::read(Tool::Tally.name(), call.arguments.as_ref())?;
        let operation = match &asked.operation_id {
            None => ExecutionId::from_bytes(random_id()).to_string(),
            Some(id) => match Name::parse(id) {
                Ok(name) => name.to_string(),
                Err(error) => {
                    return Err(ToolError::not_begun(format!("operationId: {error}.")).into());
                }
            },
        };
        let tally = match &asked.handle {
            Some(token) => {
                Handle::<TallyId>::open(token, &call.caller, &self.keys, self.clock.now())
                    .map_err(|_| no_tally())?
                    .id()
            }
            None => self.begin(call, asked.operation_id.as_deref()).await?,
        };
        let answer = self.directory.add_to_tally(tally, &operation, asked.amount, TERM).await;
        match answer.map_err(|_| away())? {
            Tally::Total { total, repeated } => {
                let handle = Handle::issue(tally, 0, self.clock.now().after(TERM));
                Ok(ToolAnswer::of(json!({
                    "total": total,
                    "tally": handle.seal(&call.caller, &self.keys),
                    "operationId": operation,
                    "repeated": repeated,
                    "instance_id": self.replica,
                })))
            }
            Tally::Lost => Err(ToolError::not_begun(
                "This tally is lost: its total was not kept. Nothing was added, and it does not begin at 0 again. Call \
                 tally without a name for a new one.",
            )
            .into()),
            Tally::Full => Err(ToolError::not_begun(
                "This tally has counted as many additions as it may. Begin a new one with this total.",
            )
            .into()),
            Tally::Overflow => {
                let text = "Nothing was added: the total would no longer fit in 64 bits.";
                Err(ToolError::not_begun(text).into())
            }
        }
    }

    /// Begins a tally. With an operation id its name follows from that, so that a repeat begins no second one.
    async fn begin(&self, call: &Call, operation: Option<&str>) -> Result<TallyId, Failure> {
        let tally = match operation {
            None => TallyId::from_bytes(random_id()),
            Some(operation) => TallyId::derived(&call.caller, operation),
        };
        self.directory.open_tally(tally, TERM).await.map_err(|_| away())?;
        Ok(tally)
    }
}

fn no_tally() -> ToolError {
    ToolError::not_begun(
        "You have no such tally. Pass the name from an earlier result verbatim, or none to begin a new one.",
    )
}

fn away() -> Fault {
    Fault::directory_away()
}
