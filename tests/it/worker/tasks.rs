//! Executions that outlive their connection, and what outlives their worker.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use baton::domain::ids::EnvironmentId;
use baton::rpc::client::{Execution, TraceHeaders};
use baton::rpc::task::{
    CancelTaskRequest, DetachRequest, JobKind, Progress, Reader, Task, TaskReply, TaskRequest,
};
use baton::rpc::wire::{Ended, ExecuteRequest, Job, NotStarted, Otherwise, TaskTerms};

use super::site::{Caller, Environment, IDLE, SOON, Site, last, principal, python, random, shell};

/// A task of an environment, known by its execution.
struct Detached {
    environment: Environment,
    execution: String,
}

impl Detached {
    /// Starts a job and makes a task of it. Its connection is still there.
    async fn start(environment: &Environment, job: Job) -> (Self, Execution) {
        let request = environment.request(job);
        let execution = environment.start(&request).await;
        let task = Self { environment: environment.clone(), execution: request.execution.clone() };
        let entered = found(task.detach().await);
        assert_eq!((entered.progress, entered.kind), (Progress::Working, request.job.kind()));
        (task, execution)
    }

    /// A task whose connection is gone.
    async fn alone(environment: &Environment, job: Job) -> Self {
        Self::start(environment, job).await.0
    }

    /// A task that goes on until it is told to end, which it then is.
    async fn ended(site: &Site, environment: &Environment, line: &str) -> Self {
        let waits = format!("until [ -e go ]; do sleep 0.01; done; rm -f go; {line}");
        let task = Self::alone(environment, shell(&waits)).await;
        let id = environment.id.to_string();
        let workspace = site.dir.path().join("environments").join(id).join("workspace");
        // It is there when the sandbox is.
        crate::cluster::eventually(async || fs::write(workspace.join("go"), b"").is_ok()).await;
        task.end().await;
        task
    }

    /// A task from its start that has ended.
    async fn kept_for(environment: &Environment, ttl: Duration) -> Self {
        let ttl_ms = Some(u64::try_from(ttl.as_millis()).unwrap());
        let task = Some(TaskTerms { ttl_ms, ..TaskTerms::default() });
        let request = ExecuteRequest { task, ..environment.request(shell("true")) };
        environment.run(&request).await.unwrap();
        Self { environment: environment.clone(), execution: request.execution }
    }

    async fn detach(&self) -> TaskReply {
        let Caller { client, peer, .. } = &self.environment.caller;
        let (target, execution) = (self.environment.target(), self.execution.clone());
        let (terms, arguments) = (TaskTerms::default(), None);
        let request = DetachRequest { target, execution, terms, arguments };
        client.detach(peer, &request, SOON, &TraceHeaders::default()).await.unwrap()
    }

    async fn look(&self, wait: Duration) -> TaskReply {
        self.told(wait, Reader::Client).await
    }

    async fn told(&self, wait: Duration, reader: Reader) -> TaskReply {
        let Caller { client, peer, .. } = &self.environment.caller;
        let wait_ms = u64::try_from(wait.as_millis()).unwrap();
        let (target, execution) = (self.environment.target(), self.execution.clone());
        let request = TaskRequest { target, execution, wait_ms, reader };
        client.task(peer, &request, SOON, &TraceHeaders::default()).await.unwrap()
    }

    async fn cancel(&self) -> TaskReply {
        let Caller { client, peer, .. } = &self.environment.caller;
        let (target, execution) = (self.environment.target(), self.execution.clone());
        let request = CancelTaskRequest { target, execution };
        client.cancel_task(peer, &request, SOON, &TraceHeaders::default()).await.unwrap()
    }

    async fn now(&self) -> Task {
        found(self.look(Duration::ZERO).await)
    }

    async fn end(&self) -> Progress {
        found(self.look(SOON).await).progress
    }

    async fn outcome(&self) -> Ended {
        match self.end().await {
            Progress::Ended { ended } => *ended,
            other => panic!("{other:?}"),
        }
    }

    fn at(&self, worker: &super::site::Worker) -> Self {
        Self { environment: self.environment.at(worker), execution: self.execution.clone() }
    }

