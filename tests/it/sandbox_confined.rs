//! What code tries where there are no namespaces, only Landlock, seccomp and limits.
//!
//! As root each sandbox has a uid of its own, without root all have the worker's: both are tried, see
//! `all_of_this_holds_without_root`.

#![expect(clippy::unwrap_used, reason = "a test's ground that gives way shall end the test")]

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::{Pid, getpid};

use super::escape::Attack;
use super::world::{Root, World, eventually, host_processes};

/// What some of the Python below needs beside `errno_of` and `syscall`.
const MORE: &str = "
import signal, threading
";

pub(super) async fn begin() -> Attack {
    let mut attack = Attack::within(World::confined().await).await;
    attack.attacker.python(MORE).await.ok();
    attack
}

/// The pid of a process that a neighbour has started, and that lives until its sandbox ends.
async fn neighbours_process(attack: &mut Attack) -> u32 {
    let mark = (getrandom::u32().unwrap() | 1 << 31).to_string();
    attack.neighbour.shell(&format!("setsid sleep {mark} > /dev/null 2>&1 &")).await.ok();
    // The pid of one look: while it goes on to its next program a process has no command line.
    let mut found = None;
    eventually("it runs", || {
        found = host_processes(&format!("sleep\0{mark}")).first().copied();
        found.is_some()
    })
    .await;
    found.unwrap()
}

#[tokio::test]
async fn it_must_be_asked_for_and_says_what_it_is_and_cannot() {
    assert_ne!(World::new().await.runtime.capabilities().runtime, "confined");
    let world = World::confined().await;
    let can = world.runtime.capabilities();
    assert_eq!((can.runtime, can.isolation), ("confined", "process"));
    assert!(!can.workspace_may_move);
    assert_eq!(can.own_uid, nix::unistd::geteuid().is_root());
    let notes = can.notes.join(" ");
    for words in ["no /proc, /tmp or /dev/shm", "no sockets", "host's namespaces"] {
        assert!(notes.contains(words), "{words}: {notes}");
    }
}

#[tokio::test]
async fn files_of_the_host_the_worker_and_the_neighbours_are_out_of_reach() {
    let mut attack = begin().await;
    let outside = attack.world.root.path.join("the workers own");
    fs::write(&outside, "secret").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o666)).unwrap();
    attack.neighbour.shell("echo private > private; chmod 666 private; chmod 777 .").await.ok();
    let private = attack.neighbour.workspace.join("private");
    let root = attack.world.root.path.clone();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
    for path in [&outside, &private].map(|path| path.display().to_string()) {
        for attempt in [
            "open(P)",
            "open(P, 'r+')",
            "os.truncate(P, 0)",
            "os.unlink(P)",
            "os.rename(P, 'mine')",
            "os.link(P, 'mine')",
            "(os.symlink(P, 'way'), open('way'))",
            "os.setxattr(P, 'user.a', b'b')",
            "os.execv(P, ['x'])",
            "open('/proc/self/root' + P)",
        ] {
            let code = format!("P = {path:?}\nerrno_of(lambda: {attempt})");
            let found = attack.finds(&code).await;
            let refusals = ["'EACCES'", "'EPERM'", "'ENOTSUP'", "'EXDEV'", "'EEXIST'"];
            assert!(refusals.contains(&found.as_str()), "{path}: {attempt}: {found}");
            attack.attacker.shell("rm -f way").await.ok();
        }
    }
    let neighbour = attack.neighbour.workspace.display().to_string();
    for directory in [root.display().to_string(), neighbour] {
        for attempt in ["os.listdir(P)", "open(P + '/new', 'w')", "os.mkdir(P + '/new')"] {
            let code = format!("P = {directory:?}\nerrno_of(lambda: {attempt})");
            assert_eq!(attack.finds(&code).await, "'EACCES'", "{directory}: {attempt}");
        }
    }
    for path in [
        "/etc/shadow",
        "/etc/hostname",
        "/root",
        "/home",
        "/tmp",
        "/var/log",
        "/run",
        "/sys",
        "/dev",
        "/dev/shm",
        "/dev/pts",
        "/dev/mem",
    ] {
        let code = format!("P = {path:?}\nerrno_of(lambda: os.close(os.open(P, os.O_RDONLY)))");
        let found = attack.finds(&code).await;
        assert!(["'EACCES'", "'ENOENT'"].contains(&found.as_str()), "{path}: {found}");
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), "secret");
    assert_eq!(fs::read_to_string(&private).unwrap(), "private\n");
    attack.end().await;
}

