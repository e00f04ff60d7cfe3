//! The configuration, read again while the gateway serves: at SIGHUP, and when a file changes.
//!
//! Only `[[upstream]]` is applied; what else has changed is named, and needs a restart. A configuration that would not
//! start a gateway changes nothing.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::stamps::Stamps;
use crate::cli::settings::{Problems, Source, Surroundings};
use crate::gateway::{Upstream, UpstreamSet};

/// How often the files are looked at. A change counts when it has lasted from one look to the next.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads the settings of these arguments: the upstreams, and where all came from.
type Load = fn(&[String], &dyn Surroundings) -> Result<(UpstreamSet, Source), Problems>;

/// Reads the configuration again.
pub(super) struct Reload {
    hangup: Option<Signal>,
    reading: Reading,
}

impl Reload {
    /// Takes over SIGHUP, which ends a process otherwise; but one without a file to read, started at a terminal, is to
    /// end when that is closed. The receiver has the upstreams of the start, and of every reload.
    pub(super) fn new(
        source: Source,
        upstreams: UpstreamSet,
        load: Load,
        around: impl Surroundings + Send + 'static,
    ) -> io::Result<(Self, watch::Receiver<UpstreamSet>)> {
        let (applied, receiver) = watch::channel(upstreams);
        let ends_with_terminal = source.files().next().is_none() && io::stdin().is_terminal();
        let hangup = || signal(SignalKind::hangup());
        let hangup = if ends_with_terminal { None } else { Some(hangup()?) };
        let stamps = Stamps::of(source.files());
        let last = Read::Good(source.clone());
        let reading =
            Reading { around: Box::new(around), load, start: source, last, applied, stamps };
        Ok((Self { hangup, reading }, receiver))
    }

    /// Reads again whenever there is a reason, as long as it is polled.
    pub(super) async fn run(self) -> Infallible {
        let Self { mut hangup, mut reading } = self;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let because = tokio::select! {
                Some(()) = async { hangup.as_mut()?.recv().await } => Because::Signal,
                _ = looks.tick() => Because::Look,
            };
            // Files may lie on a network.
            let read = spawn_blocking(move || {
                let outcome = reading.again(because);
                (reading, outcome)
            });
            let outcome;
            (reading, outcome) = read.await.expect("reading does not panic");
            outcome.tell();
        }
    }
}

/// Why files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Because {
    /// Somebody asks for it, and wants to hear of it.
    Signal,
    /// It is time; only changes count.
    Look,
}

/// What was read, and what there is to compare the next reading with.
struct Reading {
    around: Box<dyn Surroundings + Send>,
    load: Load,
    start: Source,
    last: Read,
    applied: watch::Sender<UpstreamSet>,
    stamps: Stamps,
}

enum Read {
    Good(Source),
    Bad(Problems),
}

/// What came of a reason to read.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing has changed, and nobody asked.
    Nothing,
    /// The upstreams are those of the files.
    Applied { changes: Changes, needs_restart: Vec<String> },
    /// The old ones go on.
    Refused(Problems),
}

/// The names of upstreams that are not what they were.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
}

impl Reading {
    fn again(&mut self, because: Because) -> Outcome {
        // What was wrong may be a file that is not there yet, which nobody watches.
        let is_good = matches!(self.last, Read::Good(_));
        if !self.stamps.have_changed() && because == Because::Look && is_good {
            return Outcome::Nothing;
        }
        self.read(because)
    }

    fn read(&mut self, because: Because) -> Outcome {
        match (self.load)(self.start.arguments(), &*self.around) {
            Ok((upstreams, source)) => self.apply(because, &upstreams, source),
            Err(problems) => {
                let told = matches!(&self.last, Read::Bad(last) if *last == problems);
                self.last = Read::Bad(problems.clone());
                match because {
                    Because::Look if told => Outcome::Nothing,
                    _ => Outcome::Refused(problems),
                }
            }
        }
    }