    fn entry(&self, site: &Site) -> PathBuf {
        journal(site, &self.environment).join(format!("{}.json", self.execution))
    }
}

fn found(reply: TaskReply) -> Task {
    match reply {
        TaskReply::Task(task) => *task,
        other => panic!("{other:?}"),
    }
}

fn journal(site: &Site, environment: &Environment) -> PathBuf {
    site.dir.path().join("environments").join(environment.id.to_string()).join("journal")
}

#[tokio::test]
async fn a_task_goes_on_without_its_connection_and_its_end_is_kept() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    environment.python("x = 1").await;
    // Longer than a call goes on that nobody waits for.
    let task = Detached::alone(&environment, shell("sleep 6; echo done; exit 3")).await;
    // The second waits for its turn, and has no connection either.
    let next = Detached::alone(&environment, python("x + 1")).await;
    assert_eq!(next.now().await.progress, Progress::Working);
    let ended = task.outcome().await;
    assert_eq!((ended.stdout.as_str(), ended.exit_code), ("done\n", 3));
    assert_eq!(next.outcome().await.execution_result.as_deref(), Some("2"));
    assert_eq!(task.outcome().await, ended, "as often as one asks");
    let kinds = [task.now().await.kind, next.now().await.kind];
    assert_eq!(kinds, [JobKind::Shell, JobKind::Python]);
}

#[tokio::test]
async fn whoever_still_waits_for_a_task_gets_its_end_too() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let (task, execution) = Detached::start(&environment, shell("sleep 0.5; echo done")).await;
    let repeated = found(task.detach().await);
    assert_eq!(repeated.created_ms, task.now().await.created_ms, "it is one task");
    let ended = last(execution).await.unwrap();
    assert_eq!(task.outcome().await, *ended);
    assert!(matches!(task.detach().await, TaskReply::Task(_)));
}

#[tokio::test]
async fn what_is_a_task_from_its_start_is_one_however_soon_it_ends() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let request =
        ExecuteRequest { task: Some(TaskTerms::default()), ..environment.request(shell("true")) };
    let ended = environment.run(&request).await.unwrap();
    let task = Detached { environment: environment.clone(), execution: request.execution };
    assert!(matches!(task.detach().await, TaskReply::Task(_)));
    assert_eq!(task.outcome().await, *ended);
}

#[tokio::test]
async fn what_has_ended_becomes_no_task() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let request = environment.request(shell("true"));
    environment.run(&request).await.unwrap();
    let ended = Detached { environment: environment.clone(), execution: request.execution };
    assert_eq!(ended.detach().await, TaskReply::Unknown);
    assert_eq!(ended.look(Duration::ZERO).await, TaskReply::Unknown);
    assert_eq!(ended.cancel().await, TaskReply::Unknown);
    assert!(!journal(&site, &environment).exists());
}

#[tokio::test]
async fn a_task_is_its_owners_and_ends_with_its_environment() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let task = Detached::alone(&environment, shell("sleep 20")).await;
    let mut stranger = environment.clone();
    stranger.claim.owner = principal("mallory").owner_digest().to_string();
    let stranger = Detached { environment: stranger, execution: task.execution.clone() };
    for reply in [stranger.look(SOON).await, stranger.cancel().await, stranger.detach().await] {
        assert_eq!(reply, TaskReply::NotHere(NotStarted::Foreign));
    }
    let unknown =
        Detached { environment: worker.caller.claim(), execution: task.execution.clone() };
    assert_eq!(unknown.look(SOON).await, TaskReply::NotHere(NotStarted::NotMine));

    let close = async {
        let Caller { client, peer, .. } = &environment.caller;
        let request = baton::rpc::wire::CloseRequest { target: environment.target() };
        client.close(peer, &request, SOON, &TraceHeaders::default()).await.unwrap();
    };
    let (reply, ()) = tokio::join!(task.look(SOON), close);
    let gone = TaskReply::NotHere(NotStarted::Gone { reason: "deleted".to_owned() });
    assert_eq!((&reply, &task.look(SOON).await), (&gone, &gone));
    worker.stop().await;
    assert!(!journal(&site, &environment).exists());
}

