//! The worker's wire, shared by both sides so that neither imports the other.
//!
//! HTTP on private listeners. Gateways call workers (`/rpc/v1/…`); workers report to gateways (`/v1/heartbeat`).
//! Every message carries a MAC under the worker's own key, one label for each direction.

pub mod wire;
