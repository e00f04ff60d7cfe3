//! Settings of `baton dev`: a gateway, a worker and the embedded directory in one process.

use crate::domain::keyring::SecretKey;

use super::api_keys::Authentication;
use super::common::{ProcessSettings, TelemetrySettings};
use super::gateway::{EdgeSettings, dev_authentication, keys};
use super::reader::Reader;
use super::worker::{RuntimeChoice, SandboxSettings};

/// `baton dev`, and `baton` alone.
#[derive(Clone, Debug)]
pub struct DevSettings {
    /// The gateway's listeners, data, drain.
    pub process: ProcessSettings,
    /// None: made once in the data directory.
    pub signing_keys: Vec<SecretKey>,
    /// None: made once in the data directory.
    pub worker_roots: Vec<SecretKey>,
    /// What clients meet.
    pub edge: EdgeSettings,
    /// What the worker runs code in.
    pub sandbox: SandboxSettings,
    /// Logs and traces.
    pub telemetry: TelemetrySettings,
}

impl DevSettings {
    pub(super) fn read(read: &Reader<'_>) -> Self {
        let process = ProcessSettings::read(read);
        let (signing_keys, worker_roots) = keys(read);
        let settings = Self {
            signing_keys,
            worker_roots,
            edge: EdgeSettings::read(read, dev_authentication(read, &process)),
            sandbox: SandboxSettings::read(read),
            telemetry: TelemetrySettings::read(read),
            process,
        };
        let open = settings.edge.authentication == Authentication::Anonymous
            && !settings.process.listen.ip().is_loopback();
        read.rule(
            &["runtime", "api-key", "listen"],
            !(open && settings.sandbox.runtime == RuntimeChoice::Confined),
            "anybody who reaches this listener would run code in this host's namespaces",
            "listen on loopback, or add --api-key",
        );
        settings
    }
}
