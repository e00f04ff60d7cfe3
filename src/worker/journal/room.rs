//! What a journal holds at most, and what goes when that is not enough.

use std::collections::HashMap;
use std::time::Duration;

use super::Entry;
use crate::domain::ids::{ExecutionId, Timestamp};
use crate::rpc::keyed::MAX_KEPT_OUTCOME;

/// How many tasks of one environment are kept. More than this cannot be under way: its queue is shorter.
pub(super) const MAX_TASKS: usize = 64;
/// How many bytes their entries may take. One outcome is shorter, for it fits into a frame.
const MAX_BYTES: u64 = 64 << 20;

/// How many idempotency keys of one environment are kept, beside its tasks.
pub(super) const MAX_KEYED: usize = 4096;
/// How many bytes their entries may take. Who starts has room for its outcome.
const MAX_KEYED_BYTES: u64 = 128 << 20;
/// The bytes of one that has not ended: its outcome at most, and the first line.
const UNENDED: u64 = MAX_KEPT_OUTCOME as u64 + 4096;
/// For how long after its end a key is kept whatever else comes: a client that repeats does so within this.
const YOUNG: Duration = Duration::from_mins(5);
/// For how long it is kept where there is room.
const KEYED_TERM: Duration = Duration::from_hours(24);
/// How many may wait for one execution.
pub(super) const MAX_CALLERS: usize = 16;

/// Whether nobody needs it any more.
pub(super) fn is_over(entry: &Entry, now: Timestamp) -> bool {
    let head = &entry.head;
    let is_told = !head.is_task || head.keep_until <= now;
    let is_repeated = head.key.is_some() && now < head.updated.after(KEYED_TERM);
    head.state.is_terminal() && is_told && !is_repeated
}

/// Whether it takes one of the [`MAX_TASKS`] places: a client may still ask for it.
pub(super) fn is_kept_task(entry: &Entry, now: Timestamp) -> bool {
    let head = &entry.head;
    head.is_task && !(head.state.is_terminal() && head.keep_until <= now)
}

/// Which tasks make room for so many bytes more: first those whose time is over, then those whose outcome was read, the
/// oldest first. None if these are too few: what was promised and not read stays, and what may be repeated soon.
pub(super) fn surplus(
    entries: &HashMap<ExecutionId, Entry>,
    more: u64,
    now: Timestamp,
) -> Option<Vec<ExecutionId>> {
    let is_done = |it: &Entry| !is_kept_task(it, now);
    let tasks = || entries.values().filter(|it| it.head.is_task);
    let may_go = tasks().filter(|it| (is_done(it) || it.is_read) && !is_young(it, now));
    let mut may_go: Vec<_> = may_go.collect();
    may_go.sort_unstable_by_key(|it| (!is_done(it), it.head.updated, it.head.execution));
    let mut size = tasks().map(|entry| entry.size).sum::<u64>() + more;
    let mut surplus = Vec::new();
    for entry in may_go {
        if size <= MAX_BYTES {
            break;
        }
        size -= entry.size;
        surplus.push(entry.head.execution);
    }
    (size <= MAX_BYTES).then_some(surplus)
}

/// Which keys make room for those that are taken in: of those that ended long enough ago, the oldest. If these are too few,
/// how long until the next one may go.
pub(super) fn keyed_surplus(
    entries: &HashMap<ExecutionId, Entry>,
    now: Timestamp,
) -> Result<Vec<ExecutionId>, Duration> {
    let keyed = || entries.values().filter(|it| !it.head.is_task);
    let bytes = |it: &Entry| if it.head.state.is_terminal() { it.size } else { UNENDED };
    let mut count = keyed().count();
    let mut size = keyed().map(bytes).sum::<u64>();
    let mut surplus = Vec::new();
    if count <= MAX_KEYED && size <= MAX_KEYED_BYTES {
        return Ok(surplus);
    }
    let mut ended: Vec<_> = keyed().filter(|it| it.head.state.is_terminal()).collect();
    ended.sort_unstable_by_key(|it| (it.head.updated, it.head.execution));
    for entry in ended {
        if count <= MAX_KEYED && size <= MAX_KEYED_BYTES {
            break;
        }
        if is_young(entry, now) {
            return Err(entry.head.updated.after(YOUNG).since(now));
        }
        count -= 1;
        size -= entry.size;
        surplus.push(entry.head.execution);
    }
    Ok(surplus)
}

