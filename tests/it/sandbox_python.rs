//! The interpreter: what survives between cells, what comes back, how it ends.

use std::time::Duration;

use baton::worker::sandbox::{Condition, Job, JobKind, Limit, OutputSink, Stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::world::{PATIENCE, World};

#[tokio::test]
async fn variables_imports_files_and_the_directory_survive_from_call_to_call() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    inside
        .python(
            "import os, json\nx = 41\nos.mkdir('d'); os.chdir('d'); open('f', 'w').write('kept')",
        )
        .await
        .ok();
    let said = inside.python("x += 1\njson.dumps([x, os.getcwd(), open('f').read()])").await.ok();
    assert_eq!(said.result(), "'[42, \"/workspace/d\", \"kept\"]'");
    assert_eq!(inside.shell("pwd; cat d/f").await.ok().stdout, "/workspace\nkept");
}

#[tokio::test]
async fn a_cell_gives_back_output_result_and_exit_code() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    let cases: &[(&str, Option<&str>, &str, &str, i32)] = &[
        ("print('out'); 1 + 1", Some("2"), "out\n", "", 0),
        ("x = 1", None, "", "", 0),
        ("None", None, "", "", 0),
        ("", None, "", "", 0),
        ("import sys; print('e', file=sys.stderr); 'é☃'", Some("'é☃'"), "", "e\n", 0),
        ("for i in range(3): print(i)", None, "0\n1\n2\n", "", 0),
        ("import sys; sys.exit(3)", None, "", "", 3),
        ("exit()", None, "", "", 0),
        ("raise SystemExit('why')", None, "", "why\n", 1),
        (
            "import subprocess; subprocess.run(['echo', 'child']).returncode",
            Some("0"),
            "child\n",
            "",
            0,
        ),
        ("import os; os.write(1, b'raw'); os.system('echo err >&2')", Some("0"), "raw", "err\n", 0),
        ("display('shown')", None, "'shown'\n", "", 0),
        ("_", Some("0"), "", "", 0),
    ];
    for (code, result, stdout, stderr, exit_code) in cases {
        let said = inside.python(code).await;
        assert_eq!(said.outcome.execution_result.as_deref(), *result, "{code}: {said:?}");
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), (*stdout, *stderr), "{code}");
        assert_eq!(said.outcome.exit_code, *exit_code, "{code}");
        assert_eq!(said.outcome.terminated_by, None, "{code}");
        assert!(said.outcome.started && !said.outcome.truncated && !said.outcome.interpreter_lost);
    }
}

#[tokio::test]
async fn a_traceback_shows_the_users_frames_and_nothing_of_ours() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    inside.python("def f(n):\n    return 1 / n").await.ok();
    let said = inside.python("y = 1\nf(0)").await;
    assert_eq!(said.outcome.exit_code, 1);
    let lines: Vec<&str> = said.stderr.lines().filter(|line| !line.contains('^')).collect();
    assert_eq!(
        lines[..lines.len() - 1],
        [
            "Traceback (most recent call last):",
            "  File \"<cell 2>\", line 2, in <module>",
            "    f(0)",
            "  File \"<cell 1>\", line 2, in f",
            "    return 1 / n",
        ],
        "{said:?}"
    );
    assert!(said.stderr.ends_with("ZeroDivisionError: division by zero\n"), "{said:?}");
    for (code, last) in [
        ("if:", "SyntaxError: invalid syntax"),
        (
            "input('name? ')",
            "EOFError: input() has nobody to ask here: put the values into the code",
        ),
        ("import asyncio\nasync def g(): raise KeyError('k')\nawait g()", "KeyError: 'k'"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ] {
        let said = inside.python(code).await;
        assert_eq!(said.stderr.lines().last(), Some(last), "{said:?}");
        assert!(!said.stderr.contains("baton") && !said.stderr.contains("asyncio/"), "{said:?}");
    }
}

