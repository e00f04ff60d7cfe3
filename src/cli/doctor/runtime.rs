//! Whether a sandbox can be made here, by making one.

use std::time::Duration;

use tokio::time::timeout;

use crate::cli::settings::SandboxSettings;
use crate::worker::sandbox::{self, ProbeError};

use super::finding::{Finding, Report, causes};

const NAME: &str = "runtime";
/// A probe makes one sandbox of each runtime it tries.
const DEADLINE: Duration = Duration::from_mins(1);

pub(super) async fn check(report: &mut Report<'_>, settings: &SandboxSettings) {
    if let Some(packages) = &settings.python_packages {
        report.add(if packages.is_dir() {
            Finding::good("python packages", packages.display().to_string())
        } else {
            let detail = format!("{} is no directory", packages.display());
            let mend =
                "give --python-packages a venv's site-packages: VENV/lib/python3.N/site-packages";
            Finding::bad("python packages", detail, mend)
        });
    }
    let wanted = sandbox::Settings {
        python: Some(settings.python.clone()),
        python_packages: settings.python_packages.clone(),
        ..sandbox::Settings::default()
    };
    match timeout(DEADLINE, sandbox::probe(settings.runtime.as_str(), &wanted)).await {
        Ok(Ok(runtime)) => {
            let found = runtime.capabilities();
            let limits: Vec<&str> = found.enforced.iter().map(|(limit, _)| limit.name()).collect();
            let detail = format!(
                "{} ({}), Python {}, limits: {}",
                found.runtime,
                found.isolation,
                found.python_version,
                limits.join(", ")
            );
            report.add(Finding::good(NAME, detail));
            found.notes.iter().for_each(|note| report.add(Finding::note(NAME, note)));
        }
        Ok(Err(error)) => report.add(Finding::bad(NAME, detail(&error), mend(&error))),
        Err(_) => {
            let mend = "look what this machine is busy with, then run the doctor again";
            report.add(Finding::bad(NAME, "no sandbox was ready within a minute", mend));
        }
    }
}

/// What failed; the mend that some of these errors tell too has its own place.
fn detail(error: &ProbeError) -> String {
    match error {
        ProbeError::Unavailable { runtime, source, .. } => {
            format!("the {runtime} runtime does not work here: {}", causes(source))
        }
        error => causes(error),
    }
}

fn mend(error: &ProbeError) -> String {
    match error {
        ProbeError::Unavailable { mend, .. } => mend.clone(),
        ProbeError::UnknownRuntime { .. } => "write --runtime auto".into(),
        ProbeError::Python { .. } => "install python3, or give --python PATH".into(),
        ProbeError::Misbehaves { .. } => "try another --runtime, and tell us of this one".into(),
    }
}