    fn apply(&mut self, because: Because, upstreams: &UpstreamSet, source: Source) -> Outcome {
        let upstreams = keep_equal(&self.applied.borrow(), upstreams);
        let changes = Changes::between(&self.applied.borrow(), &upstreams);
        let same = self.applied.borrow().iter().eq(upstreams.iter());
        if !same {
            self.applied.send_replace(upstreams);
        }
        self.stamps.watch(source.files());
        let said_before = match &self.last {
            Read::Good(last) => last.fixed_differences(&source).is_empty(),
            Read::Bad(_) => false,
        };
        let needs_restart = self.start.fixed_differences(&source);
        self.last = Read::Good(source);
        if because == Because::Look && same && said_before {
            return Outcome::Nothing;
        }
        Outcome::Applied { changes, needs_restart }
    }
}

/// The new upstreams, those that are as before in their old place in memory.
fn keep_equal(old: &UpstreamSet, new: &UpstreamSet) -> UpstreamSet {
    let keep = |it: &Arc<Upstream>| old.iter().find(|old| *old == it).unwrap_or(it).clone();
    new.iter().map(keep).collect()
}

impl Changes {
    fn between(old: &UpstreamSet, new: &UpstreamSet) -> Self {
        let names = |of: &UpstreamSet| -> BTreeSet<String> {
            of.iter().map(|it| it.name.to_string()).collect()
        };
        let (before, after) = (names(old), names(new));
        let unchanged = names(&new.iter().filter(|it| old.contains(it)).cloned().collect());
        Self {
            added: after.difference(&before).cloned().collect(),
            changed: after
                .intersection(&before)
                .filter(|it| !unchanged.contains(*it))
                .cloned()
                .collect(),
            removed: before.difference(&after).cloned().collect(),
        }
    }
}

