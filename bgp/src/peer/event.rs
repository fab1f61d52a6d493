//! What happens to a peer.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::bfd::PathState;
use crate::config::{Family, PeerConfig, RouterId};
use crate::wire;
use crate::wire::message::Message;
use crate::wire::notification::Cease;

/// Which of a peer's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one dialled from here.
    Active,
    /// The one the peer dialled.
    Passive,
}

impl Side {
    /// Both.
    pub const BOTH: [Side; 2] = [Side::Active, Side::Passive];

    /// The other one.
    pub fn other(self) -> Side {
        match self {
            Side::Active => Side::Passive,
            Side::Passive => Side::Active,
        }
    }
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Here.
    pub local: SocketAddr,
    /// There.
    pub remote: SocketAddr,
}

/// How a connection, or the attempt to make one, ended without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The peer closed it.
    Closed,
    /// The system says so.
    Failed(std::io::ErrorKind),
    /// It was not even tried: the socket could not be made as configured, in this.
    Unprepared(&'static str, std::io::ErrorKind),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Closed => f.write_str("the peer closed the connection"),
            Loss::Failed(kind) => write!(f, "the connection failed: {kind}"),
            Loss::Unprepared(what, kind) => write!(f, "the peer was not dialled: {what}: {kind}"),
        }
    }
}

/// How a session is ended from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// With a NOTIFICATION: the peer forgets the routes at once.
    Cease(Cease),
    /// The same with words for the operator of the peer (RFC 9003).
    Saying(Cease, Arc<str>),
    /// Without a word, as a crash would.
    Silent,
}

/// An event. After [`super::Action::Close`] the shell reports nothing more of the connection it closed.
#[derive(Debug)]
pub enum Event {
    /// The configuration is now this. A session is reset only if it must be.
    Configure(Arc<PeerConfig>, RouterId),
    /// Begin to dial and to accept.
    Start,
    /// End everything and rest.
    Stop(Stop),
    /// A connection is there. A second passive one takes the place of the first, unless it is refused.
    Opened(Side, Endpoints),
    /// The connection is gone, or dialling failed.
    Closed(Side, Loss),
    /// A message came.
    Received(Side, Message),
    /// Bytes came that cost the session.
    Malformed(Side, wire::error::Error),
    /// More of the peer's bytes are here than the RIB takes: they are not read, and the peer is not to blame.
    Backlogged(Side),
    /// Nothing could be written since then.
    Unwritable(Side, Instant),
    /// Writing goes on.
    Writable(Side),
    /// The RIB counted more prefixes of this family than the peer may announce.
    TooManyPrefixes(Family, u32),
    /// BFD says this of the path now (RFC 5882 §4.3).
    Bfd(PathState),
    /// The deadline has come.
    Tick,
}
