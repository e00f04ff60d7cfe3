//! What code in a sandbox tries, and does not get. Every attack ends with a neighbour that is well.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use baton::worker::sandbox::Condition;

use super::world::{Inside, World, limits};

/// What all the Python below begins with.
const TRIES: &str = "
import ctypes, errno, os, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
def errno_of(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)
    return 'done'
def syscall(x86_64, aarch64, *arguments):
    number = x86_64 if platform.machine() == 'x86_64' else aarch64
    ctypes.set_errno(0)
    if libc.syscall(number, *(ctypes.c_long(a) for a in arguments)) >= 0:
        return 'done'
    return errno.errorcode[ctypes.get_errno()]
";

/// Code that attacks, and the neighbour it attacks.
pub(super) struct Attack {
    pub(super) attacker: Inside,
    pub(super) neighbour: Inside,
    pub(super) world: World,
}

impl Attack {
    async fn begin() -> Self {
        Self::within(World::new().await).await
    }

    pub(super) async fn within(world: World) -> Self {
        let mut attacker = world.limited("attacker", limits()).await;
        let neighbour = world.sandbox("neighbour").await;
        attacker.python(TRIES).await.ok();
        Self { attacker, neighbour, world }
    }

    /// The value of an expression, as the attacker finds it.
    pub(super) async fn finds(&mut self, code: &str) -> String {
        self.attacker.python(code).await.ok().result().to_owned()
    }

    pub(super) async fn end(mut self) {
        self.neighbour.is_well().await;
        self.attacker.destroy().await;
        self.neighbour.is_well().await;
    }
}

#[tokio::test]
async fn the_hosts_core_pattern_and_other_switches_cannot_be_written() {
    const PATTERN: &str = "/proc/sys/kernel/core_pattern";
    let before = fs::read_to_string(PATTERN).unwrap();
    let mut attack = Attack::begin().await;
    for path in
        [PATTERN, "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches"]
    {
        if !Path::new(path).exists() {
            continue;
        }
        let found =
            attack.finds(&format!("errno_of(lambda: open({path:?}, 'w').write('|/x'))")).await;
        assert!(["'EROFS'", "'EACCES'", "'EPERM'"].contains(&found.as_str()), "{path}: {found}");
    }
    assert_eq!(fs::read_to_string(PATTERN).unwrap(), before);
    attack.end().await;
}

#[tokio::test]
async fn dangerous_system_calls_are_refused() {
    let mut attack = Attack::begin().await;
    for (name, x86_64, aarch64, arguments, expected) in [
        ("ptrace(SEIZE, 1)", 101, 117, "0x4206, 1, 0, 0", "EPERM"),
        ("process_vm_readv", 310, 270, "1, 0, 0, 0, 0, 0", "EPERM"),
        ("mount", 165, 40, "0, 0, 0, 0, 0", "EPERM"),
        ("umount2", 166, 39, "0, 0", "EPERM"),
        ("open_tree", 428, 428, "-100, 0, 1", "EPERM"),
        ("fsopen", 430, 430, "0, 0", "EPERM"),
        ("chroot", 161, 51, "0", "EPERM"),
        ("pivot_root", 155, 41, "0, 0", "EPERM"),
        ("unshare(NEWUSER)", 272, 97, "0x10000000", "EPERM"),
        ("setns", 308, 268, "3, 0", "EPERM"),
        ("clone(NEWUSER)", 56, 220, "0x10000011, 0, 0, 0, 0", "EPERM"),
        ("clone(NEWNET)", 56, 220, "0x40000011, 0, 0, 0, 0", "EPERM"),
        ("clone3", 435, 435, "0, 0", "ENOSYS"),
        ("bpf", 321, 280, "0, 0, 0", "EPERM"),
        ("perf_event_open", 298, 241, "0, 0, 0, 0, 0", "EPERM"),
        ("userfaultfd", 323, 282, "0", "EPERM"),
        ("io_uring_setup", 425, 425, "1, 0", "EPERM"),
        ("keyctl", 250, 219, "0, 0, 0", "EPERM"),
        ("add_key", 248, 217, "0, 0, 0, 0, 0", "EPERM"),
        ("open_by_handle_at", 304, 265, "-100, 0, 0", "EPERM"),
        ("init_module", 175, 105, "0, 0, 0", "EPERM"),
        ("kexec_load", 246, 104, "0, 0, 0, 0", "EPERM"),
        ("reboot", 169, 142, "0, 0, 0, 0", "EPERM"),
        ("personality(ADDR_NO_RANDOMIZE)", 135, 92, "0x40000", "EPERM"),
        ("ioctl(TIOCSTI)", 16, 29, "0, 0x5412, 0", "EPERM"),
        ("ioctl(TIOCSTI), high bits set", 16, 29, "0, 0x100005412, 0", "EPERM"),
        ("sethostname", 170, 161, "0, 0", "EPERM"),
        ("pidfd_getfd", 438, 438, "0, 0, 0", "EPERM"),
    ] {
        let found = attack.finds(&format!("syscall({x86_64}, {aarch64}, {arguments})")).await;
        assert_eq!(found, format!("'{expected}'"), "{name}");
    }
    if cfg!(target_arch = "x86_64") {
        let found = attack.finds("syscall(0x40000000 | 39, 0)").await;
        assert_eq!(found, "'ENOSYS'", "x32 numbers");
    }
    for family in ["AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG"] {
        let found = attack
            .finds(&format!("errno_of(lambda: socket.socket(socket.{family}, socket.SOCK_DGRAM))"))
            .await;
        assert_eq!(found, "'EAFNOSUPPORT'", "{family}");
    }
    assert_ne!(attack.attacker.shell("unshare -Ur true").await.outcome.exit_code, 0);
    attack.end().await;
}

