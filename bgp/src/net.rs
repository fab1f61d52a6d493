//! The shell: sockets and tasks around the pure machines.
//!
//! A session task a peer ([`session`]) drives the machine and reads both connections; each connection has a writer
//! task of its own ([`mod@write`]), so that a peer that does not read never keeps anybody from hearing it. Listener tasks
//! ([`listen`]) hand what they accept to the session of the remote address. What a session learns goes to the RIB by
//! a bounded queue ([`report`]); while that is full the session does not read, and TCP slows the peer down.

pub mod bfd_socket;
pub mod dial;
pub mod faults;
pub mod listen;
mod outbox;
pub mod protect;
pub mod report;
pub mod session;
pub mod statistics;
pub mod sys;
pub mod write;

pub use faults::{FaultRecord, Faults};
pub use listen::{Directory, ListenError, Listeners, Newcomer, Place};
pub use protect::{Keys, ProtectError, Whom};
pub use report::{BfdReport, Ending, Opens, Report, ReportEvent, Signal};
pub use session::{RefreshError, SessionHandle, SessionStatus};
pub use statistics::{Counts, Statistics};
