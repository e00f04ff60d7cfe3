//! The worker's wire, shared by both sides so that neither imports the other.
//!
//! HTTP/1.1 on private listeners: one connection carries one call, so an error tells honestly whether a byte of
//! it can have arrived. Gateways call workers (`/rpc/v1/…`, [`client`]); workers report to gateways
//! (`/v1/heartbeat`, [`report`]). Every message carries a MAC under the worker's own key, one label for each
//! direction ([`auth`], [`door`]); output streams as [`frames`].

pub mod auth;
pub mod client;
pub mod door;
pub mod error;
pub mod frames;
pub mod keyed;
pub mod replays;
pub mod reply;
pub mod report;
pub mod task;
pub mod wire;

mod http1;
mod peer;
mod refusal;
