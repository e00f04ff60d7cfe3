//! The job that runs, if one does, and who starts it: a starter where there is one, else init itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::super::wire::Boot;
use super::process::{self, Ends};
use super::program::Program;
use super::starter::Starter;

/// A shell call is ended before the interpreter when memory runs out, and both before init.
const JOB_OOM: u16 = 1000;

pub(super) struct Jobs<'a> {
    boot: &'a Boot,
    running: Option<Job>,
    /// None where there was none, or where it has been ended: then init starts what is to be started.
    starter: Option<Starter>,
}

struct Job {
    id: u64,
    work: Work,
    /// Of one that was started from here; the starter tells of its own.
    pid: Option<Pid>,
}

/// What a job is to do.
pub(super) struct Work {
    pub(super) argv: Vec<String>,
    pub(super) variables: Vec<(String, String)>,
    /// Its stdout and stderr, held until its end: that of either would wake the worker, who waits for the job's.
    pub(super) ends: [OwnedFd; 2],
}

/// A job that nobody starts, and why.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) job: u64,
    pub(super) errno: Errno,
}

impl<'a> Jobs<'a> {
    /// Begins the starter, too, so there must be nobody else yet.
    pub(super) fn new(boot: &'a Boot) -> io::Result<Self> {
        let starter = if boot.starter { Starter::begin(JOB_OOM, boot)? } else { None };
        Ok(Self { boot, running: None, starter })
    }

    /// Starts a job, or has it started.
    pub(super) fn run(&mut self, id: u64, work: Work) -> Result<(), Refused> {
        if self.running.is_some() {
            return Err(Refused { job: id, errno: Errno::EBUSY });
        }
        if self.ask_starter(&work) {
            self.running = Some(Job { id, work, pid: None });
            return Ok(());
        }
        self.start(id, work)
    }

    /// False if it has not been asked.
    fn ask_starter(&mut self, work: &Work) -> bool {
        let asked = |it: &mut Starter| it.order(&work.argv, &work.variables, &work.ends).is_ok();
        self.starter.as_mut().is_some_and(asked)
    }

    fn start(&mut self, id: u64, work: Work) -> Result<(), Refused> {
        let program = Program::new(&work.argv, &work.variables, self.boot);
        let [stdout, stderr] = work.ends.each_ref().map(AsFd::as_fd);
        let ends = Ends { stdout, stderr, inherited: &[] };
        let pid = process::start(program, &ends, JOB_OOM, self.boot).map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
            Refused { job: id, errno }
        })?;
        self.running = Some(Job { id, work, pid: Some(pid) });
        Ok(())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// The process of the job that runs.
    pub(super) fn pid(&self) -> Option<Pid> {
        let job = self.running.as_ref()?;
        job.pid.or_else(|| self.starter.as_ref()?.command())
    }

    /// The id of the job whose process this is, which has ended.
    pub(super) fn take_ended(&mut self, pid: Pid) -> Option<u64> {
        if self.pid() != Some(pid) {
            return None;
        }
        self.running.take().map(|job| job.id)
    }

    /// What is readable when the starter has something to say.
    pub(super) fn starter(&self) -> Option<BorrowedFd<'_>> {
        self.starter.as_ref().map(AsFd::as_fd)
    }

    /// It only speaks of what it could not start. Then it ends, and init tries: its own process may be the last that the
    /// limit allows.
    pub(super) fn hear_starter(&mut self) {
        if let Some(starter) = &self.starter
            && starter.has_refused()
        {
            starter.end();
        }
    }

    /// Whom a job's end leaves alone. A starter that has yet to start it does not stay.
    pub(super) fn kept(&self) -> Option<Pid> {
        let starter = self.starter.as_ref()?;
        if self.running.is_some() && self.pid().is_none() {
            starter.end();
            return None;
        }
        Some(starter.pid)
    }

    pub(super) fn is_starter(&self, pid: Pid) -> bool {
        self.starter.as_ref().is_some_and(|it| it.pid == pid)
    }

    /// The starter has ended: what it had not started is started from here.
    pub(super) fn lose_starter(&mut self) -> Result<(), Refused> {
        self.forget_starter();
        match self.running.take_if(|job| job.pid.is_none()) {
            Some(Job { id, work, .. }) => self.start(id, work),
            None => Ok(()),
        }
    }

    /// What has not been started shall not be: who was to has been ended.
    pub(super) fn cancel(&mut self) -> Result<(), Refused> {
        self.forget_starter();
        match self.running.take_if(|job| job.pid.is_none()) {
            Some(Job { id, .. }) => Err(Refused { job: id, errno: Errno::ECANCELED }),
            None => Ok(()),
        }
    }

    /// Lets go of a starter, and keeps what it has told.
    fn forget_starter(&mut self) {
        let pid = self.pid();
        self.starter = None;
        if let Some(job) = &mut self.running {
            job.pid = pid;
        }
    }
}
