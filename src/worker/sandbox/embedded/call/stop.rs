//! How a call is stopped: the phases that it goes through once a limit is passed, and what each waits for.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::super::wire::{Order, Stop};
use super::{Call, Ending, ORDER_DEADLINE};
use crate::worker::sandbox::Limit;

/// How long after SIGKILL an end is waited for: uninterruptible I/O can take a while.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// Grace for code that the caller no longer wants, and for code that is filling a disk.
const CANCEL_GRACE: Duration = Duration::from_millis(500);
const DISK_GRACE: Duration = Duration::from_millis(200);
/// How long an interpreter whose channel is closed has to end by itself and say why.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Where a call stands; each phase ends at its deadline.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Running { until: Instant },
    Interrupted { until: Instant, by: Option<Limit> },
    Killed { until: Instant, by: Option<Limit> },
}

impl Call<'_> {
    /// A limit was passed: the call is interrupted, or killed if there is nothing to wait for.
    pub(super) async fn enforce(&mut self, limit: Limit) {
        let grace = match limit {
            Limit::Memory | Limit::Processes => Duration::ZERO,
            Limit::Disk => DISK_GRACE.min(self.session.limits.interrupt_grace),
            Limit::Cancelled => CANCEL_GRACE.min(self.session.limits.interrupt_grace),
            Limit::WallTime | Limit::Cpu => self.session.limits.interrupt_grace,
        };
        let end = Instant::now() + grace;
        match self.phase {
            Phase::Running { .. } if !grace.is_zero() => {
                self.phase = Phase::Interrupted { until: end, by: Some(limit) };
                self.order(Stop::Interrupt).await;
            }
            Phase::Running { .. } => self.kill(Some(limit)).await,
            // The first reason counts; a stricter one only shortens the grace.
            Phase::Interrupted { until, by } if end < until => {
                self.phase = Phase::Interrupted { until: end, by };
            }
            Phase::Interrupted { .. } | Phase::Killed { .. } => {}
        }
    }

    /// The channel is closed or makes no sense: the interpreter is ending, or will be ended.
    pub(super) fn stop_listening(&mut self) {
        self.deaf = true;
        if let Phase::Running { .. } = self.phase {
            self.phase = Phase::Interrupted { until: Instant::now() + LAST_WORDS, by: None };
        }
    }

    /// A phase has come to its deadline; an ending says that there is no further one.
    pub(super) async fn escalate(&mut self) -> Option<Ending> {
        match self.phase {
            Phase::Running { .. } => self.enforce(Limit::WallTime).await,
            Phase::Interrupted { by, .. } => self.kill(by).await,
            Phase::Killed { .. } => return Some(self.session.lose()),
        }
        None
    }

    /// Ends what the call has started, at once.
    pub(super) async fn kill(&mut self, by: Option<Limit>) {
        self.phase = Phase::Killed { until: Instant::now() + KILL_DEADLINE, by };
        self.order(Stop::Kill).await;
    }

    async fn order(&mut self, how: Stop) {
        let order = Order::Signal { target: self.target, how };
        let sent = timeout(ORDER_DEADLINE, self.session.control.send(&order, &[])).await;
        if matches!(sent, Ok(Ok(()))) {
            self.disobeyed += 1;
        } else {
            // Init does not listen: all that is left is to end it, at this phase's end.
            self.phase = Phase::Killed { until: Instant::now(), by: self.cause() };
        }
    }

    /// The limit that stopped it, if one did.
    pub(super) fn cause(&self) -> Option<Limit> {
        match self.phase {
            Phase::Running { .. } => None,
            Phase::Interrupted { by, .. } | Phase::Killed { by, .. } => by,
        }
    }
}
