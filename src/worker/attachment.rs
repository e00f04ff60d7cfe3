//! Whose an execution is: the connection's that started it, its key's, or the journal's as a task.

use tokio::sync::Mutex;

use super::journal::NotEntered;
use super::sandbox;
use crate::rpc::task::JobKind;

/// Whose one execution is. Whoever holds the lock decides, so it never becomes a task while it ends.
#[derive(Debug)]
pub(super) struct Attachment {
    kind: JobKind,
    /// Whether it has an idempotency key: then it goes on without its connection, and its outcome is kept.
    is_keyed: bool,
    holder: Mutex<Holder>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Without the connection nobody wants it, unless it has a key.
    Connection,
    /// It is a task: it goes on, and its outcome is kept.
    Journal,
    /// It has ended, or was given up.
    Nobody,
}

impl Attachment {
    /// An execution of a connection.
    pub(super) fn new(job: &sandbox::JobKind) -> Self {
        let kind = match job {
            sandbox::JobKind::Python { .. } => JobKind::Python,
            sandbox::JobKind::Shell { .. } => JobKind::Shell,
            sandbox::JobKind::Exec { .. } => JobKind::Exec,
        };
        Self { kind, is_keyed: false, holder: Mutex::new(Holder::Connection) }
    }

    /// An execution with a key.
    pub(super) fn keyed(job: &sandbox::JobKind) -> Self {
        Self { is_keyed: true, ..Self::new(job) }
    }

    /// Whether it has a key.
    pub(super) fn is_keyed(&self) -> bool {
        self.is_keyed
    }

    /// What is executed.
    pub(super) fn kind(&self) -> JobKind {
        self.kind
    }

    /// Makes it the journal's when `enter` has entered it there, unless it is already, or has ended.
    pub(super) async fn hand_over(
        &self,
        enter: impl Future<Output = Result<(), NotEntered>>,
    ) -> Result<(), NotEntered> {
        let mut holder = self.holder.lock().await;
        if *holder == Holder::Connection {
            enter.await?;
            *holder = Holder::Journal;
        }
        Ok(())
    }

    /// Gives it up because its connection is lost. False if it goes on.
    pub(super) async fn give_up(&self) -> bool {
        !self.is_keyed && !self.end().await
    }

    /// Whether it goes on without its connection.
    pub(super) async fn goes_on(&self) -> bool {
        self.is_keyed || *self.holder.lock().await == Holder::Journal
    }

    /// It has ended, and becomes no task any more. Returns whether it is one.
    pub(super) async fn end(&self) -> bool {
        let mut holder = self.holder.lock().await;
        if *holder == Holder::Connection {
            *holder = Holder::Nobody;
        }
        *holder == Holder::Journal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment() -> Attachment {
        Attachment::new(&sandbox::JobKind::Python { code: String::new() })
    }

    #[tokio::test]
    async fn what_has_ended_becomes_no_task() {
        let ended = attachment();
        assert!(!ended.end().await);
        ended.hand_over(async { panic!("it is entered") }).await.unwrap();
        assert!(!ended.goes_on().await);
    }

    #[tokio::test]
    async fn a_task_outlives_its_connection() {
        let task = attachment();
        task.hand_over(async { Ok(()) }).await.unwrap();
        assert!(!task.give_up().await && task.goes_on().await && task.end().await);
        task.hand_over(async { panic!("it is entered twice") }).await.unwrap();
    }

    #[tokio::test]
    async fn what_has_a_key_outlives_its_connection_and_is_no_task() {
        let keyed = Attachment::keyed(&sandbox::JobKind::Shell { command: String::new() });
        assert!(!keyed.give_up().await && keyed.goes_on().await && !keyed.end().await);
        keyed.hand_over(async { panic!("it is entered") }).await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_entered_stays_with_its_connection() {
        let full = attachment();
        let refused = full.hand_over(async { Err(NotEntered::Full) }).await;
        assert!(refused.is_err() && !full.goes_on().await && full.give_up().await);
    }
}
