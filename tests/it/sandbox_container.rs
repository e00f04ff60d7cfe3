//! A worker in a container, as far as the kernel shows one: a filter like the engines' own, which refuses namespaces and mounts.

#![expect(clippy::unwrap_used, reason = "a test's ground that gives way shall end the test")]
#![expect(
    unsafe_code,
    reason = "a child installs the filter on itself before it becomes the program"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use baton::domain::ids::WorkerId;
use baton::domain::keyring::WorkerKey;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use serde_json::json;

use super::world::Root;
use crate::cluster::worker_root;
use crate::program::Program;

/// What an engine's default profile refuses to who has no `CAP_SYS_ADMIN`.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_sethostname,
];

const PYTHON: &str = "runPythonCodeInRemoteEnvironment";

fn filter(calls: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> BpfProgram {
    let refusal = SeccompAction::Errno(errno.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, refusal, arch).unwrap();
    filter.try_into().unwrap()
}

/// The program, as a container would run it.
fn contained(arguments: &[&str]) -> Command {
    let mut refused: BTreeMap<_, _> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let namespaces =
        [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWPID, libc::CLONE_NEWNET];
    let flags = namespaces.map(|flag| {
        let flag = u64::from(flag.cast_unsigned());
        let set = SeccompCmpOp::MaskedEq(flag);
        let set = SeccompCondition::new(0, SeccompCmpArgLen::Dword, set, flag).unwrap();
        SeccompRule::new(vec![set]).unwrap()
    });
    refused.insert(libc::SYS_clone, flags.to_vec());
    let filters = [
        filter(refused, libc::EPERM),
        filter(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.args(arguments);
    // SAFETY: the child makes two system calls for each filter, which was put together before.
    unsafe {
        command.pre_exec(move || {
            filters.iter().try_for_each(|it| apply_filter(it)).map_err(io::Error::other)
        })
    };
    command
}

fn ended(arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = contained(arguments).output().unwrap();
    let said = [stdout, stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (status.code().unwrap(), said)
}

/// A worker's directory and key.
struct Place {
    _root: Root,
    data: String,
    key: String,
}

fn place() -> Place {
    let root = Root::make();
    let key = WorkerKey::derive(&worker_root(), &WorkerId::parse("w1").unwrap()).reveal();
    let file = root.path.join("w1.key");
    fs::write(&file, format!("{key}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let data = root.directory("data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let [data, key] = [data, file].map(|path| path.display().to_string());
    Place { _root: root, data, key }
}

#[test]
fn a_worker_without_namespaces_refuses_to_start_and_names_all_that_mends_it() {
    let place = place();
    let own = ["--worker-key-file", &place.key, "--data-dir", &place.data];
    for (role, verdict) in [("worker", "no sandbox can be made here"), ("doctor", "FAIL runtime:")]
    {
        let (code, said) = ended(&[&[role], &own[..]].concat());
        assert_eq!(code, 1, "{said}");
        let line =
            said.lines().find(|line| line.contains(verdict)).unwrap_or_else(|| panic!("{said}"));
        for words in [
            "embedded runtime does not work here",
            "docker run",
            "compose",
            "kubernetes",
            "infra/seccomp.json",
            "systempaths=unconfined",
            "weaker level by its name, --runtime confined",
        ] {
            assert_eq!(line.matches(words).count(), 1, "{words}: {line}");
        }
        assert!(!said.contains("listening"), "{said}");
    }
}

#[test]
fn the_doctor_says_that_the_weaker_level_works_and_what_it_is() {
    let place = place();
    let own = ["doctor", "--worker-key-file", &place.key, "--data-dir", &place.data];
    let (_, said) = ended(&[&own[..], &["--runtime", "confined"]].concat());
    for words in
        ["ok   runtime: confined (process)", "note runtime: Code runs in the host's namespaces"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[tokio::test]
async fn the_weaker_level_serves_calls_and_says_what_a_caller_would_wonder_at() {
    let place = place();
    let anywhere = ["--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"];
    let own = ["dev", "--data-dir", &place.data, "--runtime", "confined"];
    let mut command = contained(&[&own[..], &anywhere[..]].concat());
    command.stderr(Stdio::null());
    let mut program = Program::spawn(command, 4).await;
    let client = program.client();
    let environment = client.launch().await;
    let said = client.python(&environment, "x = 6 * 7\nopen('kept', 'w').write('yes')\nx").await;
    assert_eq!(said["executionResult"], "42", "{said}");
    let said = client.shell(&environment, "cat kept; python3 -c 'print(1)'").await;
    assert_eq!(said["stdout"], "yes1\n", "{said}");
    for code in [
        "import urllib.request\nurllib.request.urlopen('http://example.org')",
        "import socket\nsocket.socket()",
        "open('/workspace/data.csv', 'w')",
        "open('/tmp/data.csv', 'w')",
    ] {
        let (_, said) =
            client.fail(PYTHON, json!({"environmentId": environment, "pythonCode": code})).await;
        let hint = said["hint"].as_str().unwrap_or_else(|| panic!("{code}: {said}"));
        assert!(hint.contains("no network") && hint.contains("$HOME"), "{code}: {hint}");
    }
    let absent = json!({"environmentId": environment, "pythonCode": "open('absent')"});
    let (_, said) = client.fail(PYTHON, absent).await;
    assert!(said["hint"].is_null(), "{said}");
    program.terminate();
    assert!(program.ended().await.success());
}
