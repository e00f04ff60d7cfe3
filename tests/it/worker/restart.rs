//! What a worker tells, and what outlives it.

use std::time::Duration;

use baton::rpc::client::WorkerError;
use baton::rpc::wire::{CreateReply, Frame, HeartbeatReply, NotStarted};
use baton::serve::{Drain, DrainTimings};
use baton::worker::{DiskError, WorkerStop, run};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::site::{Gateway, Site, Worker, last, shell};

#[tokio::test]
async fn a_restart_keeps_files_and_tells_once_that_variables_are_gone() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let untouched = worker.caller.create().await;
    environment.python("x = 1; open('kept', 'w').write('k')").await;
    let first = worker.addresses.incarnation;
    worker.stop().await;

    let worker = site.worker().await;
    assert!(worker.addresses.incarnation > first);
    let environment = environment.at(&worker);
    for _ in 0..2 {
        let shell = environment.shell("cat kept").await;
        assert_eq!(shell.stdout, "k");
        assert_eq!(shell.restarted.unwrap().reason, "worker-restarted");
    }
    let told = environment.try_python("x").await.unwrap_err();
    let reason = |told: &NotStarted| match told {
        NotStarted::Restarted(it) => it.reason.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&told), "worker-restarted");
    let next = environment.python("'x' in globals(), open('kept').read()").await;
    assert_eq!(next.execution_result.as_deref(), Some("(False, 'k')"));
    let untouched = untouched.at(&worker).python("1").await;
    assert_eq!(untouched.execution_result.as_deref(), Some("1"), "it had nothing to lose");
}

#[tokio::test]
async fn an_end_is_remembered_across_a_restart() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    site.clock.advance(super::site::IDLE);
    let gone = NotStarted::Gone { reason: "expired".to_owned() };
    assert_eq!(environment.try_python("1").await.unwrap_err(), gone);
    worker.stop().await;
    let worker = site.worker().await;
    assert_eq!(environment.at(&worker).try_python("1").await.unwrap_err(), gone);
}

#[tokio::test]
async fn time_without_a_worker_is_not_idle_time() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    worker.stop().await;
    site.clock.advance(2 * super::site::IDLE);
    let worker = site.worker().await;
    environment.at(&worker).python("1").await;
}

#[tokio::test]
async fn a_drain_tells_at_once_finishes_calls_and_takes_nothing_new() {
    let site = Site::new();
    let mut worker = site.worker().await;
    let environment = worker.caller.create().await;
    environment.python("1").await;
    let (short, long) = (environment.clone(), worker.caller.create().await);
    let short = short.start(&short.request(shell("sleep 1; echo finished"))).await;
    let long = long.start(&long.request(shell("sleep 20"))).await;
    worker.drain.begin();
    let refused = worker.caller.offer(&worker.caller.claim().claim).await.unwrap();
    assert!(matches!(refused, CreateReply::Refused { .. }), "{refused:?}");
    site.gateway.hears(|beat| beat.draining).await;
    let (short, mut long) = (last(short).await.unwrap(), long);
    assert_eq!(short.stdout, "finished\n");
    let stopped = long.next().await.unwrap();
    assert!(
        matches!(&stopped, Frame::Ended(it) if it.terminated_by.as_deref() == Some("workerStopping")),
        "at the deadline, and it says so: {stopped:?}"
    );
    worker.ended().await.unwrap();
}

#[tokio::test]
async fn a_worker_finds_all_gateways_and_shows_its_list_when_asked() {
    let site = Site::new();
    let second = Gateway::start(site.clock.clone());
    *site.gateway.reply.lock().unwrap() =
        HeartbeatReply { gateways: vec![second.url.clone()], ..HeartbeatReply::default() };
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    let plain = second.hears(|beat| beat.environments == 1).await;
    assert_eq!((plain.list, plain.url), (None, worker.addresses.rpc.clone()));
    second.reply.lock().unwrap().list_wanted = true;
    let with_list = second.hears(|beat| beat.list.is_some()).await;
    assert_eq!(with_list.list.unwrap(), [environment.claim]);
    assert_eq!(with_list.list_digest, plain.list_digest);
}

#[tokio::test]
async fn a_fenced_worker_stops() {
    let site = Site::new();
    site.gateway.reply.lock().unwrap().fenced = true;
    let mut worker = site.worker().await;
    assert!(matches!(worker.ended().await, Err(WorkerStop::Fenced)));
}

#[tokio::test]
async fn a_worker_without_gateways_serves_on() {
    let site = Site::new();
    let mut config = site.config();
    config.gateways = vec!["http://127.0.0.1:1".to_owned()];
    let worker = Worker::start(config).await;
    let environment = worker.caller.create().await;
    assert_eq!(environment.python("1").await.exit_code, 0);
}

#[tokio::test]
async fn a_worker_that_cannot_be_reached_or_has_no_directory_does_not_start() {
    let site = Site::new();
    let drain = || Drain::new(DrainTimings::default());
    let mut config = site.config();
    config.listen = "0.0.0.0:0".parse().unwrap();
    let stop = run(config, drain(), |_| {}).await;
    assert!(matches!(stop, Err(WorkerStop::NoAddress(_))), "{stop:?}");
    let worker = site.worker().await;
    let stop = run(site.config(), drain(), |_| {}).await;
    assert!(matches!(stop, Err(WorkerStop::Disk(DiskError::InUse { .. }))), "{stop:?}");
    worker.stop().await;
}

#[tokio::test]
async fn the_internal_listener_tells_how_the_worker_is() {
    let site = Site::new();
    let mut worker = site.worker().await;
    worker.caller.create().await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let get = async |path: &str| {
        let url = format!("{}{path}", worker.addresses.internal).parse().unwrap();
        let response = client.get(url).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!((get("/livez").await.0, get("/readyz").await.0), (200, 200));
    assert_eq!(get("/mcp").await.0, 404);
    let (_, metrics) = get("/metrics").await;
    for line in [
        "baton_environments{state=\"ready\"} 1",
        "baton_rpc_duration_seconds_count{verb=\"create\",error_type=\"\"} 1",
    ] {
        assert!(metrics.lines().any(|has| has == line), "{line}\n{metrics}");
    }
    let environment = worker.caller.create().await;
    let execution = environment.start(&environment.request(shell("sleep 2"))).await;
    worker.drain.begin();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((get("/livez").await.0, get("/readyz").await.0), (200, 503));
    last(execution).await.unwrap();
    worker.ended().await.unwrap();
}

#[tokio::test]
async fn a_call_to_a_worker_that_left_was_not_sent() {
    let site = Site::new();
    let worker = site.worker().await;
    let environment = worker.caller.create().await;
    worker.stop().await;
    // The pool still holds the connection of the call before.
    let error = environment.caller.offer(&environment.claim).await.unwrap_err();
    assert!(matches!(error, WorkerError::NotSent { .. }), "{error:?}");
}
