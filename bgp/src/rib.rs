//! The routing information base: paths of prefixes, the choice among them, and who is told.
