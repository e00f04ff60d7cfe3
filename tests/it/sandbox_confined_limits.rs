//! The limits where there are no namespaces: which one ended a call is told there too.

use std::fs;
use std::time::Duration;

use baton::worker::sandbox::{Condition, Limit, Limits};

use super::bombs::{Bombing, ended_by};
use super::world::{World, eventually, host_processes, limits};

async fn begin(limits: Limits) -> Bombing {
    Bombing::within(World::confined().await, limits).await
}

fn few_processes() -> Limits {
    Limits { processes: 40, ..limits() }
}

#[tokio::test]
async fn a_fork_bomb_is_ended_by_the_limit_on_processes() {
    let mut bombing = begin(few_processes()).await;
    let code = "while True:\n    if not os.fork(): time.sleep(1000)";
    let said = bombing.bomber.python_within(code, Duration::from_secs(5)).await;
    ended_by(&said, Limit::Processes);
    bombing.neighbour.is_well().await;
    bombing.end().await;
}

#[tokio::test]
async fn a_fork_bomb_in_the_shell_leaves_the_interpreter_and_room_for_more() {
    let mut bombing = begin(few_processes()).await;
    let bomb = "while :; do sleep 1000 & done";
    let said = bombing.bomber.shell_within(bomb, Duration::from_secs(5)).await;
    ended_by(&said, Limit::Processes);
    let bomb = "b() { setsid sh -c 'while :; do setsid sleep 1000 & done' & b; }; b";
    let said = bombing.bomber.shell_within(bomb, Duration::from_secs(5)).await;
    assert_ne!(said.outcome.exit_code, 0, "{said:?}");
    bombing.neighbour.is_well().await;
    bombing.end().await;
}

/// One sandbox that has all it may have leaves the others theirs, though all have one uid without root.
#[tokio::test]
async fn processes_of_one_sandbox_are_not_counted_against_another() {
    let mut bombing = begin(few_processes()).await;
    bombing.bomber.shell("for i in $(seq 30); do setsid sleep 1000 & done").await.ok();
    let world = World::confined().await;
    let mut others = Vec::new();
    for name in ["one", "two"] {
        let mut other = world.limited(name, few_processes()).await;
        let said =
            other.shell("for i in $(seq 30); do sleep 1000 & p=\"$p $!\"; done; kill $p").await;
        assert_eq!((said.outcome.exit_code, said.stderr.as_str()), (0, ""), "{said:?}");
        other.shell("for i in $(seq 30); do setsid sleep 1000 & done").await.ok();
        others.push(other);
    }
    bombing.neighbour.is_well().await;
    bombing.end().await;
}

#[tokio::test]
async fn a_bomb_between_two_calls_goes_off_in_its_own_sandbox() {
    let mut bombing = begin(few_processes()).await;
    let mark = (getrandom::u32().unwrap() | 1 << 31).to_string();
    let code = format!(
        "
import threading
def bomb():
    time.sleep(0.2)
    while True:
        os.posix_spawn('/usr/bin/sleep', ['sleep', '{mark}'], {{}})
        log.write(b'.')
log = open('went-off', 'wb', 0)
threading.Thread(target=bomb).start()"
    );
    bombing.bomber.python(&code).await.ok();
    // Its processes may all be ended before anybody has counted them.
    let log = bombing.bomber.workspace.join("went-off");
    eventually("it goes off", || fs::metadata(&log).is_ok_and(|it| it.len() > 20)).await;
    if bombing.world.runtime.capabilities().own_uid {
        assert!(host_processes(&mark).len() < 40);
    } else {
        eventually("it is ended", || host_processes(&mark).is_empty()).await;
    }
    bombing.neighbour.is_well().await;
    bombing.end().await;
}

#[tokio::test]
async fn time_is_ended_by_the_limit_on_it() {
    let mut bombing = begin(limits()).await;
    let said = bombing.bomber.shell_within("sleep 1000", Duration::from_millis(200)).await;
    ended_by(&said, Limit::WallTime);
    let said = bombing.bomber.python_within("while True: pass", Duration::from_millis(200)).await;
    ended_by(&said, Limit::WallTime);
    assert_eq!(bombing.bomber.condition(), Condition::Ready);
    bombing.end().await;
}

#[tokio::test]
async fn memory_is_ended_by_the_limit_on_memory() {
    let mut bombing = begin(Limits { memory_bytes: 200 << 20, ..limits() }).await;
    let said =
        bombing.bomber.python("hoard = []\nwhile True: hoard.append(bytearray(10 << 20))").await;
    ended_by(&said, Limit::Memory);
    assert_eq!(bombing.bomber.python("del hoard\nx").await.ok().result(), "'kept'");
    let hoard = "python3 -c 'import time; h = bytearray(120 << 20); time.sleep(1000)'";
    let command = format!("for i in 1 2 3 4; do {hoard} & done; wait; exit 1");
    let said = bombing.bomber.shell_within(&command, Duration::from_secs(8)).await;
    // Where the kernel ends one process at a time, those that fit sleep on until the timeout.
    let by = said.outcome.terminated_by;
    assert!(matches!(by, Some(Limit::Memory | Limit::WallTime)), "{said:?}");
    assert_eq!(bombing.bomber.python("x").await.ok().result(), "'kept'");
    bombing.end().await;
}

#[tokio::test]
async fn processor_time_is_ended_by_the_limit_on_it() {
    let mut bombing = begin(Limits { cpu_seconds: 1, ..limits() }).await;
    let said = bombing.bomber.shell("for i in 1 2 3; do (while :; do :; done) & done; wait").await;
    ended_by(&said, Limit::Cpu);
    ended_by(&bombing.bomber.python("while True: pass").await, Limit::Cpu);
    assert_eq!(bombing.bomber.python("x").await.ok().result(), "'kept'");
    bombing.end().await;
}

#[tokio::test]
async fn a_full_workspace_is_ended_by_the_limit_on_it() {
    let mut bombing = begin(Limits { workspace_bytes: 20 << 20, ..limits() }).await;
    let code = "with open('big', 'wb') as f:\n    while True: f.write(bytes(1 << 20))";
    ended_by(&bombing.bomber.python(code).await, Limit::Disk);
    bombing.end().await;
}
