//! Calls with an idempotency key in sandboxes and on disks that fail.

use super::*;
use crate::domain::ids::ArgumentsDigest;
use crate::rpc::task::{Progress, Reader, TaskReply};
use crate::rpc::wire::TaskTerms;
use crate::worker::keyed::Asker;

const KEY: ExecutionId = ExecutionId::from_bytes([9; 16]);

impl Stage {
    fn ask(&self, code: &str, caller: u8) -> Result<Answer, NotStarted> {
        self.ask_for(code, caller, None)
    }

    fn ask_for(
        &self,
        code: &str,
        caller: u8,
        task: Option<TaskTerms>,
    ) -> Result<Answer, NotStarted> {
        let kind = JobKind::Python { code: code.to_owned() };
        let job = Job { kind, timeout: Duration::from_secs(10), variables: Vec::new() };
        let order = Order { execution: KEY, job, task };
        let arguments = ArgumentsDigest::of(&[code]);
        let asker = Asker { arguments, caller: ExecutionId::from_bytes([caller; 16]) };
        let until = Instant::now() + Duration::from_mins(1);
        self.supervisor.execute_keyed(&TARGET, order, asker, until)
    }

    async fn keyed(&self, code: &str) -> Frame {
        self.ask(code, 1).unwrap().last.await.unwrap()
    }

    fn entries(&self) -> usize {
        fs::read_dir(self.record().join("journal")).map_or(0, Iterator::count)
    }

    fn cancel(&self, caller: u8) {
        self.supervisor.cancel(ID, KEY, Some(ExecutionId::from_bytes([caller; 16])));
    }
}

