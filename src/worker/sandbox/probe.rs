//! Choosing a runtime by making a sandbox with it and running a cell there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::embedded::{self, Embedded};
use super::{Captured, Job, JobKind, Limits, ProbeError, Runtime, Settings, Spec};

/// How long one of the two calls that prove a runtime may take.
const PROOF_TIMEOUT: Duration = Duration::from_secs(10);

/// Finds a runtime by name: `auto`, `embedded`, or `confined`.
///
/// `auto` is the strongest that works here, and never `confined`, which must be asked for.
pub async fn probe(name: &str, settings: &Settings) -> Result<Arc<dyn Runtime>, ProbeError> {
    let runtime = match name {
        "auto" | Embedded::NAMESPACES => Embedded::NAMESPACES,
        Embedded::CONFINED => Embedded::CONFINED,
        _ => return Err(ProbeError::UnknownRuntime { name: name.to_owned() }),
    };
    let candidate = Embedded::prepare(runtime, settings).await?;
    let workspace = Scratch::make(&settings.scratch).map_err(|source| ProbeError::Unavailable {
        runtime,
        mend: "give the worker a directory it can write to".to_owned(),
        source: super::SandboxError::Workspace { path: settings.scratch.clone(), source },
    })?;
    prove(runtime, &candidate, &workspace.path).await?;
    Ok(Arc::new(candidate))
}

async fn prove(name: &'static str, runtime: &Embedded, workspace: &Path) -> Result<(), ProbeError> {
    let spec = Spec { workspace: workspace.to_owned(), limits: Limits::default() };
    let mut sandbox = runtime.create(&spec).await.map_err(|source| ProbeError::Unavailable {
        runtime: name,
        mend: mend(name, &source),
        source,
    })?;
    let mut said = Captured::default();
    let mut failure = None;
    for (kind, expected) in [
        (JobKind::Python { code: "6 * 7".to_owned() }, Some("42")),
        (JobKind::Exec { argv: vec!["true".to_owned()] }, None),
    ] {
        let job = Job { kind, timeout: PROOF_TIMEOUT, variables: Vec::new() };
        let outcome = sandbox.run(job.clone(), &mut said, CancellationToken::new()).await;
        if outcome.exit_code != 0 || outcome.execution_result.as_deref() != expected {
            let words = String::from_utf8_lossy(&said.stderr).into_owned();
            failure = Some(format!("{:?} ended with {outcome:?}: {words}", job.kind));
            break;
        }
    }
    sandbox.destroy().await;
    match failure {
        None => Ok(()),
        Some(reason) => Err(ProbeError::Misbehaves { runtime: name, reason }),
    }
}

fn mend(runtime: &str, error: &super::SandboxError) -> String {
    match error {
        super::SandboxError::NotReady { .. } if super::comes_by_path(runtime) => {
            "its code has a uid of its own and must reach the workspace: choose a directory for the worker below \
             ones that others may enter (chmod o+x), or run it as a plain user"
                .to_owned()
        }
        error => embedded::mend(error),
    }
}

/// A directory that goes when it is dropped.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn make(parent: &Path) -> std::io::Result<Self> {
        let random = getrandom::u64().map_err(std::io::Error::other)?;
        let path = parent.join(format!("baton-probe-{random:016x}"));
        std::fs::create_dir(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind, it is empty and in the way of nothing.
        drop(std::fs::remove_dir_all(&self.path));
    }
}
