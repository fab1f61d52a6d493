//! BMP (RFC 7854): what peers say, told to a collector as it came and as import left it.
//!
//! * [`message`] writes the messages: pure;
//! * `report` makes messages of what a [`crate::speaker::Monitor`] pulls: pure;
//! * [`station`] holds the connection to one collector, which may come and go as it likes;
//! * [`stations`] holds those that a configuration names, through its changes.
//!
//! A collector is told of both OPENs of every session, of every path of its peers before and after the import policy
//! (Adj-RIB-In; the L flag), of the end of each table, and now and then of counts. Rejected paths are kept in the RIB, so
//! no peer is asked for anything. Everything is pulled: a collector that reads slowly is told fewer states in between,
//! and one that lets too much wait, or reads nothing for a while, is dropped and told everything anew when it is back.
//!
//! Attributes are those that were understood and kept, in the canonical order of this speaker, always with AS numbers of
//! four octets; what RFC 7606 discarded is not told. Path identifiers are there where the session has them (RFC 7911).
//! Adj-RIB-Out (RFC 8671) and Loc-RIB (RFC 9069) are not told.

pub mod host_port;
pub mod message;
mod report;
pub mod station;
pub mod stations;

pub use host_port::{HostPort, IllegalHostPort};
pub use station::{Station, StationConfig, StationStatus, Views};
pub use stations::Stations;