#[tokio::test]
async fn a_cancelled_task_stops_and_stays_cancelled() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    environment.python("x = 1").await;
    let task = Detached::alone(&environment, python("import time\ntime.sleep(20)")).await;
    let waiting = Detached::alone(&environment, python("x = 2")).await;
    for task in [&waiting, &task] {
        assert_eq!(found(task.cancel().await).progress, Progress::Cancelled);
        assert!(matches!(task.cancel().await, TaskReply::HadEnded(_)), "the second time");
    }
    assert_eq!(environment.python("x").await.execution_result.as_deref(), Some("1"));
    assert_eq!(task.end().await, Progress::Cancelled);
    let ended = Detached::ended(&site, &environment, "true").await;
    let outcome = ended.outcome().await;
    assert!(matches!(ended.cancel().await, TaskReply::HadEnded(_)));
    assert_eq!(ended.outcome().await, outcome, "what ended stays as it ended");
    worker.stop().await;
    let worker = site.worker().await;
    assert_eq!(task.at(&worker).end().await, Progress::Cancelled);
}

#[tokio::test]
async fn a_restart_keeps_what_ended_and_fails_what_was_under_way() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let done = Detached::ended(&site, &environment, "echo kept").await;
    let outcome = done.outcome().await;
    let lost = Detached::alone(&environment, shell("sleep 20")).await;
    let under_way = fs::read(lost.entry(&site)).unwrap();
    worker.stop().await;
    // As a crash would have left it.
    fs::write(lost.entry(&site), under_way).unwrap();
    let failed = Progress::Failed { reason: "worker-restarted".to_owned() };
    for _ in 0..2 {
        let worker = site.worker().await;
        assert_eq!(lost.at(&worker).end().await, failed);
        assert!(matches!(lost.at(&worker).cancel().await, TaskReply::HadEnded(_)));
        assert_eq!(done.at(&worker).outcome().await, outcome);
        worker.stop().await;
    }
    let written = fs::read_to_string(lost.entry(&site)).unwrap();
    assert!(written.contains("worker-restarted"), "{written}");
}

#[tokio::test]
async fn a_drain_waits_for_tasks_and_stops_those_that_take_too_long() {
    let site = Site::new();
    let worker = site.worker().await;
    let (one, other) = (worker.caller.create().await, worker.caller.create().await);
    one.python("1").await;
    other.python("1").await;
    let short = Detached::alone(&one, shell("sleep 1; echo done")).await;
    let long = Detached::alone(&other, shell("echo begun; sleep 20")).await;
    let waits = Detached::alone(&other, shell("true")).await;
    worker.stop().await;
    let worker = site.worker().await;
    assert_eq!(short.at(&worker).outcome().await.stdout, "done\n");
    let stopped = long.at(&worker).outcome().await;
    assert_eq!(stopped.terminated_by.as_deref(), Some("workerStopping"), "nobody cancelled it");
    assert_eq!(stopped.stdout, "begun\n");
    assert!(stopped.hint.is_some_and(|hint| hint.contains("files are kept")));
    let Progress::NotStarted { why } = waits.at(&worker).end().await else { panic!("it ran") };
    assert!(matches!(why, NotStarted::NoSandbox { .. }), "{why:?}");
}

#[tokio::test]
async fn a_task_is_found_as_long_as_was_told_and_keeps_its_environment_until_then() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let task = Detached::kept_for(&environment, 3 * IDLE).await;
    let told = task.now().await.keep_until_ms;
    assert_eq!(told, site.clock.now().after(3 * IDLE).as_millis());
    site.clock.advance(2 * IDLE);
    assert_eq!(task.now().await.keep_until_ms, told);
    site.clock.advance(IDLE / 2);
    let polled = task.now().await.keep_until_ms;
    assert_eq!(polled, site.clock.now().after(IDLE).as_millis(), "a poll is a use");
    // Other calls keep the environment, but not the task.
    site.clock.advance(IDLE / 2);
    environment.shell("true").await;
    assert!(task.entry(&site).exists());
    site.clock.advance(IDLE / 2);
    crate::cluster::eventually(async || !task.entry(&site).exists()).await;
    assert_eq!(task.look(Duration::ZERO).await, TaskReply::Unknown);
    site.clock.advance(IDLE);
    let gone = TaskReply::NotHere(NotStarted::Gone { reason: "expired".to_owned() });
    assert_eq!(task.look(Duration::ZERO).await, gone);
}

