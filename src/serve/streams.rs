//! The tasks of HTTP/2 streams, and how long a client may leave what is held for it.
//!
//! hyper runs each stream as a task of its own. One whose client gives no credit would wait for it as long as the
//! connection lives, with its response in memory. To close the connection would be wrong: behind a proxy it carries the
//! calls of others. So the task ends, which resets its stream alone.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::listener::ConnectionCounts;

tokio::task_local! {
    /// Since when hyper holds a piece of this stream's body for want of credit.
    static HELD: Cell<Option<Instant>>;
}

/// A piece of this task's body goes to hyper.
pub(super) fn handed() {
    HELD.with(|held| held.set(Some(Instant::now())));
}

/// hyper asks for more: it got credit for the piece before.
pub(super) fn taken() {
    HELD.with(|held| held.set(None));
}

/// Runs each stream; the accept loop waits for them.
#[derive(Clone, Debug)]
pub(super) struct StreamTasks {
    pub(super) tasks: TaskTracker,
    /// How long a piece may wait for credit.
    pub(super) write_stall: Duration,
    pub(super) counts: ConnectionCounts,
}

impl<F> Executor<F> for StreamTasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let taken = unless_left(stream, self.write_stall, self.counts.clone());
        self.tasks.spawn(HELD.scope(Cell::new(None), taken));
    }
}

/// Runs a stream until it ends, or until a piece of its body has been held too long.
async fn unless_left(stream: impl Future, write_stall: Duration, counts: ConnectionCounts) {
    let mut stream = pin!(stream);
    let mut deadline = pin!(sleep(write_stall));
    poll_fn(|context| {
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = HELD.with(Cell::get) else { return Poll::Pending };
        // A new piece, a new deadline; without one no timer runs.
        if deadline.deadline() != since + write_stall {
            deadline.as_mut().reset(since + write_stall);
        }
        deadline.as_mut().poll(context).map(|()| counts.add_too_slow())
    })
    .await;
}
