//! One real worker with the real runtime, the gateway it reports to, and a client to call it with.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton::clock::Clock;
use baton::domain::ids::{EnvironmentId, Name, Principal, Timestamp, WorkerId};
use baton::domain::keyring::{Keyring, SecretKey, WorkerKey};
use baton::domain::placement::{Epoch, Holding, Placement};
use baton::domain::ticket::Ticket;
use baton::rpc::client::{Execution, Peer, TraceHeaders, WorkerClient, WorkerError};
use baton::rpc::report::ReportDoor;
use baton::rpc::wire::{
    Claim, CreateReply, CreateRequest, Ended, ExecuteRequest, Frame, Heartbeat, HeartbeatReply,
    Job, NotStarted, Target,
};
use baton::serve::{ConnectionLimits, Drain, DrainTimings, Listener, RequestBody, serve};
use baton::telemetry::Tracer;
use baton::worker::sandbox::Limits;
use baton::worker::{Addresses, Config, WorkerStop, run};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

pub(super) const SOON: Duration = Duration::from_secs(30);
pub(super) const IDLE: Duration = Duration::from_mins(5);

/// A worker's directory and clock, which outlive the worker, and the gateway it reports to.
pub(super) struct Site {
    pub(super) dir: TempDir,
    pub(super) clock: Clock,
    pub(super) gateway: Gateway,
}

impl Site {
    pub(super) fn new() -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_795_250_494_000));
        let gateway = Gateway::start(clock.clone());
        Self { dir: TempDir::new(), clock, gateway }
    }

    pub(super) fn config(&self) -> Config {
        config(self.dir.path(), self.clock.clone(), vec![self.gateway.url.clone()])
    }

    pub(super) async fn worker(&self) -> Worker {
        Worker::start(self.config()).await
    }
}

pub(super) fn config(dir: &Path, clock: Clock, gateways: Vec<String>) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        internal_listen: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        gateways,
        key: key("w1"),
        data_dir: dir.to_owned(),
        capacity: 20,
        max_executions: 256,
        runtime: "auto".to_owned(),
        launcher: PathBuf::from(env!("CARGO_BIN_EXE_baton")),
        python: None,
        python_packages: None,
        warm_pool: 1,
        limits: Limits::default(),
        clock,
        tracer: Tracer::off(),
    }
}

pub(super) fn key(worker: &str) -> WorkerKey {
    WorkerKey::derive(&SecretKey::from_bytes([7; 32]), &WorkerId::parse(worker).unwrap())
}

pub(super) fn principal(subject: &str) -> Principal {
    Principal::verified(Name::parse("tenant").unwrap(), Name::parse(subject).unwrap())
}

/// A worker that runs; dropped, it is gone like one that crashed.
pub(super) struct Worker {
    pub(super) addresses: Addresses,
    pub(super) drain: Drain,
    pub(super) caller: Caller,
    task: JoinSet<Result<(), WorkerStop>>,
}

impl Worker {
    pub(super) async fn start(config: Config) -> Self {
        let timings = DrainTimings {
            not_ready: Duration::from_millis(50),
            in_flight: Duration::from_secs(3),
        };
        let (drain, clock, mut task) = (Drain::new(timings), config.clock.clone(), JoinSet::new());
        let (listening, addresses) = oneshot::channel();
        let worker_key = config.key.clone();
        let its_drain = drain.clone();
        task.spawn(async move {
            run(config, its_drain, |addresses| listening.send(addresses.clone()).unwrap()).await
        });
        let Ok(addresses) = addresses.await else {
            panic!("the worker does not start: {:?}", task.join_next().await)
        };
        let peer = Peer::new(addresses.rpc.clone(), worker_key, addresses.incarnation);
        let caller = Caller { client: WorkerClient::new(clock.clone()), peer, clock };
        Self { addresses, drain, caller, task }
    }

    /// Waits until it has stopped by itself.
    pub(super) async fn ended(&mut self) -> Result<(), WorkerStop> {
        let ended = tokio::time::timeout(SOON, self.task.join_next()).await;
        ended.expect("it does not stop").unwrap().unwrap()
    }

    pub(super) async fn stop(mut self) {
        self.drain.begin();
        self.ended().await.unwrap();
    }
}

/// Calls one worker.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: WorkerClient,
    pub(super) peer: Peer,
    pub(super) clock: Clock,
}

impl Caller {
    /// Creates an environment for `alice`.
    pub(super) async fn create(&self) -> Environment {
        let environment = self.claim();
        let reply = self.offer(&environment.claim).await.unwrap();
        assert_eq!(reply, CreateReply::Created);
        environment
    }

    pub(super) async fn offer(&self, claim: &Claim) -> Result<CreateReply, WorkerError> {
        let request = CreateRequest {
            claim: claim.clone(),
            idle_timeout_ms: u64::try_from(IDLE.as_millis()).unwrap(),
        };
        self.client.create(&self.peer, &request, SOON, &TraceHeaders::default()).await
    }

