//! Messages about executions that their clients may repeat: an idempotency key names each.

use serde::{Deserialize, Serialize};

use super::wire::ExecuteRequest;

/// Path of [`KeyedRequest`]. A worker of a version without keys does not have it, so it never runs such a call as if it
/// had none.
pub const EXECUTE_KEYED: &str = "/rpc/v1/execute-keyed";

/// The most bytes of an outcome that are kept for repeats; what is longer is cut, and says so.
pub const MAX_KEPT_OUTCOME: usize = 1 << 20;

/// Runs code once, however often it is asked for. The reply is a stream of frames, as for [`ExecuteRequest`]; where the
/// code was started before, it is one [`super::wire::Frame::Replayed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedRequest {
    /// What is run. Its execution is the digest of the key, and so the same for each repeat.
    pub execute: ExecuteRequest,
    /// Digest of tool and arguments, hexadecimal: another one under the same key is refused.
    pub arguments: String,
    /// Names who asks among all that wait for this execution, for [`super::wire::CancelRequest`].
    pub caller: String,
}
