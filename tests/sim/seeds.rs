//! Running many seeds, and saying how to run one again.

use std::env;
use std::ops::Range;
use std::process::{Command, exit};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::plant::Plant;
use crate::{dice, world};

/// How many seeds are run where nothing is said.
const SEEDS: u64 = 100;
/// Each so-many-th has wrappers around its workers that only look on.
const WITNESSED: u64 = 4;
/// A seed in which less happens shows nothing, nor do seeds in which less happens on the average.
const LEAST: Happened = Happened { runs: 5, environments: 1 };
const LEAST_ON_AVERAGE: Happened = Happened { runs: 15, environments: 3 };
/// Within how many seeds a planted bug must be found, and how many are tried at a time.
const TO_FIND: u64 = 50;
const AT_A_TIME: u64 = 5;
/// No seed takes longer, unless it hangs: mostly it is a second or two.
const PATIENCE: Duration = Duration::from_mins(2);

/// A variable of this test's own: `SIM_SEEDS` how many, `SIM_SEED` which one, `SIM_SHOW` prints what happens,
/// `SIM_PLANT` the number of a planted bug.
#[expect(clippy::disallowed_methods, reason = "a test is told by its environment, as proptest is")]
fn setting(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// How much happened.
#[derive(Clone, Copy, Debug)]
struct Happened {
    runs: usize,
    environments: usize,
}

/// What a seed came to, in a process of its own.
struct Run {
    seed: u64,
    plant: Plant,
    kept: bool,
    said: String,
}

impl Run {
    fn of(seed: u64, plant: Plant) -> Self {
        let this = env::current_exe().expect("this test has a file");
        let output = Command::new(this)
            .args(["seeds::one_seed", "--exact", "--nocapture"])
            .env("SIM_SEED", seed.to_string())
            .env("SIM_PLANT", plant.number().to_string())
            .output()
            .expect("this test can be started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        Self { seed, plant, kept: output.status.success(), said }
    }

    /// The line that tells what it came to.
    fn line(&self, word: &str) -> Option<&str> {
        self.said.lines().find(|line| line.starts_with(word))
    }

    fn how_to_repeat(&self) -> String {
        let (seed, plant) = (self.seed, self.plant.number());
        format!(
            "seed {seed} broke a promise; see it again with\n  SIM_SEED={seed} SIM_PLANT={plant} SIM_SHOW=1 cargo test \
             --test sim one_seed -- --nocapture\n{}",
            self.said
        )
    }

    /// What its line tells of a kind, as "31 runs".
    fn count(&self, kind: &str) -> usize {
        let line = self.line("trace").unwrap_or_default();
        let count = line.split([',', ':']).find_map(|part| part.trim().strip_suffix(kind));
        count.map_or(0, |count| count.trim().parse().expect("a number"))
    }
}

/// Runs these seeds, each with what `plant` says, as many at once as there are processors.
fn run_all(seeds: Range<u64>, plant: impl Fn(u64) -> Plant + Sync) -> Vec<Run> {
    let next = AtomicU64::new(seeds.start);
    let lanes = thread::available_parallelism().map_or(1, usize::from);
    let lane = || {
        let mut runs = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return runs;
            }
            runs.push(Run::of(seed, plant(seed)));
        }
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().flat_map(|it| it.join().expect("it only waits")).collect()
    })
}

#[test]
fn one_seed() {
    let Some(seed) = setting("SIM_SEED") else { return };
    let shows = setting("SIM_SHOW").is_some();
    let plant = setting("SIM_PLANT").and_then(Plant::of).unwrap_or(Plant::Nothing);
    thread::spawn(|| {
        thread::sleep(PATIENCE);
        eprintln!("broken: the simulation hangs");
        exit(1);
    });
    // A thread of its own, for what a thread draws at random when it begins.
    let simulation = thread::spawn(move || {
        dice::seed_this_thread(seed);
        world::run(seed, plant, shows)
    });
    let verdict = simulation.join().expect("it ends with a verdict");
    let world::Verdict { trace, events, calls, runs, environments, mut broken } = verdict;
    eprintln!(
        "trace {trace:016x}: {events} events, {calls} calls, {runs} runs, {environments} environments"
    );
    if runs < LEAST.runs || environments < LEAST.environments {
        broken.push("too little happened".to_owned());
    }
    for promise in &broken {
        eprintln!("broken: {promise}");
    }
    if !broken.is_empty() {
        exit(1);
    }
}

#[test]
fn no_seed_breaks_a_promise() {
    let seeds = setting("SIM_SEEDS").unwrap_or(SEEDS);
    let runs = run_all(0..seeds, |seed| {
        if seed.is_multiple_of(WITNESSED) { Plant::Witness } else { Plant::Nothing }
    });
    let broken: Vec<String> = runs.iter().filter(|run| !run.kept).map(Run::how_to_repeat).collect();
    assert!(broken.is_empty(), "{} of {seeds} seeds\n{}", broken.len(), broken.join("\n"));
    let sum = |kind| runs.iter().map(|run| run.count(kind)).sum::<usize>();
    let happened = Happened { runs: sum("runs"), environments: sum("environments") };
    eprintln!("{seeds} seeds: {happened:?}");
    assert!(happened.runs >= runs.len() * LEAST_ON_AVERAGE.runs, "{happened:?}");
    assert!(happened.environments >= runs.len() * LEAST_ON_AVERAGE.environments, "{happened:?}");
}

#[test]
fn workers_that_forget_idempotency_keys_are_found() {
    find(Plant::NoDedupe, "times");
}

#[test]
fn workers_that_take_calls_of_any_epoch_are_found() {
    find(Plant::NoEpochCheck, "ran under another epoch");
}

#[test]
fn calls_that_arrive_twice_are_found() {
    find(Plant::Resend, "times");
}

#[test]
fn results_that_are_lost_are_found() {
    find(Plant::ResultsLost, "later it was said that it never ran");
}

#[test]
fn results_of_another_environment_are_found() {
    find(Plant::OneRoom, "which it did not");
}

#[test]
fn results_told_to_another_principal_are_found() {
    find(Plant::OneCaller, "whose it is not");
}

#[test]
fn launches_that_are_forgotten_are_found() {
    find(Plant::LaunchesForgotten, "made more than one environment");
}

#[test]
fn seeds_in_which_nothing_happens_are_found() {
    find(Plant::TakesNone, "too little happened");
}

#[test]
fn a_panic_while_something_is_told_is_found() {
    find(Plant::Stray, "only what was called for is run");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..3 {
        let (first, again) = (Run::of(seed, Plant::Nothing), Run::of(seed, Plant::Nothing));
        assert!(first.line("trace").is_some(), "{}", first.said);
        assert_eq!(first.line("trace"), again.line("trace"), "seed {seed}");
    }
}

/// Runs seeds until one breaks a promise, which must be this one.
fn find(plant: Plant, promise: &str) {
    for first in (0..TO_FIND).step_by(usize::try_from(AT_A_TIME).expect("a few")) {
        for run in run_all(first..first + AT_A_TIME, |_| plant) {
            let found =
                run.said.lines().find(|line| line.starts_with("broken") && line.ends_with(promise));
            if let Some(line) = found {
                eprintln!("{plant:?} is found by seed {}: {line}", run.seed);
                return;
            }
        }
    }
    panic!("{plant:?} is not found within {TO_FIND} seeds");
}
