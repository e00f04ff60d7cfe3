//! What happened in a simulation, and whether every promise was kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton::clock::Clock;
use baton::domain::ids::{EnvironmentId, Timestamp};

/// What everybody in a simulation tells. Clones tell the same one.
#[derive(Clone, Debug)]
pub struct History {
    clock: Clock,
    told: Arc<Mutex<Told>>,
}

#[derive(Debug)]
struct Told {
    trace: DefaultHasher,
    shows: bool,
    events: u64,
    calls: BTreeMap<u64, CallStory>,
    environments: BTreeMap<EnvironmentId, Environment>,
    broken: Vec<String>,
}

/// What became of one call: all that was said and done about it.
#[derive(Debug)]
struct CallStory {
    environment: EnvironmentId,
    /// Whether whoever called may.
    is_owner: bool,
    has_key: bool,
    runs: Vec<String>,
    said: Vec<Said>,
    /// The epochs that workers were asked under, where a witness saw it.
    asked: Vec<u64>,
}

#[derive(Debug, Default)]
struct Environment {
    /// Where it was at each epoch.
    homes: BTreeMap<u64, String>,
    runs: Vec<u64>,
    close_asked: bool,
    closed: bool,
}

/// What a client was told of a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    /// It ran, and this is its result.
    Done(String),
    /// It was refused, or its outcome is another.
    Not { executed: Executed, retryable: bool, why: String },
    /// No answer came.
    Nothing,
}

/// Whether the code ran, in the product's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Executed {
    No,
    Maybe,
    Yes,
}

/// How a simulation came out.
#[derive(Debug)]
pub struct Verdict {
    pub trace: u64,
    pub events: u64,
    pub calls: usize,
    pub runs: usize,
    pub environments: usize,
    pub broken: Vec<String>,
}

impl History {
    /// Nothing happened yet. `shows` has every event printed.
    pub fn new(clock: Clock, shows: bool) -> Self {
        let told = Told {
            trace: DefaultHasher::new(),
            shows,
            events: 0,
            calls: BTreeMap::new(),
            environments: BTreeMap::new(),
            broken: Vec::new(),
        };
        Self { clock, told: Arc::new(Mutex::new(told)) }
    }

    /// Puts an event into the trace.
    pub fn note(&self, event: impl Display) {
        self.told().note(self.clock.now(), &event.to_string());
    }

    /// A promise was broken.
    pub fn broken(&self, what: impl Display) {
        let what = what.to_string();
        let mut told = self.told();
        told.note(self.clock.now(), &format!("BROKEN {what}"));
        told.broken.push(what);
    }

    /// An environment's handle was given out.
    pub fn created(&self, environment: EnvironmentId) {
        self.note(format_args!("created {environment}"));
        self.told().environments.entry(environment).or_default();
    }

    /// Somebody is about to ask for its end.
    pub fn close_asked(&self, environment: EnvironmentId) {
        self.note(format_args!("close asked {environment}"));
        self.told().environments.entry(environment).or_default().close_asked = true;
    }

    /// Its end was acknowledged.
    pub fn closed(&self, environment: EnvironmentId) {
        self.note(format_args!("closed {environment}"));
        self.told().environments.entry(environment).or_default().closed = true;
    }

    /// A call is about to be made; returns its number.
    pub fn calls(&self, environment: EnvironmentId, is_owner: bool) -> u64 {
        let mut told = self.told();
        let number = told.calls.len() as u64 + 1;
        let story = CallStory {
            environment,
            is_owner,
            has_key: false,
            runs: Vec::new(),
            said: Vec::new(),
            asked: Vec::new(),
        };
        told.calls.insert(number, story);
        number
    }

    /// A call is made with an idempotency key.
    pub fn has_key(&self, call: u64) {
        self.told().calls.get_mut(&call).expect("it was begun").has_key = true;
    }

    /// A worker is asked to run a call under this epoch.
    pub fn asked(&self, call: u64, epoch: u64) {
        self.note(format_args!("c{call} is asked for under epoch {epoch}"));
        if let Some(story) = self.told().calls.get_mut(&call) {
            story.asked.push(epoch);
        }
    }

