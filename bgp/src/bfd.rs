//! Bidirectional Forwarding Detection: whether packets pass between here and a peer, known within less than a second
//! (RFC 5880, with the encapsulations of RFC 5881 for one hop and RFC 5883 for many).
//!
//! Pure, like [`crate::peer`]: [`packet`] turns octets into control packets and back, [`session`] is the machine of one
//! session, [`sessions`] holds all of them, finds out which one a packet is for and says when the next deadline is. Time
//! is an argument. The thread with the sockets is [`crate::speaker::bfd_thread`].
//!
//! Asynchronous mode alone: there is no echo, and demand mode is honoured where the peer asks for it and never asked for.
//! Authentication is not offered; packets that carry it are dropped and counted (RFC 5880 §6.8.6).

#![deny(clippy::wildcard_enum_match_arm)]

mod damping;
pub mod packet;
mod remote;
pub mod session;
pub mod sessions;
mod timers;

#[cfg(test)]
mod simulation;

pub use packet::{Packet, PacketError};
pub use session::{Diagnostic, Memory, PathState, Session, State};
pub use sessions::{Arrival, Discard, Hops, Output, Place, SessionStatus, Sessions};
pub use timers::Timers;
