//! What a session tells the RIB, in the order it happened.
//!
//! The channel is bounded and its item is the RIB's own command type, made `From<Report>`: when the RIB is behind,
//! the session stops reading its socket and TCP slows the peer down.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::bfd::PathState;
use crate::config::{Families, Family, PeerKey};
use crate::peer::{Keep, Negotiated};
use crate::wire::notification::Notification;
use crate::wire::update::Update;

/// Something that happened to the session of a peer.
#[derive(Debug)]
pub struct Report {
    /// Whose session.
    pub key: PeerKey,
    /// What happened.
    pub event: ReportEvent,
}

/// What happened.
#[derive(Debug)]
pub enum ReportEvent {
    /// The session is established. Encoded messages (one or more whole ones an item) go to `writer`; it is closed
    /// when the session ends.
    Up {
        /// The terms.
        negotiated: Arc<Negotiated>,
        /// What both ends opened with.
        opens: Arc<Opens>,
        /// The way to the peer; bounded.
        writer: mpsc::Sender<Bytes>,
        /// What the RIB has to say to the session, while it stands; bounded, and what does not fit may be dropped.
        signals: mpsc::Sender<Signal>,
    },
    /// The peer announced or withdrew. Faulty announcements have already become withdrawals (RFC 7606).
    Update(Box<Update>),
    /// The peer wants everything of a family again (RFC 2918).
    Refresh(Family),
    /// The peer begins to announce everything of a family again (RFC 7313): what was learnt before is stale from now on.
    RefreshBegins(Family),
    /// The peer has announced everything of a family again (RFC 7313): what is still stale is gone.
    RefreshEnds(Family),
    /// The session ended. What was kept of one before goes in any case.
    Down(Keep, Ending),
    /// What was kept of the last session stays for long in these families, and goes in the others (RFC 9494).
    LongLived(Families),
    /// What was kept of the last session goes.
    Forget,
}

/// What BFD tells a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdReport {
    /// How the path is.
    pub path: PathState,
    /// How many times it went down.
    pub downs: u64,
}

/// Both OPEN messages of a session, whole, as they were on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opens {
    /// Ours.
    pub sent: Bytes,
    /// The peer's.
    pub received: Bytes,
}

/// How a session ended, as the last messages say (RFC 7854 §4.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this NOTIFICATION from here.
    Said(Notification),
    /// With this NOTIFICATION from the peer.
    Heard(Notification),
    /// From here without a word.
    Silent,
    /// The connection went away, without a word from the peer.
    Lost,
    /// The peer is no longer configured.
    Deconfigured,
}

/// What the RIB tells a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The peer has announced more prefixes of a family than [`crate::PrefixLimits`] allow. What is done about it the
    /// session knows; the RIB tells it once each time the count passes the limit.
    TooManyPrefixes {
        /// The family.
        family: Family,
        /// How many there are now.
        found: u32,
    },
}
