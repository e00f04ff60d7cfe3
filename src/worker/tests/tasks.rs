//! Tasks of sandboxes and disks that fail.

use std::io::Write as _;

use super::*;
use crate::rpc::task::{Progress, Reader, Task, TaskReply};
use crate::rpc::wire::TaskTerms;

const SOON: Duration = Duration::from_secs(10);

impl Stage {
    /// A Python task that has ended, as a watcher saw, and whose connection is gone.
    pub(super) async fn task(&self, number: u8, code: &str) -> ExecutionId {
        let execution = ExecutionId::from_bytes([number; 16]);
        let kind = JobKind::Python { code: code.to_owned() };
        let job = Job { kind, timeout: SOON, variables: Vec::new() };
        let answer = self.order(Order { execution, job, task: Some(TaskTerms::default()) });
        found(self.supervisor.detach(&TARGET, execution, None, Duration::ZERO).await);
        drop(answer);
        found(self.look(execution, Reader::Listener).await);
        execution
    }

    async fn look(&self, execution: ExecutionId, reader: Reader) -> TaskReply {
        self.supervisor.task(&TARGET, execution, SOON, reader).await
    }

    /// How a task ended, as its client reads it.
    pub(super) async fn read(&self, execution: ExecutionId) -> Progress {
        found(self.look(execution, Reader::Client).await).progress
    }
}

fn found(reply: TaskReply) -> Task {
    match reply {
        TaskReply::Task(task) => *task,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_task_lost_is_told_to_whoever_comes_before_its_reader() {
    let stage = Stage::with_environment().await;
    let task = stage.task(1, "die").await;
    assert!(is_restarted(&stage.python("ok").await), "it would run without its variables");
    let Progress::Ended { ended: lost } = stage.read(task).await else { panic!("it has ended") };
    assert!(lost.variables_lost);
    ended(stage.python("ok").await);
    // Who reads the outcome again learns nothing of another loss.
    stage.task(2, "die").await;
    stage.read(task).await;
    assert!(is_restarted(&stage.python("ok").await));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_cancelled_task_takes_nobodys_room() {
    let stage = Stage::with_environment().await;
    let large = stage.task(1, "ok").await;
    let entry = stage.record().join(format!("journal/{large}.json"));
    let mut file = fs::File::options().append(true).open(&entry).unwrap();
    file.write_all(&vec![b' '; 64 << 20]).unwrap();
    let stage = stage.again();
    stage.read(large).await;
    assert!(matches!(stage.python("ok").await, Frame::NotStarted(_)), "told once of the restart");
    let cancelled = ExecutionId::from_bytes([2; 16]);
    let kind = JobKind::Python { code: "slow".to_owned() };
    let job = Job { kind, timeout: SOON, variables: Vec::new() };
    let order = Order { execution: cancelled, job, task: Some(TaskTerms::default()) };
    let answer = stage.order(order);
    found(stage.supervisor.detach(&TARGET, cancelled, None, Duration::ZERO).await);
    found(stage.supervisor.cancel_task(&TARGET, cancelled).await);
    answer.last.await.ok();
    assert_eq!(stage.read(cancelled).await, Progress::Cancelled);
    assert!(entry.exists(), "what was read made room for what is not kept");
}

#[tokio::test]
async fn what_a_task_lost_is_told_once_when_its_client_has_read_it() {
    let stage = Stage::with_environment().await;
    let task = stage.task(1, "die").await;
    stage.read(task).await;
    ended(stage.python("ok").await);
}

#[tokio::test]
async fn a_task_that_is_told_of_a_loss_tells_of_it_when_it_is_read() {
    let stage = Stage::with_environment().await;
    ended(stage.python("ok").await);
    stage.python("vanish").await;
    ended(stage.python("ok").await);
    let told = stage.task(1, "vanish").await;
    let too = stage.task(2, "ok").await;
    for task in [told, too] {
        let Progress::NotStarted { why } = stage.read(task).await else { panic!("it ran") };
        assert!(matches!(why, NotStarted::Restarted(_)), "{why:?}");
    }
    let runs = stage.task(3, "ok").await;
    assert!(matches!(stage.read(runs).await, Progress::Ended { .. }), "an end to it");
}

#[tokio::test]
async fn a_task_that_was_promised_makes_no_room_for_another() {
    let stage = Stage::with_environment().await;
    let first = stage.task(0, "ok").await;
    for number in 10..73 {
        stage.task(number, "ok").await;
    }
    let _call = stage.start(JobKind::Python { code: "hang".to_owned() });
    let ordinary = ExecutionId::from_bytes([9; 16]);
    let entered = stage.supervisor.detach(&TARGET, ordinary, None, Duration::ZERO).await;
    assert_eq!(entered, TaskReply::NotKept, "it goes on as a call");
    assert!(matches!(stage.read(first).await, Progress::Ended { .. }));
}

#[tokio::test]
async fn a_task_that_a_bug_of_ours_ends_has_failed() {
    let stage = Stage::with_environment().await;
    let task = stage.task(1, "panic").await;
    assert_eq!(stage.read(task).await, Progress::Failed { reason: "sandbox-lost".to_owned() });
    assert!(is_restarted(&stage.python("ok").await));
}