#[tokio::test]
async fn there_is_no_socket_to_reach_anybody_with() {
    let mut attack = begin().await;
    let path = attack.world.root.path.join("socket");
    let datagrams = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let name = format!("baton-{}", getrandom::u64().unwrap());
    let abstracted =
        UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
    datagrams.set_nonblocking(true).unwrap();
    abstracted.set_nonblocking(true).unwrap();
    for family in ["UNIX", "INET", "INET6", "NETLINK", "PACKET", "VSOCK", "ALG", "QIPCRTR"] {
        for kind in ["STREAM", "DGRAM", "RAW", "SEQPACKET"] {
            let code =
                format!("errno_of(lambda: socket.socket(socket.AF_{family}, socket.SOCK_{kind}))");
            assert_eq!(attack.finds(&code).await, "'EAFNOSUPPORT'", "{family} {kind}");
        }
    }
    // One of a pair could be pointed at anybody who listens.
    let path = path.display();
    for kind in ["DGRAM", "RAW", "RDM", "DGRAM | socket.SOCK_NONBLOCK"] {
        for target in [format!("{path}"), format!("\\0{name}")] {
            let code = format!(
                "errno_of(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_{kind})[0].sendto(b'x', '{target}'))"
            );
            assert_eq!(attack.finds(&code).await, "'EAFNOSUPPORT'", "{kind} {target}");
        }
    }
    assert!(datagrams.recv(&mut [0]).is_err() && abstracted.recv(&mut [0]).is_err());
    // What asyncio and multiprocessing stand on is there.
    let streams = attack.world.root.path.join("streams");
    let listener = UnixListener::bind(&streams).unwrap();
    fs::set_permissions(&streams, fs::Permissions::from_mode(0o777)).unwrap();
    listener.set_nonblocking(true).unwrap();
    for kind in ["STREAM", "SEQPACKET"] {
        let code = format!(
            "a, b = socket.socketpair(type=socket.SOCK_{kind})\na.send(b'hello')\nb.recv(9), errno_of(lambda: a.connect({:?}))",
            streams.display().to_string()
        );
        let found = attack.finds(&code).await;
        let refused = found == "(b'hello', 'EISCONN')" || found == "(b'hello', 'EPROTOTYPE')";
        assert!(refused, "{kind}: {found}");
    }
    assert!(listener.accept().is_err());
    for (call, x86_64, aarch64) in [
        ("shmget", 29, 194),
        ("shmat", 30, 196),
        ("shmctl", 31, 195),
        ("semget", 64, 190),
        ("semop", 65, 193),
        ("semctl", 66, 191),
        ("semtimedop", 220, 192),
        ("msgget", 68, 186),
        ("msgsnd", 69, 189),
        ("msgrcv", 70, 188),
        ("msgctl", 71, 187),
        ("mq_open", 240, 180),
        ("mq_unlink", 241, 181),
    ] {
        let found = attack.finds(&format!("syscall({x86_64}, {aarch64}, 77, 1, 0o1666)")).await;
        assert!(["'ENOSYS'", "'EPERM'"].contains(&found.as_str()), "{call}: {found}");
    }
    attack.end().await;
}

#[tokio::test]
async fn other_processes_are_neither_looked_into_nor_changed_nor_ended() {
    let mut attack = begin().await;
    let worker = getpid().as_raw().cast_unsigned();
    let neighbour = neighbours_process(&mut attack).await;
    let init = attack.finds("os.getppid()").await.parse().unwrap();
    for pid in [1, worker, neighbour, init] {
        for file in ["environ", "mem", "maps", "fd", "cwd/x", "root/etc/passwd", "stat", "cmdline"]
        {
            let found =
                attack.finds(&format!("errno_of(lambda: open('/proc/{pid}/{file}'))")).await;
            assert!(["'EACCES'", "'EPERM'"].contains(&found.as_str()), "{pid} {file}: {found}");
        }
        for (name, x86_64, aarch64, arguments) in [
            ("ptrace(SEIZE)", 101, 117, format!("0x4206, {pid}, 0, 0")),
            ("process_vm_readv", 310, 270, format!("{pid}, 0, 0, 0, 0, 0")),
            ("prlimit(NOFILE)", 302, 261, format!("{pid}, 7, 0, buffer(16)")),
            ("sched_setaffinity", 203, 122, format!("{pid}, 8, buffer(8)")),
            ("sched_setscheduler(IDLE)", 144, 119, format!("{pid}, 5, buffer(8)")),
            ("setpriority", 141, 140, format!("0, {pid}, 19")),
            ("setpriority of a user", 141, 140, "2, 0, 19".to_owned()),
            ("ioprio_set", 251, 30, format!("1, {pid}, 0x6000")),
            ("kcmp", 312, 272, format!("{pid}, {pid}, 0, 0, 0")),
            ("tgkill", 234, 131, format!("{pid}, {pid}, 0")),
        ] {
            let code = format!(
                "hold = []\ndef buffer(size):\n    hold.append(ctypes.create_string_buffer(size))\n    return ctypes.addressof(hold[-1])\nsyscall({x86_64}, {aarch64}, {arguments})"
            );
            assert_eq!(attack.finds(&code).await, "'EPERM'", "{name} of {pid}");
        }
        let found = attack.finds(&format!("errno_of(lambda: os.kill({pid}, 0))")).await;
        assert_eq!(found, "'EPERM'", "{pid}");
        let code = format!("errno_of(lambda: signal.pidfd_send_signal(os.pidfd_open({pid}), 0))");
        assert_eq!(attack.finds(&code).await, "'EPERM'", "{pid}");
    }
    for signal in [9, 19, 2] {
        for pid in [neighbour, init] {
            let found = attack.finds(&format!("errno_of(lambda: os.kill({pid}, {signal}))")).await;
            assert_eq!(found, "'EPERM'", "{pid}");
        }
    }
    // Everybody whom it may signal is somebody of its own.
    attack.attacker.shell("kill -9 -1; true").await.ok();
    attack.attacker.is_well().await;
    assert!(fs::exists(format!("/proc/{neighbour}")).unwrap());
    attack.end().await;
}

