//! Shell calls: new processes beside the interpreter.

use std::time::Duration;

use baton::worker::sandbox::{Condition, Limit, Limits};

use super::world::{Inside, World, eventually, host_processes, limits};

#[tokio::test]
async fn a_command_gives_back_output_and_exit_code() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    let cases: &[(&str, &str, &str, i32)] = &[
        ("echo out; echo err >&2", "out\n", "err\n", 0),
        ("exit 7", "", "", 7),
        ("kill -TERM $$", "", "", 143),
        ("cat", "", "", 0),
        ("cd /tmp && pwd", "/tmp\n", "", 0),
        ("pwd; id -u; hostname", "/workspace\n1000\nsandbox\n", "", 0),
        ("python3 -c 'print(1)' && printf x | wc -c | tr -d ' '", "1\n1\n", "", 0),
    ];
    for (command, stdout, stderr, exit_code) in cases {
        let said = inside.shell(command).await;
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), (*stdout, *stderr), "{command}");
        assert_eq!(said.outcome.exit_code, *exit_code, "{command}");
        assert!(said.outcome.started);
    }
    let said = inside.exec(&["printf", "%s|", "a b", "$HOME", ""]).await.ok();
    assert_eq!(said.stdout, "a b|$HOME||");
}

#[tokio::test]
async fn when_memory_runs_out_a_command_ends_before_the_interpreter() {
    let world = World::new().await;
    let mut inside = world.limited("a", Limits { memory_bytes: 200 << 20, ..limits() }).await;
    let score = "/proc/self/oom_score_adj";
    assert_eq!(inside.shell(&format!("cat {score}")).await.ok().stdout, "1000\n");
    let read = format!("print(open('{score}').read(), end='')");
    assert_eq!(inside.python(&read).await.ok().stdout, "500\n");
    assert_ne!(inside.shell(&format!("echo 0 > {score}")).await.outcome.exit_code, 0);
    // The larger one would be the kernel's choice.
    inside.python("kept = bytearray(b'x') * (120 << 20)").await.ok();
    let hoard = "import time; b = bytearray(b'x') * (100 << 20); time.sleep(5)";
    let said = inside.shell(&format!("python3 -c \"{hoard}\"")).await;
    assert_eq!(said.outcome.terminated_by, Some(Limit::Memory), "{said:?}");
    assert_eq!(inside.condition(), Condition::Ready);
    assert_eq!(inside.python("len(kept) >> 20").await.ok().result(), "120");
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    inside.shell("echo data > plain; printf 'echo script $1' > script; chmod +x script").await.ok();
    for (argv, exit_code, stderr) in [
        (&["no-such-program"][..], 127, "no-such-program: not found\n"),
        (&["/no/such"], 127, "/no/such: not found\n"),
        (&["./plain"], 126, "./plain: Permission denied\n"),
        (&["/tmp"], 126, "/tmp: Permission denied\n"),
        (&[], 127, "no program was named\n"),
        (&["echo", "a\0b"], 126, "an argument contains a zero byte\n"),
    ] {
        let said = inside.exec(argv).await;
        assert_eq!((said.outcome.exit_code, said.stderr.as_str()), (exit_code, stderr), "{argv:?}");
    }
    assert_eq!(inside.exec(&["./script", "x"]).await.ok().stdout, "script x\n");
    let said = inside.shell(&format!(": {}", "x".repeat(200_000))).await;
    assert_eq!(said.outcome.exit_code, 126, "{:?}", said.outcome);
    inside.is_well().await;
}

/// What of a process's `status` on the host has this name.
fn status(pid: u32, name: &str) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a known name");
    let number = line.trim_start_matches(':').split_whitespace().next();
    number.and_then(|number| number.parse().ok()).expect("a number")
}

/// Who starts commands, on the host: init's children but the interpreter. Nothing inside sees it.
async fn starters(inside: &mut Inside) -> Vec<u32> {
    let mark = format!("{}", getrandom::u32().expect("random numbers") | 1 << 31);
    let child = format!("import subprocess; child = subprocess.Popen(['sleep', '{mark}'])");
    inside.python(&child).await.ok();
    let mut children = Vec::new();
    eventually("it sleeps", || {
        children = host_processes(&format!("sleep\0{mark}"));
        !children.is_empty()
    })
    .await;
    let interpreter = status(children[0], "PPid");
    inside.python("child.kill(); child.wait()").await.ok();
    let init = status(interpreter, "PPid");
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children"));
    let children = children.expect("init lives");
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    children.filter(|pid| *pid != interpreter).collect()
}

#[tokio::test]
async fn a_long_command_is_started_as_a_short_one_is() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    let probe = "echo $PPID $(pwd) $(ls /proc/$$/fd | wc -l) $(ulimit -a | tr -d '\\n'); \
        grep -E '^(SigIgn|Cap|NoNewPrivs|Seccomp)' /proc/$$/status; env | sort; \
        cut -d' ' -f5,6 /proc/$$/stat | sed s/$$/self/g; cat /proc/$$/oom_score_adj; readlink /proc/$$/fd/0";
    let short = inside.shell(probe).await.ok().stdout;
    assert_eq!(starters(&mut inside).await.len(), 1);
    // More than the starter takes, and less than is too long for a program's argument.
    let long = inside.shell(&format!("{probe} #{}", "x".repeat(100_000))).await.ok().stdout;
    assert_eq!(short, long);
    assert!(short.starts_with("1 /workspace "), "{short}");
    assert!(short.ends_with("\nself self\n1000\n/dev/null\n"), "{short}");
    let blocked = inside.exec(&["grep", "SigBlk", "/proc/self/status"]).await.ok().stdout;
    assert_eq!(blocked, "SigBlk:\t0000000000000000\n");
    // The last is the directory that is listed.
    assert_eq!(inside.exec(&["ls", "/proc/self/fd"]).await.ok().stdout, "0\n1\n2\n3\n");
}

