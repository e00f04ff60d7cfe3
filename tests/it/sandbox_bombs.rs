//! Code that takes all it can: what stops it is named, and the others do not notice.

use std::time::Duration;

use baton::worker::sandbox::{Condition, Limit, Limits};

use super::world::{Inside, Said, World, limits};

/// How soon a bomb's call is over at the latest, its timeout included.
const SOON: Duration = Duration::from_secs(30);

/// Code that takes all it can, and a neighbour that must not notice.
pub(super) struct Bombing {
    pub(super) bomber: Inside,
    pub(super) neighbour: Inside,
    pub(super) world: World,
}

impl Bombing {
    async fn begin(limits: Limits) -> Self {
        Self::within(World::new().await, limits).await
    }

    pub(super) async fn within(world: World, limits: Limits) -> Self {
        let mut bomber = world.limited("bomber", limits).await;
        bomber.python("import os, time\nx = 'kept'").await.ok();
        let neighbour = world.sandbox("neighbour").await;
        Self { bomber, neighbour, world }
    }

    pub(super) async fn end(mut self) {
        self.neighbour.is_well().await;
        self.bomber.destroy().await;
        self.neighbour.is_well().await;
    }
}

#[track_caller]
pub(super) fn ended_by(said: &Said, limit: Limit) {
    assert_eq!(said.outcome.terminated_by, Some(limit), "{said:?}");
    assert_ne!(said.outcome.exit_code, 0, "{said:?}");
    assert!(said.outcome.duration < SOON, "{said:?}");
}

#[tokio::test]
async fn a_fork_bomb_in_python() {
    let mut bombing = Bombing::begin(Limits { processes: 40, ..limits() }).await;
    let said = bombing
        .bomber
        .python_within(
            "while True:\n    if not os.fork(): time.sleep(1000)",
            Duration::from_secs(5),
        )
        .await;
    ended_by(&said, Limit::Processes);
    let said = bombing.bomber.python_within("while True: os.fork()", Duration::from_secs(2)).await;
    assert_ne!(said.outcome.exit_code, 0, "{said:?}");
    bombing.neighbour.is_well().await;
    bombing.end().await;
}

#[tokio::test]
async fn a_fork_bomb_in_the_shell() {
    let mut bombing = Bombing::begin(Limits { processes: 40, ..limits() }).await;
    for bomb in [
        "b() { b | b & }; b; sleep 0.2",
        "b() { setsid sh -c 'while :; do setsid sleep 1000 & done' & b; }; b",
    ] {
        let said = bombing.bomber.shell_within(bomb, Duration::from_secs(2)).await;
        assert!(said.outcome.duration < SOON, "{said:?}");
        bombing.neighbour.is_well().await;
    }
    // Whatever was left, the next call has room.
    assert_eq!(bombing.bomber.shell("echo room").await.ok().stdout, "room\n");
    assert_eq!(bombing.bomber.condition(), Condition::Ready);
    assert_eq!(bombing.bomber.python("x").await.ok().result(), "'kept'");
    bombing.end().await;
}

#[tokio::test]
async fn memory_in_one_process() {
    let mut bombing = Bombing::begin(Limits { memory_bytes: 200 << 20, ..limits() }).await;
    let said =
        bombing.bomber.python("hoard = []\nwhile True: hoard.append(bytearray(10 << 20))").await;
    ended_by(&said, Limit::Memory);
    assert!(said.stderr.contains("MemoryError"), "{said:?}");
    assert_eq!(bombing.bomber.python("del hoard\nx").await.ok().result(), "'kept'");
    bombing.end().await;
}

#[tokio::test]
async fn memory_in_many_processes() {
    let mut bombing = Bombing::begin(Limits { memory_bytes: 200 << 20, ..limits() }).await;
    let hoard = "python3 -c 'import time; h = bytearray(120 << 20); time.sleep(1000)'";
    let command = format!("for i in 1 2 3 4 5 6; do {hoard} & done; wait; exit 1");
    let said = bombing.bomber.shell_within(&command, Duration::from_secs(20)).await;
    // Where the kernel ends one process at a time, those that fit sleep on until the timeout.
    assert!(
        matches!(said.outcome.terminated_by, Some(Limit::Memory | Limit::WallTime)),
        "{said:?}"
    );
    assert_eq!(bombing.bomber.condition(), Condition::Ready, "the interpreter was spared");
    assert_eq!(bombing.bomber.python("x").await.ok().result(), "'kept'");
    let code = "
for _ in range(8):
    if not os.fork():
        hoard = bytearray(120 << 20)
        time.sleep(1000)
statuses = [os.wait()[1] for _ in range(8)]";
    let said = bombing.bomber.python_within(code, Duration::from_secs(5)).await;
    assert!(said.outcome.terminated_by.is_some(), "{said:?}");
    bombing.end().await;
}

