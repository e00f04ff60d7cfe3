//! Shell calls: new processes beside the interpreter.

use std::time::Duration;

use baton::worker::sandbox::{Condition, Limit, Limits};

use super::world::{World, eventually, host_processes, limits};

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
