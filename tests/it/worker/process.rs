//! A worker in a process of its own, which can be killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use baton::clock::Clock;
use baton::domain::ids::Incarnation;
use baton::rpc::client::{Peer, WorkerClient};
use baton::rpc::wire::NotStarted;
use baton::serve::{Drain, DrainTimings};
use baton::worker::run;

use super::site::{Caller, Site, config, key};

/// Becomes the worker of the test below: one line on stdin names its directory. Without it, nothing.
#[test]
#[ignore = "not a test: the process that another test kills"]
fn child() {
    let mut dir = String::new();
    std::io::stdin().read_line(&mut dir).unwrap();
    if dir.trim().is_empty() {
        return;
    }
    let config = config(Path::new(dir.trim()), Clock::system(), Vec::new());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let drain = Drain::new(DrainTimings::default());
    let listening = |addresses: &baton::worker::Addresses| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nlistening {} {}", addresses.rpc, addresses.incarnation.0).unwrap();
    };
    runtime.block_on(run(config, drain, listening)).unwrap();
}

struct Killable {
    child: Child,
    caller: Caller,
}

impl Killable {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["worker::process::child", "--exact", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{}", dir.display()).unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening ").map(str::to_owned));
        let line = line.expect("the worker does not start");
        let (url, incarnation) = line.split_once(' ').unwrap();
        let incarnation = Incarnation(incarnation.parse().unwrap());
        let clock = Clock::system();
        let peer = Peer::new(url.to_owned(), key("w1"), incarnation);
        Self { child, caller: Caller { client: WorkerClient::new(clock.clone()), peer, clock } }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn environments_survive_a_worker_that_is_killed() {
    let site = Site::new();
    let killed = Killable::start(site.dir.path());
    let running = killed.caller.create().await;
    running.python("x = 1; open('kept', 'w').write('k')").await;
    let idle = killed.caller.create().await;
    let busy = running.start(&running.request(super::site::shell("sleep 20"))).await;
    killed.kill();
    drop(busy);

    let again = Killable::start(site.dir.path());
    let (mut running, mut idle) = (running, idle);
    running.caller = again.caller.clone();
    idle.caller = again.caller.clone();
    assert_eq!(idle.python("2").await.execution_result.as_deref(), Some("2"));
    let told = running.try_python("x").await.unwrap_err();
    assert!(matches!(told, NotStarted::Restarted(_)), "{told:?}");
    let kept = running.python("open('kept').read()").await;
    assert_eq!(kept.execution_result.as_deref(), Some("'k'"));
    again.kill();
}