    /// A sandbox starts the code of a call, in an environment that this worker holds under this epoch.
    pub fn runs(
        &self,
        call: u64,
        environment: EnvironmentId,
        (worker, epoch): (&str, u64),
        result: &str,
    ) {
        self.note(format_args!("run c{call} in {environment} on {worker} at {epoch}: {result}"));
        let mut told = self.told();
        let told = &mut *told;
        let home = told.environments.entry(environment).or_default();
        home.runs.push(call);
        let elsewhere = home.homes.entry(epoch).or_insert_with(|| worker.to_owned()) != worker;
        let passed = home.homes.keys().any(|later| *later > epoch);
        let story = told.calls.get_mut(&call).expect("only what was called for is run");
        story.runs.push(result.to_owned());
        for (is_broken, promise) in [
            (home.closed, "ran after its environment's end was acknowledged"),
            (elsewhere, "ran on a second worker"),
            (passed, "ran where its environment had been before"),
            (!story.asked.is_empty() && !story.asked.contains(&epoch), "ran under another epoch"),
            (!story.is_owner, "ran for somebody whose environment it is not"),
            (story.environment != environment, "ran in another environment"),
        ] {
            if is_broken {
                told.broken.push(format!("c{call} {promise}"));
            }
        }
    }

    /// A client was told something of a call.
    pub fn said(&self, call: u64, said: Said) {
        self.note(format_args!("said of c{call}: {said:?}"));
        self.told().calls.get_mut(&call).expect("it was begun").said.push(said);
    }

    /// Whether nobody asked for the end of an environment.
    pub fn should_live(&self, environment: EnvironmentId) -> bool {
        self.told().environments.get(&environment).is_some_and(|it| !it.close_asked)
    }

    /// How many executions were started in an environment.
    pub fn runs_in(&self, environment: EnvironmentId) -> usize {
        self.told().environments.get(&environment).map_or(0, |it| it.runs.len())
    }

    /// Judges what was told.
    pub fn verdict(&self) -> Verdict {
        let told = self.told();
        let mut broken = told.broken.clone();
        for (number, story) in &told.calls {
            broken.extend(story.faults().into_iter().map(|fault| format!("c{number} {fault}")));
        }
        Verdict {
            trace: told.trace.finish(),
            events: told.events,
            calls: told.calls.len(),
            runs: told.calls.values().map(|it| it.runs.len()).sum(),
            environments: told.environments.len(),
            broken,
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn note(&mut self, now: Timestamp, event: &str) {
        (now.as_millis(), event).hash(&mut self.trace);
        self.events += 1;
        if self.shows {
            eprintln!("{:>9} {event}", now.as_millis() % 10_000_000);
        }
    }
}

impl CallStory {
    /// Which promises about one call were broken.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.runs.len() > 1 {
            faults.push(format!("ran {} times", self.runs.len()));
        }
        let results: Vec<&String> = self.said.iter().filter_map(Said::result).collect();
        if let Some(result) = results.first() {
            if !self.runs.contains(result) {
                faults.push(format!("is said to have come to {result}, which it did not"));
            }
            if results.iter().any(|other| other != result) {
                faults.push(format!("has more than one result: {results:?}"));
            }
        }
        let finals: BTreeSet<&Said> =
            self.said.iter().filter(|said| said.is_final() && said.executed()).collect();
        if self.has_key && finals.len() > 1 {
            faults.push(format!("has more than one outcome: {finals:?}"));
        }
        let says_no = |said: &Said| matches!(said, Said::Not { executed: Executed::No, .. });
        if !self.runs.is_empty() && !self.said.is_empty() && self.said.iter().all(says_no) {
            faults.push("ran, and everybody was told that it did not".to_owned());
        }
        faults
    }
}

impl Said {
    /// Whether to ask again is of no use.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Done(_) => true,
            Self::Not { retryable, .. } => !retryable,
            Self::Nothing => false,
        }
    }

    /// Whether it ran, or may have.
    pub fn executed(&self) -> bool {
        match self {
            Self::Done(_) => true,
            Self::Not { executed, .. } => *executed != Executed::No,
            Self::Nothing => false,
        }
    }

    fn result(&self) -> Option<&String> {
        match self {
            Self::Done(result) => Some(result),
            Self::Not { .. } | Self::Nothing => None,
        }
    }
}
