//! Whole-system tests.
mod sandbox;
mod worker;
