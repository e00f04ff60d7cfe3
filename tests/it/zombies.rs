//! Two processes with one worker's key and a copy of its data: the older start stops, and no call runs on both.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use serde_json::json;

use crate::cluster::{ALICE, Cluster, eventually, workspace};
use crate::program::Program;

/// How often each line is there.
fn lines(data_dir: &Path, id: &str) -> HashMap<String, usize> {
    let text = std::fs::read_to_string(workspace(data_dir, id).join("runs")).unwrap_or_default();
    text.lines().fold(HashMap::new(), |mut lines, it| {
        *lines.entry(it.to_owned()).or_default() += 1;
        lines
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_starts_of_one_worker_the_older_stops_and_no_call_runs_on_both() {
    let cluster = Cluster::start(2, 0, |_| {}).await;
    let (old_dir, new_dir) =
        (cluster.scratch.path().join("w1"), cluster.scratch.path().join("copy"));
    let mut old = Program::worker_in(&cluster, "w1", &old_dir).await;
    cluster.ready(1).await;
    let id = cluster.client(0, ALICE).launch().await;
    cluster.client(0, ALICE).shell(&id, "true").await;
    let copied = Command::new("cp").arg("-a").args([&old_dir, &new_dir]).status().unwrap();
    assert!(copied.success());

    let over = AtomicBool::new(false);
    let call = async |replica: usize| {
        let (client, mut acknowledged) = (cluster.client(replica, ALICE), Vec::new());
        for number in 0.. {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let name = format!("{replica}-{number}");
            let arguments =
                json!({"environmentId": id, "shellCommand": format!("echo {name} >> runs")});
            let params =
                json!({"name": "runShellCommandInRemoteEnvironment", "arguments": arguments});
            let answer = client.modern("tools/call", params).await;
            if answer.status == StatusCode::OK
                && answer.json()["result"]["structuredContent"]["exitCode"] == 0
            {
                acknowledged.push(name);
            }
        }
        acknowledged
    };
    let replace = async {
        eventually(async || lines(&old_dir, &id).len() > 10).await;
        let new = Program::worker_in(&cluster, "w1", &new_dir).await;
        old.ended().await;
        let ran_here = lines(&old_dir, &id);
        let before = lines(&new_dir, &id).len();
        eventually(async || lines(&new_dir, &id).len() > before + 10).await;
        over.store(true, Ordering::Relaxed);
        assert_eq!(lines(&old_dir, &id), ran_here, "it runs on");
        new
    };
    let (here, there, _new) = tokio::join!(call(0), call(1), replace);
    let mut ran = lines(&new_dir, &id);
    for (name, count) in lines(&old_dir, &id) {
        *ran.entry(name).or_default() += count;
    }
    assert!(ran.values().all(|count| *count == 1), "{ran:?}");
    for name in here.iter().chain(&there) {
        assert!(ran.contains_key(name), "{name} was acknowledged and did not run");
    }
}