#[tokio::test]
async fn no_privilege_is_left_and_none_can_be_gained() {
    let mut attack = Attack::begin().await;
    let said = attack.attacker.shell("cat /proc/self/status").await.ok();
    for line in [
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "CapInh:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(said.stdout.contains(line), "{line} in {}", said.stdout);
    }
    let said = attack.attacker.shell("cat /proc/self/uid_map").await.ok();
    let kernel_uid: u32 = said.stdout.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(kernel_uid, fs::metadata(&attack.attacker.workspace).unwrap().uid());
    assert_ne!(kernel_uid, 0);
    let setuid = "cp /usr/bin/id . && chmod 4755 id && ./id -u; su -c id </dev/null; id -u; setpriv --reuid=0 id -u";
    let said = attack.attacker.shell(setuid).await;
    assert_eq!(said.stdout, "1000\n1000\n", "{said:?}");
    attack.end().await;
}

#[tokio::test]
async fn the_hosts_processes_are_neither_seen_nor_signalled() {
    let mut attack = Attack::begin().await;
    let mut victim = tokio::process::Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let own = "[int(p) - os.getpid() for p in os.listdir('/proc') if p.isdigit()]";
    assert_eq!(
        attack.finds(own).await,
        "[0]",
        "only the interpreter: init and the starter are hidden"
    );
    for pid in [victim.id().unwrap(), std::process::id()] {
        let found = attack.finds(&format!("errno_of(lambda: os.kill({pid}, 9))")).await;
        assert_eq!(found, "'ESRCH'");
    }
    attack.finds("errno_of(lambda: os.kill(-1, 9))").await;
    attack.attacker.shell("kill -9 -1; kill -9 1").await;
    assert!(victim.try_wait().unwrap().is_none(), "the host's process lives");
    victim.kill().await.unwrap();
    attack.end().await;
}

#[tokio::test]
async fn init_cannot_be_signalled_read_or_written() {
    let mut attack = Attack::begin().await;
    attack.finds("[os.kill(1, n) for n in (2, 9, 15, 17, 19)] and 'sent'").await;
    for path in ["mem", "environ", "fd", "maps", "root", "exe", "cwd", "cmdline"] {
        let found = attack.finds(&format!("errno_of(lambda: os.open('/proc/1/{path}', 0))")).await;
        assert_ne!(found, "'done'", "{path}");
    }
    assert_eq!(attack.attacker.condition(), Condition::Ready);
    attack.attacker.is_well().await;
    attack.end().await;
}

#[tokio::test]
async fn no_descriptor_of_the_worker_leaks_in() {
    // dup(2) makes one that is not closed at exec: a slip that some library is bound to make.
    let secret = fs::File::open("/etc/hostname").unwrap();
    let leaky = nix::unistd::dup(&secret).unwrap();
    let mut attack = Attack::begin().await;
    let found = attack.finds("sorted(int(n) for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n) or int(n) < 4)").await;
    assert_eq!(found, "[0, 1, 2, 3]");
    let said = attack.attacker.shell("echo /proc/self/fd/*").await.ok();
    assert_eq!(
        said.stdout,
        "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2\n"
            .replace("2\n", "2 /proc/self/fd/3\n")
            .replace(
                " /proc/self/fd/3",
                if said.stdout.contains("fd/3") { " /proc/self/fd/3" } else { "" }
            )
    );
    drop(leaky);
    attack.end().await;
}

#[tokio::test]
async fn the_workers_environment_and_arguments_stay_outside() {
    let mut attack = Attack::begin().await;
    let found = attack.finds("sorted(os.environ)").await;
    assert_eq!(
        found,
        "['HOME', 'LANG', 'MPLBACKEND', 'MPLCONFIGDIR', 'PATH', 'PYTHONUNBUFFERED', 'SHELL', 'TERM', 'TMPDIR', 'USER', 'XDG_CACHE_HOME']"
    );
    let said = attack.attacker.shell("cat /proc/*/cmdline /proc/*/environ | tr '\\0' '\\n'").await;
    assert!(!said.stdout.contains("CARGO") && !said.stdout.contains("target/"), "{}", said.stdout);
    attack.end().await;
}

