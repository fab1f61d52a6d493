//! Those who follow the RIB: each has its own set of dirty destinations and pulls them when it can.
//!
//! Nothing is queued for a consumer but the numbers of what changed. What it pulls is the state at that moment, so a
//! consumer that is slow sees fewer intermediate states and never an old one. A consumer starts with a feed: a cursor
//! that walks the table a slice a pull, while changes go on beside it.
//!
//! A destination that is gone keeps its number while a consumer has still to hear of it, or has told somebody of it.

use smallvec::SmallVec;

use super::adj_out::AdjOut;
use super::bitmap::{Bitmap, DirtySet};
use super::destination::DestId;
use super::peers::{PeerSlot, Source};
use super::work::Job;
use super::{Af, Rib};
use std::net::IpAddr;

/// A consumer: its place, which others have after it, and its number, which nobody else ever has. A question that is late
/// is then nobody's, and not that of the next at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Consumer {
    place: u32,
    number: u64,
}

impl Consumer {
    pub(super) fn index(self) -> usize {
        self.place as usize
    }
}

/// Whether a consumer is up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoreOrLess {
    /// There is more to pull.
    More,
    /// All is pulled, the first feed too.
    Drained,
}

/// What of a destination has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A path in use: every consumer sees it.
    InUse,
    /// Another that takes part in the decision: only those see it who are told of more than one path.
    Candidate,
}

#[derive(Debug)]
pub(super) enum View {
    /// The best paths, for the kernel: what it was told of exists in it.
    Best { told: Bitmap, ended: Vec<Ended> },
    /// An update group.
    Group(Box<AdjOut>),
}

/// A peer's End-of-RIB, told when all that was dirty when it came is pulled.
#[derive(Debug)]
pub(super) struct Ended {
    slot: PeerSlot,
    pub(super) after: u64,
}

/// One consumer.
#[derive(Debug)]
pub(super) struct State {
    pub(super) dirty: DirtySet,
    /// How far the first feed has come; `None` when it is done.
    pub(super) cursor: Option<u32>,
    pub(super) view: View,
}

impl State {
    /// Whether it sees paths that are not in use.
    fn sees_all(&self) -> bool {
        match &self.view {
            View::Best { .. } => false,
            View::Group(out) => out.sees_all(),
        }
    }
}

/// One path in use, as the kernel's side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BestPath {
    /// Where packets go; `None`: originated here.
    pub next_hop: Option<IpAddr>,
    /// Whose path.
    pub peer: PeerSlot,
    /// Of what kind.
    pub source: Source,
}

/// What a consumer of best paths pulled: a prefix with its paths in use; none: the prefix is gone.
#[derive(Clone, Debug)]
pub struct BestBatch<P> {
    /// The present state of what changed.
    pub changes: Vec<(P, SmallVec<[BestPath; 1]>)>,
    /// Peers whose first table is complete and has been pulled.
    pub end_of_rib: Vec<PeerSlot>,
}

impl<P> Default for BestBatch<P> {
    fn default() -> Self {
        BestBatch { changes: Vec::new(), end_of_rib: Vec::new() }
    }
}

impl<A: Af> Rib<A> {
    /// A new consumer of best paths, which will be told everything there is.
    pub fn open_best(&mut self) -> Consumer {
        let ended = self.peers.iter().filter(|(_, peer)| peer.end_of_rib && peer.live);
        let ended = ended.map(|(slot, _)| Ended { slot, after: 0 }).collect();
        self.open_consumer(View::Best { told: Bitmap::default(), ended })
    }

    pub(super) fn open_consumer(&mut self, view: View) -> Consumer {
        let state = State { dirty: DirtySet::default(), cursor: Some(0), view };
        self.wide += usize::from(state.sees_all());
        self.opened += 1;
        Consumer { place: self.consumers.insert(state) as u32, number: self.opened }
    }

    /// Whether any consumer sees paths that are not in use.
    pub(super) fn shows_all(&self) -> bool {
        self.wide > 0
    }

    /// Ends a consumer; what it held is let go in slices.
    pub fn close_consumer(&mut self, who: Consumer) {
        if let Some(state) = self.consumers.try_remove(who.index()) {
            self.wide -= usize::from(state.sees_all());
            self.jobs.push_back(Job::Retire { state: Box::new(state), cursor: 0 });
        }
    }

    /// Whether a pull would bring anything or finish a feed.
    pub fn has_news(&self, who: Consumer) -> bool {
        self.consumers.get(who.index()).is_some_and(|state| {
            let told = match &state.view {
                View::Best { ended, .. } => !ended.is_empty() && self.has_selected(),
                View::Group(_) => false,
            };
            told || state.cursor.is_some() || !state.dirty.is_empty()
        })
    }

