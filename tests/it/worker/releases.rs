//! What an earlier release left on a worker's disk, as it left it: `tests/fixtures/releases/N` is a data directory that
//! was written by the release with that version of the record, and stays as it is.

use std::fs;
use std::path::Path;
use std::time::Duration;

use baton::domain::ids::Incarnation;
use baton::rpc::client::TraceHeaders;
use baton::rpc::task::{Progress, Reader, TaskReply, TaskRequest};
use baton::rpc::wire::NotStarted;

use super::site::{Caller, Environment, SOON, Site};

const LIVE: &str = "56e5ceeb35590c5820182fb96566edfa";
const DELETED: &str = "465a4f954de7571d422f947665594419";
const TASK: &str = "23a84914343f6aa36de94f49519c6881";

/// An environment that the fixture has, as its owner calls it.
fn environment(caller: &Caller, id: &str) -> Environment {
    let mut environment = caller.claim();
    environment.id = baton::domain::ids::EnvironmentId::from_hex(id).unwrap();
    id.clone_into(&mut environment.claim.environment);
    environment
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn what_the_first_release_left_is_taken_up() {
    let site = Site::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/releases/1/worker");
    copy(&fixture, site.dir.path());
    site.clock.advance(Duration::from_mins(1));
    let worker = site.worker().await;
    assert!(worker.addresses.incarnation > Incarnation(1_795_250_494_000));

    let live = environment(&worker.caller, LIVE);
    let told = live.try_python("x").await.unwrap_err();
    assert!(matches!(told, NotStarted::Restarted(_)), "{told:?}");
    let kept = live.python("open('kept').read()").await;
    assert_eq!(kept.execution_result.as_deref(), Some("'by the first release'"));
    live.python("open('kept', 'a').write(' and by this one')").await;

    let request = TaskRequest {
        target: live.target(),
        execution: TASK.to_owned(),
        wait_ms: 0,
        reader: Reader::Client,
    };
    let Caller { client, peer, .. } = &live.caller;
    let reply = client.task(peer, &request, SOON, &TraceHeaders::default()).await.unwrap();
    let TaskReply::Task(task) = reply else { panic!("{reply:?}") };
    let Progress::Ended { ended } = task.progress else { panic!("{task:?}") };
    assert_eq!((ended.stdout.as_str(), ended.exit_code), ("outcome\n", 3));

    let gone = environment(&worker.caller, DELETED).try_python("1").await.unwrap_err();
    assert_eq!(gone, NotStarted::Gone { reason: "deleted".to_owned() });
}