#[tokio::test]
async fn its_own_processes_are_its_own() {
    let mut attack = begin().await;
    let code = "
import subprocess, resource
slow = subprocess.Popen(['sleep', '1000'])
slow.kill()
resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))
os.sched_setaffinity(0, os.sched_getaffinity(0))
os.nice(1)
slow.wait(), subprocess.run('sleep 1000 & kill $!; wait; timeout 0.1 sleep 1000', shell=True).returncode";
    assert_eq!(attack.finds(code).await, "(-9, 124)");
    attack.end().await;
}

/// Nothing of the kernel gathers what has left its process group and its session but we.
#[tokio::test]
async fn what_is_left_behind_ends_with_the_sandbox() {
    let world = World::confined().await;
    for dropped in [false, true] {
        let mut inside = world.sandbox("leaver").await;
        let mark = (getrandom::u32().unwrap() | 1 << 31).to_string();
        let daemon = format!("(setsid sh -c '(setsid sleep {mark} &) &' > /dev/null 2>&1 &) &");
        inside.shell(&daemon).await.ok();
        inside.python(&format!("import os\nif not os.fork():\n    os.setsid()\n    if os.fork(): os._exit(0)\n    os.execvp('sleep', ['sleep', '{mark}'])\nos.wait()")).await.ok();
        // Faster than anybody can look for it.
        inside.shell(&format!("mutant() {{ setsid sh -c 'while :; do setsid sh -c \"exec sleep {mark}\" & setsid sh -c \"kill -9 $$\"; sleep 0.02; done' & }}; mutant > /dev/null 2>&1")).await.ok();
        eventually("they run", || host_processes(&mark).len() > 2).await;
        if dropped {
            drop(inside);
        } else {
            inside.destroy().await;
            assert_eq!(host_processes(&mark), Vec::<u32>::new());
        }
        eventually("they have ended", || host_processes(&mark).is_empty()).await;
    }
}

/// Init has an end to report to a worker that is gone before it sees that it is: the harder order of the two.
#[tokio::test]
async fn what_is_left_behind_ends_with_a_worker_that_is_killed() {
    let mark = (getrandom::u32().unwrap() | 1 << 31).to_string();
    let root = Root::make();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox::confined::dies_while_code_writes", "--ignored"])
        .env("BATON_TEST_MARK", &mark)
        .env("TMPDIR", &root.path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(9), "{status}");
    eventually("nobody reads what it writes", || host_processes(&mark).len() < 2).await;
    let init = fs::read_to_string(root.path.join("init")).unwrap();
    kill(Pid::from_raw(init.parse().unwrap()), Signal::SIGCONT).unwrap();
    let lives = || fs::read(format!("/proc/{init}/cmdline")).is_ok_and(|line| !line.is_empty());
    eventually("init has ended", || !lives()).await;
    eventually("all has ended", || host_processes(&mark).is_empty()).await;
}

#[tokio::test]
#[ignore = "kills its own process: run by the test above, in another"]
async fn dies_while_code_writes() {
    #[expect(
        clippy::disallowed_methods,
        reason = "no setting: a word from the test that runs this"
    )]
    let Ok(mark) = std::env::var("BATON_TEST_MARK") else { return };
    let world = World::confined().await;
    let mut inside = world.sandbox("a").await;
    let init = inside.python("import os; os.getppid()").await.ok().result().to_owned();
    fs::write(std::env::temp_dir().join("init"), &init).unwrap();
    inside.shell(&format!("setsid sleep {mark} > /dev/null 2>&1 &")).await.ok();
    let begun = inside.workspace.join("begun");
    let die = async {
        let both = || begun.exists() && host_processes(&mark).len() == 2;
        eventually("both run", both).await;
        kill(Pid::from_raw(init.parse().unwrap()), Signal::SIGSTOP).unwrap();
        let state = || fs::read_to_string(format!("/proc/{init}/status")).unwrap();
        eventually("init has stopped", || state().contains("State:\tT")).await;
        raise(Signal::SIGKILL).unwrap();
    };
    let writes = format!("touch begun; while :; do echo {mark}; done");
    tokio::join!(inside.shell(&writes), die);
}