    /// What changed for a consumer of best paths since its last pull, at most about `budget` destinations.
    pub fn pull_best(&mut self, who: Consumer, budget: usize, out: &mut BestBatch<A::Prefix>) -> MoreOrLess {
        for _ in 0..budget {
            let Some((id, was_dirty)) = self.next_dirty(who) else { break };
            self.show(who, id, out);
            if was_dirty {
                self.unhold(id);
            }
        }
        self.finish_tables(who, out);
        self.more_or_less(who)
    }

    fn show(&mut self, who: Consumer, id: DestId, out: &mut BestBatch<A::Prefix>) {
        let Some(destination) = self.table.get(id) else { return };
        let prefix = destination.prefix;
        let paths: SmallVec<[BestPath; 1]> = destination
            .selected()
            .iter()
            .map(|path| BestPath {
                next_hop: self.next_hops.address(path.used_hop),
                peer: path.peer,
                source: self.peers.get(path.peer).map_or(Source::Local, |peer| peer.facts.source),
            })
            .collect();
        let Some(State { view: View::Best { told, .. }, .. }) = self.consumers.get_mut(who.index()) else {
            return;
        };
        if paths.is_empty() {
            if told.remove(id) {
                out.changes.push((prefix, paths));
                self.unhold(id);
            }
            return;
        }
        if told.insert(id) {
            self.hold(id);
        }
        out.changes.push((prefix, paths));
    }

    /// Reports the peers whose first table has now been pulled.
    fn finish_tables(&mut self, who: Consumer, out: &mut BestBatch<A::Prefix>) {
        if !self.has_selected() {
            return;
        }
        let Some(State { dirty, cursor: None, view: View::Best { ended, .. } }) =
            self.consumers.get_mut(who.index())
        else {
            return;
        };
        ended.retain(|one| {
            let passed = dirty.passed(one.after);
            if passed {
                out.end_of_rib.push(one.slot);
            }
            !passed
        });
    }

    /// The next destination to look at, and whether its number was held for the dirty set.
    pub(super) fn next_dirty(&mut self, who: Consumer) -> Option<(DestId, bool)> {
        let end = self.table.end();
        let state = self.consumers.get_mut(who.index())?;
        if let Some(id) = state.dirty.pop() {
            return Some((id, true));
        }
        let from = state.cursor?;
        let next = (from..end).map(DestId).find(|&id| self.table.get(id).is_some());
        state.cursor = next.map(|id| id.0 + 1);
        next.map(|id| (id, false))
    }

    pub(super) fn more_or_less(&self, who: Consumer) -> MoreOrLess {
        match self.consumers.get(who.index()) {
            Some(state) if state.cursor.is_some() || !state.dirty.is_empty() => MoreOrLess::More,
            Some(_) | None => MoreOrLess::Drained,
        }
    }

    /// Marks a destination for every consumer that sees what has changed.
    pub(super) fn mark(&mut self, id: DestId, what: Seen) {
        let Some(destination) = self.table.get_mut(id) else { return };
        for (_, state) in &mut self.consumers {
            if (what == Seen::InUse || state.sees_all()) && state.dirty.mark(id) {
                destination.holds += 1;
            }
        }
    }

    pub(super) fn hold(&mut self, id: DestId) {
        if let Some(destination) = self.table.get_mut(id) {
            destination.holds += 1;
        }
    }

    pub(super) fn unhold(&mut self, id: DestId) {
        if let Some(destination) = self.table.get_mut(id) {
            destination.holds -= 1;
            self.table.remove_unused(id);
        }
    }

    /// A peer has sent its first table: consumers hear of it when they have pulled all of it.
    pub(super) fn end_of_rib(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot).filter(|peer| peer.live) else { return };
        peer.end_of_rib = true;
        self.peer_complete(slot);
        for (_, state) in &mut self.consumers {
            if let View::Best { ended, .. } = &mut state.view {
                ended.retain(|one| one.slot != slot);
                ended.push(Ended { slot, after: state.dirty.position() });
            }
        }
    }

    /// Forgets an End-of-RIB that was not told yet: the session it came from is over.
    pub(super) fn forget_end_of_rib(&mut self, slot: PeerSlot) {
        for (_, state) in &mut self.consumers {
            if let View::Best { ended, .. } = &mut state.view {
                ended.retain(|one| one.slot != slot);
            }
        }
    }

    /// Lets go of what a consumer that is gone had told of one destination.
    pub(super) fn release_told(&mut self, state: &mut State, id: DestId) {
        let held = match &mut state.view {
            View::Best { told, .. } => told.remove(id),
            View::Group(out) => {
                let told = out.clear(id);
                for (attributes, next_hop) in &told {
                    self.attributes.release(*attributes);
                    self.next_hops.release(*next_hop);
                }
                !told.is_empty()
            }
        };
        if held {
            self.unhold(id);
        }
    }
}
