//! `baton doctor`: checks all that a deployment needs, one line each, with the mend.
//!
//! It looks, and changes nothing but one environment that it launches, uses and closes.

mod call;
mod directory;
mod files;
mod finding;
mod network;
mod runtime;
mod servers;
mod upstreams;

use super::console::Console;
use super::settings::{
    DevSettings, DoctorSettings, GatewaySettings, Loaded, Problems, WorkerSettings,
};
use finding::{Finding, Report};

/// Runs every check that fits what is set up; gives the exit code, 0 if nothing failed, else 1.
pub async fn run(loaded: Loaded<DoctorSettings>, console: &mut (dyn Console + Send)) -> u8 {
    let DoctorSettings { own, gateway, worker, dev, key_files, url, api_key } = loaded.settings;
    let mut report = Report::new(console);
    for warning in loaded.warnings {
        report.add(Finding::note("settings", warning));
    }
    if let Err(problems) = own {
        settings(&mut report, &problems);
    }
    for file in &key_files {
        report.add(files::key_file(file));
    }
    let mut endpoint = None;
    if let Some(dev) = sound(&mut report, "dev", dev) {
        check_dev(&mut report, &dev).await;
        endpoint = Some(dev.process.listen);
    }
    if let Some(gateway) = sound(&mut report, "gateway", gateway) {
        check_gateway(&mut report, &gateway).await;
        endpoint = Some(gateway.process.listen);
    }
    if let Some(worker) = sound(&mut report, "worker", worker) {
        check_worker(&mut report, &worker).await;
    }
    call::check(&mut report, url, endpoint, api_key).await;
    report.exit_code()
}

async fn check_dev(report: &mut Report<'_>, dev: &DevSettings) {
    report.add(files::data_dir(&dev.process.data_dir));
    runtime::check(report, &dev.sandbox).await;
    upstreams::check(report, &dev.edge.upstreams).await;
}

async fn check_gateway(report: &mut Report<'_>, gateway: &GatewaySettings) {
    report.add(files::data_dir(&gateway.process.data_dir));
    directory::check(report, &gateway.redis).await;
    upstreams::check(report, &gateway.edge.upstreams).await;
}

async fn check_worker(report: &mut Report<'_>, worker: &WorkerSettings) {
    report.add(files::data_dir(&worker.process.data_dir));
    runtime::check(report, &worker.sandbox).await;
    for gateway in &worker.gateways {
        report.add(network::gateway(gateway).await);
    }
}

/// The settings of a role that is set up, if it would start from them.
fn sound<T>(report: &mut Report<'_>, role: &str, read: Option<Result<T, Problems>>) -> Option<T> {
    match read? {
        Ok(sound) => {
            report.add(Finding::good("settings", format!("baton {role} can start from them")));
            Some(sound)
        }
        Err(problems) => {
            settings(report, &problems);
            None
        }
    }
}

fn settings(report: &mut Report<'_>, problems: &Problems) {
    for problem in problems.iter() {
        let detail = format!("{}: {}", problem.at(), problem.what());
        report.add(Finding::bad("settings", detail, problem.mend()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::console::recorder::Recorder;
    use crate::cli::settings::fake::Fake;
    use crate::cli::settings::{self};

    async fn examine(arguments: &str) -> (String, u8) {
        let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        let mut console = Recorder::default();
        let code = run(settings::doctor(&words, &Fake::new()), &mut console).await;
        (console.out, code)
    }

    #[tokio::test]
    async fn every_finding_is_one_line_and_a_failure_is_exit_code_1() {
        let arguments = "--prot 1 --signing-key-file none.key --url https://h/mcp";
        let (text, code) = examine(arguments).await;
        assert_eq!(code, 1);
        for line in text.lines() {
            let mended = line.starts_with("FAIL ") && line.contains(" → ");
            assert!(mended || line.starts_with("ok   ") || line.starts_with("note "), "{line}");
        }
        for part in [
            "FAIL settings: --prot: no such flag → ",
            "FAIL key file: none.key: cannot be read",
            "FAIL settings: --worker-root-key-file: is needed → make one",
            "FAIL call: https://h/mcp needs TLS",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