fn progress(frame: Frame) -> Progress {
    match frame {
        Frame::Replayed(task) => task.progress,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_repeat_gets_what_the_first_call_got() {
    let stage = Stage::with_environment().await;
    let first = ended(stage.keyed("ok").await);
    let Progress::Ended { ended } = progress(stage.keyed("ok").await) else { panic!("it ended") };
    assert_eq!((ended.exit_code, ended.duration_us), (first.exit_code, first.duration_us));
    assert_eq!(stage.ask("other", 1).unwrap_err(), NotStarted::KeyConflict);
}

#[tokio::test]
async fn a_refusal_stores_nothing_and_the_key_stays_free() {
    let stage = Stage::with_environment().await;
    stage.broken.store(true, Ordering::Relaxed);
    assert!(is_without_sandbox(&stage.keyed("ok").await));
    assert_eq!(stage.entries(), 0);
    stage.broken.store(false, Ordering::Relaxed);
    ended(stage.keyed("ok").await);
}

#[tokio::test]
async fn who_waits_for_a_call_that_does_not_start_is_told_the_same() {
    let stage = Stage::with_environment().await;
    ended(stage.python("ok").await);
    stage.python("vanish").await;
    ended(stage.python("ok").await);
    // The sandbox vanishes under the first, which is told instead of run again.
    let (first, second) = (stage.ask("vanish", 1).unwrap(), stage.ask("vanish", 2).unwrap());
    assert!(is_restarted(&first.last.await.unwrap()) && is_restarted(&second.last.await.unwrap()));
    assert_eq!(stage.entries(), 0, "what was written before it started is removed");
    ended(stage.keyed("ok").await);
}

#[tokio::test]
async fn without_disk_nothing_with_a_key_starts() {
    let stage = Stage::with_environment().await;
    let journal = stage.record().join("journal");
    fs::write(&journal, b"in the way").unwrap();
    assert_eq!(stage.keyed("ok").await, Frame::NotStarted(NotStarted::KeyNotKept));
    fs::remove_file(&journal).unwrap();
    ended(stage.keyed("ok").await);
    assert_eq!(stage.entries(), 1);
}

#[tokio::test]
async fn a_task_with_a_key_keeps_what_a_call_with_one_does_where_tasks_have_no_room() {
    let stage = Stage::with_environment().await;
    let large = stage.task(1, "ok").await;
    let entry = stage.record().join(format!("journal/{large}.json"));
    fs::File::options().write(true).open(entry).unwrap().set_len(64 << 20).unwrap();
    let stage = stage.again();
    assert!(matches!(stage.python("ok").await, Frame::NotStarted(_)), "told once of the restart");
    let without_key = stage.task(2, "ok").await;
    let lost = Progress::Failed { reason: "outcome-lost".to_owned() };
    assert_eq!(stage.read(without_key).await, lost, "there is no room");
    ended(stage.ask_for("ok", 1, Some(TaskTerms::default())).unwrap().last.await.unwrap());
    assert!(matches!(progress(stage.keyed("ok").await), Progress::Ended { .. }));
}

#[tokio::test]
async fn what_ends_without_a_word_was_interrupted_for_whoever_repeats_it() {
    let stage = Stage::with_environment().await;
    assert!(stage.ask("panic", 1).unwrap().last.await.is_err());
    let lost = Progress::Failed { reason: "sandbox-lost".to_owned() };
    assert_eq!(progress(stage.keyed("panic").await), lost);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_leaves_a_call_running_to_its_own_deadline() {
    let stage = Stage::with_environment().await;
    drop(stage.ask("slow", 1).unwrap());
    let repeat = stage.ask("slow", 2).unwrap();
    assert!(matches!(progress(repeat.last.await.unwrap()), Progress::Ended { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_stops_unless_somebody_else_waits_for_it() {
    let stage = Stage::with_environment().await;
    let (first, second) = (stage.ask("slow", 1).unwrap(), stage.ask("slow", 2).unwrap());
    stage.cancel(1);
    drop(first);
    let Progress::Ended { ended } = progress(second.last.await.unwrap()) else { panic!("ended") };
    assert_eq!(ended.terminated_by, None);

    let stage = Stage::with_environment().await;
    let (first, second) = (stage.ask("slow", 1).unwrap(), stage.ask("slow", 2).unwrap());
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(second);
    stage.cancel(1);
    drop(first);
    let Progress::Ended { ended } = progress(stage.keyed("slow").await) else { panic!("ended") };
    assert_eq!(ended.terminated_by.as_deref(), Some("cancelled"), "and it does not run again");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_overtakes_its_call_stops_it_all_the_same() {
    let stage = Stage::with_environment().await;
    stage.cancel(1);
    let cancelled = Frame::NotStarted(NotStarted::Cancelled);
    assert_eq!(stage.ask("slow", 1).unwrap().last.await.unwrap(), cancelled);
    assert_eq!(stage.entries(), 0);
    let Frame::Ended(ended) = stage.ask("slow", 2).unwrap().last.await.unwrap() else {
        panic!("another caller's call is another")
    };
    assert_eq!(ended.terminated_by, None);
}

#[tokio::test]
async fn a_task_that_did_not_start_leaves_its_key_free() {
    let stage = Stage::with_environment().await;
    stage.broken.store(true, Ordering::Relaxed);
    let refused = stage.ask_for("ok", 1, Some(TaskTerms::default())).unwrap();
    assert!(is_without_sandbox(&refused.last.await.unwrap()));
    stage.broken.store(false, Ordering::Relaxed);
    let task = stage.supervisor.task(&TARGET, KEY, Duration::ZERO, Reader::Client).await;
    let TaskReply::Task(task) = task else { panic!("{task:?}") };
    assert!(matches!(task.progress, Progress::NotStarted { .. }), "its client reads why");
    ended(stage.keyed("other").await);
    assert!(matches!(progress(stage.keyed("other").await), Progress::Ended { .. }));
}

#[tokio::test(start_paused = true)]
async fn one_execution_has_so_many_callers_and_no_more() {
    let stage = Stage::with_environment().await;
    let waiting: Vec<_> = (1..=16).map(|caller| stage.ask("slow", caller).unwrap()).collect();
    let more = stage.ask("slow", 17).unwrap().last.await.unwrap();
    assert_eq!(progress(more), Progress::Working, "it was begun, and is not told otherwise");
    drop(waiting);
    let waits = stage.ask("slow", 17).unwrap().last.await.unwrap();
    assert!(matches!(progress(waits), Progress::Ended { .. }));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_call_that_its_environment_takes_along_is_not_told_that_it_did_not_run() {
    let stage = Stage::with_environment().await;
    let (_running, repeat) = (stage.ask("slow", 1).unwrap(), stage.ask("slow", 2).unwrap());
    tokio::time::sleep(Duration::from_millis(10)).await;
    stage.supervisor.close(&TARGET).await.unwrap();
    let unknown = Progress::Failed { reason: "entry-unread".to_owned() };
    assert_eq!(progress(repeat.last.await.unwrap()), unknown);
}

#[tokio::test]
async fn a_repeat_of_a_call_that_is_a_task_is_the_same_task() {
    let stage = Stage::with_environment().await;
    let terms = Some(TaskTerms::default());
    for caller in [1, 2] {
        stage.ask_for("ok", caller, terms).unwrap().last.await.unwrap();
        let arguments = Some(ArgumentsDigest::of(&["ok"]));
        let task = stage.supervisor.detach(&TARGET, KEY, arguments, Duration::ZERO).await;
        assert!(matches!(task, TaskReply::Task(_)), "{task:?}");
    }
    let other = Some(ArgumentsDigest::of(&["other"]));
    let task = stage.supervisor.detach(&TARGET, KEY, other, Duration::ZERO).await;
    assert_eq!(task, TaskReply::Unknown, "another call's task is not told");
    assert_eq!(stage.entries(), 1);
}
