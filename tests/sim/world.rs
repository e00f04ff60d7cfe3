//! One simulation: hosts, clients, faults, and what is looked at when all faults are over.

use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton::clock::Clock;
use baton::domain::ids::{Incarnation, TenantDigest, Timestamp};
use baton::rpc::client::{Peer, TraceHeaders, WorkerClient, WorkerError};
use baton::rpc::wire::{ListRequest, Refusal};
use tokio::time::sleep;
use turmoil::{Builder, Sim};

use crate::client::Client;
use crate::dice::Dice;
use crate::directory::{Link, Store};
use crate::faults::{Faults, HEALED, Places, Stage};
use crate::history::History;
pub use crate::history::Verdict;
use crate::hosts::{CALLERS, GatewayHost, WorkerHost, principal, worker_key};
use crate::mcp::Mcp;
use crate::network;
use crate::plant::Plant;
use crate::shelf::Shelf;

/// How far each step of a simulation goes.
const TICK: Duration = Duration::from_millis(10);
/// When the simulated time begins.
const START: Timestamp = Timestamp::from_millis(1_795_250_494_000);
/// When every call must have ended, faults or not.
const CALLS: Duration = Duration::from_secs(80);
/// How long it takes at most until the directory is right again, and everything was looked at.
const CHECKS: Duration = Duration::from_secs(100);
/// In every such seed a worker stays away.
const ABSENT_IN: u64 = 10;
/// For how long: silent workers are waited for five minutes.
const AWAY: Duration = Duration::from_secs(270);
/// How often the directory is compared with the workers, a second apart.
const COMPARISONS: usize = 40;

struct World {
    clocks: Vec<Clock>,
    history: History,
    dice: Dice,
    store: Arc<Store>,
    links: Vec<Link>,
    gateways: Vec<String>,
    workers: Vec<String>,
    shelf: Shelf,
    root: PathBuf,
    plant: Plant,
}

/// Runs the simulation of a seed.
pub fn run(seed: u64, plant: Plant, shows: bool) -> Verdict {
    let dice = Dice::new(seed);
    let clock = Clock::manual(START);
    let history = History::new(clock.clone(), plant, shows);
    tell_of_panics(&history);
    let store = Store::new(clock.clone(), history.clone(), plant);
    let names = |kind: &str, count| (1..=count).map(|n| format!("{kind}-{n}")).collect::<Vec<_>>();
    let (gateways, workers) = (names("gateway", 2 + dice.below(2)), names("worker", 3));
    let links = gateways.iter().map(|_| store.link(dice.clone())).collect();
    let root = scratch().join(format!("baton-sim-{}-{seed}", std::process::id()));
    let shelf = Shelf::default();
    let clocks = vec![clock];
    let world =
        World { clocks, history, dice, store, links, gateways, workers, shelf, root, plant };
    let root = world.root.clone();
    let verdict = world.run(seed);
    std::fs::remove_dir_all(root).ok();
    verdict
}

/// Memory where there is such a file system: the product waits for its disk again and again.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn tell_of_panics(history: &History) {
    let history = history.clone();
    panic::set_hook(Box::new(move |panic| history.panicked(panic)));
}

impl World {
    fn run(mut self, seed: u64) -> Verdict {
        let mut sim = Builder::new()
            .tick_duration(TICK)
            .simulation_duration(Duration::from_hours(1))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(self.dice.millis(2, 40))
            .tcp_capacity(4096)
            .enable_random_order()
            .rng_seed(seed)
            .build();
        self.start_processes(&mut sim);
        let clients = self.start_clients(&mut sim);
        let places = Places { clients: &clients, gateways: &self.gateways, workers: &self.workers };
        let mut faults = Faults::draw(&self.dice, places);
        self.finish(&mut sim, "calls", CALLS, |world, sim| {
            faults.proceed(sim, &world.stage());
        });
        if seed.is_multiple_of(ABSENT_IN) {
            self.stay_away(&mut sim);
        }
        self.start_checks(&mut sim);
        self.finish(&mut sim, "checks", CHECKS, |_, _| {});
        self.history.verdict()
    }

    /// Steps until every client has ended, and all faults are over; neither may take longer than this.
    fn finish(
        &self,
        sim: &mut Sim<'_>,
        what: &str,
        longest: Duration,
        mut before_each: impl FnMut(&Self, &mut Sim<'_>),
    ) {
        let end = sim.elapsed() + longest;
        loop {
            before_each(self, sim);
            let ended = match sim.step() {
                Ok(ended) => ended && sim.elapsed() > HEALED,
                Err(error) => return self.history.broken(format_args!("a process ended: {error}")),
            };
            self.clocks.iter().for_each(|clock| clock.advance(TICK));
            if ended {
                return;
            }
            if sim.elapsed() > end {
                return self.history.broken(format_args!("the {what} do not end"));
            }
        }
    }

    /// A worker is away for nearly as long as one is waited for, and nothing of its own may be called lost; not even by
    /// a replica that was started meanwhile, over a directory that has lost all.
    fn stay_away(&self, sim: &mut Sim<'_>) {
        let (worker, gateway) = (self.workers[0].as_str(), self.gateways[0].as_str());
        sim.crash(worker);
        self.store.flush();
        self.history.note(format_args!("{worker} is away"));
        let (clients, handles) =
            (CALLERS.map(|(caller, ..)| (caller, self.client(caller))), self.shelf.clone());
        sim.client("patience", async move {
            while turmoil::elapsed() < AWAY {
                for handle in handles.all() {
                    let of = clients.iter().find(|(caller, _)| *caller == handle.owner);
                    of.expect("a caller").1().call_once(&handle).await;
                }
                sleep(Duration::from_secs(20)).await;
            }
            Ok(())
        });
        let mut restarted = false;
        self.finish(sim, "calls to who is away", AWAY * 2, |world, sim| {
            if !restarted && sim.elapsed() > HEALED + AWAY / 3 {
                restarted = true;
                sim.crash(gateway);
                sim.bounce(gateway);
                world.history.note(format_args!("{gateway} starts anew"));
            }
        });
        sim.bounce(worker);
    }

    fn stage(&self) -> Stage<'_> {
        let Self { store, links, history, root, dice, .. } = self;
        Stage { store, links, history, root, dice }
    }

