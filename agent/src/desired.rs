//! What should be, computed from what is known: pure functions, no I/O, no clock.

pub mod announcements;
pub mod encapsulation;
pub mod filter;
pub mod filters;
pub mod grants;
pub mod handover;
pub mod mtu;
pub mod outgoing;
pub mod passwords;
pub mod peers;
pub mod pod;
pub mod policies;
pub mod restart;
pub mod routes;
pub mod services;
pub mod speaker;
pub mod surroundings;
pub mod tunnels;
