//! What the sandbox tests stand on: a runtime, a directory for workspaces, sandboxes and what they said.

#![expect(clippy::unwrap_used, reason = "a test's ground that gives way shall end the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton::worker::sandbox::{
    Captured, Condition, Job, JobKind, Limits, Outcome, Runtime, Sandbox, Settings, Spec, probe,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// No call of a test may take longer, whatever it does.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// A runtime and the place where its workspaces are; both go when it is dropped.
pub(super) struct World {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) root: Root,
}

/// A directory of one test.
pub(super) struct Root {
    pub(super) path: PathBuf,
}

impl Root {
    pub(super) fn make() -> Self {
        let name = format!("baton-sandbox-{:016x}", getrandom::u64().unwrap());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self { path }
    }

    pub(super) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).ok();
    }
}

pub(super) fn settings() -> Settings {
    Settings { launcher: PathBuf::from(env!("CARGO_BIN_EXE_baton")), ..Settings::default() }
}

pub(super) fn limits() -> Limits {
    Limits { interrupt_grace: Duration::from_millis(500), ..Limits::default() }
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with("auto", settings()).await
    }

    /// The level without namespaces.
    pub(super) async fn confined() -> Self {
        Self::with("confined", settings()).await
    }

    pub(super) async fn with(runtime: &str, settings: Settings) -> Self {
        let runtime = probe(runtime, &settings).await.unwrap_or_else(|error| panic!("{error:?}"));
        Self { runtime, root: Root::make() }
    }

    pub(super) async fn sandbox(&self, name: &str) -> Inside {
        self.limited(name, limits()).await
    }

    pub(super) async fn limited(&self, name: &str, limits: Limits) -> Inside {
        let workspace = self.root.directory(name);
        let spec = Spec { workspace: workspace.clone(), limits };
        let sandbox = self.runtime.create(&spec).await.unwrap_or_else(|error| panic!("{error:?}"));
        Inside { sandbox, workspace }
    }
}

/// A sandbox, and where its workspace is outside.
pub(super) struct Inside {
    pub(super) sandbox: Box<dyn Sandbox>,
    pub(super) workspace: PathBuf,
}

/// What a call did and said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) outcome: Outcome,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Said {
    /// The value of the last expression.
    pub(super) fn result(&self) -> &str {
        self.outcome.execution_result.as_deref().unwrap_or_else(|| panic!("no result: {self:?}"))
    }

    #[track_caller]
    pub(super) fn ok(self) -> Self {
        assert_eq!(self.outcome.exit_code, 0, "{self:?}");
        self
    }
}

impl Inside {
    pub(super) async fn python(&mut self, code: &str) -> Said {
        self.python_within(code, PATIENCE).await
    }

    pub(super) async fn python_within(&mut self, code: &str, timeout: Duration) -> Said {
        let kind = JobKind::Python { code: code.to_owned() };
        self.run(Job { kind, timeout, variables: Vec::new() }, CancellationToken::new()).await
    }

    pub(super) async fn shell(&mut self, command: &str) -> Said {
        self.shell_within(command, PATIENCE).await
    }

    pub(super) async fn shell_within(&mut self, command: &str, timeout: Duration) -> Said {
        let kind = JobKind::Shell { command: command.to_owned() };
        self.run(Job { kind, timeout, variables: Vec::new() }, CancellationToken::new()).await
    }

    pub(super) async fn exec(&mut self, argv: &[&str]) -> Said {
        let kind = JobKind::Exec { argv: argv.iter().map(|&text| text.to_owned()).collect() };
        self.run(Job { kind, timeout: PATIENCE, variables: Vec::new() }, CancellationToken::new())
            .await
    }

    pub(super) async fn run(&mut self, job: Job, stop: CancellationToken) -> Said {
        let mut captured = Captured::default();
        let call = self.sandbox.run(job.clone(), &mut captured, stop);
        let outcome = timeout(2 * PATIENCE, call)
            .await
            .unwrap_or_else(|_| panic!("the call never ended: {job:?}"));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { outcome, stdout: text(captured.stdout), stderr: text(captured.stderr) }
    }

    pub(super) fn condition(&self) -> Condition {
        self.sandbox.condition()
    }

    /// What every test of an attack ends with: the others do not notice.
    pub(super) async fn is_well(&mut self) {
        assert_eq!(self.python("6 * 7").await.ok().result(), "42");
        assert_eq!(self.shell("echo well").await.ok().stdout, "well\n");
    }

    pub(super) async fn destroy(self) {
        timeout(PATIENCE, self.sandbox.destroy()).await.expect("destroying is bounded");
    }
}

/// Pids on the host whose command line contains a text.
pub(super) fn host_processes(with: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let line = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
            line.is_ok_and(|line| String::from_utf8_lossy(&line).contains(with))
        })
        .collect()
}

/// Waits for what is about to be so; there is no event for the death of somebody else's process.
pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
