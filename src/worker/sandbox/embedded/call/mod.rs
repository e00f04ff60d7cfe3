//! One call from its start to its outcome.
//!
//! A call runs until it ends by itself or a limit is passed; then it is *interrupted* (SIGINT, after
//! which Python keeps its variables), and if that does not help in time, *killed*. Every phase has a
//! deadline, and the last one ends the sandbox.

mod stop;

use std::os::fd::AsFd;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::agent::{Hints, Word};
use super::outlet::{Outlets, Rooms};
use super::session::Session;
use super::wire::{Ended, Order, Report, Target};
use crate::worker::sandbox::{Condition, Image, Job, JobKind, Limit, Outcome, OutputSink, Stream};
use stop::Phase;

/// Init takes an order at once; if it does not, it never will.
const ORDER_DEADLINE: Duration = Duration::from_secs(5);
/// Images of one call, and words about it: an agent says a few, foreign code says what it likes.
const MOST_IMAGES: usize = 64;
const MOST_WORDS: u32 = 10_000;
/// Exit codes of what could not be run, or was ended and could not say how.
const NOT_RUN: i32 = 126;
const KILLED: i32 = 128 + libc::SIGKILL;

/// How the work itself ended.
pub(super) enum Ending {
    /// The interpreter finished the cell.
    Finished { exit_code: i32, hints: Hints },
    /// The process, the interpreter's or the job's, ended.
    Process(Ended),
    /// Nothing was started.
    Refused,
    /// Init is gone or not to be believed.
    Lost,
}

/// What may happen during a call.
enum Event {
    Word(std::io::Result<Option<Word>>),
    Report(std::io::Result<Report>),
    Output(Stream),
    Limit(Limit),
    Deadline,
    Nothing,
}

/// A running call.
pub(super) struct Call<'a> {
    session: &'a mut Session,
    sink: &'a mut dyn OutputSink,
    stop: CancellationToken,
    target: Target,
    job: Job,
    began: Instant,
    phase: Phase,
    /// The pipes of a job; the interpreter's are the session's.
    pipes: Option<Outlets>,
    rooms: Rooms,
    result: Option<String>,
    display: Vec<Image>,
    display_room: usize,
    truncated: bool,
    started: bool,
    deaf: bool,
    words: u32,
    /// Signals that init has yet to say it has sent.
    disobeyed: u32,
}

impl<'a> Call<'a> {
    pub(super) fn begin(
        session: &'a mut Session,
        job: Job,
        sink: &'a mut dyn OutputSink,
        stop: CancellationToken,
    ) -> Self {
        let began = Instant::now();
        let limits = &session.limits;
        let until = began + job.timeout.min(limits.wall_time);
        let target = match job.kind {
            JobKind::Python { .. } => Target::Interpreter,
            JobKind::Shell { .. } | JobKind::Exec { .. } => Target::Job,
        };
        Self {
            sink,
            stop,
            target,
            job,
            began,
            phase: Phase::Running { until },
            pipes: None,
            rooms: Rooms::new(limits.output_bytes),
            result: None,
            display: Vec::new(),
            display_room: limits.display_bytes,
            truncated: false,
            started: false,
            deaf: false,
            words: 0,
            disobeyed: 0,
            session,
        }
    }

    /// Starts the work, follows it to its end, and says how it was.
    pub(super) async fn finish(mut self) -> Outcome {
        let before = self.session.condition;
        if std::mem::replace(&mut self.session.in_call, true) {
            // Dropped half-way: what was said and ordered in it cannot be told from what follows.
            self.session.lose();
        }
        self.session.notice_deaths();
        self.session.watch.begin_call();
        let ending = match self.start().await {
            Ok(()) => self.follow().await,
            Err(ending) => ending,
        };
        if let (Target::Job, Phase::Interrupted { by, .. }) = (self.target, self.phase) {
            // The command gave in; what it made daemons of may not have.
            self.kill(by).await;
        }
        let ending = self.settle(ending).await;
        self.session.in_call = false;
        self.outcome(&ending, before)
    }

