//! Calls with an idempotency key, and what a worker knows of them when it was started anew.

use std::fs;
use std::path::PathBuf;

use baton::domain::ids::{ArgumentsDigest, EnvironmentId, ExecutionId};
use baton::rpc::client::{Execution, TraceHeaders};
use baton::rpc::keyed::KeyedRequest;
use baton::rpc::task::{JobKind, Progress, Task};
use baton::rpc::wire::{CancelRequest, Ended, Frame, Job, NotStarted};

use super::site::{Caller, Environment, SOON, Site, last, random, shell};
use crate::cluster::eventually;

impl Environment {
    fn keyed(&self, key: &str, job: Job) -> KeyedRequest {
        let arguments = ArgumentsDigest::of(&[&format!("{job:?}")]).to_string();
        let mut execute = self.request(job);
        execute.execution = ExecutionId::of_key(self.id, key).to_string();
        KeyedRequest { execute, arguments, caller: EnvironmentId::from_bytes(random()).to_string() }
    }

    async fn ask(&self, request: &KeyedRequest) -> Execution {
        let Caller { client, peer, .. } = &self.caller;
        client.execute_keyed(peer, request, SOON, &TraceHeaders::default()).await.unwrap()
    }

    async fn first(&self, request: &KeyedRequest) -> Result<Box<Ended>, NotStarted> {
        last(self.ask(request).await).await
    }

    /// The answer to a repeat.
    async fn repeat(&self, request: &KeyedRequest) -> Task {
        match self.ask(request).await.next().await.unwrap() {
            Frame::Replayed(task) => *task,
            other => panic!("{other:?}"),
        }
    }

    async fn cancel_as(&self, request: &KeyedRequest) {
        let Caller { client, peer, .. } = &self.caller;
        let request = CancelRequest {
            environment: self.id.to_string(),
            execution: request.execute.execution.clone(),
            caller: Some(request.caller.clone()),
        };
        client.cancel(peer, &request, SOON, &TraceHeaders::default()).await.unwrap();
    }

    async fn runs(&self) -> String {
        self.shell("grep -c ran runs").await.stdout
    }
}

fn files(site: &Site, environment: &Environment) -> PathBuf {
    site.dir.path().join("environments").join(environment.id.to_string())
}

fn outcome(task: Task) -> Ended {
    assert_eq!(task.kind, JobKind::Shell);
    match task.progress {
        Progress::Ended { ended } => *ended,
        other => panic!("{other:?}"),
    }
}

fn failed(reason: &str) -> Progress {
    Progress::Failed { reason: reason.to_owned() }
}

#[tokio::test]
async fn a_result_is_told_again_also_by_a_worker_that_was_started_anew() {
    let site = Site::new();
    let mut worker = site.worker().await;
    let mut environment = worker.caller.create().await;
    let call = environment.keyed("k", shell("echo ran >> runs; echo out; echo bad >&2; exit 3"));
    environment.first(&call).await.unwrap();
    for started_anew in [false, true] {
        if started_anew {
            drop(worker);
            worker = site.worker().await;
            environment = environment.at(&worker);
        }
        let told = outcome(environment.repeat(&call).await);
        let said = (told.stdout.as_str(), told.stderr.as_str(), told.exit_code);
        assert_eq!(said, ("out\n", "bad\n", 3));
        let other = environment.keyed("k", shell("echo other"));
        assert_eq!(environment.first(&other).await.unwrap_err(), NotStarted::KeyConflict);
        let other_key = environment.keyed(&format!("k{started_anew}"), shell("echo else"));
        assert_eq!(environment.first(&other_key).await.unwrap().stdout, "else\n");
        assert_eq!(environment.runs().await, "1\n");
    }
    let elsewhere = worker.caller.create().await;
    let same_key = elsewhere.keyed("k", shell("echo mine"));
    assert_eq!(elsewhere.first(&same_key).await.unwrap().stdout, "mine\n");
}

#[tokio::test]
async fn of_two_at_once_one_runs_and_the_other_waits_for_it() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let line = "echo ran >> runs; sleep 0.5; echo done";
    let calls = [(); 2].map(|()| environment.keyed("k", shell(line)));
    let mut answers = Vec::new();
    for call in &calls {
        answers.push(environment.ask(call).await);
    }
    let mut ends = Vec::new();
    for mut answer in answers {
        ends.push(match answer.next().await.unwrap() {
            Frame::Ended(ended) => (ended.stdout, false),
            Frame::Replayed(task) => (outcome(*task).stdout, true),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(ends, [("done\n".to_owned(), false), ("done\n".to_owned(), true)]);
    assert_eq!(environment.runs().await, "1\n");
}

#[tokio::test]
async fn what_ran_when_its_worker_died_is_interrupted_and_never_runs_again() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let call = environment.keyed("k", shell("echo ran >> runs; sleep 60"));
    let _running = environment.ask(&call).await;
    let runs = files(&site, &environment).join("workspace/runs");
    eventually(async || runs.exists()).await;
    drop(worker);
    for _ in 0..2 {
        let worker = site.worker().await;
        let environment = environment.at(&worker);
        assert_eq!(environment.repeat(&call).await.progress, failed("worker-restarted"));
        assert_eq!(environment.runs().await, "1\n");
    }
}

#[tokio::test]
async fn a_cancelled_call_is_stored_as_that_and_never_runs_again() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let call = environment.keyed("k", shell("echo ran >> runs; echo begun; sleep 60"));
    let running = environment.ask(&call).await;
    let runs = files(&site, &environment).join("workspace/runs");
    eventually(async || runs.exists()).await;
    drop(running);
    environment.cancel_as(&call).await;
    let told = outcome(environment.repeat(&call).await);
    assert_eq!(
        (told.terminated_by.as_deref(), told.stdout.as_str()),
        (Some("cancelled"), "begun\n")
    );
    assert_eq!(environment.runs().await, "1\n");
}

#[tokio::test]
async fn a_key_whose_entry_does_not_read_runs_nothing() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let call = environment.keyed("k", shell("echo ran >> runs"));
    environment.first(&call).await.unwrap();
    drop(worker);
    let entry = files(&site, &environment).join(format!("journal/{}.json", call.execute.execution));
    fs::write(&entry, b"{\"vers").unwrap();
    let worker = site.worker().await;
    let environment = environment.at(&worker);
    assert_eq!(environment.repeat(&call).await.progress, failed("entry-unread"));
    let another = environment.keyed("l", shell("echo ran >> runs"));
    environment.first(&another).await.unwrap();
    assert_eq!(environment.runs().await, "2\n");
    assert!(entry.exists(), "it is left for people to look at");
}

#[tokio::test]
async fn a_key_does_not_prolong_its_environments_life() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    environment.first(&environment.keyed("k", shell("true"))).await.unwrap();
    site.clock.advance(super::site::IDLE);
    let gone = NotStarted::Gone { reason: "expired".to_owned() };
    assert_eq!(environment.try_python("1").await.unwrap_err(), gone);
    let call = environment.keyed("k", shell("true"));
    assert_eq!(environment.first(&call).await.unwrap_err(), gone);
}
