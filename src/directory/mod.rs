//! Soft state that every replica shares, in domain verbs.
