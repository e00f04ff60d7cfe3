//! Simulations: the real gateways and workers on one thread, with only network, time, disk scheduling and sandboxes
//! made up, and every chance out of a seed. Each seed runs in a process of its own, so that nothing is left over
//! from another: the same seed is the same run.

#![expect(unreachable_pub, reason = "the modules of one test binary are public to each other")]

mod adoption;
mod client;
mod dice;
mod directory;
mod faults;
mod history;
mod hosts;
mod mcp;
mod network;
mod plant;
mod sandbox;
mod seeds;
mod shelf;
mod story;
mod world;
