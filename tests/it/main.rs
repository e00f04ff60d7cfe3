//! Whole-system tests.
mod sandbox;
