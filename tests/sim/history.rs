//! What happened in a simulation, and whether every promise was kept.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton::clock::Clock;
use baton::domain::ids::{EnvironmentId, Timestamp};

use crate::plant::Plant;
use crate::story::{CallStory, Executed, Said};

/// What everybody in a simulation tells. Clones tell the same one.
#[derive(Clone, Debug)]
pub struct History {
    clock: Clock,
    told: Arc<Mutex<Told>>,
    /// Apart from the rest: who panics may be telling something.
    panics: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug)]
struct Told {
    trace: DefaultHasher,
    shows: bool,
    /// Whether a wrapper around each worker tells what is asked for.
    witnessed: bool,
    events: u64,
    calls: BTreeMap<u64, CallStory>,
    /// Which call it is where one is repeated, code and all, in an environment that it was not for.
    twins: BTreeMap<(u64, EnvironmentId), u64>,
    environments: BTreeMap<EnvironmentId, Environment>,
    /// What each principal launched with a key, by the key's number.
    launches: BTreeMap<(&'static str, usize), Launch>,
    /// How often the directory lost what it knew.
    losses: u64,
    broken: Vec<String>,
}

/// What became of one launch with a key.
#[derive(Debug)]
struct Launch {
    /// The directory's losses when it was first asked for: after one more it may come to another environment.
    losses: u64,
    environment: Option<EnvironmentId>,
}

#[derive(Debug, Default)]
struct Environment {
    /// To whom its handle was given.
    owner: Option<&'static str>,
    /// Where it was at each epoch.
    homes: BTreeMap<u64, String>,
    runs: Vec<u64>,
    close_asked: bool,
    closed: bool,
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
    pub fn new(clock: Clock, plant: Plant, shows: bool) -> Self {
        let told = Told {
            trace: DefaultHasher::new(),
            shows,
            witnessed: plant != Plant::Nothing,
            events: 0,
            calls: BTreeMap::new(),
            twins: BTreeMap::new(),
            environments: BTreeMap::new(),
            launches: BTreeMap::new(),
            losses: 0,
            broken: Vec::new(),
        };
        Self { clock, told: Arc::new(Mutex::new(told)), panics: Arc::default() }
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

    /// Something panicked, maybe while it told something.
    pub fn panicked(&self, panic: impl Display) {
        let panic = format!("a panic: {panic}").replace('\n', " ");
        eprintln!("{panic}");
        self.panics.lock().unwrap_or_else(PoisonError::into_inner).push(panic);
    }

    /// The directory lost some or all of what it knew.
    pub fn directory_lost(&self) {
        self.note("the directory has lost something");
        self.told().losses += 1;
    }

    /// A launch with a key is about to be asked for; returns its number among its principal's.
    pub fn launches(&self, owner: &'static str) -> usize {
        let mut told = self.told();
        let number = told.launches.range((owner, 0)..=(owner, usize::MAX)).count();
        let launch = Launch { losses: told.losses, environment: None };
        told.launches.insert((owner, number), launch);
        number
    }

    /// A launch with a key came to this environment.
    pub fn launched(&self, owner: &'static str, number: usize, environment: EnvironmentId) {
        self.note(format_args!("launch {number} of {owner} came to {environment}"));
        let mut told = self.told();
        let losses = told.losses;
        let Some(launch) = told.launches.get_mut(&(owner, number)) else { return };
        let first = *launch.environment.get_or_insert(environment);
        if first != environment && launch.losses == losses {
            told.broken.push(format!("launch {number} of {owner} made more than one environment"));
        }
    }

    /// Whether nobody asked for the end of what a launch came to; after a loss it may have come to something else too.
    pub fn launch_should_live(&self, owner: &'static str, number: usize) -> bool {
        let told = self.told();
        let Some(launch) = told.launches.get(&(owner, number)) else { return false };
        let home = launch.environment.and_then(|environment| told.environments.get(&environment));
        launch.losses == told.losses && home.is_some_and(|home| !home.close_asked)
    }

    /// An environment's handle was given out; returns whether it was the first.
    pub fn created(&self, environment: EnvironmentId, owner: &'static str) -> bool {
        self.note(format_args!("created {environment} for {owner}"));
        let mut told = self.told();
        let before = told.environments.entry(environment).or_default().owner.replace(owner);
        if before.is_some_and(|before| before != owner) {
            told.broken.push(format!("{environment} was given to two principals"));
        }
        before.is_none()
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
        self.told().begin(environment, is_owner)
    }

    /// A call is about to be repeated in an environment that it was not for; returns the number that it has there.
    pub fn calls_elsewhere(&self, call: u64, environment: EnvironmentId) -> u64 {
        let mut told = self.told();
        if let Some(twin) = told.twins.get(&(call, environment)) {
            return *twin;
        }
        let twin = told.begin(environment, true);
        told.twins.insert((call, environment), twin);
        twin
    }

    /// A call is made with an idempotency key.
    pub fn has_key(&self, call: u64) {
        self.told().calls.get_mut(&call).expect("it was begun").has_key = true;
    }

    /// A worker is asked to run a call under this epoch.
    pub fn asked(&self, call: u64, environment: EnvironmentId, epoch: u64) {
        self.note(format_args!("c{call} is asked for under epoch {epoch}"));
        let mut told = self.told();
        let call = told.number_of(call, environment);
        if let Some(story) = told.calls.get_mut(&call) {
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
        let call = told.number_of(call, environment);
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
            (told.witnessed && !story.asked.contains(&epoch), "ran under another epoch"),
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
        let mut told = self.told();
        let told = &mut *told;
        let story = told.calls.get_mut(&call).expect("it was begun");
        let close_asked =
            told.environments.get(&story.environment).is_some_and(|home| home.close_asked);
        if !close_asked && story.is_lost_by(&said) {
            told.broken.push(format!("c{call} was done, and later it was said that it never ran"));
        }
        // Of what a closed environment knew nothing is known any more: to say so is no outcome.
        let is_unknown = matches!(said, Said::Not { executed: Executed::Maybe, .. });
        story.said.push(if close_asked && is_unknown { Said::Nothing } else { said });
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
        broken.extend(self.panics.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
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
    fn begin(&mut self, environment: EnvironmentId, is_owner: bool) -> u64 {
        let number = self.calls.len() as u64 + 1;
        self.calls.insert(number, CallStory::new(environment, is_owner));
        number
    }

    /// Which call it is whose code has this number.
    fn number_of(&self, call: u64, environment: EnvironmentId) -> u64 {
        self.twins.get(&(call, environment)).copied().unwrap_or(call)
    }

    fn note(&mut self, now: Timestamp, event: &str) {
        (now.as_millis(), event).hash(&mut self.trace);
        self.events += 1;
        if self.shows {
            eprintln!("{:>9} {event}", now.as_millis() % 10_000_000);
        }
    }
}
