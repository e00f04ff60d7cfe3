//! The real program, in a process of its own that can be killed.

#![expect(clippy::unwrap_used, reason = "a test whose program does not start has failed")]

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use baton::domain::api_key::ApiKeyDigest;
use baton::domain::ids::WorkerId;
use baton::domain::keyring::{SecretKey, WorkerKey};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::cluster::{ALICE, Cluster, SIGNING, worker_root};
use crate::mcp_client::McpClient;

/// How long it may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Any port of loopback, for every listener.
const ANYWHERE: [&str; 4] = ["--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"];

/// A process that ends with this value, also when the test panics.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The role and the URL of each listener, in the order in which they were told.
    pub listening: Vec<(String, String)>,
}

impl Program {
    /// Starts it with these arguments, and returns when it has told of so many listeners.
    pub async fn start(
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        listeners: usize,
    ) -> Self {
        Self::start_logging(arguments, listeners, Stdio::null()).await
    }

    /// Likewise, with somewhere for its log to go.
    pub async fn start_logging(
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        listeners: usize,
        log: Stdio,
    ) -> Self {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_baton"));
        command.args(arguments).stderr(log);
        Self::spawn(command, listeners).await
    }

    /// Starts what somebody has put together, and returns when it has told of so many listeners.
    pub async fn spawn(mut command: std::process::Command, listeners: usize) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = Command::from(command).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut program = Self { child, lines, listening: Vec::new() };
        let all = async {
            while program.listening.len() < listeners {
                let line = program.lines.next_line().await.unwrap().expect("it ended early");
                let (role, url) =
                    line.strip_prefix("listening role=").unwrap().split_once(' ').unwrap();
                let url = url.strip_prefix("url=").unwrap();
                program.listening.push((role.to_owned(), url.to_owned()));
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("it does not start");
        program
    }

    /// `baton dev` in this directory.
    pub async fn dev(dir: &Path) -> Self {
        let dir = dir.display().to_string();
        let own = ["dev", "--data-dir", dir.as_str(), "--warm-pool", "1"];
        Self::start(own.into_iter().chain(ANYWHERE), 4).await
    }

    /// One more replica of a cluster.
    pub async fn gateway_of(cluster: &Cluster) -> Self {
        let dir = cluster.scratch.path().join("gateway");
        let redis = format!("redis://{}", cluster.redis.address());
        Self::gateway_over(&dir, &[("--redis", redis)], Stdio::null()).await
    }

    /// A gateway over a Redis that these flags name.
    pub async fn gateway_over(dir: &Path, redis: &[(&'static str, String)], log: Stdio) -> Self {
        Self::start_logging(arguments("gateway", gateway_flags(dir, redis)), 2, log).await
    }

    /// What the doctor says of such a gateway.
    pub async fn doctor_over(dir: &Path, redis: &[(&'static str, String)]) -> String {
        let doctor = Command::new(env!("CARGO_BIN_EXE_baton"))
            .args(arguments("doctor", gateway_flags(dir, redis)))
            .kill_on_drop(true)
            .output();
        let said = tokio::time::timeout(PATIENCE, doctor).await.expect("it does not end").unwrap();
        String::from_utf8(said.stdout).unwrap()
    }

    /// A worker of a cluster; the same id has the same directory as a worker in this process would.
    pub async fn worker_of(cluster: &Cluster, id: &str) -> Self {
        Self::worker_in(cluster, id, &cluster.scratch.path().join(id)).await
    }

    /// One that keeps its environments in another directory.
    pub async fn worker_in(cluster: &Cluster, id: &str, dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let key = WorkerKey::derive(&worker_root(), &WorkerId::parse(id).unwrap()).reveal();
        let key = key_file(cluster.scratch.path(), &format!("{id}.key"), &key);
        let gateways = cluster.gateways.iter().map(|it| ("--gateway", it.internal_url.clone()));
        let own = [
            ("--worker-key-file", key),
            ("--data-dir", dir.display().to_string()),
            ("--warm-pool", "1".to_owned()),
        ];
        Self::start(arguments("worker", gateways.chain(own)), 2).await
    }

    /// Where one of its listeners is.
    pub fn url(&self, role: &str) -> &str {
        let found = self.listening.iter().find(|(known, _)| known == role);
        &found.unwrap_or_else(|| panic!("no {role} among {:?}", self.listening)).1
    }

    /// A client of its endpoint.
    pub fn client(&self) -> McpClient {
        McpClient::new(self.url("gateway"))
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::SIGHUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it has not ended");
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.start_kill().unwrap();
    }

    /// How it ended.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it does not end").unwrap()
    }
}

/// The flags of a gateway with its files in this directory.
fn gateway_flags(
    dir: &Path,
    redis: &[(&'static str, String)],
) -> impl Iterator<Item = (&'static str, String)> {
    std::fs::create_dir_all(dir).unwrap();
    let signing = key_file(dir, "signing.key", &SecretKey::from_bytes([SIGNING; 32]).reveal());
    let root = key_file(dir, "root.key", &worker_root().reveal());
    let hash = ApiKeyDigest::of(ALICE.as_bytes());
    let keys = format!("[[api_key]]\nhash = \"{hash}\"\ntenant = \"t\"\nsubject = \"alice\"\n");
    let own = [
        ("--signing-key-file", signing),
        ("--worker-root-key-file", root),
        ("--config", key_file(dir, "baton.toml", &keys)),
        ("--data-dir", dir.display().to_string()),
    ];
    redis.iter().cloned().chain(own)
}

fn arguments(
    role: &str,
    own: impl IntoIterator<Item = (&'static str, String)>,
) -> impl Iterator<Item = String> {
    let own = own.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    let anywhere = ANYWHERE.map(str::to_owned);
    std::iter::once(role.to_owned()).chain(anywhere).chain(own).collect::<Vec<_>>().into_iter()
}

fn key_file(dir: &Path, name: &str, text: &str) -> String {
    let path: PathBuf = dir.join(name);
    std::fs::write(&path, format!("{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}