#[tokio::test]
async fn a_promise_ends_with_the_environments_life() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let task = Detached::kept_for(&environment, Duration::from_hours(1000)).await;
    let told = task.now().await.keep_until_ms;
    assert_eq!(told, environment.claim.not_after_ms);
}

#[tokio::test]
async fn what_one_task_was_promised_is_not_told_of_another() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let long = Detached::kept_for(&environment, 3 * IDLE).await;
    let short = Detached::kept_for(&environment, Duration::ZERO).await;
    let idle = site.clock.now().after(IDLE).as_millis();
    assert_eq!(short.now().await.keep_until_ms, idle);
    assert_eq!(long.now().await.keep_until_ms, site.clock.now().after(3 * IDLE).as_millis());
    worker.stop().await;
    site.clock.advance(2 * IDLE);
    let worker = site.worker().await;
    assert!(short.at(&worker).now().await.keep_until_ms >= idle);
}

#[tokio::test]
async fn time_without_a_worker_is_not_taken_from_a_task() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let task = Detached::ended(&site, &environment, "true").await;
    worker.stop().await;
    site.clock.advance(2 * IDLE);
    let worker = site.worker().await;
    assert!(matches!(task.at(&worker).end().await, Progress::Ended { .. }));
}

#[tokio::test]
async fn a_disk_that_takes_no_entry_leaves_the_call_as_it_was() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let in_the_way = journal(&site, &environment);
    fs::write(&in_the_way, b"").unwrap();
    let request = environment.request(shell("sleep 0.5; echo done"));
    let execution = environment.start(&request).await;
    let task = Detached { environment: environment.clone(), execution: request.execution };
    assert_eq!(task.detach().await, TaskReply::NotKept);
    assert_eq!(task.look(Duration::ZERO).await, TaskReply::Unknown);
    assert_eq!(last(execution).await.unwrap().stdout, "done\n");
    let from_the_start = |otherwise| {
        let task = Some(TaskTerms { otherwise, ..TaskTerms::default() });
        ExecuteRequest { task, ..environment.request(shell("echo done")) }
    };
    let ran = environment.run(&from_the_start(Otherwise::RunAsCall)).await.unwrap();
    assert_eq!(ran.stdout, "done\n");
    let refused = environment.run(&from_the_start(Otherwise::Refuse)).await.unwrap_err();
    assert_eq!(refused, NotStarted::NotKept);
}

#[tokio::test]
async fn an_outcome_that_the_disk_does_not_take_is_told_to_be_lost() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    environment.python("1").await;
    let task = Detached::alone(&environment, shell("sleep 0.5")).await;
    fs::create_dir(task.entry(&site).with_extension("half")).unwrap();
    assert_eq!(task.end().await, Progress::Failed { reason: "outcome-lost".to_owned() });
}

#[tokio::test]
async fn who_waits_for_a_task_s_end_alone_is_not_told_its_outcome() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let task = Detached::alone(&environment, shell("sleep 1; echo done")).await;
    let progress = async |wait| found(task.told(wait, Reader::Waiter).await).progress;
    assert_eq!(progress(Duration::ZERO).await, Progress::Working);
    assert_eq!(progress(SOON).await, Progress::Over);
    assert_eq!(task.outcome().await.stdout, "done\n", "it is still there to be asked for");
}

#[tokio::test]
async fn names_of_tasks_are_read_strictly() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let execution = format!("../{}", EnvironmentId::from_bytes(random()));
    let (target, reader) = (environment.target(), Reader::Waiter);
    let request = TaskRequest { target, execution, wait_ms: 0, reader };
    let Caller { client, peer, .. } = &environment.caller;
    client.task(peer, &request, SOON, &TraceHeaders::default()).await.unwrap_err();
}
