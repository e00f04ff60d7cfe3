//! Modes, times, owners and other attributes of files where there are no namespaces: of its own files
//! alone, though without root all files that code can read may be its uid's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use baton::worker::sandbox::Settings;

use super::confined::begin;
use super::escape::Attack;
use super::world::{Root, World, settings};

#[tokio::test]
async fn no_file_outside_is_watched_or_given_another_mode_or_attribute() {
    let mut attack = begin().await;
    let outside = attack.world.root.path.join("outside");
    fs::write(&outside, "").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o640)).unwrap();
    let path = outside.display().to_string();
    let name = outside.file_name().unwrap().display();
    for attempt in [
        format!("os.chmod({path:?}, 0o777)"),
        format!("os.chmod('../{name}', 0o777)"),
        format!(
            "os.chmod({name:?}, 0o777, dir_fd=os.open('..', os.O_PATH))",
            name = name.to_string()
        ),
        format!("(os.symlink({path:?}, 'link'), os.chmod('link', 0o777))"),
        format!("os.setxattr({path:?}, 'system.posix_acl_access', bytes(4))"),
        format!("os.setxattr({path:?}, 'user.seen', b'x')"),
        format!("os.chmod('/proc/self/fd/%d' % os.open({path:?}, os.O_PATH), 0o777)"),
    ] {
        let found = attack.finds(&format!("errno_of(lambda: {attempt})")).await;
        assert!(
            ["'EPERM'", "'EACCES'", "'ENOTSUP'", "'ENOENT'", "'ELOOP'"].contains(&found.as_str()),
            "{attempt}: {found}"
        );
    }
    // fchmodat2, which reaches a file that is open as a path only.
    let opened = format!("os.open({path:?}, os.O_PATH)");
    let code = format!(
        "empty = ctypes.create_string_buffer(1)\nsyscall(452, 452, {opened}, ctypes.addressof(empty), 0o777, 0x1000)"
    );
    let found = attack.finds(&code).await;
    assert_eq!(found, "'EPERM'", "fchmodat2");
    assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o640);
    for (name, x86_64, aarch64) in
        [("inotify_init1", 294, 26), ("fanotify_init", 300, 262), ("setxattrat", 463, 463)]
    {
        let found = attack.finds(&format!("syscall({x86_64}, {aarch64}, 0, 0, 0, 0, 0)")).await;
        assert!(["'ENOSYS'", "'EPERM'", "'ENOTSUP'"].contains(&found.as_str()), "{name}: {found}");
    }
    attack.end().await;
}

/// EACCES is what the kernel says who may not set times to now.
#[track_caller]
fn refused(attempt: &str, found: &str) {
    assert!(["'EPERM'", "'EACCES'", "'ENOTSUP'"].contains(&found), "{attempt}: {found}");
}

