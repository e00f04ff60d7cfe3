//! What the system means: no I/O, no async, no clock, no framework, no serde.
