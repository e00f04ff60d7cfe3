//! Whole-system tests.

mod directory;
mod directory_link;
mod directory_model;
mod fault;
mod redis_server;
