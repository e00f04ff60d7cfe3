//! Settings of one worker, and of the worker within `baton dev`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::keyring::WorkerKey;

use super::common::{ProcessSettings, TelemetrySettings, advertise};
use super::reader::Reader;
use super::value;

/// `baton worker`.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Listeners, data, drain.
    pub process: ProcessSettings,
    /// The rpc's address as gateways reach it; absent: the listener's own.
    pub advertise: Option<String>,
    /// Internal addresses of gateways; at least one.
    pub gateways: Vec<String>,
    /// Names the worker, and is its secret.
    pub key: WorkerKey,
    /// Whether the rpc may listen off loopback without TLS.
    pub rpc_plaintext: bool,
    /// What it runs code in.
    pub sandbox: SandboxSettings,
    /// Logs and traces.
    pub telemetry: TelemetrySettings,
}

impl WorkerSettings {
    /// `None` if there is no key, which has been noted.
    pub(super) fn read(read: &Reader<'_>) -> Option<Self> {
        let process = ProcessSettings::read(read);
        let key = read.key_files("worker-key-file", WorkerKey::parse).pop();
        let mend = "make one: baton key worker --root worker-root.key --id w1 > w1.key";
        read.needed("worker-key-file", mend);
        let rpc_plaintext = read.switch("rpc-plaintext");
        read.rule(
            &["listen", "rpc-plaintext"],
            process.listen.ip().is_loopback() || rpc_plaintext,
            "off loopback the rpc would be in the clear",
            "listen on loopback, or add --rpc-plaintext on a network you trust",
        );
        let advertise = advertise(read, "listen", process.listen);
        let gateways = read.list("gateway", value::http_url);
        let sandbox = SandboxSettings::read(read);
        let telemetry = TelemetrySettings::read(read);
        // Only now may a missing key end the reading.
        Some(Self { key: key?, process, advertise, gateways, rpc_plaintext, sandbox, telemetry })
    }
}

/// What code runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxSettings {
    /// How it is isolated.
    pub runtime: RuntimeChoice,
    /// The interpreter inside.
    pub python: PathBuf,
    /// A venv's site-packages, shown inside.
    pub python_packages: Option<PathBuf>,
    /// Sandboxes kept ready.
    pub warm_pool: usize,
    /// Environments that the worker holds.
    pub capacity: u32,
    /// Executions that it runs at once.
    pub max_executions: usize,
    /// What one sandbox may use.
    pub limits: SandboxLimits,
}

/// How sandboxes are isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// The strongest that works here.
    Auto,
    /// Our own launcher: namespaces, seccomp, limits.
    Embedded,
    /// Landlock, seccomp and limits alone, for where there are no namespaces to be had.
    Confined,
}

impl RuntimeChoice {
    /// Every choice, the default first.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Embedded, Self::Confined];

    /// Its name, as `worker::sandbox::probe` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Embedded => "embedded",
            Self::Confined => "confined",
        }
    }
}

/// What one sandbox may use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the setting of the same name")]
pub struct SandboxLimits {
    pub memory_bytes: u64,
    pub cpu_seconds: u64,
    /// Absent: no limit.
    pub cpu_millis: Option<u32>,
    pub processes: u64,
    pub open_files: u64,
    pub workspace_bytes: u64,
    pub workspace_entries: u64,
    pub tmp_bytes: u64,
    pub shm_bytes: u64,
    pub output_bytes: u64,
    pub display_bytes: u64,
    /// The longest that one call may run.
    pub wall_time: Duration,
}

impl SandboxSettings {
    pub(super) fn read(read: &Reader<'_>) -> Self {
        let runtimes = RuntimeChoice::ALL.map(|it| (it.as_str(), it));
        Self {
            runtime: read.one("runtime", |text| value::choice(text, &runtimes)),
            python: python(read),
            python_packages: read.perhaps("python-packages", value::path),
            warm_pool: read.number("warm-pool"),
            capacity: read.number("capacity"),
            max_executions: read.number("max-executions"),
            limits: SandboxLimits {
                memory_bytes: read.bytes("memory-mebibytes"),
                cpu_seconds: read.number("cpu-seconds"),
                cpu_millis: Some(read.number("cpu-millis")).filter(|millis| *millis > 0),
                processes: read.number("processes"),
                open_files: read.number("open-files"),
                workspace_bytes: read.bytes("workspace-mebibytes"),
                workspace_entries: read.number("workspace-entries"),
                tmp_bytes: read.bytes("tmp-mebibytes"),
                shm_bytes: read.bytes("shm-mebibytes"),
                output_bytes: read.bytes("output-kibibytes"),
                display_bytes: read.bytes("display-kibibytes"),
                wall_time: read.seconds("max-timeout-seconds"),
            },
        }
    }
}

const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// The system's python3, else the first on PATH, for the launcher shows the system's tree inside.
fn python(read: &Reader<'_>) -> PathBuf {
    if let Some(python) = read.perhaps("python", value::path) {
        let there = read.around.is_file(&python);
        read.rule(&["python"], there, "there is no such file", "give the path of python3");
        return python;
    }
    let path = read.around.variables().get("PATH").map(String::as_str).unwrap_or_default();
    let on_path = path.split(':').map(|dir| Path::new(dir).join("python3"));
    let mut places = std::iter::once(PathBuf::from(SYSTEM_PYTHON)).chain(on_path);
    let found = places.find(|place| place.is_absolute() && read.around.is_file(place));
    let mend = "install it (apt install python3), or give --python PATH";
    read.rule(&["python"], found.is_some(), "there is no python3", mend);
    found.unwrap_or_else(|| SYSTEM_PYTHON.into())
}