    /// Hands the work over; an `Err` says why there will be none.
    async fn start(&mut self) -> Result<(), Ending> {
        if self.session.condition == Condition::Dead {
            return Err(Ending::Lost);
        }
        let argv = match &self.job.kind {
            JobKind::Python { .. } if self.session.condition == Condition::InterpreterLost => {
                return Err(Ending::Refused);
            }
            JobKind::Python { code } => {
                let begun = self.session.agent.begin(code, &self.job.variables);
                return begun.map_err(|_| Ending::Refused);
            }
            JobKind::Shell { command } => ["/bin/sh", "-c", command].map(str::to_owned).to_vec(),
            JobKind::Exec { argv } => argv.clone(),
        };
        let Ok((outlets, ends)) = Outlets::open() else { return Err(Ending::Refused) };
        self.pipes = Some(outlets);
        self.session.jobs += 1;
        let variables = self.job.variables.clone();
        let order = Order::Run { job: self.session.jobs, argv, variables };
        let fds = [ends[0].as_fd(), ends[1].as_fd()];
        match timeout(ORDER_DEADLINE, self.session.control.send(&order, &fds)).await {
            Ok(Ok(())) => {
                self.started = true;
                Ok(())
            }
            // Too long for any exec: init has not seen a byte of it.
            Ok(Err(error)) if error.raw_os_error() == Some(libc::E2BIG) => Err(Ending::Refused),
            _ => Err(self.session.lose()),
        }
    }

    /// Passes on output and watches limits until the work has ended.
    async fn follow(&mut self) -> Ending {
        loop {
            match self.next().await {
                Event::Word(Ok(Some(_))) if self.words >= MOST_WORDS => self.stop_listening(),
                Event::Word(Ok(Some(word))) => {
                    self.words += 1;
                    if let Some(ending) = self.take(word) {
                        return ending;
                    }
                }
                Event::Word(Ok(None)) => self.started |= !self.session.agent.unsent(),
                Event::Word(Err(_)) => self.stop_listening(),
                Event::Report(Ok(report)) => {
                    if let Some(ending) = self.hear(&report) {
                        return ending;
                    }
                }
                Event::Report(Err(_)) => return self.session.lose(),
                Event::Output(stream) => {
                    let outlets = self.pipes.as_mut().unwrap_or(&mut self.session.outlets);
                    outlets.drain(stream, &mut self.rooms, self.sink);
                }
                Event::Limit(limit) => self.enforce(limit).await,
                Event::Deadline => {
                    if let Some(ending) = self.escalate().await {
                        return ending;
                    }
                }
                Event::Nothing => {}
            }
        }
    }

    /// Waits until init has done all it was ordered: no signal of this call may meet the next one.
    async fn settle(&mut self, ending: Ending) -> Ending {
        let deadline = Instant::now() + ORDER_DEADLINE;
        while self.disobeyed > 0 && self.session.condition != Condition::Dead {
            match tokio::time::timeout_at(deadline, self.session.control.hear()).await {
                // The work has ended already; other ends, such as the interpreter's, are noted.
                Ok(Ok(report)) => drop(self.hear(&report)),
                _ => return self.session.lose(),
            }
        }
        ending
    }

    async fn next(&mut self) -> Event {
        let session = &mut *self.session;
        let outlets = self.pipes.as_mut().unwrap_or(&mut session.outlets);
        let (running, killed, until) = match self.phase {
            Phase::Running { until } => (true, false, until),
            Phase::Interrupted { until, .. } => (false, false, until),
            Phase::Killed { until, .. } => (false, true, until),
        };
        let listening = self.target == Target::Interpreter && !killed && !self.deaf;
        tokio::select! {
            word = session.agent.converse(), if listening => Event::Word(word),
            report = session.control.hear() => Event::Report(report),
            stream = outlets.readable() => Event::Output(stream),
            () = sleep_until(until) => Event::Deadline,
            () = self.stop.cancelled(), if running => Event::Limit(Limit::Cancelled),
            limit = session.watch.look(), if !killed => limit.map_or(Event::Nothing, Event::Limit),
        }
    }

