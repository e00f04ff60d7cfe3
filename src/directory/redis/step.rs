//! One operation, as a server is sent it.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind, Value};

use super::slot::Slot;

/// One operation, and where its keys are.
#[derive(Debug)]
pub(super) struct Step {
    slot: Option<Slot>,
    command: Cmd,
    /// For a server that does not know a script by its digest: then nothing was executed.
    in_full: Option<Cmd>,
}

/// By which right a node of a cluster is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It owns the slot.
    Owner,
    /// It is taking the slot over, and the owner sent us for this one operation.
    Heir,
}

impl Step {
    /// A command on one key.
    pub(super) fn on(key: &str, command: Cmd) -> Self {
        Self { slot: Some(Slot::of(key)), command, in_full: None }
    }

    /// A command without a key: any node of a cluster may be sent it.
    pub(super) fn anywhere(command: Cmd) -> Self {
        Self { slot: None, command, in_full: None }
    }

    /// A script by its digest and, where that is not known, in full.
    pub(super) fn script(slot: Slot, by_digest: Cmd, in_full: Cmd) -> Self {
        Self { slot: Some(slot), command: by_digest, in_full: Some(in_full) }
    }

    /// Where its keys are.
    pub(super) fn slot(&self) -> Option<Slot> {
        self.slot
    }

    /// Sends it, once.
    pub(super) async fn send<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        claim: Claim,
    ) -> RedisResult<T> {
        let answer = match (say(connection, &self.command, claim).await, &self.in_full) {
            (Err(error), Some(in_full))
                if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) =>
            {
                say(connection, in_full, claim).await
            }
            (answer, _) => answer,
        };
        Ok(redis::from_redis_value(answer?)?)
    }
}

async fn say(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
    claim: Claim,
) -> RedisResult<Value> {
    match claim {
        Claim::Owner => command.query_async(connection).await,
        Claim::Heir => {
            let mut both = redis::pipe();
            both.cmd("ASKING").add_command(command.clone());
            let mut answers = connection.send_packed_commands(&both, 0, 2).await?;
            answers.pop().unwrap_or(Value::Nil).extract_error()
        }
    }
}
