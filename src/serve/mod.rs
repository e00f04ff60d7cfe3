//! The accept loop of every listener: deadlines, connection limits, drain.
//!
//! `axum::serve` gives a request head no deadline, so a client that sends one byte keeps its connection for good.
//! Here every stage of a connection has one ([`ConnectionLimits`]), every address has a share, and a [`Drain`]
//! ends the loop without losing what it accepted. Any tower service can stand behind it; an `axum::Router` is one.
//!
//! In reading order: [`ConnectionLimits`], [`Drain`], the accept loop ([`serve`]), the connections that wait for it, what
//! a connection meets on arrival (PROXY protocol, its address's share), one connection, its socket, the two versions of HTTP
//! on it, HTTP/2's frames and streams, the stage a connection is in, the guard in front of the service, and [`read_body`]
//! for the handlers behind it.

mod accept;
mod activity;
mod arrival;
mod backlog;
mod body;
mod complaint;
mod connection;
mod drain;
mod frames;
mod guard;
mod http1;
mod http2;
mod limits;
mod listener;
mod network;
pub mod proxy_protocol;
mod request_body;
mod shares;
mod streams;
#[cfg(test)]
mod tests;
mod threads;
mod tracked;
mod watched;

pub use accept::{Drained, serve};
pub use body::{BodyError, Pace, need_not_come, read_body, read_body_into};
pub use connection::Peer;
pub use drain::{Drain, DrainTimings, drain_on_signal};
pub use limits::ConnectionLimits;
pub use listener::{ConnectionCounts, Listener};
pub use network::{Network, NotANetwork};
pub use request_body::RequestBody;
pub use threads::Threads;