fn is_young(entry: &Entry, now: Timestamp) -> bool {
    entry.head.key.is_some() && now < entry.head.updated.after(YOUNG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ArgumentsDigest;
    use crate::domain::task::TaskState;
    use crate::rpc::task::JobKind;
    use crate::worker::journal::Head;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn entry(number: u16, state: TaskState, size: u64) -> Entry {
        let updated = NOW.after(Duration::from_millis(number.into()));
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let execution = ExecutionId::from_bytes(id);
        let (kind, created, keep_until, key) = (JobKind::Python, NOW, NOW, None);
        let is_task = true;
        let head = Head { execution, key, is_task, kind, created, updated, keep_until, state };
        Entry { size, ..Entry::new(head) }
    }

    fn keyed(number: u16, state: TaskState, size: u64) -> Entry {
        let entry = entry(number, state, size);
        let key = Some(ArgumentsDigest::from_bytes([1; 16]));
        Entry { head: Head { key, is_task: false, ..entry.head }, ..entry }
    }

    fn number(execution: ExecutionId) -> u16 {
        let [high, low, ..] = *execution.as_bytes();
        u16::from_be_bytes([high, low])
    }

    fn table(entries: impl IntoIterator<Item = Entry>) -> HashMap<ExecutionId, Entry> {
        entries.into_iter().map(|it| (it.head.execution, it)).collect()
    }

    #[test]
    fn what_is_over_makes_room_then_what_was_read_and_nothing_else() {
        let third = MAX_BYTES / 3;
        let gone = |entries: [Entry; 3], bytes, now| {
            let surplus = surplus(&table(entries), bytes, now)?.into_iter();
            Some(surplus.map(number).collect::<Vec<_>>())
        };
        let ended = |number| entry(number, TaskState::Completed, third);
        let read = |number| Entry { is_read: true, ..ended(number) };
        let (before, over) = (Timestamp::from_millis(999), NOW);
        assert_eq!(gone([3, 1, 2].map(ended), 1, before), Some(vec![]), "there is room");
        assert_eq!(gone([3, 1, 2].map(ended), 2, before), None, "all are promised");
        assert_eq!(gone([3, 1, 2].map(ended), third, over), Some(vec![1]));
        assert_eq!(gone([3, 1, 2].map(read), third + 2, before), Some(vec![1, 2]));
        let mixed = || {
            let mut promised = read(1);
            promised.head.keep_until = NOW.after(Duration::from_secs(1));
            [promised, ended(2), entry(3, TaskState::Working, third)]
        };
        assert_eq!(gone(mixed(), third, over), Some(vec![2]), "what is over goes first");
        assert_eq!(gone(mixed(), 2 * third, over), Some(vec![2, 1]));
        assert_eq!(gone(mixed(), MAX_BYTES, over), None, "what goes on stays");
    }

    #[test]
    fn the_oldest_key_makes_room_and_a_young_one_never() {
        let full = |size| {
            let many = u16::try_from(MAX_KEYED).unwrap();
            let ended = (1..=many).map(move |number| keyed(number, TaskState::Completed, size));
            table(ended.chain([keyed(many + 1, TaskState::Working, 0)]))
        };
        // The first ended a millisecond after the others began to count.
        let aged = NOW.after(Duration::from_millis(1)).after(YOUNG);
        let room = keyed_surplus(&full(10), aged).unwrap();
        assert_eq!(room.into_iter().map(number).collect::<Vec<_>>(), [1]);
        assert_eq!(keyed_surplus(&full(10), NOW), Err(YOUNG + Duration::from_millis(1)));
        let large = MAX_KEYED_BYTES / 4;
        let few = [1, 2, 3, 4].map(|number| keyed(number, TaskState::Completed, large));
        let few = table(few.into_iter().chain([keyed(9, TaskState::Working, 0)]));
        let room = keyed_surplus(&few, aged.after(YOUNG)).unwrap();
        assert_eq!(room.into_iter().map(number).collect::<Vec<_>>(), [1], "its outcome has room");
    }

    #[test]
    fn a_key_is_kept_for_its_term_and_a_task_for_its_own() {
        let ended = keyed(1, TaskState::Completed, 1);
        let term = ended.head.updated.after(KEYED_TERM);
        assert!(!is_over(&ended, NOW.after(KEYED_TERM)) && is_over(&ended, term));
        let task = entry(1, TaskState::Completed, 1);
        assert!(is_over(&task, NOW) && !is_kept_task(&task, NOW));
        assert!(!is_over(&keyed(1, TaskState::Working, 1), term), "what goes on stays");
    }
}
