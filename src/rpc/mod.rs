//! The worker's wire, shared by both sides so that neither imports the other.
