//! What clients hold for an upstream between two requests: its `requestState`, sealed around by us.

use sha2::{Digest as _, Sha256};

use crate::domain::ids::{Principal, Timestamp};
use crate::domain::keyring::Keyring;
use crate::domain::sealed::{self, Kind, SealedError};
use crate::mcp::Envelope;

/// How long a suspended request can be taken up again.
const STATE_LIFE_MILLIS: u64 = 60 * 60 * 1000;

/// Whose state it is, and the state.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) enum State {
    /// An upstream's own `requestState`, as it came.
    Upstream {
        /// The upstream.
        upstream: String,
        /// Its text.
        state: String,
    },
    /// A call that waits on one replica for answers to what a legacy upstream asked.
    Suspended {
        /// The replica.
        replica: String,
        /// The call there.
        call: [u8; 16],
    },
}

const UPSTREAM: u8 = 0;
const SUSPENDED: u8 = 1;

impl State {
    /// Seals it for this principal and request (mrtr, "Server Requirements" 5); `None` if it is too long.
    pub(in crate::gateway) fn seal(
        &self,
        envelope: &Envelope,
        caller: &Principal,
        keys: &Keyring,
        now: Timestamp,
    ) -> Option<String> {
        let not_after = Timestamp::from_millis(now.as_millis() + STATE_LIFE_MILLIS);
        sealed::seal(Kind::RequestState, caller, &digest(envelope), &self.write(), not_after, keys)
    }

    /// Opens what a client handed back with this request.
    pub(in crate::gateway) fn open(
        text: &str,
        envelope: &Envelope,
        caller: &Principal,
        keys: &Keyring,
        now: Timestamp,
    ) -> Result<Self, SealedError> {
        let payload = sealed::open(Kind::RequestState, text, caller, &digest(envelope), keys, now)?;
        Self::read(&payload).ok_or(SealedError::Malformed)
    }

    fn write(&self) -> Vec<u8> {
        let (tag, name, rest): (u8, &str, &[u8]) = match self {
            Self::Upstream { upstream, state } => (UPSTREAM, upstream, state.as_bytes()),
            Self::Suspended { replica, call } => (SUSPENDED, replica, call),
        };
        [&[tag], name.as_bytes(), b"\0", rest].concat()
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let (tag, rest) = payload.split_first()?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let name = String::from_utf8(rest[..end].to_vec()).ok()?;
        let rest = &rest[end + 1..];
        match *tag {
            UPSTREAM => {
                let state = String::from_utf8(rest.to_vec()).ok()?;
                Some(Self::Upstream { upstream: name, state })
            }
            SUSPENDED => Some(Self::Suspended { replica: name, call: rest.try_into().ok()? }),
            _ => None,
        }
    }
}

/// The request that a state belongs to: its method, what it is aimed at, and its arguments. A client may write these
/// anew in another order, so they are compared as values.
fn digest(envelope: &Envelope) -> [u8; 32] {
    let arguments = envelope.arguments().map(|it| {
        serde_json::from_str::<serde_json::Value>(it.get())
            .map_or_else(|_| it.get().to_owned(), |it| it.to_string())
    });
    let mut digest = Sha256::new();
    for part in [
        envelope.method().as_str(),
        envelope.name().unwrap_or(""),
        arguments.as_deref().unwrap_or("{}"),
    ] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
