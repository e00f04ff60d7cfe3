//! A kernel without detached mounts, such as gVisor's: the same tree, made by mount(2).

#![expect(clippy::unwrap_used, reason = "a test's ground that gives way shall end the test")]

use std::collections::BTreeMap;
use std::os::unix::fs::chown;
use std::process::{Command, Output};
use std::thread;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::world::{Root, World};

/// What gVisor's kernel of 2024 does not know.
const ABSENT: [libc::c_long; 6] = [
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
];
/// What that of 2026 does not know.
const ABSENT_OF_LATE: [libc::c_long; 1] = [libc::SYS_mount_setattr];

/// Runs tests of this binary again, as a plain user, on a kernel that lacks these calls.
///
/// Where root runs it, something is mounted under `/usr`, with attributes of its own.
fn run_without(absent: &[libc::c_long], arguments: &[&str]) -> Output {
    const PLAIN_USER: u32 = 54_322;
    let home = Root::make();
    let test = std::env::current_exe().unwrap();
    let mut command = if nix::unistd::geteuid().is_root() {
        chown(&home.path, Some(PLAIN_USER), Some(PLAIN_USER)).unwrap();
        let ids = format!("--reuid={PLAIN_USER} --regid={PLAIN_USER} --clear-groups");
        let script =
            format!("mount -t tmpfs -o noexec tmpfs /usr/src && exec setpriv {ids} \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(test);
        command
    } else {
        Command::new(test)
    };
    command.args(arguments).env("TMPDIR", &home.path).env("RUST_BACKTRACE", "0").current_dir("/");
    let rules: BTreeMap<_, _> = absent.iter().map(|call| (*call, Vec::new())).collect();
    let refusal = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch).unwrap();
    let filter = BpfProgram::try_from(filter).unwrap();
    // A filter is of the thread, and of all that the thread starts.
    let run = thread::spawn(move || {
        apply_filter(&filter).unwrap();
        command.output().unwrap()
    });
    run.join().unwrap()
}

#[test]
fn it_gets_the_same_tree() {
    let tree = |absent: &[libc::c_long]| {
        let test = "sandbox::classic::prints_the_tree";
        let output = run_without(absent, &["--exact", test, "--ignored", "--nocapture"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
        let tree = said.lines().filter_map(|line| line.strip_prefix("tree: "));
        tree.map(str::to_owned).collect::<Vec<_>>()
    };
    // A filter on a call that nothing here makes, so that both run under one.
    let ours = tree(&[libc::SYS_kexec_load]);
    assert!(ours.iter().any(|line| line.starts_with("/usr ro,nosuid,nodev")), "{ours:#?}");
    if nix::unistd::geteuid().is_root() {
        let below = "/usr/src ro,nosuid,nodev,noexec";
        assert!(ours.iter().any(|line| line.starts_with(below)), "{ours:#?}");
    }
    assert!(ours.iter().any(|line| line.starts_with("drwxrwxrwt /tmp")), "{ours:#?}");
    assert_eq!(tree(&ABSENT), ours);
    assert_eq!(tree(&ABSENT_OF_LATE), ours);
}

#[tokio::test]
#[ignore = "its words are for the test above, which runs it in two kinds of place"]
async fn prints_the_tree() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    // Numbers of mounts, devices and peers are of the moment, and a workspace's source of the test.
    let mounts = "awk '{ for (i = 7; $i != \"-\"; i++); print $5, $6, ($5 == \"/workspace\" ? \"\" : $4), $(i+1), $(i+2), $(i+3) }' /proc/self/mountinfo";
    let files = r"find / \( -path /usr -o -path /proc \) -prune -o -printf '%M %p %l\n'";
    let said = inside.shell(&format!("{mounts} | sort; {files} | sort")).await.ok();
    for line in said.stdout.lines() {
        eprintln!("tree: {line}");
    }
    inside.destroy().await;
}

#[test]
fn nothing_more_is_possible_in_it() {
    let output = run_without(&ABSENT, &["sandbox::escape", "--test-threads", "2"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(" 0 passed"), "{said}");
}