    /// A process's own clock, off by so much at most.
    fn clock(&mut self, off_by_millis: usize) -> Clock {
        let clock = Clock::manual(START);
        clock.advance(self.dice.millis(0, off_by_millis));
        self.clocks.push(clock.clone());
        clock
    }

    fn start_processes(&mut self, sim: &mut Sim<'_>) {
        for (number, name) in self.gateways.clone().into_iter().enumerate() {
            let (clock, directory) = (self.clock(2_000), self.links[number].clone());
            let plant = self.plant;
            let host = GatewayHost { name: name.clone(), directory, plant, clock };
            sim.host(name, move || host.clone().run());
        }
        for name in self.workers.clone() {
            let host = WorkerHost {
                data_dir: self.root.join(&name),
                plant: self.plant,
                gateways: self.gateways.iter().map(|it| format!("http://{it}:8081")).collect(),
                clock: self.clock(20_000),
                history: self.history.clone(),
                dice: self.dice.clone(),
                name: name.clone(),
            };
            sim.host(name, move || host.clone().run());
        }
    }

    fn start_clients(&self, sim: &mut Sim<'_>) -> Vec<String> {
        let callers = ["alice", "alice", "bob", "carol"];
        let mut names = Vec::new();
        for (number, caller) in callers.into_iter().enumerate() {
            let name = format!("client-{}", number + 1);
            let (client, dice) = (self.client(caller), self.dice.clone());
            sim.client(name.as_str(), async move {
                // Everybody starts, and workers report.
                sleep(dice.millis(1_500, 3_000)).await;
                client().work().await;
                Ok(())
            });
            names.push(name);
        }
        names
    }

    /// Makes a client, on the host where it is called.
    fn client(&self, caller: &'static str) -> impl Fn() -> Client + 'static {
        let (gateways, handles) = (Arc::from(self.gateways.as_slice()), self.shelf.clone());
        let (history, dice) = (self.history.clone(), self.dice.clone());
        move || Client {
            mcp: Mcp::new(caller),
            name: caller,
            gateways: Arc::clone(&gateways),
            shelf: handles.clone(),
            history: history.clone(),
            dice: dice.clone(),
        }
    }

    /// What must be true when all faults are over.
    fn start_checks(&self, sim: &mut Sim<'_>) {
        let clients = CALLERS.map(|(caller, ..)| (caller, self.client(caller)));
        let (handles, history) = (self.shelf.clone(), self.history.clone());
        let (store, workers) = (Arc::clone(&self.store), self.workers.clone());
        let clock = self.clocks[0].clone();
        sim.client("checks", async move {
            for handle in handles.all() {
                let id = handle.environment;
                let (_, client) =
                    clients.iter().find(|(caller, _)| *caller == handle.owner).expect("a caller");
                let Some(result) = client().call_for_sure(&handle, 20).await else {
                    history.broken(format_args!("{id} does not serve"));
                    continue;
                };
                // Every execution leaves a line in the environment's files.
                let before = history.runs_in(id) - 1;
                if !result.ends_with(&format!(" after {before}")) {
                    history.broken(format_args!("{id} has lost files: {result}, ran {before}"));
                }
            }
            let worker_client = WorkerClient::on(&network::net(), clock);
            for (tenant, subject) in [("t", "alice"), ("u", "carol")] {
                let tenant = principal(tenant, subject).tenant_digest();
                compare(&store, &worker_client, &workers, tenant, &history).await;
            }
            Ok(())
        });
    }
}

/// The quota that is taken must be what the workers hold, soon.
async fn compare(
    store: &Store,
    client: &WorkerClient,
    workers: &[String],
    tenant: TenantDigest,
    history: &History,
) {
    let (mut taken, mut held) = (0, 0);
    for _ in 0..COMPARISONS {
        taken = store.taken(tenant).await;
        held = 0;
        for worker in workers {
            held += holds(client, worker, tenant).await.unwrap_or(usize::MAX / 8);
        }
        if taken as usize == held {
            history.note(format_args!("the quota of {tenant} is {taken}"));
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
    history.broken(format_args!("the quota of {tenant} is {taken}, and workers hold {held}"));
}

/// How many environments of a tenant a worker holds.
async fn holds(client: &WorkerClient, worker: &str, tenant: TenantDigest) -> Option<usize> {
    let request = ListRequest { tenant: tenant.to_string(), owner: None, environment: None };
    let mut incarnation = Incarnation(0);
    for _ in 0..2 {
        let url = format!("http://{worker}:8090");
        let peer = Peer::new(url, worker_key(worker), incarnation);
        let trace = TraceHeaders::default();
        match client.list(&peer, &request, Duration::from_secs(2), &trace).await {
            Ok(reply) => return Some(reply.environments.len()),
            Err(WorkerError::Refused(Refusal::WrongIncarnation { incarnation: right })) => {
                incarnation = Incarnation(right);
            }
            Err(_) => return None,
        }
    }
    None
}
