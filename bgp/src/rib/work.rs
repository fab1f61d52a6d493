//! What concerns many destinations at once, done a slice at a time so that nothing else has to wait for it.

use smallvec::SmallVec;

use super::consumers::{Seen, State};
use super::destination::{DestId, Path};
use super::import::{Arrival, Imported, Memo};
use super::next_hops::NextHopId;
use super::peers::PeerSlot;
use super::{Af, Nlri, Progress, Rib};

/// Something begun and not yet finished.
#[derive(Debug)]
pub(super) enum Job {
    /// Take out the paths of a session that is over.
    Sweep(PeerSlot),
    /// Judge the paths of a peer again; those below `left` in its list are still to be looked at. The walk goes from
    /// the end to the start, because a removal moves an entry from the end, which was seen, into the middle.
    Judge { slot: PeerSlot, left: usize },
    /// Decide again what a peer has paths to, its rank being another one; those below `left` are still to be looked at.
    Decide { slot: PeerSlot, left: usize },
    /// Take out what a peer did not repeat; those below `left` in its list are still to be looked at.
    Unrepeated { slot: PeerSlot, left: usize },
    /// Decide again what has a path by one of these next hops, which are in their order. The job holds them.
    Reach { hops: Vec<NextHopId>, cursor: u32 },
    /// Decide what came while the choice was put off.
    Select { cursor: u32 },
    /// Let go of what a consumer held that is gone.
    Retire { state: Box<State>, cursor: u32 },
}

impl<A: Af> Rib<A> {
    /// Does a slice of about `budget` destinations of whatever is pending.
    pub fn work(&mut self, budget: usize) -> Progress {
        let Some(job) = self.jobs.pop_front() else { return Progress::Idle };
        let unfinished = match job {
            Job::Sweep(slot) => self.sweep(slot, budget),
            Job::Judge { slot, left } => self.judge(slot, left, budget),
            Job::Decide { slot, left } => self.decide_again(slot, left, budget),
            Job::Unrepeated { slot, left } => self.take_unrepeated(slot, left, budget),
            Job::Reach { hops, cursor } => self.reach(hops, cursor, budget),
            Job::Select { cursor } => self.select_slice(cursor, budget),
            Job::Retire { state, cursor } => self.retire(state, cursor, budget),
        };
        // To the back: a long job does not hold up the others.
        self.jobs.extend(unfinished);
        if self.jobs.is_empty() { Progress::Idle } else { Progress::More }
    }

    fn sweep(&mut self, slot: PeerSlot, budget: usize) -> Option<Job> {
        for _ in 0..budget {
            let Some(&id) = self.peers.get(slot).and_then(|peer| peer.paths.last()) else { break };
            let last = self.peers.get(slot).map_or(0, |peer| peer.paths.len() as u32 - 1);
            let place = self.table.get(id).and_then(|destination| {
                destination.paths.iter().position(|path| path.peer == slot && path.at == last)
            });
            if let Some(place) = place {
                self.remove(id, place);
            }
        }
        if self.peers.get(slot).is_some_and(|peer| !peer.paths.is_empty()) {
            return Some(Job::Sweep(slot));
        }
        self.peers.close(slot);
        self.swept.push(slot);
        None
    }

    fn decide_again(&mut self, slot: PeerSlot, left: usize, budget: usize) -> Option<Job> {
        let all = self.shows_all();
        let peer = self.peers.get(slot).filter(|peer| peer.live)?;
        let end = left.min(peer.paths.len());
        let start = end.saturating_sub(budget);
        let slice: Vec<DestId> = peer.paths[start..end].to_vec();
        for id in slice {
            let Some(before) = self.table.get(id).map(|destination| destination.shown(all)) else { continue };
            self.decide(id, &before);
        }
        (start > 0).then_some(Job::Decide { slot, left: start })
    }

    fn judge(&mut self, slot: PeerSlot, left: usize, budget: usize) -> Option<Job> {
        let peer = self.peers.get(slot).filter(|peer| peer.live)?;
        let end = left.min(peer.paths.len());
        let start = end.saturating_sub(budget);
        let slice: Vec<DestId> = peer.paths[start..end].to_vec();
        let mut memo = Memo::default();
        for id in slice {
            self.judge_destination(slot, id, &mut memo);
        }
        self.forget(memo);
        (start > 0).then_some(Job::Judge { slot, left: start })
    }

