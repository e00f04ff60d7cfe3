//! What a sandbox promises to those who use it; what it withholds is in `escape` and `bombs`.

#[path = "sandbox_bombs.rs"]
mod bombs;
#[path = "sandbox_classic.rs"]
mod classic;
#[path = "sandbox_confined.rs"]
mod confined;
#[path = "sandbox_confined_files.rs"]
mod confined_files;
#[path = "sandbox_confined_limits.rs"]
mod confined_limits;
#[path = "sandbox_container.rs"]
mod container;
#[path = "sandbox_escape.rs"]
mod escape;
#[path = "sandbox_pool.rs"]
mod pool;
#[path = "sandbox_python.rs"]
mod python;
#[path = "sandbox_shell.rs"]
mod shell;
#[path = "sandbox_world.rs"]
mod world;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use baton::worker::sandbox::{Condition, Limit, Settings, Spec};

use world::{Root, World, limits, settings};

#[tokio::test]
async fn capabilities_name_every_limit() {
    let world = World::new().await;
    let capabilities = world.runtime.capabilities();
    assert_eq!((capabilities.runtime, capabilities.isolation), ("embedded", "namespaces"));
    assert_eq!(capabilities.own_uid, nix::unistd::geteuid().is_root());
    for limit in [Limit::WallTime, Limit::Memory, Limit::Cpu, Limit::Processes, Limit::Disk] {
        assert!(capabilities.enforced.iter().any(|(named, _)| *named == limit), "{limit:?}");
    }
}

#[tokio::test]
async fn an_unknown_runtime_is_refused_by_name() {
    let error = baton::worker::sandbox::probe("gvisor2", &settings()).await.unwrap_err();
    assert!(error.to_string().contains("gvisor2"), "{error}");
}

#[tokio::test]
async fn an_interpreter_that_is_none_is_refused_with_what_to_do() {
    for python in ["/nonexistent/python3", "/bin/true"] {
        let settings = Settings { python: Some(python.into()), ..settings() };
        let error = baton::worker::sandbox::probe("auto", &settings).await.unwrap_err();
        assert!(error.to_string().contains("--python"), "{error}");
    }
}

#[tokio::test]
async fn a_workspace_keeps_its_files_and_its_owner() {
    let world = World::new().await;
    let mut first = world.sandbox("same").await;
    first.shell("echo kept > file").await.ok();
    let owner = fs::metadata(&first.workspace).unwrap().uid();
    first.destroy().await;
    let mut second = world.sandbox("same").await;
    assert_eq!(second.shell("cat file").await.ok().stdout, "kept\n");
    assert_eq!(fs::metadata(&second.workspace).unwrap().uid(), owner);
}

#[tokio::test]
async fn a_workspace_may_be_renamed_under_a_living_sandbox() {
    let world = World::new().await;
    let mut inside = world.sandbox("pooled").await;
    let renamed = world.root.path.join("claimed");
    fs::rename(&inside.workspace, &renamed).unwrap();
    inside.python("open('a', 'w').write('one')").await.ok();
    inside.shell("echo two > b").await.ok();
    assert_eq!(fs::read_to_string(renamed.join("a")).unwrap(), "one");
    assert_eq!(fs::read_to_string(renamed.join("b")).unwrap(), "two\n");
}

#[tokio::test]
async fn a_workspace_that_is_a_link_or_absent_is_refused() {
    let world = World::new().await;
    let link = world.root.path.join("link");
    std::os::unix::fs::symlink("/etc", &link).unwrap();
    for workspace in [link, world.root.path.join("absent")] {
        let spec = Spec { workspace, limits: limits() };
        assert!(world.runtime.create(&spec).await.is_err(), "{spec:?}");
    }
}

#[tokio::test]
async fn one_workspace_has_one_living_sandbox_where_uids_are_ours_to_give() {
    let world = World::new().await;
    let first = world.sandbox("same").await;
    let spec = Spec { workspace: first.workspace.clone(), limits: limits() };
    let second = world.runtime.create(&spec).await;
    assert_eq!(second.is_err(), world.runtime.capabilities().own_uid);
}

#[tokio::test]
async fn a_sandbox_that_is_dropped_ends_too() {
    let world = World::new().await;
    let mut inside = world.sandbox("dropped").await;
    let mark = format!("{}", getrandom::u32().unwrap() | 1 << 31);
    inside.shell(&format!("setsid sleep {mark} > /dev/null 2>&1 &")).await.ok();
    world::eventually("it runs", || !world::host_processes(&mark).is_empty()).await;
    drop(inside);
    world::eventually("it has ended", || world::host_processes(&mark).is_empty()).await;
}

