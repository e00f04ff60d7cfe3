//! What must hold when a sandbox or the disk fails, which a real one does too seldom.

mod keyed;
mod tasks;

use std::fs;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::environment::Target;
use super::execution::Order;
use super::host::Host;
use super::packages::Packages;
use super::record::Record;
use super::sandbox::{
    Capabilities, Condition, Job, JobKind, Limit, Limits, Outcome, OutputSink, Runtime, Sandbox,
    SandboxError, Spec,
};
use super::sandboxes::Sandboxes;
use super::supervisor::{Answer, Supervisor};
use super::surroundings::Surroundings;
use super::testing::TempDir;
use crate::clock::Clock;
use crate::domain::ids::{EnvironmentId, ExecutionId, OwnerDigest, Timestamp};
use crate::domain::placement::Epoch;
use crate::rpc::wire::{Claim, CreateReply, Ended, Frame, NotStarted};

/// Makes sandboxes that do what the code says: `ok`, `die`, `vanish`, `hang`, `slow` or `panic`.
#[derive(Debug)]
struct Puppets {
    capabilities: Capabilities,
    broken: Arc<AtomicBool>,
}

#[async_trait]
impl Runtime for Puppets {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn create(&self, _spec: &Spec) -> Result<Box<dyn Sandbox>, SandboxError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(SandboxError::NotReady { reason: "broken".to_owned() });
        }
        Ok(Box::new(Puppet(Condition::Ready)))
    }
}

#[derive(Debug)]
struct Puppet(Condition);

#[async_trait]
impl Sandbox for Puppet {
    async fn run(&mut self, job: Job, _: &mut dyn OutputSink, stop: CancellationToken) -> Outcome {
        let mut terminated_by = None;
        let (JobKind::Python { code: word } | JobKind::Shell { command: word }) = job.kind else {
            panic!("puppets run no programs")
        };
        match word.as_str() {
            "die" => self.0 = Condition::InterpreterLost,
            "vanish" => self.0 = Condition::Dead,
            "hang" => pending().await,
            "slow" => tokio::select! {
                () = sleep(Duration::from_secs(8)) => {}
                () = stop.cancelled() => terminated_by = Some(Limit::Cancelled),
            },
            "panic" => panic!("a bug"),
            _ => {}
        }
        Outcome {
            started: word != "vanish",
            exit_code: 0,
            execution_result: None,
            display: Vec::new(),
            terminated_by,
            truncated: false,
            interpreter_lost: word == "die",
            duration: Duration::ZERO,
        }
    }

    fn condition(&self) -> Condition {
        self.0
    }

    async fn destroy(self: Box<Self>) {}
}

struct Stage {
    dir: TempDir,
    broken: Arc<AtomicBool>,
    supervisor: Arc<Supervisor>,
}

const ID: EnvironmentId = EnvironmentId::from_bytes([1; 16]);
const TARGET: Target = Target {
    environment: ID,
    owner: OwnerDigest::from_bytes([3; 16]),
    generation: 0,
    epoch: Epoch::FIRST,
};

impl Stage {
    fn new() -> Self {
        Self::on(TempDir::new())
    }

    /// With what an earlier start has left there.
    fn on(dir: TempDir) -> Self {
        let broken = Arc::new(AtomicBool::new(false));
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
        let runtime = Arc::new(Puppets { capabilities, broken: Arc::clone(&broken) });
        let disk = Arc::new(Disk::open(dir.path()).unwrap());
        let records = disk.recover().unwrap();
        let sandboxes = Sandboxes::new(runtime, Arc::clone(&disk), Limits::default(), 0);
        let clock = Clock::manual(Timestamp::from_millis(1_000));
        let packages = Packages::in_dir(None);
        let disk = (disk, Surroundings::system().disk);
        let host = Arc::new(Host::new(disk, sandboxes, packages, clock, 100));
        let supervisor = Arc::new(Supervisor::recover(host, 10, records));
        Self { dir, broken, supervisor }
    }

    /// The next start.
    fn again(self) -> Self {
        drop(self.supervisor);
        Self::on(self.dir)
    }

    async fn with_environment() -> Self {
        let stage = Self::new();
        assert_eq!(stage.create().await, CreateReply::Created);
        stage
    }

    async fn create(&self) -> CreateReply {
        let claim = Claim {
            environment: ID.to_string(),
            tenant: "02".repeat(16),
            owner: "03".repeat(16),
            epoch: 1,
            not_after_ms: 60_000,
            ticket: String::new(),
        };
        let now = Timestamp::from_millis(1_000);
        self.supervisor.create(Record::new(&claim, Duration::from_mins(5), now).unwrap()).await
    }