#[tokio::test]
async fn commands_are_started_whatever_is_done_to_their_starter() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    for signal in ["STOP", "CONT", "STOP", "KILL", "KILL"] {
        let send = format!(
            "import os, signal\ntry: os.kill(-1, signal.SIG{signal})\nexcept ProcessLookupError: pass"
        );
        inside.python(&send).await.ok();
        assert_eq!(inside.shell("echo here").await.ok().stdout, "here\n", "{signal}");
        let expected = usize::from(signal != "KILL");
        assert_eq!(starters(&mut inside).await.len(), expected, "{signal}");
    }
    assert_eq!(inside.condition(), Condition::Ready);
    assert_eq!(inside.shell("cat /proc/self/oom_score_adj").await.ok().stdout, "1000\n");
}

#[tokio::test]
async fn nobody_inside_can_look_into_init_or_the_starter() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    inside.shell("true").await.ok();
    // Init, the starter and the interpreter have the first numbers.
    let look = "[pid for pid in range(1, 10) if pid != __import__('os').getpid() and __import__('os').path.exists(f'/proc/{pid}/mem')]";
    assert_eq!(inside.python(look).await.ok().result(), "[]");
    let starter = starters(&mut inside).await[0];
    for process in [starter, status(starter, "PPid")] {
        let owner = std::os::unix::fs::MetadataExt::uid(
            &std::fs::metadata(format!("/proc/{process}/mem")).expect("it lives"),
        );
        assert_eq!(owner, 0, "of one that others may not look into");
    }
}

#[tokio::test]
async fn commands_leave_nothing_with_their_starter() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    let mut held = Vec::new();
    for _ in 0..2 {
        for _ in 0..400 {
            inside.shell("true").await.ok();
            inside.exec(&["no-such-program"]).await;
        }
        let starter = starters(&mut inside).await[0];
        held.push((starter, status(starter, "FDSize"), status(starter, "RssAnon")));
    }
    let ((first, descriptors, before), (second, later, after)) = (held[0], held[1]);
    assert_eq!((first, descriptors), (second, later));
    assert!(after < before + 16, "{before} and {after} KiB");
}

#[tokio::test]
async fn what_a_command_leaves_in_the_background_ends_with_it() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    let mark = format!("{}", getrandom::u32().unwrap() | 1 << 31);
    let said = inside.shell(&format!("sleep {mark} & echo started")).await.ok();
    assert_eq!(said.stdout, "started\n");
    assert!(said.outcome.duration < Duration::from_secs(10));
    eventually("it has ended", || host_processes(&mark).is_empty()).await;
}

#[tokio::test]
async fn a_daemon_lives_on_without_holding_the_call_and_ends_with_the_sandbox() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    let mark = format!("{}", getrandom::u32().unwrap() | 1 << 31);
    // It keeps the call's stdout open.
    let said = inside
        .shell(&format!("setsid sleep {mark} & setsid sh -c 'setsid sleep {mark} &'"))
        .await
        .ok();
    assert!(said.outcome.duration < Duration::from_secs(10));
    eventually("both run", || host_processes(&format!("sleep\0{mark}")).len() == 2).await;
    inside.is_well().await;
    inside.destroy().await;
    assert_eq!(host_processes(&mark), Vec::<u32>::new());
}

#[tokio::test]
async fn a_timeout_ends_also_who_hides_from_a_look_at_all_processes() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    for hides in [
        // Its first thread has ended, and so it is called dead.
        "
import ctypes, os, threading, time
os.setsid()
def go_on():
    while True:
        os.write(beat, b'x'); time.sleep(0.001)
threading.Thread(target=go_on).start()
ctypes.CDLL(None).pthread_exit(None)",
        // It is another one each time.
        "
os.setsid()
while True:
    os.write(beat, b'x')
    if os.fork(): os._exit(0)",
    ] {
        let begin =
            "import os\nbeat = os.open('/workspace/beat', os.O_CREAT | os.O_APPEND | os.O_WRONLY)";
        let code = format!("{begin}{hides}").replace('\'', "\"");
        for _ in 0..8 {
            inside.shell("rm -f beat").await.ok();
            let command = format!("python3 -c '{code}' & sleep 1000");
            let said = inside.shell_within(&command, Duration::from_millis(300)).await;
            assert_eq!(said.outcome.terminated_by, Some(Limit::WallTime), "{said:?}");
            let beats =
                || async { std::fs::metadata(inside.workspace.join("beat")).unwrap().len() };
            let ended_with = beats().await;
            assert!(ended_with > 0, "{hides}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(ended_with, beats().await, "{hides}");
        }
    }
}

#[tokio::test]
async fn a_timeout_ends_the_command_and_all_it_started() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    inside.python("x = 1").await.ok();
    for command in [
        "sleep {}",
        "trap '' INT TERM; sleep {}",
        "setsid sleep {} & setsid sh -c 'setsid sleep {} &'; sleep 1000",
    ] {
        let mark = format!("{}", getrandom::u32().unwrap() | 1 << 31);
        let command = command.replace("{}", &mark);
        let said = inside.shell_within(&command, Duration::from_millis(200)).await;
        assert_eq!(said.outcome.terminated_by, Some(Limit::WallTime), "{said:?}");
        assert!(said.outcome.exit_code > 128, "{said:?}");
        eventually("it has ended", || host_processes(&mark).is_empty()).await;
    }
    assert_eq!(inside.condition(), Condition::Ready);
    assert_eq!(inside.python("x").await.ok().result(), "1");
}