    pub(super) fn claim(&self) -> Environment {
        let id = EnvironmentId::from_bytes(random());
        let alice = principal("alice");
        let holding = Holding {
            environment: id,
            tenant: alice.tenant_digest(),
            owner: alice.owner_digest(),
            placement: Placement { worker: self.peer.worker().clone(), epoch: Epoch::FIRST },
            not_after: self.clock.now().after(Duration::from_hours(24)),
        };
        let keys = Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).unwrap();
        let ticket = Ticket::seal(&holding, &keys).to_bytes();
        let claim = Claim {
            environment: id.to_string(),
            tenant: holding.tenant.to_string(),
            owner: holding.owner.to_string(),
            epoch: 1,
            not_after_ms: holding.not_after.as_millis(),
            ticket: ticket.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")),
        };
        Environment { id, claim, caller: self.clone() }
    }
}

/// An environment and how to call it.
#[derive(Clone)]
pub(super) struct Environment {
    pub(super) id: EnvironmentId,
    pub(super) claim: Claim,
    pub(super) caller: Caller,
}

impl Environment {
    pub(super) fn target(&self) -> Target {
        Target {
            environment: self.id.to_string(),
            owner: self.claim.owner.clone(),
            generation: 0,
            epoch: 1,
        }
    }

    pub(super) fn request(&self, job: Job) -> ExecuteRequest {
        ExecuteRequest {
            target: self.target(),
            execution: EnvironmentId::from_bytes(random()).to_string(),
            job,
            timeout_ms: 20_000,
            stream: false,
            task: None,
        }
    }

    pub(super) async fn start(&self, request: &ExecuteRequest) -> Execution {
        let Caller { client, peer, .. } = &self.caller;
        client.execute(peer, request, SOON, &TraceHeaders::default()).await.unwrap()
    }

    /// The last frame of an execution.
    pub(super) async fn run(&self, request: &ExecuteRequest) -> Result<Box<Ended>, NotStarted> {
        last(self.start(request).await).await
    }

    pub(super) async fn try_python(&self, code: &str) -> Result<Box<Ended>, NotStarted> {
        self.run(&self.request(python(code))).await
    }

    pub(super) async fn python(&self, code: &str) -> Box<Ended> {
        self.try_python(code).await.unwrap()
    }

    pub(super) async fn shell(&self, command: &str) -> Box<Ended> {
        self.run(&self.request(shell(command))).await.unwrap()
    }

    /// The same environment in the hands of a worker that was started anew.
    pub(super) fn at(&self, worker: &Worker) -> Self {
        Self { caller: worker.caller.clone(), ..self.clone() }
    }
}

pub(super) async fn last(mut execution: Execution) -> Result<Box<Ended>, NotStarted> {
    loop {
        match execution.next().await.unwrap() {
            Frame::Stdout(_) | Frame::Stderr(_) => {}
            Frame::Ended(ended) => return Ok(ended),
            Frame::NotStarted(why) => return Err(why),
            Frame::Replayed(task) => panic!("{task:?}"),
        }
    }
}

pub(super) fn python(code: &str) -> Job {
    Job::Python { code: code.to_owned() }
}

pub(super) fn shell(command: &str) -> Job {
    Job::Shell { command: command.to_owned() }
}

/// The part of a gateway that hears workers.
pub(super) struct Gateway {
    pub(super) url: String,
    /// What it answers.
    pub(super) reply: Arc<Mutex<HeartbeatReply>>,
    heard: watch::Receiver<Option<Heartbeat>>,
    _task: JoinSet<()>,
}

impl Gateway {
    pub(super) fn start(clock: Clock) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", listener.local_addr());
        let reply = Arc::new(Mutex::new(HeartbeatReply::default()));
        let (inbox, heard) = watch::channel(None);
        let state = Arc::new((ReportDoor::new(clock), Arc::clone(&reply), inbox));
        let app = tower::service_fn(move |request| {
            let state = Arc::clone(&state);
            async move { Ok(answer(&state.0, &state.1, &state.2, request).await) }
        });
        let mut task = JoinSet::new();
        let drain = Drain::new(DrainTimings::default());
        task.spawn(async move {
            serve(listener, app, ConnectionLimits::default(), drain).await;
        });
        Self { url, reply, heard, _task: task }
    }

    /// The first report from now on that `fits`.
    pub(super) async fn hears(&self, fits: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        let mut heard = self.heard.clone();
        heard.mark_unchanged();
        let fits = |it: &Option<Heartbeat>| it.as_ref().is_some_and(&fits);
        let found = tokio::time::timeout(SOON, heard.wait_for(fits)).await;
        found.expect("no such report").unwrap().clone().unwrap()
    }
}

async fn answer(
    door: &ReportDoor,
    reply: &Mutex<HeartbeatReply>,
    inbox: &watch::Sender<Option<Heartbeat>>,
    request: Request<RequestBody>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    match door.receive(&head.headers, &body, |worker| vec![key("other"), key(worker.as_str())]) {
        Ok(received) => {
            inbox.send_replace(Some(received.heartbeat().clone()));
            received.answer(&reply.lock().unwrap().clone()).map(Full::new)
        }
        Err(refusal) => refusal.map(Full::new),
    }
}

pub(super) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// A directory of its own, removed when dropped.
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("baton-it-worker-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
