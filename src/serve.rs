//! The accept loop: deadlines, connection limits, drain.