/// What a descriptor that is open for reading lets a file's owner do, which without root everybody is.
#[tokio::test]
async fn no_file_that_can_only_be_read_is_given_other_attributes() {
    let root = Root::make();
    fs::set_permissions(&root.path, fs::Permissions::from_mode(0o755)).unwrap();
    let packages = root.directory("packages");
    let shared = packages.join("shared.py");
    fs::write(&shared, "shared = 1").unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o644)).unwrap();
    let settings = Settings { python_packages: Some(packages), ..settings() };
    let mut attack = Attack::within(World::with("confined", settings).await).await;
    let changed = || fs::metadata(&shared).map(|is| (is.mode(), is.ctime(), is.ctime_nsec()));
    let before = changed().unwrap();
    let code = format!(
        "
import fcntl
P = {path:?}
fd = os.open(P, os.O_RDONLY)
as_path = os.open(P, os.O_PATH)
buffer = ctypes.create_string_buffer(64)
empty = ctypes.addressof(buffer)
name = ctypes.create_string_buffer(P.encode())
name_at = ctypes.addressof(name)
me = os.getuid(), os.getgid()",
        path = shared.display().to_string()
    );
    attack.attacker.python(&code).await.ok();
    for attempt in [
        "os.chmod(P, 0)",
        "os.chmod(fd, 0)",
        "os.utime(P)",
        "os.utime(P, (1, 2))",
        "os.utime(P, (1, 2), follow_symlinks=False)",
        "os.utime('shared.py', (1, 2), dir_fd=os.open(os.path.dirname(P), os.O_RDONLY))",
        "os.utime(fd)",
        "os.utime(fd, (1, 2))",
        "os.chown(P, *me)",
        "os.chown(fd, *me)",
        "os.lchown(P, *me)",
        "os.chown('shared.py', *me, dir_fd=os.open(os.path.dirname(P), os.O_RDONLY))",
        "os.setxattr(fd, 'user.seen', b'x')",
        "os.setxattr(fd, 'system.posix_acl_access', bytes(4))",
        "os.removexattr(fd, 'user.seen')",
        // FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR and FS_IOC_ENABLE_VERITY.
        "fcntl.ioctl(fd, 0x40086602, bytes(8))",
        "fcntl.ioctl(fd, 0x401c5820, bytes(28))",
        "fcntl.ioctl(fd, 0x40806685, bytes(128))",
        // Whoever opens it would wait for the lease to be given back.
        "fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)",
        "fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)",
    ] {
        let found = attack.finds(&format!("errno_of(lambda: {attempt})")).await;
        refused(attempt, &found);
    }
    for (call, x86_64, aarch64, arguments) in [
        ("fchmodat", 268, 53, "-100, name_at, 0"),
        ("fchmodat2", 452, 452, "fd, empty, 0, 0x1000"),
        ("fchmodat2 by path", 452, 452, "as_path, empty, 0, 0x1000"),
        ("utimensat", 280, 88, "fd, empty, 0, 0x1000"),
        ("utimensat without a name", 280, 88, "fd, 0, 0, 0"),
        ("fchownat", 260, 54, "fd, empty, *me, 0x1000"),
    ] {
        let found = attack.finds(&format!("syscall({x86_64}, {aarch64}, {arguments})")).await;
        refused(call, &found);
    }
    if cfg!(target_arch = "x86_64") {
        for (call, number, arguments) in [
            ("chmod", 90, "name_at, 0"),
            ("utime", 132, "name_at, empty"),
            ("utimes", 235, "name_at, 0"),
            ("futimesat", 261, "-100, name_at, 0"),
            ("futimesat without a name", 261, "fd, 0, 0"),
            ("chown", 92, "name_at, *me"),
        ] {
            let found = attack.finds(&format!("syscall({number}, 0, {arguments})")).await;
            refused(call, &found);
        }
    }
    assert_eq!(changed().unwrap(), before);
    assert_eq!(attack.neighbour.python("import shared; shared.shared").await.ok().result(), "1");
    attack.end().await;
}

#[tokio::test]
async fn modes_of_its_own_files_are_its_own() {
    let mut attack = begin().await;
    let code = "
import shutil
open('tool', 'w').write('#!/bin/sh\\necho ran')
os.chmod('tool', 0o6755)
shutil.copy2('tool', 'copy')
os.mkdir('below'); os.chmod('below', 0o700)
os.symlink('tool', 'own'); os.chmod('own', 0o711)
os.chmod('tool', 0o744, dir_fd=os.open('.', os.O_RDONLY))
oct(os.stat('copy').st_mode & 0o777), oct(os.stat('tool').st_mode & 0o777), errno_of(lambda: os.chmod('absent', 0o700))";
    assert_eq!(attack.finds(code).await, "('0o755', '0o744', 'ENOENT')");
    let said = attack
        .attacker
        .shell("chmod +x copy; cp -p copy third; ./third; chmod 600 third; ls -l third")
        .await;
    assert!(said.stdout.starts_with("ran\n-rw-------"), "{said:?}");
    let threads = "
def change():
    for n in range(200): os.chmod('tool', 0o700 + n % 8)
all_of_them = [threading.Thread(target=change) for _ in range(4)]
[it.start() for it in all_of_them]
[it.join() for it in all_of_them]
'done'";
    assert_eq!(attack.finds(threads).await, "'done'");
    attack.end().await;
}

