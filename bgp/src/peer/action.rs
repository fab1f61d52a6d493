//! What a peer's machine wants done, in this order.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::event::{Loss, Side};
use super::negotiation::Negotiated;
use crate::config::{Families, Family};
use crate::wire;
use crate::wire::message::Message;
use crate::wire::notification::Notification;

/// A list to be filled, meant to be used again.
pub type Actions = SmallVec<[Action; 4]>;

/// An action.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Dial the peer; the answer is an event of [`Side::Active`].
    Dial,
    /// Keep the connection that was just reported as opened; whatever was in its place has been closed.
    Accept(Side),
    /// Write a message.
    Send(Side, Message),
    /// Close the connection (stop dialling, if there is none yet).
    Close(Side, Farewell),
    /// Close the connection that was just reported as opened; one that was there before stays.
    Refuse(Side, Farewell),
    /// The session is established on this connection.
    Up(Side, Arc<Negotiated>),
    /// The session is no longer established. What was kept of one before goes now in any case.
    Down(Reason, Keep),
    /// The peer did not come back in the time it asked for. What was kept of these families stays as the last resort of
    /// everybody (RFC 9494 §4.2), the rest goes.
    LongLived(Families),
    /// What was kept of the last session goes: the peer did not come back, or not with all of it, in time.
    Forget,
}

/// The last words on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// None.
    Silent,
    /// A NOTIFICATION.
    Notification(Notification),
}

/// What becomes of the routes of a peer whose session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// They are withdrawn.
    Nothing,
    /// Those of these families are kept, marked stale, until [`Action::Forget`] (RFC 4724 §4.2).
    Stale {
        /// When that comes if the peer has not come back.
        until: Instant,
        /// The families.
        families: Families,
    },
}

/// Why a session, or an attempt at one, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The connection went away.
    Lost(Loss),
    /// Nobody answered the dialling in time.
    DialTimedOut,
    /// Nothing was heard for the hold time.
    HoldTimer,
    /// BFD says that packets no longer pass.
    PathDown,
    /// The peer did not read for the send hold time (RFC 9687).
    SendHoldTimer,
    /// The peer said so.
    Received(Notification),
    /// A message was faulty.
    Malformed(wire::error::Error),
    /// A message came that the state does not allow.
    Unexpected(&'static str),
    /// The other connection of the two speakers was kept.
    Collision,
    /// The peer came anew while this connection was not yet established.
    Replaced,
    /// The peer has restarted and connected anew (RFC 4724 §5).
    Restarted,
    /// This end waits to be dialled, and nobody does.
    NobodyDials,
    /// The peer announced more than it may.
    TooManyPrefixes {
        /// Of which family.
        family: Family,
        /// How many it may.
        limit: u32,
        /// How many there were.
        found: u32,
    },
    /// It was stopped here.
    Stopped,
    /// The configuration changed, in this.
    Reconfigured(&'static str),
}

impl Reason {
    /// A stable word for conditions, JSON and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::Lost(_) => "ConnectionLost",
            Reason::DialTimedOut => "DialTimedOut",
            Reason::HoldTimer => "HoldTimerExpired",
            Reason::PathDown => "PathDown",
            Reason::SendHoldTimer => "SendHoldTimerExpired",
            Reason::Received(_) => "NotificationReceived",
            Reason::Malformed(_) => "MessageMalformed",
            Reason::Unexpected(_) => "MessageUnexpected",
            Reason::Collision => "Collision",
            Reason::Replaced => "Replaced",
            Reason::Restarted => "PeerRestarted",
            Reason::NobodyDials => "NobodyDials",
            Reason::TooManyPrefixes { .. } => "TooManyPrefixes",
            Reason::Stopped => "Stopped",
            Reason::Reconfigured(_) => "Reconfigured",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Lost(loss) => loss.fmt(f),
            Reason::DialTimedOut => {
                f.write_str("nobody answered in time: check that the peer runs and the path to it")
            }
            Reason::HoldTimer => f.write_str("nothing was heard from the peer for the hold time"),
            Reason::PathDown => f.write_str("BFD says that packets no longer pass between here and the peer"),
            Reason::SendHoldTimer => f.write_str("the peer read nothing for the send hold time"),
            Reason::Received(notification) => write!(f, "the peer ended the session: {notification}"),
            Reason::Malformed(error) => write!(f, "the peer sent a faulty message: {error}"),
            Reason::Unexpected(message) => write!(f, "the peer sent {message} where it must not"),
            Reason::Collision => f.write_str("another connection to the same peer was kept"),
            Reason::Replaced => f.write_str("the peer connected anew"),
            Reason::Restarted => f.write_str("the peer has restarted and connected anew"),
            Reason::NobodyDials => f.write_str(
                "this end is passive and the peer has not connected: check that the peer runs and is not passive, too",
            ),
            Reason::TooManyPrefixes { family, limit, found } => {
                write!(f, "the peer announced {found} {family} prefixes and may announce {limit}: raise the limit ")?;
                f.write_str("or see what it announces")
            }
            Reason::Stopped => f.write_str("stopped here"),
            Reason::Reconfigured(what) => write!(f, "the configuration changed: {what}"),
        }
    }
}
