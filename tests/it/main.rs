//! Whole-system tests: real gateways and workers on free ports, over real HTTP.

#![expect(unreachable_pub, reason = "the modules of one test binary are public to each other")]

mod application_insights;
mod back_channel;
mod cluster;
mod collector;
mod cors;
mod directory;
mod drain;
mod environments;
mod failover;
mod fault;
mod handles;
mod handover;
mod layering;
mod listen;
mod mcp_client;
mod metrics;
mod migrate;
mod program;
mod protocol;
mod rates;
mod readme;
mod redis_cluster;
mod redis_sentinel;
mod redis_server;
mod reload;
mod resources;
mod rmcp;
mod samples;
mod sandbox;
mod schema;
mod shared_address;
mod slow_clients;
mod tasks;
mod tracing;
mod upstream_eras;
mod upstream_ill;
mod upstream_legacy;
mod upstream_lists;
mod upstream_questions;
mod upstream_server;
mod upstream_sessions;
mod upstreams;
mod worker;
mod zombies;