    fn start(&self, kind: JobKind) -> Answer {
        let job = Job { kind, timeout: Duration::from_secs(10), variables: Vec::new() };
        self.order(Order { execution: ExecutionId::from_bytes([9; 16]), job, task: None })
    }

    fn order(&self, order: Order) -> Answer {
        let until = Instant::now() + Duration::from_mins(1);
        self.supervisor.execute(&TARGET, order, until).unwrap()
    }

    async fn python(&self, code: &str) -> Frame {
        self.start(JobKind::Python { code: code.to_owned() }).last.await.unwrap()
    }

    async fn shell(&self, command: &str) -> Frame {
        self.start(JobKind::Shell { command: command.to_owned() }).last.await.unwrap()
    }

    fn record(&self) -> PathBuf {
        self.dir.path().join("environments").join(ID.to_string())
    }
}

fn ended(frame: Frame) -> Ended {
    match frame {
        Frame::Ended(ended) => *ended,
        other => panic!("{other:?}"),
    }
}

fn is_restarted(frame: &Frame) -> bool {
    matches!(frame, Frame::NotStarted(NotStarted::Restarted(it)) if it.reason == "sandbox-lost")
}

fn is_without_sandbox(frame: &Frame) -> bool {
    matches!(frame, Frame::NotStarted(NotStarted::NoSandbox { .. }))
}

#[tokio::test]
async fn without_sandboxes_nothing_runs_and_nothing_is_lost() {
    let stage = Stage::with_environment().await;
    stage.broken.store(true, Ordering::Relaxed);
    assert!(is_without_sandbox(&stage.python("ok").await));
    stage.broken.store(false, Ordering::Relaxed);
    assert!(!ended(stage.python("ok").await).variables_lost);
}

#[tokio::test]
async fn a_new_sandbox_that_is_dead_is_not_tried_again() {
    let stage = Stage::with_environment().await;
    assert!(is_without_sandbox(&stage.python("vanish").await));
    assert!(!ended(stage.python("ok").await).variables_lost, "there was nothing to lose");
}

#[tokio::test]
async fn a_sandbox_that_died_unnoticed_is_told_of_before_python_runs() {
    let stage = Stage::with_environment().await;
    ended(stage.python("ok").await);
    assert!(is_restarted(&stage.python("vanish").await));
    assert_eq!(ended(stage.python("ok").await).restarted, None);
}

#[tokio::test]
async fn a_loss_is_told_by_the_call_that_lost_it() {
    let stage = Stage::with_environment().await;
    assert!(ended(stage.python("die").await).variables_lost);
    let shell = ended(stage.shell("ok").await);
    assert!(!shell.variables_lost && shell.restarted.is_none(), "{shell:?}");
    assert!(!ended(stage.python("ok").await).variables_lost);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_heard_is_told_again() {
    let stage = Stage::with_environment().await;
    ended(stage.python("ok").await);
    let unheard = stage.start(JobKind::Python { code: "hang".to_owned() });
    tokio::task::yield_now().await;
    drop(unheard);
    // The puppet does not stop when it is told to, and is given up.
    assert!(is_restarted(&stage.python("ok").await));
    ended(stage.python("ok").await);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_never_answers_is_given_up_and_its_outcome_unknown() {
    let stage = Stage::with_environment().await;
    let hung = stage.start(JobKind::Python { code: "hang".to_owned() });
    assert!(hung.last.await.is_err(), "there is no end to tell of");
    assert!(is_restarted(&stage.python("ok").await));
}

#[tokio::test]
async fn an_environment_whose_record_cannot_be_written_is_none() {
    let stage = Stage::new();
    fs::write(stage.record(), b"in the way").unwrap();
    assert!(matches!(stage.create().await, CreateReply::Refused { .. }));
    assert_eq!(
        stage.create().await,
        CreateReply::Created,
        "the disk was cleared, and is tried anew"
    );
}

#[tokio::test]
async fn nothing_runs_before_the_disk_knows_of_it() {
    let stage = Stage::with_environment().await;
    let record = stage.record().join("record.half");
    fs::create_dir(&record).unwrap();
    assert!(is_without_sandbox(&stage.python("ok").await));
    fs::remove_dir(&record).unwrap();
    ended(stage.python("ok").await);
    let written = fs::read_to_string(stage.record().join("record.json")).unwrap();
    assert!(written.contains(r#""state":{"is":"running"}"#), "{written}");
}