#[tokio::test]
async fn a_gigabyte_of_output() {
    let mut bombing = Bombing::begin(Limits { output_bytes: 10_000, ..limits() }).await;
    let said = bombing
        .bomber
        .python("line = 'x' * 99\nfor _ in range(100): os.write(1, (line * 100_000).encode())")
        .await;
    assert!(said.outcome.truncated && said.outcome.exit_code == 0, "{:?}", said.outcome);
    assert_eq!(said.stdout.len(), 10_000);
    let said = bombing.bomber.shell("yes | head -c 1000000000; echo end >&2").await.ok();
    assert!(said.outcome.truncated);
    assert_eq!((said.stdout.len(), said.stderr.as_str()), (10_000, "end\n"));
    assert_eq!(bombing.bomber.python("x").await.ok().result(), "'kept'");
    bombing.end().await;
}

#[tokio::test]
async fn a_full_disk() {
    let small = Limits { workspace_bytes: 20 << 20, workspace_entries: 500, ..limits() };
    let mut bombing = Bombing::begin(small).await;
    let said = bombing
        .bomber
        .python("with open('big', 'wb') as f:\n    while True: f.write(bytes(1 << 20))")
        .await;
    ended_by(&said, Limit::Disk);
    let said = bombing.bomber.shell("rm big; dd if=/dev/zero of=big bs=1M count=1000").await;
    ended_by(&said, Limit::Disk);
    // Many files, none of which is too large; and many that are empty.
    for code in [
        "for i in range(10**6):\n    open(f'f{i}', 'wb').write(bytes(1 << 20)); time.sleep(0.005)",
        "for i in range(10**6):\n    open(f'e{i}', 'w').close(); time.sleep(0.001)",
    ] {
        let said = bombing.bomber.python(code).await;
        ended_by(&said, Limit::Disk);
        // A full workspace can be tidied up, however long that takes.
        let tidy = "import pathlib\ntime.sleep(0.5)\nfor f in pathlib.Path('.').iterdir(): f.unlink()\ntime.sleep(0.5)\nx";
        assert_eq!(bombing.bomber.python(tidy).await.ok().result(), "'kept'");
    }
    bombing.end().await;
}

#[tokio::test]
async fn endless_loops_of_every_kind() {
    let mut bombing = Bombing::begin(limits()).await;
    let quarter = Duration::from_millis(250);
    let said = bombing.bomber.python_within("while True: pass", quarter).await;
    ended_by(&said, Limit::WallTime);
    assert_eq!(bombing.bomber.python("x").await.ok().result(), "'kept'");
    for stubborn in [
        "while True:\n    try: time.sleep(9)\n    except BaseException: pass",
        "import signal\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
        "sum(range(10**15))",
        "class P:\n    def __repr__(self):\n        while True:\n            try: time.sleep(9)\n            except BaseException: pass\nP()",
    ] {
        let world = World::new().await;
        let mut inside = world.sandbox("stubborn").await;
        inside.python("import time").await.ok();
        let said = inside.python_within(stubborn, quarter).await;
        ended_by(&said, Limit::WallTime);
        assert!(said.outcome.interpreter_lost, "{said:?}");
        assert_eq!(inside.condition(), Condition::InterpreterLost);
    }
    bombing.end().await;
}

#[tokio::test]
async fn processor_time_of_many_processes() {
    let mut bombing = Bombing::begin(Limits { cpu_seconds: 1, ..limits() }).await;
    let said =
        bombing.bomber.shell("for i in 1 2 3 4; do (while :; do :; done) & done; wait").await;
    ended_by(&said, Limit::Cpu);
    let said = bombing.bomber.python("while True: pass").await;
    ended_by(&said, Limit::Cpu);
    assert_eq!(bombing.bomber.python("x").await.ok().result(), "'kept'");
    bombing.end().await;
}

#[tokio::test]
async fn threads_without_end() {
    let mut bombing = Bombing::begin(Limits { processes: 40, ..limits() }).await;
    let code = "import threading\nwhile True: threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()";
    let said = bombing.bomber.python(code).await;
    ended_by(&said, Limit::Processes);
    assert_eq!(bombing.bomber.python("x").await.ok().result(), "'kept'");
    bombing.end().await;
}

#[tokio::test]
async fn descriptors_without_end() {
    let mut bombing = Bombing::begin(limits()).await;
    let said = bombing
        .bomber
        .python("import tempfile\nhoard = []\nwhile True: hoard.append(tempfile.TemporaryFile())")
        .await;
    assert!(said.stderr.contains("Too many open files"), "{said:?}");
    bombing.bomber.python("del hoard").await.ok();
    assert_eq!(bombing.bomber.shell("echo room").await.ok().stdout, "room\n");
    bombing.end().await;
}
