//! One peer as a pure machine: both its connections, no sockets, no clock (RFC 4271 §8).
//!
//! RFC 4271 describes one machine a connection and lets them collide. Here one [`Peer`] holds the connection it
//! dialled and the one it accepted, so that the choice between them (§6.8, RFC 6286) is an ordinary function, and at
//! most one of them can ever be established. The shell gives it events and the time, carries out its actions and
//! sleeps until [`Peer::deadline`]; a timer cannot be left armed because there is none.
//!
//! Departures from RFC 4271, all of them so that two such speakers always meet:
//!
//! * A collision is decided only between connections that are both past OpenSent, and then in every state, also
//!   against an established one. The rule gives both ends the same answer whatever order messages arrive in; the
//!   RFC's exception for Established can make each end close what the other keeps.
//! * There is no dialling while another connection is past OpenSent.
//! * After an error of its own making a speaker refuses connections for as long as it does not dial; the refusal
//!   itself (Cease, Connection Rejected) is not held against the peer.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod action;
mod backoff;
mod collision;
pub mod event;
pub mod machine;
pub mod negotiation;
pub mod restart;
mod state;

#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod simulation;

pub use action::{Action, Actions, Farewell, Keep, Reason};
pub use event::{Endpoints, Event, Loss, Side, Stop};
pub use machine::Peer;
pub use negotiation::Negotiated;
pub use restart::{LongLivedTimes, Retention};
pub use state::SessionState;