#[tokio::test]
async fn cells_may_await() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    inside.python("import asyncio\nq = asyncio.Queue()\nawait q.put(7)").await.ok();
    assert_eq!(inside.python("await asyncio.sleep(0)\nawait q.get()").await.ok().result(), "7");
    assert_eq!(inside.python("async def h(): return 8\nasyncio.run(h())").await.ok().result(), "8");
}

#[tokio::test]
async fn code_that_looks_at_itself_finds_what_it_expects() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    let code = "
import dataclasses, inspect, pickle
@dataclasses.dataclass
class Point:
    x: int
def double(n):
    return 2 * n
assert pickle.loads(pickle.dumps(Point(3))) == Point(3)
assert pickle.loads(pickle.dumps(double)) is double
inspect.getsource(double), __name__, Point.__module__";
    let said = inside.python(code).await.ok();
    assert_eq!(said.result(), r"('def double(n):\n    return 2 * n\n', '__main__', '__main__')");
}

#[tokio::test]
async fn forks_and_pools_leave_the_interpreter_as_it_was() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    let code = "
import multiprocessing, os
def square(n): return n * n
with multiprocessing.get_context('fork').Pool(2) as pool:
    print(pool.map(square, [1, 2, 3]))";
    assert_eq!(inside.python(code).await.ok().stdout, "[1, 4, 9]\n");
    let said = inside
        .python("pid = os.fork()\nprint('both', flush=True)\nif pid: os.waitpid(pid, 0)")
        .await;
    assert_eq!(said.ok().stdout, "both\nboth\n");
    assert_eq!(inside.python("square(5)").await.ok().result(), "25");
    inside.is_well().await;
}

#[tokio::test]
async fn figures_and_images_come_back() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    // As much of matplotlib as we rely on, so that the test needs none.
    let code = "
import os
os.mkdir('matplotlib')
open('matplotlib/__init__.py', 'w').close()
open('matplotlib/pyplot.py', 'w').write('''
figures = {}
class Figure:
    def __init__(self, number): self.number = number
    def savefig(self, file, format): file.write(b'png of %d' % self.number)
def figure(number): return figures.setdefault(number, Figure(number))
def get_fignums(): return sorted(figures)
def close(which): figures.clear()
''')
import matplotlib.pyplot as plt
plt.figure(1); plt.figure(2)";
    let said = inside.python(code).await.ok();
    let shown = |said: super::world::Said| -> Vec<(&str, String)> {
        let images = said.outcome.display.into_iter();
        images.map(|i| (i.mime, String::from_utf8(i.bytes).unwrap())).collect()
    };
    let png = |text: &str| ("image/png", text.to_owned());
    assert_eq!(shown(said), [png("png of 1"), png("png of 2")]);
    assert_eq!(shown(inside.python("1").await.ok()), []);
    let said = inside.python("class P:\n    def _repr_png_(self): return b'mine'\nP()").await.ok();
    assert_eq!(shown(said), [png("mine")]);
    let said = inside.python("plt.figure(3)\nraise ValueError()").await;
    assert_eq!(said.outcome.exit_code, 1);
    assert_eq!(shown(said), [png("png of 3")]);
}

#[tokio::test]
async fn a_result_or_an_image_that_is_too_long_is_cut_or_left_out() {
    let world = World::new().await;
    let mut limits = super::world::limits();
    (limits.output_bytes, limits.display_bytes) = (1000, 1000);
    let mut inside = world.limited("a", limits).await;
    let said = inside.python("'é' * 10000").await.ok();
    assert!(said.outcome.truncated);
    assert!((990..=1000).contains(&said.result().len()), "{}", said.result().len());
    let said =
        inside.python("class P:\n    def _repr_png_(self): return b'x' * 2000\nP()").await.ok();
    assert!(said.outcome.truncated && said.outcome.display.is_empty());
    let said = inside.python("print('x' * 5000)").await.ok();
    assert!(said.outcome.truncated);
    assert_eq!(said.stdout, "x".repeat(1000));
    assert!(!inside.python("1").await.outcome.truncated);
}

