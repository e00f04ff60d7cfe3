//! What happens to an environment while its worker runs.

use std::time::{Duration, Instant};

use baton::rpc::client::TraceHeaders;
use baton::rpc::wire::{
    CancelRequest, CloseRequest, CreateReply, Done, FindReply, FindRequest, Frame, ListRequest,
    NotStarted,
};
use baton::worker::Config;

use super::site::{Caller, Environment, IDLE, SOON, Site, Worker, last, principal, python, shell};

/// A second less than [`IDLE`].
const ALMOST: Duration = Duration::from_secs(299);

async fn close(environment: &Environment) -> Done {
    let Caller { client, peer, .. } = &environment.caller;
    let request = CloseRequest { target: environment.target() };
    client.close(peer, &request, SOON, &TraceHeaders::default()).await.unwrap()
}

async fn find(environment: &Environment) -> FindReply {
    let Caller { client, peer, .. } = &environment.caller;
    let request = FindRequest { environment: environment.id.to_string() };
    client.find(peer, &request, SOON, &TraceHeaders::default()).await.unwrap()
}

async fn cancel(environment: &Environment, execution: &str) {
    let Caller { client, peer, .. } = &environment.caller;
    let request = CancelRequest {
        environment: environment.id.to_string(),
        execution: execution.to_owned(),
        caller: None,
    };
    let done = client.cancel(peer, &request, SOON, &TraceHeaders::default()).await.unwrap();
    assert_eq!(done, Done::Done);
}

fn gone(reason: &str) -> NotStarted {
    NotStarted::Gone { reason: reason.to_owned() }
}

#[tokio::test]
async fn an_environment_keeps_its_state_until_it_is_closed() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let first = environment.python("x = 20\nprint('hello')").await;
    assert_eq!((first.stdout.as_str(), first.exit_code), ("hello\n", 0), "{first:?}");
    assert_eq!(environment.python("x + 1").await.execution_result.as_deref(), Some("21"));
    let shell = environment.shell("echo 42 > answer; echo done >&2; exit 3").await;
    assert_eq!((shell.stderr.as_str(), shell.exit_code), ("done\n", 3));
    let read = environment.python("print(open('answer').read(), end='')").await;
    assert_eq!(read.stdout, "42\n");
    let deadline = site.clock.now().after(IDLE).as_millis();
    assert_eq!(read.idle_deadline_ms, deadline);
    assert_eq!(find(&environment).await, FindReply::Held { claim: environment.claim.clone() });

    assert_eq!(close(&environment).await, Done::Done);
    assert_eq!(environment.try_python("1").await.unwrap_err(), gone("deleted"));
    assert_eq!(close(&environment).await, Done::NotDone(gone("deleted")));
    assert_eq!(find(&environment).await, FindReply::Gone { reason: "deleted".to_owned() });
    worker.stop().await;
    let left = site.dir.path().join("environments").join(environment.id.to_string());
    assert!(left.join("record.json").exists() && !left.join("workspace").exists());
}

#[tokio::test]
async fn output_comes_while_code_runs_and_again_at_the_end() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    environment.python("1").await;
    let mut request = environment.request(shell("echo one; sleep 0.5; echo two; echo bad >&2"));
    request.stream = true;
    let mut execution = environment.start(&request).await;
    let began = Instant::now();
    assert_eq!(execution.next().await.unwrap(), Frame::Stdout("one\n".into()));
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let ended = loop {
        match execution.next().await.unwrap() {
            Frame::Stdout(bytes) => stdout.extend(bytes),
            Frame::Stderr(bytes) => stderr.extend(bytes),
            Frame::Ended(ended) => break ended,
            other @ (Frame::NotStarted(_) | Frame::Replayed(_)) => panic!("{other:?}"),
        }
    };
    assert_eq!((stdout.as_slice(), stderr.as_slice()), (&b"two\n"[..], &b"bad\n"[..]));
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("one\ntwo\n", "bad\n"));
}

#[tokio::test]
async fn only_its_owner_at_its_epoch_may_use_it() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let mut request = environment.request(python("1"));
    request.target.owner = principal("mallory").owner_digest().to_string();
    assert_eq!(environment.run(&request).await.unwrap_err(), NotStarted::Foreign);
    let mut request = environment.request(python("1"));
    request.target.epoch = 2;
    let wrong = environment.run(&request).await.unwrap_err();
    assert_eq!(wrong, NotStarted::WrongEpoch { epoch: 1 });
    let unknown = worker.caller.claim();
    assert_eq!(unknown.try_python("1").await.unwrap_err(), NotStarted::NotMine);
    assert_eq!(find(&unknown).await, FindReply::NotMine);
    assert_eq!(close(&unknown).await, Done::NotDone(NotStarted::NotMine));

    close(&environment).await;
    let mut request = environment.request(python("1"));
    request.target.owner = principal("mallory").owner_digest().to_string();
    assert_eq!(environment.run(&request).await.unwrap_err(), NotStarted::Foreign, "and gone");
}

