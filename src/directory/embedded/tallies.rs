//! Running totals in which every operation counts once.

use std::collections::HashMap;

use super::Overfull;
use crate::directory::{MAX_TALLY_OPERATIONS, Tally};
use crate::domain::ids::{TallyId, Timestamp};

/// Most tallies.
const MAX_TALLIES: usize = 10_000;
/// Most operations in all tallies together.
const MAX_OPERATIONS: usize = 1_000_000;

#[derive(Debug, Default)]
pub(super) struct Tallies {
    open: HashMap<TallyId, Open>,
    operations: usize,
}

#[derive(Debug)]
struct Open {
    total: i64,
    /// The total after each operation.
    operations: HashMap<Box<str>, i64>,
    until: Timestamp,
}

impl Tallies {
    pub(super) fn open(
        &mut self,
        tally: TallyId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), Overfull> {
        if self.open.get(&tally).is_some_and(|it| now < it.until) {
            return Ok(());
        }
        self.remove(tally);
        if self.open.len() >= MAX_TALLIES {
            return Err(Overfull("tallies"));
        }
        self.open.insert(tally, Open { total: 0, operations: HashMap::new(), until });
        Ok(())
    }

    pub(super) fn add(
        &mut self,
        tally: TallyId,
        operation: &str,
        amount: i64,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Tally, Overfull> {
        let Some(open) = self.open.get_mut(&tally).filter(|it| now < it.until) else {
            return Ok(Tally::Lost);
        };
        if let Some(total) = open.operations.get(operation) {
            return Ok(Tally::Total { total: *total, repeated: true });
        }
        if open.operations.len() >= MAX_TALLY_OPERATIONS as usize {
            return Ok(Tally::Full);
        }
        let Some(total) = open.total.checked_add(amount) else { return Ok(Tally::Overflow) };
        if self.operations >= MAX_OPERATIONS {
            return Err(Overfull("operations of tallies"));
        }
        self.operations += 1;
        open.operations.insert(operation.into(), total);
        (open.total, open.until) = (total, until);
        Ok(Tally::Total { total, repeated: false })
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.open.retain(|_, it| now < it.until);
        self.operations = self.open.values().map(|it| it.operations.len()).sum();
    }

    fn remove(&mut self, tally: TallyId) {
        if let Some(removed) = self.open.remove(&tally) {
            self.operations -= removed.operations.len();
        }
    }
}