#[tokio::test]
async fn times_of_its_own_files_are_its_own() {
    let mut attack = begin().await;
    let said = attack
        .attacker
        .shell(
            "set -e; mkdir from; cd from
            echo '#!/bin/sh' > file; ln -s file link; chmod 751 file
            touch -d @1000000000 file; touch -h -d @1100000000 link
            cd ..; tar cf packed from; mkdir unpacked; tar xpf packed -C unpacked
            cp -p from/file copied; cp -a from all; install -m 640 -p from/file installed
            chown $(id -u):$(id -g) copied; chown -h $(id -u) from/link; touch -r from/file fresh
            stat -c '%Y %a' from/file unpacked/from/file copied all/file installed
            stat -c %Y from/link unpacked/from/link all/link fresh",
        )
        .await
        .ok();
    let (plain, link) = ("1000000000 751\n", "1100000000\n");
    let expected = [&plain.repeat(4), "1000000000 640\n", &link.repeat(3), "1000000000\n"].concat();
    assert_eq!((said.stdout, said.stderr), (expected, String::new()));
    let code = "
import shutil, struct, tempfile
def times(file): return os.stat(file).st_atime_ns, os.stat(file).st_mtime_ns
found = []
open('a', 'w').close()
os.utime('a', ns=(1_000_000_007, 2_000_000_009)); found.append(times('a'))
shutil.copy2('a', 'b'); found.append(times('b')[1])
with open('b') as b:
    os.utime(b.fileno(), (5, 6)); found.append(times('b'))
    os.fchmod(b.fileno(), 0o400); found.append(oct(os.stat('b').st_mode))
    os.chown(b.fileno(), os.getuid(), -1)
with tempfile.TemporaryFile() as gone:
    os.fchmod(gone.fileno(), 0o640); os.utime(gone.fileno(), (7, 8))
    found.append((times(gone.fileno()), oct(os.fstat(gone.fileno()).st_mode)))
os.utime('a'); found.append(times('a')[0] == times('a')[1] > 10**18)
found.append(errno_of(lambda: os.utime('absent')))
found.append(errno_of(lambda: os.utime(99)))
found.append(errno_of(lambda: os.chown('a', 0 if os.getuid() else 1, -1)))
found";
    let expected = "[(1000000007, 2000000009), 2000000009, (5000000000, 6000000000), '0o100400', \
                    ((7000000000, 8000000000), '0o100640'), True, 'ENOENT', 'EBADF', 'EPERM']";
    assert_eq!(attack.finds(code).await, expected);
    if cfg!(target_arch = "x86_64") {
        let code = "
name = ctypes.create_string_buffer(b'a')
def at(*numbers):
    global kept
    kept = struct.pack('%dq' % len(numbers), *numbers)
    return ctypes.cast(kept, ctypes.c_void_p).value
at_name = ctypes.addressof(name)
found = []
found.append((syscall(132, 0, at_name, at(11, 12)), times('a')))
found.append((syscall(235, 0, at_name, at(13, 1, 14, 2)), times('a')))
found.append((syscall(261, 0, -100, at_name, at(15, 1, 16, 2)), times('a')))
found.append(syscall(235, 0, at_name, at(13, 1_000_000, 14, 0)))
found.append(syscall(280, 0, -100, at_name, 1, 0))
found";
        let expected = "[('done', (11000000000, 12000000000)), ('done', (13000001000, 14000002000)), \
                        ('done', (15000001000, 16000002000)), 'EINVAL', 'EFAULT']";
        assert_eq!(attack.finds(code).await, expected);
    }
    attack.end().await;
}