#[tokio::test]
async fn creating_is_safe_to_repeat_and_ends_at_the_capacity() {
    let site = Site::new();
    let mut config = site.config();
    (config.capacity, config.warm_pool) = (1, 0);
    let worker = super::site::Worker::start(config).await;
    let environment = worker.caller.create().await;
    assert_eq!(worker.caller.offer(&environment.claim).await.unwrap(), CreateReply::Created);
    let refused = |reply| matches!(reply, CreateReply::Refused { .. });
    let mut other = environment.claim.clone();
    other.owner = principal("mallory").owner_digest().to_string();
    assert!(refused(worker.caller.offer(&other).await.unwrap()), "the id is taken");
    let another = worker.caller.claim();
    assert!(refused(worker.caller.offer(&another.claim).await.unwrap()), "full");
    close(&environment).await;
    assert!(refused(worker.caller.offer(&environment.claim).await.unwrap()), "gone for good");
    assert_eq!(worker.caller.offer(&another.claim).await.unwrap(), CreateReply::Created);
}

#[tokio::test]
async fn a_list_has_an_owners_environments_oldest_first() {
    let site = Site::new();
    let worker = site.worker().await;
    let first = worker.caller.create().await;
    site.clock.advance(Duration::from_secs(1));
    let second = worker.caller.create().await;
    let Caller { client, peer, .. } = &worker.caller;
    let list = async |owner: Option<&str>, one: Option<&str>| {
        let alice = principal("alice");
        let owner = owner.map(|subject| principal(subject).owner_digest().to_string());
        let environment = one.map(str::to_owned);
        let request = ListRequest { tenant: alice.tenant_digest().to_string(), owner, environment };
        let reply = client.list(peer, &request, SOON, &TraceHeaders::default()).await.unwrap();
        reply.environments.into_iter().map(|it| it.environment).collect::<Vec<_>>()
    };
    let both = [first.id.to_string(), second.id.to_string()];
    assert_eq!(list(Some("alice"), None).await, both);
    assert_eq!(list(None, None).await, both);
    assert!(list(Some("mallory"), None).await.is_empty());
    assert_eq!(list(Some("alice"), Some(&both[1])).await, both[1..]);
    assert!(list(Some("mallory"), Some(&both[1])).await.is_empty());
}

#[tokio::test]
async fn eight_calls_may_wait_and_a_cancelled_one_makes_room() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    environment.python("1").await;
    let running = environment.request(shell("sleep 20"));
    let mut running_execution = environment.start(&running).await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let request = environment.request(shell("echo ran"));
        let execution = environment.start(&request).await;
        waiting.push((request, execution));
    }
    let refused = environment.try_python("1").await.unwrap_err();
    assert!(matches!(refused, NotStarted::QueueFull { retry_after_ms: 1.. }), "{refused:?}");

    let (request, mut execution) = waiting.remove(3);
    cancel(&environment, &request.execution).await;
    assert_eq!(
        execution.next().await.unwrap(),
        Frame::NotStarted(NotStarted::Cancelled),
        "without waiting for its turn"
    );
    let (request, execution) = waiting.remove(3);
    drop(execution);
    let late = environment.request(shell("echo late"));
    let mut late_execution = environment.start(&late).await;
    cancel(&environment, &running.execution).await;
    let ended = running_execution.next().await.unwrap();
    assert!(
        matches!(&ended, Frame::Ended(it) if it.terminated_by.as_deref() == Some("cancelled")),
        "{ended:?}"
    );
    for (_, execution) in waiting {
        assert_eq!(last(execution).await.unwrap().stdout, "ran\n");
    }
    let late = late_execution.next().await.unwrap();
    assert!(matches!(&late, Frame::Ended(it) if it.stdout == "late\n"), "{late:?}");
    cancel(&environment, &request.execution).await;
}

#[tokio::test]
async fn a_cancelled_execution_stops_within_a_second() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    environment.python("x = 5").await;
    for job in
        [python("while True: pass"), python("import time; time.sleep(60)"), shell("sleep 60")]
    {
        let mut request = environment.request(job);
        request.stream = true;
        let execution = environment.start(&request).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let began = Instant::now();
        cancel(&environment, &request.execution).await;
        let ended = last(execution).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?} {ended:?}", began.elapsed());
        assert_eq!(ended.terminated_by.as_deref(), Some("cancelled"));
        assert!(!ended.variables_lost, "{ended:?}");
    }
    assert_eq!(environment.python("x").await.execution_result.as_deref(), Some("5"));
}

