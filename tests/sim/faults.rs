//! Which faults a seed brings, and when.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use turmoil::Sim;

use crate::adoption;
use crate::dice::Dice;
use crate::directory::{Link, Store, Trouble};
use crate::history::History;

/// When the first fault may come: everybody has met everybody by then.
const FIRST: usize = 3_000;
/// When all faults are over.
pub const HEALED: Duration = Duration::from_secs(20);
/// How long one fault lasts at most. What is held is older than this by nothing.
const LONGEST: usize = 6_000;
/// A link's usual latency, and a slow one's.
const USUAL: Duration = Duration::from_millis(5);
const SLOW: Duration = Duration::from_millis(400);

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing goes between two hosts: what is sent is lost.
    Cut(String, String),
    /// Nothing goes one way.
    CutOneWay(String, String),
    /// What is sent comes when it is over.
    Hold(String, String),
    Slow(String, String),
    /// The process is killed, and started again when it is over.
    Crash(String),
    /// Two workers stop, and start again when some environments of one have moved to the other; or, where both are one,
    /// it gives some of its own a new epoch.
    Move(String, String),
    /// One replica's directory.
    Directory(usize, Trouble),
    /// Everybody's directory.
    DirectoryOfAll(Trouble),
    /// The directory loses everything.
    Flush,
    /// Writes of this time are lost with the directory's master.
    FailOver,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    Ends,
    Begins,
}

/// The faults of one seed.
#[derive(Debug)]
pub struct Faults {
    edges: Vec<(Duration, Edge, Fault)>,
    done: usize,
}

/// The hosts between which things go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    pub clients: &'a [String],
    pub gateways: &'a [String],
    pub workers: &'a [String],
}

/// What faults work on, besides the network.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    pub store: &'a Store,
    pub links: &'a [Link],
    pub history: &'a History,
    /// Where each worker has a directory of its name.
    pub root: &'a Path,
    pub dice: &'a Dice,
}

impl Faults {
    /// Draws them. No two are on one link, or with one process, at a time.
    pub fn draw(dice: &Dice, places: Places<'_>) -> Self {
        let (mut edges, mut busy): (Vec<_>, BTreeMap<String, Duration>) = Default::default();
        let end = usize::try_from(HEALED.as_millis()).expect("a short time");
        let mut begins: Vec<_> =
            (0..6 + dice.below(8)).map(|_| dice.millis(FIRST, end - 500)).collect();
        begins.sort();
        for begins in begins {
            let ends = (begins + dice.millis(100, LONGEST)).min(HEALED);
            let fault = Fault::draw(dice, places);
            let places = fault.places();
            if places.iter().any(|place| busy.get(place).is_some_and(|until| *until >= begins)) {
                continue;
            }
            busy.extend(places.into_iter().map(|place| (place, ends)));
            edges.push((begins, Edge::Begins, fault.clone()));
            edges.push((ends, Edge::Ends, fault));
        }
        edges.sort_by_key(|(at, edge, _)| (*at, *edge));
        Self { edges, done: 0 }
    }

    /// Brings about what is due.
    pub fn proceed(&mut self, sim: &mut Sim<'_>, stage: &Stage<'_>) {
        while let Some((at, edge, fault)) = self.edges.get(self.done) {
            if *at > sim.elapsed() {
                return;
            }
            stage.history.note(format_args!("{edge:?} {fault:?}"));
            match edge {
                Edge::Begins => fault.begin(sim, stage),
                Edge::Ends => fault.end(sim, stage),
            }
            self.done += 1;
        }
    }
}

impl Fault {
    fn draw(dice: &Dice, places: Places<'_>) -> Self {
        let Places { clients, gateways, workers } = places;
        let gateway = dice.pick(gateways).clone();
        let other = match dice.below(10) {
            0 | 1 => dice.pick(clients).clone(),
            _ => dice.pick(workers).clone(),
        };
        match dice.below(100) {
            0..12 => Self::Cut(gateway, other),
            12..20 => Self::CutOneWay(gateway, other),
            20..28 => Self::CutOneWay(other, gateway),
            28..44 => Self::Hold(gateway, other),
            44..52 => Self::Slow(gateway, other),
            52..64 => Self::Crash(gateway),
            64..74 => Self::Crash(dice.pick(workers).clone()),
            74..82 => {
                let from = dice.pick(workers);
                let to = if dice.percent(50) { from } else { dice.pick(workers) };
                Self::Move(from.clone(), to.clone())
            }
            82..86 => Self::Directory(dice.below(gateways.len()), Trouble::Away),
            86..89 => Self::DirectoryOfAll(Trouble::Away),
            89..94 => Self::Directory(dice.below(gateways.len()), Trouble::LosesAnswers),
            94..97 => Self::Flush,
            _ => Self::FailOver,
        }
    }

    /// Where it is: links, processes, the directory.
    fn places(&self) -> Vec<String> {
        let place = match self {
            Self::Move(from, to) => return vec![from.clone(), to.clone()],
            Self::Cut(a, b) | Self::CutOneWay(a, b) | Self::Hold(a, b) | Self::Slow(a, b) => {
                let (first, second) = if a < b { (a, b) } else { (b, a) };
                format!("{first} {second}")
            }
            Self::Crash(host) => host.clone(),
            Self::Directory(..) | Self::DirectoryOfAll(_) | Self::Flush | Self::FailOver => {
                "directory".to_owned()
            }
        };
        vec![place]
    }

    fn begin(&self, sim: &mut Sim<'_>, stage: &Stage<'_>) {
        match self {
            Self::Cut(a, b) => sim.partition(a.as_str(), b.as_str()),
            Self::CutOneWay(a, b) => sim.partition_oneway(a.as_str(), b.as_str()),
            Self::Hold(a, b) => sim.hold(a.as_str(), b.as_str()),
            Self::Slow(a, b) => sim.set_link_latency(a.as_str(), b.as_str(), SLOW),
            Self::Crash(host) => sim.crash(host.as_str()),
            Self::Move(from, to) => {
                sim.crash(from.as_str());
                sim.crash(to.as_str());
            }
            Self::Directory(link, trouble) => stage.links[*link].set(*trouble),
            Self::DirectoryOfAll(trouble) => stage.links.iter().for_each(|link| link.set(*trouble)),
            Self::Flush => stage.store.flush(),
            Self::FailOver => stage.store.stop_replication(),
        }
    }

    fn end(&self, sim: &mut Sim<'_>, stage: &Stage<'_>) {
        match self {
            Self::Cut(a, b) => sim.repair(a.as_str(), b.as_str()),
            Self::CutOneWay(a, b) => sim.repair_oneway(a.as_str(), b.as_str()),
            Self::Hold(a, b) => sim.release(a.as_str(), b.as_str()),
            Self::Slow(a, b) => sim.set_link_latency(a.as_str(), b.as_str(), USUAL),
            Self::Crash(host) => sim.bounce(host.as_str()),
            Self::Move(from, to) => {
                adoption::adopt(stage.root, from, to, stage.dice);
                sim.bounce(from.as_str());
                if from != to {
                    sim.bounce(to.as_str());
                }
            }
            Self::Directory(..) | Self::DirectoryOfAll(_) => {
                stage.links.iter().for_each(|link| link.set(Trouble::None));
            }
            Self::Flush => {}
            Self::FailOver => stage.store.fail_over(),
        }
    }
}
