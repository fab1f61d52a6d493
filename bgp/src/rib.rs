//! The routing information base: paths of prefixes, the choice among them, and who has still to be told.
//!
//! It is pure: a [`Change`] goes in with the time as an argument, consumers pull what became of it, and nothing here
//! waits, sleeps or does I/O. One thread owns it ([`crate::speaker::rib_thread`]).
//!
//! * [`Rib::apply`] takes a change in time proportional to the prefixes it names, decides them anew and marks them
//!   dirty for every consumer;
//! * [`Rib::work`] does a slice of whatever concerns many destinations at once: the sweep after a session, a changed
//!   import policy, a next hop whose reach changed;
//! * [`Rib::pull_best`] and [`Rib::pull_group`] hand a consumer the *present* state of what changed since it last
//!   looked, so that a slow consumer sees the last state and never a backlog.
//!
//! There is one table a family, generic over [`Af`]; they share nothing but the slots of the peers.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

pub mod adj_out;
mod apply;
pub mod attributes;
mod bitmap;
pub mod consumers;
pub mod decision;
mod deferral;
pub mod destination;
pub mod egress;
pub mod explain;
pub mod family;
mod import;
pub mod monitor;
mod multipath;
pub mod next_hops;
pub mod peers;
pub mod reason;
mod refresh;
mod table;
pub mod underlay;
mod work;

#[cfg(test)]
mod tests;

pub use adj_out::{Audience, Bundle, GroupBatch};
pub use consumers::{BestBatch, Consumer, MoreOrLess};
pub use destination::DestId;
pub use egress::EgressProfile;
pub use explain::{ExplainedPath, Explanation, PathStanding};
pub use family::{Af, V4, V6};
pub use monitor::{MonitorBatch, MonitorId, Monitored};
pub use next_hops::{Link, NextHopId, Reach};
pub use peers::{PathCounts, PeerFacts, PeerSlot, Source};
pub use reason::{Standing, WhyNot, WhyNotSent, WhyRejected};
pub use underlay::{Underlay, UnderlayRoute, Way};

use crate::config::{Asn, Multipath};
use crate::policy::Policy;
use crate::wire::attribute::AttributeSet;
pub use crate::wire::nlri::Nlri;

/// The attributes of an announcement and its next hop, which is kept apart; `None` is this speaker itself.
#[derive(Clone, Copy, Debug)]
pub struct Attrs<'a> {
    /// All attributes but the next hop.
    pub set: &'a AttributeSet,
    /// The next hop.
    pub next_hop: Option<IpAddr>,
}

/// What may happen to a RIB.
#[derive(Clone, Debug)]
pub enum Change<'a, A: Af> {
    /// A peer announces prefixes with one set of attributes.
    Announce(PeerSlot, Attrs<'a>, &'a [Nlri<A::Prefix>]),
    /// A peer withdraws prefixes.
    Withdraw(PeerSlot, &'a [Nlri<A::Prefix>]),
    /// A session is up.
    Up(PeerSlot, PeerFacts),
    /// A session is over: its paths go, in slices.
    Down(PeerSlot),
    /// A session is over and its paths are kept for the peer's return (RFC 4724 §4.2): they lose to any other path. They
    /// go with [`Change::Down`].
    Stale(PeerSlot),
    /// The peer whose paths are kept in the first slot is back, in the second: it is not told of its own paths.
    Returned(PeerSlot, PeerSlot),
    /// The peer is away for longer than it asked for: what is kept of it stays as the last resort of everybody (RFC 9494
    /// §4.2).
    LongLived(PeerSlot),
    /// A peer has sent its first table (RFC 4724 §2).
    EndOfRib(PeerSlot),
    /// A peer begins to announce everything again (RFC 7313).
    RefreshBegins(PeerSlot),
    /// A peer has announced everything again: what it did not repeat is gone.
    RefreshEnds(PeerSlot),
    /// What must be known of a peer is something else from now on: its paths are judged again.
    Facts(PeerSlot, PeerFacts),
    /// A next hop can or can no longer be reached, through this interface.
    NextHop(NextHopId, Reach, Option<Arc<str>>),
    /// The machine's routes, by which next hops are reached, are these from now on.
    Underlay(Arc<Underlay>),
    /// This speaker's own identity is another one: every path is judged again.
    Identity(Identity),
}

/// What paths are held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Our router id.
    pub router_id: Ipv4Addr,
    /// Our cluster id.
    pub cluster_id: Ipv4Addr,
    /// Our own addresses, but for link-local ones ([`Link::own`]): no next hop of ours.
    pub own: HashSet<IpAddr>,
    /// Which equal paths may be used side by side.
    pub multipath: Multipath,
}

/// Whether there is work left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Call again.
    More,
    /// Nothing is left to do.
    Idle,
}

/// The routing information base of one family.
#[derive(Debug)]
pub struct Rib<A: Af> {
    identity: Identity,
    started: Instant,
    table: table::Table<A>,
    attributes: attributes::Attributes,
    next_hops: next_hops::NextHops,
    peers: peers::Peers,
    consumers: Slab<consumers::State>,
    /// How many consumers there have ever been.
    opened: u64,
    monitors: Slab<monitor::Monitor<A::Prefix>>,
    /// How many consumers see paths that are not in use.
    wide: usize,
    jobs: VecDeque<work::Job>,
    swept: Vec<PeerSlot>,
    selection: deferral::Selection,
}

impl<A: Af> Rib<A> {
    /// An empty one.
    pub fn new(now: Instant, identity: Identity, local_as: Asn) -> Self {
        let local = PeerFacts {
            key: None,
            source: Source::Local,
            router_id: identity.router_id.to_bits(),
            client: false,
            local_as,
            allow_own_as: 0,
            link: None,
            import: Arc::new(Policy::accept_all()),
        };
        Rib {
            identity,
            started: now,
            table: table::Table::default(),
            attributes: attributes::Attributes::default(),
            next_hops: next_hops::NextHops::default(),
            peers: peers::Peers::new(local),
            consumers: Slab::new(),
            opened: 0,
            monitors: Slab::new(),
            wide: 0,
            jobs: VecDeque::new(),
            swept: Vec::new(),
            selection: deferral::Selection::Open,
        }
    }

    /// How many destinations there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no destination.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many different attribute sets are held.
    pub fn attribute_sets(&self) -> usize {
        self.attributes.len()
    }

    /// The id of a next hop in use that is of no single link, to report its reach.
    pub fn next_hop(&self, address: IpAddr) -> Option<NextHopId> {
        self.next_hops.find(address)
    }

    /// How many paths a peer has here.
    pub fn counts(&self, slot: PeerSlot) -> PathCounts {
        self.peers.get(slot).map_or_else(PathCounts::default, |peer| PathCounts {
            received: peer.paths.len() as u32,
            accepted: peer.accepted,
        })
    }

    /// The sessions whose last path has gone since this was last asked: their slots may be used again.
    pub fn take_swept(&mut self) -> Vec<PeerSlot> {
        std::mem::take(&mut self.swept)
    }
}