#[tokio::test]
async fn a_call_without_a_connection_stops_after_five_seconds() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    environment.python("1").await;
    let execution = environment.start(&environment.request(shell("sleep 20; echo > late"))).await;
    site.gateway.hears(|beat| beat.running == 1).await;
    drop(execution);
    let began = Instant::now();
    site.gateway.hears(|beat| beat.running == 0).await;
    let took = began.elapsed();
    let expected = Duration::from_secs(4)..Duration::from_secs(9);
    assert!(expected.contains(&took), "{took:?}");
}

#[tokio::test]
async fn idle_time_ends_an_environment_and_a_call_begins_it_anew() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    site.clock.advance(ALMOST);
    environment.python("1").await;
    site.clock.advance(ALMOST);
    let long = environment.start(&environment.request(shell("sleep 1.5"))).await;
    site.clock.advance(2 * IDLE);
    last(long).await.unwrap();
    site.clock.advance(ALMOST);
    assert!(matches!(find(&environment).await, FindReply::Held { .. }), "it ran until just now");
    site.clock.advance(Duration::from_secs(1));
    assert_eq!(environment.try_python("1").await.unwrap_err(), gone("expired"));
}

#[tokio::test]
async fn nobody_needs_to_call_for_an_idle_environment_to_end() {
    let site = Site::new();
    let worker = site.worker().await;
    worker.caller.create().await;
    site.gateway.hears(|beat| beat.environments == 1).await;
    site.clock.advance(IDLE);
    site.gateway.hears(|beat| beat.environments == 0).await;
}

#[tokio::test]
async fn the_maximum_life_ends_even_a_call() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    environment.python("1").await;
    let execution = environment.start(&environment.request(shell("sleep 20"))).await;
    site.clock.advance(Duration::from_hours(24));
    let ended = last(execution).await.unwrap();
    assert_eq!(ended.terminated_by.as_deref(), Some("cancelled"));
    assert_eq!(environment.try_python("1").await.unwrap_err(), gone("expired"));
}

#[tokio::test]
async fn a_call_that_loses_the_interpreter_says_so_and_the_next_one_runs() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    environment.python("x = 1; open('kept', 'w').write('k')").await;
    let lost = environment.python("import os; os._exit(3)").await;
    assert!(lost.variables_lost, "{lost:?}");
    let shell = environment.shell("cat kept").await;
    assert_eq!((shell.stdout.as_str(), &shell.restarted), ("k", &None), "it was told");
    let next = environment.python("'x' in globals(), open('kept').read()").await;
    assert_eq!(next.execution_result.as_deref(), Some("(False, 'k')"));
    assert!(!next.variables_lost);
}

/// An environment whose interpreter dies after the call that is answered.
async fn bereft(caller: &Caller) -> Environment {
    let environment = caller.create().await;
    let dies = "import os, threading; threading.Timer(0.2, lambda: os._exit(1)).start()";
    assert!(!environment.python(dies).await.variables_lost);
    tokio::time::sleep(Duration::from_millis(600)).await;
    environment
}

#[tokio::test]
async fn an_interpreter_that_dies_between_calls_is_told_once() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = bereft(&worker.caller).await;
    let told = environment.try_python("1").await.unwrap_err();
    assert!(matches!(&told, NotStarted::Restarted(it) if it.reason == "sandbox-lost"), "{told:?}");
    assert_eq!(environment.python("1 + 1").await.execution_result.as_deref(), Some("2"));
    assert_eq!(environment.shell("true").await.restarted, None);
}

#[tokio::test]
async fn a_shell_call_runs_without_the_interpreter_and_says_so() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = bereft(&worker.caller).await;
    let shell = environment.shell("echo here").await;
    assert!(shell.stdout == "here\n" && shell.variables_lost, "{shell:?}");
    assert!(!environment.shell("true").await.variables_lost, "once");
    assert_eq!(environment.python("1 + 1").await.execution_result.as_deref(), Some("2"));
}

#[tokio::test]
async fn without_namespaces_code_reaches_its_own_workspace_and_no_other() {
    let site = Site::new();
    let worker = Worker::start(Config { runtime: "confined".to_owned(), ..site.config() }).await;
    let (one, other) = (worker.caller.create().await, worker.caller.create().await);
    // By its absolute path, which leads through the worker's own directory.
    let written = one.python("import os\nopen(os.path.abspath('mine'), 'w').write('x')").await;
    assert_eq!(written.exit_code, 0, "{written:?}");
    let at = site.dir.path().join("environments").join(one.id.to_string());
    for path in [at.join("workspace/mine"), at.join("record.json"), site.dir.path().join("lock")] {
        let read = other.python(&format!("open({:?}).read()", path.display().to_string())).await;
        assert!(read.stderr.contains("PermissionError"), "{}: {read:?}", path.display());
    }
    worker.stop().await;
}
