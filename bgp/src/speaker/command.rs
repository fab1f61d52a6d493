//! What the RIB's thread is told and asked.
//!
//! There is one queue for everything, so what a session says and what is asked afterwards keep their order.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use tokio::sync::oneshot;

use super::feed::{FeedBatch, FeedId};
use super::group::Request;
use super::monitor::MonitorRequest;
use super::origination::Origination;
use super::status::{PeerCounts, RouteStatus};
use crate::config::{Config, Family, PeerKey};
use crate::net::Report;
use crate::rib::{DestId, Underlay};
use crate::wire::nlri::{Ipv4Prefix, Ipv6Prefix};

/// One item of the queue.
#[derive(Debug)]
pub enum Command {
    /// A session tells what happened.
    Report(Report),
    /// Another configuration is in force. Sessions that it resets or closes say so themselves.
    Configure {
        /// The configuration.
        config: Arc<Config>,
        /// Told when it is in force.
        reply: oneshot::Sender<()>,
    },
    /// The same configuration with other peers, of whom none has a session.
    Peers {
        /// The configuration.
        config: Arc<Config>,
        /// Told when it is in force.
        reply: oneshot::Sender<()>,
    },
    /// Own routes.
    Originate {
        /// In their order.
        changes: Vec<Origination>,
        /// Told when they are in the table.
        reply: oneshot::Sender<()>,
    },
    /// Own routes are complete: End-of-RIB may be said.
    Announced {
        /// Told when it is noted.
        reply: oneshot::Sender<()>,
    },
    /// A speaker that has restarted has waited for its peers long enough.
    DeferralOver,
    /// A new follower of best paths.
    OpenFeed {
        /// Its number.
        reply: oneshot::Sender<FeedId>,
    },
    /// A follower wants what changed; it is answered when something has.
    PullFeed {
        /// Who.
        feed: FeedId,
        /// How much at most.
        budget: usize,
        /// The answer.
        reply: oneshot::Sender<FeedBatch>,
    },
    /// A follower is gone.
    CloseFeed(FeedId),
    /// The machine's routes, by which next hops are reached, are these from now on.
    Underlay {
        /// The routes.
        underlay: Arc<Underlay>,
        /// Told when they are known.
        reply: oneshot::Sender<()>,
    },
    /// Prefixes with paths, a slice of a table.
    Prefixes {
        /// Of which family.
        family: Family,
        /// From where on.
        cursor: DestId,
        /// How many places of the table are looked at.
        budget: usize,
        /// The prefixes, and where the next slice begins; `None`: the table is at its end.
        reply: oneshot::Sender<(Vec<IpNetwork>, Option<DestId>)>,
    },
    /// Paths with their standing.
    Routes {
        /// To which prefixes.
        prefixes: Vec<IpNetwork>,
        /// Of which peer only.
        peer: Option<PeerKey>,
        /// The answer.
        reply: oneshot::Sender<Vec<RouteStatus>>,
    },
    /// How many routes each peer has here and was told.
    Counts {
        /// The answer.
        reply: oneshot::Sender<BTreeMap<PeerKey, PeerCounts>>,
    },
    /// A monitor wants something.
    Monitor(MonitorRequest),
    /// An IPv4 update group wants something.
    Ipv4(Request<Ipv4Prefix>),
    /// An IPv6 update group wants something.
    Ipv6(Request<Ipv6Prefix>),
    /// The end.
    Stop,
}

impl From<Report> for Command {
    fn from(report: Report) -> Self {
        Command::Report(report)
    }
}
