//! Those who watch every path of every peer, as it came and as import left it (RFC 7854 §5).
//!
//! A monitor is pulled like the other consumers, but what it follows are paths and not destinations: one is named by its
//! session and what the peer calls it. Nothing of what a monitor was told is kept for it. While its first walk goes
//! through the table, changes ahead of the walk need no mark. One that lets too many changes wait is *overrun*: it is
//! told so, and nothing more is kept for it; it has to start anew, which costs no memory.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;

use super::destination::{DestId, Path};
use super::peers::PeerSlot;
use super::{Af, Rib};
use crate::wire::attribute::AttributeSet;
use crate::wire::nlri::Nlri;

/// How many changed paths may wait for one monitor in one family.
pub const MOST_WAITING: usize = 1 << 18;

/// A monitor by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MonitorId(usize);

/// Attributes with the next hop that goes with them.
pub type WithHop = (Arc<AttributeSet>, Option<IpAddr>);

/// The present state of one path.
#[derive(Clone, Debug)]
pub struct Monitored<P> {
    /// Whose.
    pub peer: PeerSlot,
    /// What the peer calls it.
    pub nlri: Nlri<P>,
    /// As it came; `None`: it is no more.
    pub received: Option<WithHop>,
    /// As import left it; `None`: it is refused, or no more.
    pub used: Option<WithHop>,
}

/// What a monitor pulled of one family.
#[derive(Clone, Debug)]
pub struct MonitorBatch<P> {
    /// The present state of what changed.
    pub paths: Vec<Monitored<P>>,
    /// Peers of which everything has been told that they had announced before their End-of-RIB, or before the monitor
    /// came.
    pub complete: Vec<PeerSlot>,
    /// Too much has waited: what was told is no longer the state, and the monitor must start anew.
    pub overrun: bool,
}

impl<P> Default for MonitorBatch<P> {
    fn default() -> Self {
        MonitorBatch { paths: Vec::new(), complete: Vec::new(), overrun: false }
    }
}

impl<P> MonitorBatch<P> {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.complete.is_empty() && !self.overrun
    }
}

#[derive(Debug)]
pub(super) struct Monitor<P> {
    waiting: HashSet<(PeerSlot, Nlri<P>), RandomState>,
    queue: VecDeque<(PeerSlot, Nlri<P>)>,
    /// How many were ever taken from the queue.
    taken: u64,
    /// How far the first walk has come; `None` when it is done.
    cursor: Option<u32>,
    /// Peers to be told complete when so many were taken.
    complete: Vec<(PeerSlot, u64)>,
    overrun: bool,
}

impl<P: crate::wire::nlri::Prefix> Monitor<P> {
    fn mark(&mut self, id: DestId, key: (PeerSlot, Nlri<P>)) {
        // The walk has yet to come there, and will find the path as it is then.
        let ahead = self.cursor.is_some_and(|cursor| id.0 >= cursor);
        if ahead || self.overrun || self.waiting.contains(&key) {
            return;
        }
        if self.queue.len() >= MOST_WAITING {
            self.overrun = true;
            (self.waiting, self.queue) = (HashSet::default(), VecDeque::new());
            return;
        }
        self.waiting.insert(key);
        self.queue.push_back(key);
    }
}

impl<A: Af> Rib<A> {
    /// A new monitor, which will be told every path there is.
    pub fn open_monitor(&mut self) -> MonitorId {
        let live =
            self.peers.iter().filter(|(slot, peer)| *slot != PeerSlot::LOCAL && peer.live && !peer.stale);
        let complete = live.map(|(slot, _)| (slot, 0)).collect();
        let (waiting, queue) = (HashSet::default(), VecDeque::new());
        let monitor = Monitor { waiting, queue, taken: 0, cursor: Some(0), complete, overrun: false };
        MonitorId(self.monitors.insert(monitor))
    }

    /// Ends a monitor.
    pub fn close_monitor(&mut self, who: MonitorId) {
        drop(self.monitors.try_remove(who.0));
    }

    /// Whether a pull would bring anything or carry the first walk on.
    pub fn monitor_has_news(&self, who: MonitorId) -> bool {
        self.monitors.get(who.0).is_some_and(|one| {
            one.overrun || one.cursor.is_some() || !one.queue.is_empty() || !one.complete.is_empty()
        })
    }

