//! Sandboxes without processes: code is `c7 250`, "note that call 7 ran, and take 250 ms".

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baton::domain::ids::EnvironmentId;
use baton::worker::DiskScheduler;
use baton::worker::sandbox::{
    Capabilities, Condition, Job, JobKind, Limit, Outcome, OutputSink, Runtime, Sandbox,
    SandboxError, Spec, Stream,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dice::Dice;
use crate::history::History;

/// What an environment's executions left behind, in its workspace: a line for each.
const LOG: &str = "log";

/// Makes sandboxes on one worker, most of the time.
#[derive(Debug)]
pub struct Puppets {
    capabilities: Capabilities,
    worker: String,
    history: History,
    dice: Dice,
}

#[derive(Debug)]
struct Puppet {
    workspace: PathBuf,
    worker: String,
    history: History,
    dice: Dice,
    condition: Condition,
}

impl Puppets {
    pub fn on(worker: &str, history: History, dice: Dice) -> Arc<Self> {
        let capabilities = Capabilities {
            runtime: "puppets",
            isolation: "none",
            own_uid: false,
            workspace_may_move: false,
            python_version: String::new(),
            enforced: Vec::new(),
            notes: Vec::new(),
            advice: None,
        };
        Arc::new(Self { capabilities, worker: worker.to_owned(), history, dice })
    }
}

#[async_trait]
impl Runtime for Puppets {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn create(&self, spec: &Spec) -> Result<Box<dyn Sandbox>, SandboxError> {
        sleep(self.dice.millis(5, 60)).await;
        if self.dice.percent(3) {
            return Err(SandboxError::NotReady { reason: "the dice fell so".to_owned() });
        }
        Ok(Box::new(Puppet {
            workspace: spec.workspace.clone(),
            worker: self.worker.clone(),
            history: self.history.clone(),
            dice: self.dice.clone(),
            condition: Condition::Ready,
        }))
    }
}

#[async_trait]
impl Sandbox for Puppet {
    async fn run(
        &mut self,
        job: Job,
        output: &mut dyn OutputSink,
        stop: CancellationToken,
    ) -> Outcome {
        let began = Instant::now();
        if self.dice.percent(2) {
            self.condition = Condition::Dead;
            return outcome(false, None, began);
        }
        let (call, time) = read(&job.kind);
        let result = self.note(call);
        output.write(Stream::Stdout, result.as_bytes());
        let limit = tokio::select! {
            biased;
            () = stop.cancelled() => Some(Limit::Cancelled),
            () = sleep(time) => None,
            () = sleep(job.timeout) => Some(Limit::WallTime),
        };
        let mut outcome = outcome(true, limit, began);
        if self.dice.percent(2) {
            self.condition = Condition::InterpreterLost;
            outcome.interpreter_lost = true;
        }
        outcome
    }

    fn condition(&self) -> Condition {
        self.condition
    }

    async fn destroy(self: Box<Self>) {
        sleep(self.dice.millis(1, 20)).await;
    }
}

impl Puppet {
    /// Leaves a trace in the files and in the history. The result tells how many were there before.
    fn note(&self, call: u64) -> String {
        let log = self.workspace.join(LOG);
        let before = std::fs::read_to_string(&log).unwrap_or_default().lines().count();
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let written = file.as_mut().map(|file| writeln!(file, "c{call}"));
        written.expect("the workspace is there").expect("it takes a line");
        let result = format!("c{call} after {before}");
        let environment = self.workspace.parent().expect("an environment's directory");
        let record = std::fs::read(environment.join("record.json")).expect("its record is on disk");
        let record: Value = serde_json::from_slice(&record).expect("it is JSON");
        let claim = &record["claim"];
        let id = claim["environment"].as_str().and_then(EnvironmentId::from_hex);
        let epoch = claim["epoch"].as_u64().expect("a number");
        self.history.runs(call, id.expect("an id"), (&self.worker, epoch), &result);
        result
    }
}

fn read(kind: &JobKind) -> (u64, Duration) {
    let (JobKind::Python { code } | JobKind::Shell { command: code }) = kind else {
        panic!("nobody runs programs")
    };
    let (call, time) = code.split_once(' ').expect("a call and its time");
    let call = call[1..].parse().expect("a number");
    (call, Duration::from_millis(time.parse().expect("milliseconds")))
}

fn outcome(started: bool, limit: Option<Limit>, began: Instant) -> Outcome {
    Outcome {
        started,
        exit_code: if limit.is_some() { 137 } else { 0 },
        execution_result: None,
        display: Vec::new(),
        terminated_by: limit,
        truncated: false,
        interpreter_lost: false,
        duration: began.elapsed(),
    }
}

/// A disk that takes its time before and after each piece of work: a crash comes between.
#[derive(Debug)]
pub struct SlowDisk(pub Dice);

#[async_trait]
impl DiskScheduler for SlowDisk {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        let (before, after) = (self.0.millis(0, 8), self.0.millis(0, 8));
        let done = TaskTracker::new().spawn(async move {
            sleep(before).await;
            work();
            sleep(after).await;
        });
        done.await.expect("it does not panic");
    }
}