#[tokio::test]
async fn there_is_no_network_but_its_own_loopback() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    tcp.set_nonblocking(true).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_nonblocking(true).unwrap();
    let name = format!("baton-{}", getrandom::u64().unwrap());
    let host = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let unix = UnixListener::bind_addr(&host).unwrap();
    unix.set_nonblocking(true).unwrap();

    let mut attack = Attack::begin().await;
    let port = tcp.local_addr().unwrap().port();
    let connect = |address: &str, port: u16| {
        format!("errno_of(lambda: socket.create_connection(({address:?}, {port}), 5))")
    };
    assert_eq!(attack.finds(&connect("169.254.169.254", 80)).await, "'ENETUNREACH'");
    assert_eq!(attack.finds(&connect("8.8.8.8", 53)).await, "'ENETUNREACH'");
    assert_eq!(attack.finds(&connect("127.0.0.1", port)).await, "'ECONNREFUSED'");
    let port = udp.local_addr().unwrap().port();
    attack
        .attacker
        .python(&format!(
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))"
        ))
        .await
        .ok();
    let found = attack
        .finds(&format!("errno_of(lambda: socket.socket(socket.AF_UNIX).connect('\\0{name}'))"))
        .await;
    assert_eq!(found, "'ECONNREFUSED'");
    assert!(tcp.accept().is_err() && unix.accept().is_err() && udp.recv(&mut [0]).is_err());

    let own = "
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
client.send(b'hello')
server.accept()[0].recv(9)";
    assert_eq!(attack.finds(own).await, "b'hello'");
    attack.end().await;
}

#[tokio::test]
async fn the_hosts_files_are_out_of_reach() {
    let mut attack = Attack::begin().await;
    let name = format!("secret-{}", getrandom::u64().unwrap());
    let secret = attack.world.root.path.join(&name);
    fs::write(&secret, "the worker's own").unwrap();
    fs::write(attack.neighbour.workspace.join(&name), "the neighbour's").unwrap();
    let said = attack.attacker.shell(&format!("find / -name {name} 2>/dev/null")).await;
    assert_eq!(said.stdout, "");
    let path = secret.display().to_string();
    assert_eq!(attack.finds(&format!("errno_of(lambda: open({path:?}))")).await, "'ENOENT'");
    attack
        .attacker
        .shell(&format!(
            "ln -s {path} link; ln -s {} dir; ln -s ../{name} up",
            attack.world.root.path.display()
        ))
        .await
        .ok();
    for link in [
        "link",
        "up",
        "dir/.",
        "../../../../etc/shadow",
        "/root",
        "/home",
        "/sys/fs/cgroup",
        "/run",
        "/var",
    ] {
        assert_eq!(
            attack.finds(&format!("errno_of(lambda: os.stat({link:?}))")).await,
            "'ENOENT'",
            "{link}"
        );
    }
    for path in ["/", "/usr", "/etc", "/dev", "/usr/bin", "/proc"] {
        let found =
            attack.finds(&format!("errno_of(lambda: open({path:?} + '/planted', 'w'))")).await;
        assert!(["'EROFS'", "'EACCES'", "'ENOENT'"].contains(&found.as_str()), "{path}: {found}");
    }
    let found = attack.finds("errno_of(lambda: open('/usr/bin/env', 'r+'))").await;
    assert!(["'EROFS'", "'EACCES'"].contains(&found.as_str()), "{found}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "the worker's own");
    if attack.world.runtime.capabilities().own_uid {
        let owner = |inside: &Inside| fs::metadata(&inside.workspace).unwrap().uid();
        assert_ne!(owner(&attack.attacker), owner(&attack.neighbour));
    }
    attack.end().await;
}

#[tokio::test]
async fn devices_are_the_harmless_ones_and_shared_memory_has_a_size() {
    let mut attack = Attack::begin().await;
    let found = attack.finds("sorted(os.listdir('/dev'))").await;
    assert_eq!(
        found,
        "['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero']"
    );
    for path in ["/workspace/mem", "/tmp/mem"] {
        let found = attack
            .finds(&format!("errno_of(lambda: os.mknod({path:?}, 0o20666, os.makedev(1, 1)))"))
            .await;
        assert_eq!(found, "'EPERM'");
    }
    for (directory, size) in [("/dev/shm", limits().shm_bytes), ("/tmp", limits().tmp_bytes)] {
        let code = format!(
            "
with open('{directory}/fill', 'wb', 0) as file:
    found = errno_of(lambda: [file.write(bytes(1 << 20)) for _ in range(2000)])
size = os.path.getsize('{directory}/fill')
os.remove('{directory}/fill')
found, size <= {size}"
        );
        assert_eq!(attack.finds(&code).await, "('ENOSPC', True)", "{directory}");
    }
    attack.end().await;
}

/// A channel that nobody serves must not stop the worker.
#[tokio::test]
async fn a_stopped_interpreter_is_ended_when_its_time_is_over() {
    let mut attack = Attack::begin().await;
    let said =
        attack.attacker.python_within("os.kill(os.getpid(), 19)", Duration::from_millis(300)).await;
    assert!(said.outcome.interpreter_lost, "{said:?}");
    attack.end().await;
}