    /// What the agent says; its word is good for nothing but its own call.
    fn take(&mut self, word: Word) -> Option<Ending> {
        match word {
            Word::Result(text) => self.result = Some(text),
            Word::Shown(image) => match self.display_room.checked_sub(image.bytes.len()) {
                Some(room) if self.display.len() < MOST_IMAGES => {
                    self.display_room = room;
                    self.display.push(image);
                }
                _ => self.truncated = true,
            },
            Word::Done { exit_code, hints } => {
                self.truncated |= hints.truncated();
                return Some(Ending::Finished { exit_code, hints });
            }
            Word::Ready | Word::Noise => {}
        }
        None
    }

    fn hear(&mut self, report: &Report) -> Option<Ending> {
        match *report {
            Report::InterpreterEnded { ended } => {
                self.session.condition = Condition::InterpreterLost;
                (self.target == Target::Interpreter).then_some(Ending::Process(ended))
            }
            Report::Obeyed => {
                self.disobeyed = self.disobeyed.saturating_sub(1);
                None
            }
            Report::JobEnded { job, ended } if job == self.session.jobs => {
                (self.target == Target::Job).then_some(Ending::Process(ended))
            }
            Report::JobRefused { job, .. } if job == self.session.jobs => {
                self.started = false;
                Some(Ending::Refused)
            }
            // The end of an earlier job that was given up.
            Report::JobEnded { .. } | Report::JobRefused { .. } => None,
            Report::Failed { .. } | Report::Init { .. } => Some(self.session.lose()),
        }
    }

    fn outcome(mut self, ending: &Ending, before: Condition) -> Outcome {
        // All that was written before the end is in the pipes by now.
        let outlets = self.pipes.as_mut().unwrap_or(&mut self.session.outlets);
        outlets.drain_rest(&mut self.rooms, self.sink);
        let exit_code = match ending {
            Ending::Finished { exit_code, .. } => *exit_code,
            Ending::Process(ended) => ended.exit_code(),
            Ending::Refused => NOT_RUN,
            Ending::Lost => KILLED,
        };
        let failed = exit_code != 0;
        let shown_later = self.session.watch.end_call(failed);
        let limit = self.cause().or(shown_later).or_else(|| self.told_by(ending));
        let execution_result = self.result.take().map(|text| self.shorten(text));
        let lost = self.session.condition != Condition::Ready;
        Outcome {
            started: self.started,
            exit_code,
            execution_result,
            display: self.display,
            terminated_by: limit,
            truncated: self.truncated || self.rooms.truncated,
            interpreter_lost: lost && before == Condition::Ready,
            duration: self.began.elapsed(),
        }
    }

    /// Limits that stop code by an error or a signal of its own.
    fn told_by(&self, ending: &Ending) -> Option<Limit> {
        match ending {
            Ending::Finished { hints, .. } if hints.memory() => Some(Limit::Memory),
            Ending::Finished { hints, .. } if hints.disk() => Some(Limit::Disk),
            Ending::Finished { hints, .. } if hints.processes() => {
                self.session.watch.crowded_now().then_some(Limit::Processes)
            }
            Ending::Process(ended) if ended.exit_code() == 128 + libc::SIGXFSZ => Some(Limit::Disk),
            // What it started is still there: nobody may have looked while it was.
            Ending::Process(ended) if self.target == Target::Job && ended.exit_code() != 0 => {
                self.session.watch.crowded_now().then_some(Limit::Processes)
            }
            _ => None,
        }
    }

    fn shorten(&mut self, mut text: String) -> String {
        let cap = self.session.limits.output_bytes;
        if text.len() > cap {
            text.truncate(text.floor_char_boundary(cap));
            self.truncated = true;
        }
        text
    }
}