#[tokio::test]
async fn packages_and_an_interpreter_of_the_operators_choice_are_there_and_read_only() {
    let root = Root::make();
    fs::set_permissions(&root.path, fs::Permissions::from_mode(0o755)).unwrap();
    let packages = root.directory("packages");
    fs::write(packages.join("chosen.py"), "value = 'of the operator'").unwrap();
    let venv = root.path.join("venv");
    let made = Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(&venv)
        .status()
        .unwrap();
    assert!(made.success());
    let settings = Settings {
        python: Some(venv.join("bin/python")),
        python_packages: Some(packages.clone()),
        ..settings()
    };
    let world = World::with("auto", settings).await;
    let mut inside = world.sandbox("a").await;
    let said = inside.python("import chosen, sys\nprint(sys.executable)\nchosen.value").await.ok();
    assert_eq!(said.result(), "'of the operator'");
    assert_eq!(Path::new(said.stdout.trim()), venv.join("bin/python"));
    let said = inside.shell("python3 -c 'import chosen, sys; print(sys.prefix)'").await.ok();
    assert_eq!(Path::new(said.stdout.trim()), venv);
    assert_ne!(inside.shell("touch /packages/more").await.outcome.exit_code, 0);
    assert!(!packages.join("more").exists());
}

/// A call that is given up without an end leaves nobody to tell what still comes of it.
#[tokio::test]
async fn a_dropped_call_costs_the_sandbox() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    let call = inside.python("while True: pass");
    tokio::time::timeout(std::time::Duration::from_millis(50), call).await.unwrap_err();
    let said = inside.python("1").await;
    assert!(!said.outcome.started && said.outcome.interpreter_lost, "{said:?}");
    assert_eq!(inside.condition(), Condition::Dead);
    inside.destroy().await;
}

/// No user namespaces, no sandbox: nothing weaker takes its place, and the operator hears why.
#[test]
fn without_user_namespaces_nothing_weaker_takes_their_place() {
    for (ways, expected) in [
        (&["--map-user=1000", "--keep-caps"][..], "sysctl -w user.max_user_namespaces"),
        (&["--map-root-user"], "map more uids"),
    ] {
        let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
        let test = std::env::current_exe().unwrap();
        let output = Command::new("unshare")
            .arg("--user")
            .args(ways)
            .args(["sh", "-c", script, "sh"])
            .arg(test)
            .args(["--exact", "sandbox::says_why_there_is_no_sandbox", "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{said}{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[tokio::test]
#[ignore = "needs a place without user namespaces: run by the test above, in one"]
async fn says_why_there_is_no_sandbox() {
    let error = baton::worker::sandbox::probe("auto", &settings()).await.unwrap_err();
    eprintln!("{error}");
}

/// Nobody destroys the sandboxes of a worker that was killed.
#[tokio::test]
async fn a_worker_that_dies_takes_its_sandboxes_with_it() {
    let mark = format!("{}", getrandom::u32().unwrap() | 1 << 31);
    let root = Root::make();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox::dies_with_a_sandbox", "--ignored"])
        .env("BATON_TEST_MARK", &mark)
        .env("TMPDIR", &root.path)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
    world::eventually("all has ended", || world::host_processes(&mark).is_empty()).await;
}

#[tokio::test]
#[ignore = "kills its own process: run by the test above, in another"]
async fn dies_with_a_sandbox() {
    #[expect(
        clippy::disallowed_methods,
        reason = "no setting: a word from the test that runs this"
    )]
    let Ok(mark) = std::env::var("BATON_TEST_MARK") else { return };
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    inside.shell(&format!("setsid sleep {mark} > /dev/null 2>&1 &")).await.ok();
    world::eventually("it runs", || !world::host_processes(&mark).is_empty()).await;
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// The worker need not be root: all of the above and below is run again as a plain user.
#[test]
fn all_of_this_holds_without_root() {
    const PLAIN_USER: u32 = 54_321;
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let home = Root::make();
    chown(&home.path, Some(PLAIN_USER), Some(PLAIN_USER)).unwrap();
    let output = {
        use std::os::unix::process::CommandExt;
        Command::new(std::env::current_exe().unwrap())
            .args(["sandbox::", "--skip", "all_of_this_holds_without_root", "--test-threads", "2"])
            .env("TMPDIR", &home.path)
            .env("RUST_BACKTRACE", "0")
            .current_dir("/")
            .uid(PLAIN_USER)
            .gid(PLAIN_USER)
            .output()
            .unwrap()
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(" 0 passed"), "{said}");
}
