//! Nobody is taken for lost while many are silent: then it is not them, but what is between them and us.

use std::time::Duration;

use crate::domain::ids::Timestamp;
use crate::domain::placement::{Sighting, WorkerState};

/// A worker that has said nothing for so long cannot be counted on.
const SILENT_AFTER: Duration = Duration::from_secs(15);
/// A worker silent for longer is out of the table; until then its environments are unreachable, not gone.
const FORGET_AFTER: Duration = Duration::from_mins(5);
/// Likewise while too many are silent: whole fleets are replaced by new ones, too.
const FORGET_AT_LAST: Duration = Duration::from_hours(24);

/// How long a silent worker stays in the table now.
pub(super) fn patience<'a>(
    workers: impl Iterator<Item = &'a Sighting>,
    now: Timestamp,
) -> Duration {
    let (mut all, mut silent) = (0_usize, 0);
    for it in workers {
        all += 1;
        // One that said that it was leaving has left.
        let was_to_stay = it.report.state == WorkerState::Serving;
        silent += usize::from(was_to_stay && now.since(it.seen) > SILENT_AFTER);
    }
    if silent * 3 > all { FORGET_AT_LAST } else { FORGET_AFTER }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{Incarnation, WorkerId};
    use crate::domain::placement::WorkerReport;

    fn sightings(states: &str) -> Vec<Sighting> {
        let sighting = |(number, letter): (usize, char)| Sighting {
            seen: Timestamp::from_millis(if letter == 'l' { 90_000 } else { 80_000 }),
            report: WorkerReport {
                worker: WorkerId::parse(&format!("w{number}")).unwrap(),
                incarnation: Incarnation(1),
                url: String::new(),
                state: if letter == 'd' { WorkerState::Draining } else { WorkerState::Serving },
                capacity: 1,
                environments: 0,
                running: 0,
                list_digest: [0; 16],
            },
        };
        states.chars().enumerate().map(sighting).collect()
    }

    #[test]
    fn the_brake_is_on_while_over_a_third_are_silent_that_were_to_stay() {
        // l: lives, s: silent, d: silent since it was draining.
        for (states, expected) in [
            ("", FORGET_AFTER),
            ("l", FORGET_AFTER),
            ("s", FORGET_AT_LAST),
            ("ls", FORGET_AT_LAST),
            ("lls", FORGET_AFTER),
            ("lllss", FORGET_AT_LAST),
            ("llllss", FORGET_AFTER),
            ("ldd", FORGET_AFTER),
        ] {
            let now = Timestamp::from_millis(96_000);
            assert_eq!(patience(sightings(states).iter(), now), expected, "{states}");
        }
    }
}