#[tokio::test]
async fn variables_of_a_call_are_there_and_gone_with_it() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    let traced = |kind| Job {
        kind,
        timeout: PATIENCE,
        variables: vec![("TRACEPARENT".to_owned(), "00-ab-cd-01".to_owned())],
    };
    let code = "import os; os.environ.get('TRACEPARENT'), os.popen('echo $TRACEPARENT').read()";
    let python = || JobKind::Python { code: code.to_owned() };
    let said = inside.run(traced(python()), CancellationToken::new()).await;
    assert_eq!(said.result(), r"('00-ab-cd-01', '00-ab-cd-01\n')");
    assert_eq!(inside.python(code).await.result(), r"(None, '\n')");
    let shell = JobKind::Shell { command: "echo $TRACEPARENT".to_owned() };
    assert_eq!(inside.run(traced(shell), CancellationToken::new()).await.stdout, "00-ab-cd-01\n");
    assert_eq!(inside.shell("echo $TRACEPARENT").await.stdout, "\n");
}

#[tokio::test]
async fn output_arrives_while_the_code_runs() {
    struct Forward(mpsc::UnboundedSender<(Stream, Vec<u8>)>);
    impl OutputSink for Forward {
        fn write(&mut self, stream: Stream, bytes: &[u8]) {
            self.0.send((stream, bytes.to_vec())).unwrap();
        }
    }
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    let (sender, mut pieces) = mpsc::unbounded_channel();
    let mut sink = Forward(sender);
    let code = "import os, time\nprint('now')\nwhile not os.path.exists('go'): time.sleep(0.005)";
    let job = Job {
        kind: JobKind::Python { code: code.to_owned() },
        timeout: PATIENCE,
        variables: Vec::new(),
    };
    let go = inside.workspace.join("go");
    let listener = async {
        let first = pieces.recv().await.unwrap();
        std::fs::write(go, "").unwrap();
        first
    };
    let call = inside.sandbox.run(job, &mut sink, CancellationToken::new());
    let (outcome, first) = tokio::join!(call, listener);
    assert_eq!(outcome.exit_code, 0);
    assert_eq!(first, (Stream::Stdout, b"now\n".to_vec()));
}

#[tokio::test]
async fn a_timeout_interrupts_and_variables_survive() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    for code in [
        "x = 5\nwhile True: pass",
        "import time\ntime.sleep(1000)",
        "import subprocess\nsubprocess.run(['sleep', '1000'])",
        "import asyncio\nawait asyncio.sleep(1000)",
    ] {
        let said = inside.python_within(code, Duration::from_millis(200)).await;
        assert_eq!(said.outcome.terminated_by, Some(Limit::WallTime), "{said:?}");
        assert_eq!(said.outcome.exit_code, 130, "{said:?}");
        assert!(
            said.stderr.ends_with("KeyboardInterrupt\n") || said.stderr.contains("CancelledError"),
            "{said:?}"
        );
        assert!(!said.outcome.interpreter_lost);
    }
    assert_eq!(inside.python("x").await.ok().result(), "5");
}

#[tokio::test]
async fn a_cancelled_call_stops_within_a_second() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    for (kind, kept) in [
        (JobKind::Python { code: "open('up', 'w')\nwhile True: pass".to_owned() }, true),
        (JobKind::Shell { command: "touch up; sleep 1000".to_owned() }, true),
        (JobKind::Shell { command: "trap '' INT; touch up; while :; do :; done".to_owned() }, true),
        (
            JobKind::Python {
                code: "import signal\nsignal.signal(2, signal.SIG_IGN)\nopen('up', 'w')\nwhile True: pass"
                    .to_owned(),
            },
            false,
        ),
    ] {
        let up = inside.workspace.join("up");
        std::fs::remove_file(&up).ok();
        let stop = CancellationToken::new();
        let after_start = async {
            super::world::eventually("it runs", || up.exists()).await;
            stop.cancel();
            std::time::Instant::now()
        };
        let job = Job { kind, timeout: PATIENCE, variables: Vec::new() };
        let (said, cancelled) = tokio::join!(inside.run(job, stop.clone()), after_start);
        assert!(cancelled.elapsed() < Duration::from_secs(1), "{:?}", cancelled.elapsed());
        assert_eq!(said.outcome.terminated_by, Some(Limit::Cancelled), "{said:?}");
        assert_eq!(said.outcome.interpreter_lost, !kept, "{said:?}");
    }
}

