//! Whole-system tests.

mod directory;
mod fault;
mod redis_server;