    /// Judges the paths of one peer to one destination again.
    fn judge_destination(&mut self, slot: PeerSlot, id: DestId, memo: &mut Memo) {
        let all = self.shows_all();
        let Some(destination) = self.table.get(id) else { return };
        let (prefix, before) = (destination.prefix, destination.shown(all));
        let of_peer = destination.paths.iter().enumerate().filter(|(_, path)| path.peer == slot);
        let paths: SmallVec<[(usize, Path); 1]> = of_peer.map(|(place, path)| (place, *path)).collect();
        for (place, old) in paths {
            let (Some(peer), Some(set)) = (self.peers.get(slot), self.attributes.get(old.received)) else {
                continue;
            };
            let loops = self.loops(&peer.facts, set);
            let arrival = Arrival { peer: slot, received: old.received, next_hop: old.next_hop };
            let Imported { standing, used, used_hop } = self.import(prefix, arrival, loops, memo);
            if (standing, used, used_hop) == (old.standing, old.used, old.used_hop) {
                continue;
            }
            self.attributes.retain(used);
            self.next_hops.retain(used_hop);
            self.attributes.release(old.used);
            self.next_hops.release(old.used_hop);
            self.path_changed(id, slot, Nlri { prefix, path_id: old.path_id });
            if let Some(path) =
                self.table.get_mut(id).and_then(|destination| destination.paths.get_mut(place))
            {
                (path.standing, path.used, path.used_hop) = (standing, used, used_hop);
            }
            if let Some(peer) = self.peers.get_mut(slot) {
                peer.accepted += u32::from(standing.is_eligible());
                peer.accepted -= u32::from(old.standing.is_eligible());
            }
        }
        // Also without a change: what is told beside the best may be counted in another way now.
        self.decide(id, &before);
        // A client's path goes to other peers than a non-client's: what was told is looked at again.
        self.mark_paths_of(slot, id);
    }

    fn mark_paths_of(&mut self, slot: PeerSlot, id: DestId) {
        let Some(destination) = self.table.get(id) else { return };
        if destination.best().is_some_and(|path| path.peer == slot) {
            self.mark(id, Seen::InUse);
        } else if destination.candidates().iter().any(|path| path.peer == slot) {
            self.mark(id, Seen::Candidate);
        }
    }

    fn reach(&mut self, hops: Vec<NextHopId>, cursor: u32, budget: usize) -> Option<Job> {
        let all = self.shows_all();
        let end = self.table.end().min(cursor.saturating_add(budget as u32));
        let mut memo = Memo::default();
        for id in (cursor..end).map(DestId) {
            let Some(destination) = self.table.get(id) else { continue };
            let is_one = |hop: &NextHopId| hops.binary_search(hop).is_ok();
            let concerned = |path: &&Path| is_one(&path.next_hop) || is_one(&path.used_hop);
            let mut peers: SmallVec<[PeerSlot; 2]> =
                destination.paths.iter().filter(concerned).map(|path| path.peer).collect();
            peers.dedup();
            if !peers.is_empty() {
                let before = destination.shown(all);
                self.decide(id, &before);
            }
            // The policy may ask for the interface.
            peers.into_iter().for_each(|slot| self.judge_destination(slot, id, &mut memo));
        }
        self.forget(memo);
        if end < self.table.end() {
            return Some(Job::Reach { hops, cursor: end });
        }
        hops.into_iter().for_each(|hop| self.next_hops.release(hop));
        None
    }

    fn retire(&mut self, mut state: Box<State>, cursor: u32, budget: usize) -> Option<Job> {
        let end = self.table.end().min(cursor.saturating_add(budget as u32));
        for id in (cursor..end).map(DestId) {
            self.release_told(&mut state, id);
        }
        for _ in 0..budget {
            let Some(id) = state.dirty.pop() else { break };
            self.unhold(id);
        }
        let finished = end >= self.table.end() && state.dirty.is_empty();
        (!finished).then_some(Job::Retire { state, cursor: end })
    }
}
