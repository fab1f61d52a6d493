//! The kernel's routes, made to match what the speaker knows and what this node owns.
//!
//! The kernel is a consumer of the speaker's best routes like any peer: it pulls when its last batch is acknowledged,
//! so there is no queue between them and the last state of a prefix wins.

pub mod blackholes;
pub mod filter;
pub mod routes;
pub mod sweep;
pub mod tunnels;
