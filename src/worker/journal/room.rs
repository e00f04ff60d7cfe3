//! What a journal holds at most, and what goes when that is not enough.

use std::collections::HashMap;

use super::Entry;
use crate::domain::ids::{ExecutionId, Timestamp};

/// How many tasks of one environment are kept. More than this cannot be under way: its queue is shorter.
pub(super) const MAX_TASKS: usize = 64;
/// How many bytes their entries may take. One outcome is shorter, for it fits into a frame.
const MAX_BYTES: u64 = 64 << 20;

/// Which tasks make room for so many bytes more: first those whose time is over, then those whose outcome was read, the
/// oldest first. None if these are too few: what was promised and not read stays.
pub(super) fn surplus(
    entries: &HashMap<ExecutionId, Entry>,
    more: u64,
    now: Timestamp,
) -> Option<Vec<ExecutionId>> {
    let is_over = |it: &Entry| it.head.state.is_terminal() && it.head.keep_until <= now;
    let may_go = entries.values().filter(|it| is_over(it) || it.is_read);
    let mut may_go: Vec<_> = may_go.collect();
    may_go.sort_unstable_by_key(|it| (!is_over(it), it.head.updated, it.head.execution));
    let mut size = entries.values().map(|entry| entry.size).sum::<u64>() + more;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::domain::task::TaskState;
    use crate::rpc::task::JobKind;
    use crate::worker::journal::Head;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn entry(number: u8, state: TaskState, size: u64) -> Entry {
        let updated = NOW.after(Duration::from_millis(number.into()));
        let execution = ExecutionId::from_bytes([number; 16]);
        let (kind, created, keep_until) = (JobKind::Python, NOW, NOW);
        let head = Head { execution, kind, created, updated, keep_until, state };
        Entry { head, size, is_read: false, ended: CancellationToken::new() }
    }

    #[test]
    fn what_is_over_makes_room_then_what_was_read_and_nothing_else() {
        let third = MAX_BYTES / 3;
        let gone = |entries: [Entry; 3], bytes, now| {
            let entries = entries.into_iter().map(|it| (it.head.execution, it)).collect();
            let surplus = surplus(&entries, bytes, now)?.into_iter();
            Some(surplus.map(|execution| execution.as_bytes()[0]).collect::<Vec<_>>())
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
}