    /// What changed for a monitor since its last pull; about `budget` destinations are looked at.
    pub fn pull_monitor(&mut self, who: MonitorId, budget: usize) -> MonitorBatch<A::Prefix> {
        let mut out = MonitorBatch::default();
        let end = self.table.end();
        for _ in 0..budget {
            let Some(monitor) = self.monitors.get_mut(who.0) else { return out };
            if let Some(key) = monitor.queue.pop_front() {
                monitor.waiting.remove(&key);
                monitor.taken += 1;
                let walked = monitor.cursor;
                out.paths.extend(self.monitored(key, walked));
                continue;
            }
            let Some(from) = monitor.cursor else { break };
            let next = (from..end).map(DestId).find(|&id| self.table.get(id).is_some());
            monitor.cursor = next.map(|id| id.0 + 1);
            let Some(destination) = next.and_then(|id| self.table.get(id)) else { continue };
            let prefix = destination.prefix;
            let of_peers = destination.paths.iter().filter(|path| self.is_monitored(path.peer));
            out.paths.extend(of_peers.map(|path| self.shown(prefix, path)));
        }
        if let Some(monitor) = self.monitors.get_mut(who.0) {
            out.overrun = monitor.overrun;
            if monitor.cursor.is_none() {
                let taken = monitor.taken;
                let due = monitor.complete.extract_if(.., |(_, after)| *after <= taken);
                out.complete.extend(due.map(|(slot, _)| slot));
            }
        }
        out
    }

    /// The present state of one path; `None`: its session is over, which is told otherwise.
    ///
    /// A prefix that went and came again may have another place, ahead of the walk: it counts as gone until the walk is
    /// there, since what becomes of it in the meantime is not marked.
    fn monitored(
        &self,
        (slot, nlri): (PeerSlot, Nlri<A::Prefix>),
        walked: Option<u32>,
    ) -> Option<Monitored<A::Prefix>> {
        if !self.is_monitored(slot) {
            return None;
        }
        let place = self.table.find(nlri.prefix).filter(|id| walked.is_none_or(|cursor| id.0 < cursor));
        let destination = place.and_then(|id| self.table.get(id));
        let found = destination.and_then(|one| Some(&one.paths[one.position(slot, nlri.path_id)?]));
        Some(match found {
            Some(path) => self.shown(nlri.prefix, path),
            None => Monitored { peer: slot, nlri, received: None, used: None },
        })
    }

    fn shown(&self, prefix: A::Prefix, path: &Path) -> Monitored<A::Prefix> {
        let with_hop = |set, hop| Some((Arc::clone(self.attributes.get(set)?), self.next_hops.address(hop)));
        Monitored {
            peer: path.peer,
            nlri: Nlri { prefix, path_id: path.path_id },
            received: with_hop(path.received, path.next_hop),
            used: with_hop(path.used, path.used_hop).filter(|_| path.standing.is_eligible()),
        }
    }

    fn is_monitored(&self, slot: PeerSlot) -> bool {
        slot != PeerSlot::LOCAL && self.peers.get(slot).is_some_and(|peer| peer.live && !peer.stale)
    }

    /// A path has come, gone or changed.
    pub(super) fn path_changed(&mut self, id: DestId, slot: PeerSlot, nlri: Nlri<A::Prefix>) {
        if self.monitors.is_empty() || !self.is_monitored(slot) {
            return;
        }
        for (_, monitor) in &mut self.monitors {
            monitor.mark(id, (slot, nlri));
        }
    }

    /// A peer has announced all it has.
    pub(super) fn peer_complete(&mut self, slot: PeerSlot) {
        for (_, monitor) in &mut self.monitors {
            let after = monitor.taken + monitor.queue.len() as u64;
            monitor.complete.retain(|(other, _)| *other != slot);
            monitor.complete.push((slot, after));
        }
    }

    /// The session of a peer is over: its end of table is told no more.
    pub(super) fn peer_gone(&mut self, slot: PeerSlot) {
        for (_, monitor) in &mut self.monitors {
            monitor.complete.retain(|(other, _)| *other != slot);
        }
    }
}