impl Outcome {
    /// One line in the log for each thing that somebody should know.
    fn tell(&self) {
        match self {
            Self::Nothing => {}
            Self::Applied { changes: Changes { added, changed, removed }, needs_restart } => {
                tracing::info!(?added, ?changed, ?removed, "the configuration was read again");
                if !needs_restart.is_empty() {
                    let keys = needs_restart.join(", ");
                    tracing::warn!(keys, "changed in the configuration: needs a restart");
                }
            }
            Self::Refused(problems) => {
                for problem in problems.iter() {
                    tracing::error!(%problem, "the new configuration is wrong: the old one goes on");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings::fake::Fake;
    use crate::cli::settings::{self};

    const A: &str = "[[upstream]]\nname = \"a\"\nurl = \"https://a.test\"\n";
    const B: &str = "[[upstream]]\nname = \"b\"\nurl = \"https://b.test\"\n";
    const SECRET: &str =
        "[[upstream]]\nname = \"s\"\nurl = \"https://s.test\"\nheaders = { X = \"file:t\" }\n";

    fn load(
        arguments: &[String],
        around: &dyn Surroundings,
    ) -> Result<(UpstreamSet, Source), Problems> {
        let loaded = settings::dev(arguments, around)?;
        Ok((loaded.settings.edge.upstreams, loaded.source))
    }

    fn file(text: &str) -> Fake {
        Fake::new().file("b.toml", text)
    }

    fn started(around: Fake) -> (Reading, watch::Receiver<UpstreamSet>) {
        let (upstreams, source) = load(&["--config=b.toml".to_owned()], &around).unwrap();
        let (applied, receiver) = watch::channel(upstreams);
        let stamps = Stamps::of(source.files());
        let last = Read::Good(source.clone());
        (Reading { around: Box::new(around), load, start: source, last, applied, stamps }, receiver)
    }

    fn names(upstreams: &UpstreamSet) -> Vec<&str> {
        upstreams.iter().map(|it| it.name.as_str()).collect()
    }

    fn changes(added: &[&str], changed: &[&str], removed: &[&str]) -> Changes {
        let [added, changed, removed] =
            [added, changed, removed].map(|it| it.iter().map(|&it| it.to_owned()).collect());
        Changes { added, changed, removed }
    }

    #[test]
    fn what_has_changed_is_applied_and_the_rest_keeps_its_place() {
        let (mut reading, mut receiver) = started(file(&[A, B].concat()));
        let before = receiver.borrow_and_update().clone();
        let b = B.replace("b.test", "c.test");
        let c = B.replace("\"b\"", "\"c\"");
        reading.around = Box::new(file(&[c.as_str(), A, b.as_str()].concat()));
        let expected = changes(&["c"], &["b"], &[]);
        let applied = Outcome::Applied { changes: expected, needs_restart: Vec::new() };
        assert_eq!(reading.read(Because::Look), applied);
        assert!(receiver.has_changed().unwrap());
        let after = receiver.borrow_and_update().clone();
        assert_eq!(names(&after), ["c", "a", "b"]);
        assert!(Arc::ptr_eq(&before[0], &after[1]) && !Arc::ptr_eq(&before[1], &after[2]));
        reading.around = Box::new(file(""));
        assert!(matches!(reading.read(Because::Look), Outcome::Applied { .. }));
        assert!(receiver.borrow().is_empty());
    }

    #[test]
    fn an_equal_file_is_worth_a_word_only_if_somebody_asks() {
        let (mut reading, receiver) = started(file(A));
        reading.around = Box::new(file(&format!("# touched\n{A}")));
        assert_eq!(reading.read(Because::Look), Outcome::Nothing);
        let told = Outcome::Applied { changes: Changes::default(), needs_restart: Vec::new() };
        assert_eq!(reading.read(Because::Signal), told);
        assert!(!receiver.has_changed().unwrap());
    }

    #[test]
    fn a_wrong_file_changes_nothing_and_is_told_once() {
        let (mut reading, receiver) = started(file(A));
        for wrong in ["[[upstream]", "[[upstream]]\nname = \"a\"", "idle_timeout_seconds = \"x\""] {
            reading.around = Box::new(file(wrong));
            assert!(matches!(reading.read(Because::Look), Outcome::Refused(_)), "{wrong}");
            assert_eq!(reading.read(Because::Look), Outcome::Nothing, "{wrong}");
            assert!(matches!(reading.read(Because::Signal), Outcome::Refused(_)), "{wrong}");
        }
        reading.around = Box::new(Fake::new());
        assert!(matches!(reading.read(Because::Look), Outcome::Refused(_)), "it is gone");
        assert_eq!(names(&receiver.borrow()), ["a"]);
        reading.around = Box::new(file(A));
        assert!(matches!(reading.read(Because::Look), Outcome::Applied { .. }), "it is well again");
        assert!(!receiver.has_changed().unwrap());
    }

    #[test]
    fn what_only_a_restart_heeds_is_named_until_it_is_as_it_was() {
        let (mut reading, _receiver) = started(file("warm_pool = 1\naudience = \"hunter2\"\n"));
        reading.around = Box::new(file("audience = \"hunter3\"\n[tools]\nenvironments = false\n"));
        let needs = |keys: &[&str]| Outcome::Applied {
            changes: Changes::default(),
            needs_restart: keys.iter().map(|&it| it.to_owned()).collect(),
        };
        let expected = needs(&["audience", "tools", "warm_pool"]);
        assert_eq!(reading.read(Because::Look), expected);
        assert_eq!(reading.read(Because::Look), Outcome::Nothing, "it was said");
        assert_eq!(reading.read(Because::Signal), expected, "somebody asks");
        assert!(!format!("{expected:?} {:?}", reading.start).contains("hunter"));
        reading.around = Box::new(file("warm_pool = 1\naudience = \"hunter2\"\n"));
        assert_eq!(reading.read(Because::Look), needs(&[]));
    }

    #[test]
    fn a_file_that_a_header_names_is_read_again() {
        let around = |token| Fake::new().file("b.toml", SECRET).file("t", token);
        let (mut reading, receiver) = started(around("one"));
        reading.around = Box::new(around("two"));
        let Outcome::Applied { changes: found, .. } = reading.read(Because::Look) else {
            panic!("not applied")
        };
        assert_eq!(found, changes(&[], &["s"], &[]));
        assert_eq!(receiver.borrow()[0].headers[0].1, "two");
    }

    #[test]
    fn a_file_that_was_not_there_yet_is_tried_at_each_look() {
        let (mut reading, _receiver) = started(file(A));
        let around = || Fake::new().file("b.toml", SECRET);
        reading.around = Box::new(around());
        assert!(matches!(reading.read(Because::Look), Outcome::Refused(_)));
        assert_eq!(reading.again(Because::Look), Outcome::Nothing);
        reading.around = Box::new(around().file("t", "one"));
        assert!(matches!(reading.again(Because::Look), Outcome::Applied { .. }));
    }
}