#[tokio::test]
async fn an_interpreter_that_dies_is_said_to_be_lost_and_the_shell_goes_on() {
    let world = World::new().await;
    for (code, exit_code) in [
        ("import os; os._exit(5)", 5),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import ctypes; ctypes.string_at(0)", 139),
        ("import os; os.close(3)", 1),
        ("import sys; sys.stdout = None; import os; os.close(1); os._exit(0)", 0),
    ] {
        let mut inside = world.sandbox("a").await;
        inside.shell("echo kept > file").await.ok();
        let said = inside.python(&format!("print('before', flush=True)\n{code}")).await;
        assert!(said.outcome.interpreter_lost && said.outcome.started, "{code}: {said:?}");
        assert_eq!(said.outcome.exit_code, exit_code, "{code}: {said:?}");
        assert_eq!(said.stdout, "before\n", "{code}");
        assert_eq!(inside.condition(), Condition::InterpreterLost);
        let said = inside.python("1").await;
        assert!(!said.outcome.started && said.outcome.exit_code != 0, "{said:?}");
        assert_eq!(inside.shell("cat file").await.ok().stdout, "kept\n");
        inside.destroy().await;
    }
}

#[tokio::test]
async fn words_forged_on_the_channel_do_not_reach_the_next_call() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    let forge = "
import os, threading, time
forged = (19).to_bytes(4, 'little') + b'D' + bytes(16) + bytes((9, 0))
lie = (20).to_bytes(4, 'little') + b'r' + bytes(16) + b'lie'
os.write(3, forged + lie)
def later():
    while True:
        os.write(3, forged + lie)
        time.sleep(0.001)
threading.Thread(target=later, daemon=True).start()
'true'";
    assert_eq!(inside.python(forge).await.ok().result(), "'true'");
    for _ in 0..20 {
        assert_eq!(inside.python("import time; time.sleep(0.005); 1").await.ok().result(), "1");
    }
}

#[tokio::test]
async fn nonsense_on_the_channel_ends_the_interpreter_and_no_more() {
    let world = World::new().await;
    for nonsense in ["b'\\xff' * 8", "b'\\x00' * 3"] {
        let mut inside = world.sandbox("a").await;
        let said = inside.python(&format!("import os\nos.write(3, {nonsense})\nos.close(3)")).await;
        assert!(said.outcome.interpreter_lost, "{said:?}");
        assert_eq!(inside.shell("echo on").await.ok().stdout, "on\n");
        inside.destroy().await;
    }
}

/// The end of a call and its output come by two ways: neither order may lose any of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_whole_in_the_shortest_of_calls() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    for number in 0..300 {
        let said = inside.python(&format!("print({number})")).await;
        assert_eq!(said.stdout, format!("{number}\n"));
    }
    for number in 0..100 {
        assert_eq!(inside.exec(&["echo", &number.to_string()]).await.stdout, format!("{number}\n"));
    }
}

/// A signal that comes when its call has just ended by itself must not hit the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_meets_its_own_call_or_none() {
    let world = World::new().await;
    let mut inside = world.sandbox("a").await;
    inside.python("import time").await.ok();
    let moment = Duration::from_millis(20);
    for _ in 0..50 {
        inside.python_within("time.sleep(0.0199)", moment).await;
        inside.python("for _ in range(20000): pass").await.ok();
    }
    assert_eq!(inside.condition(), Condition::Ready);
}
