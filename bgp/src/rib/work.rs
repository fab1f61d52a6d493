//! What concerns many destinations at once, done a slice at a time so that nothing else has to wait for it.

use super::consumers::State;
use super::destination::DestId;
use super::next_hops::NextHopId;
use super::peers::PeerSlot;
use super::{Af, Progress, Rib};

/// Something begun and not yet finished.
#[derive(Debug)]
pub(super) enum Job {
    /// Take out the paths of a session that is over.
    Sweep(PeerSlot),
    /// Judge the paths of a peer again; those below `left` in its list are still to be looked at. The walk goes from
    /// the end to the start, because a removal moves an entry from the end, which was seen, into the middle.
    Judge { slot: PeerSlot, left: usize },
    /// Decide again what has a path by this next hop. The job holds the next hop.
    Reach { hop: NextHopId, cursor: u32 },
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
            Job::Reach { hop, cursor } => self.reach(hop, cursor, budget),
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

    fn judge(&mut self, slot: PeerSlot, left: usize, budget: usize) -> Option<Job> {
        let peer = self.peers.get(slot).filter(|peer| peer.live)?;
        let end = left.min(peer.paths.len());
        let start = end.saturating_sub(budget);
        let slice: Vec<DestId> = peer.paths[start..end].to_vec();
        for id in slice {
            self.judge_destination(slot, id);
        }
        (start > 0).then_some(Job::Judge { slot, left: start })
    }

    /// Judges the paths of one peer to one destination again.
    fn judge_destination(&mut self, slot: PeerSlot, id: DestId) {
        let (Some(destination), Some(peer)) = (self.table.get(id), self.peers.get(slot)) else { return };
        let before = destination.shown();
        let mut verdicts = Vec::new();
        for (place, path) in destination.paths.iter().enumerate().filter(|(_, path)| path.peer == slot) {
            let Some(set) = self.attributes.get(path.used) else { continue };
            let of_set = self.judge_set(&peer.facts, set, self.next_hops.address(path.next_hop));
            let standing = self.judge_prefix(slot, of_set, destination.prefix);
            if standing != path.standing {
                verdicts.push((place, standing));
            }
        }
        let (mut gained, mut lost) = (0, 0);
        if let Some(destination) = self.table.get_mut(id) {
            for &(place, standing) in &verdicts {
                let path = &mut destination.paths[place];
                gained += u32::from(standing.is_eligible());
                lost += u32::from(path.standing.is_eligible());
                path.standing = standing;
            }
        }
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.accepted = peer.accepted + gained - lost;
        }
        if !verdicts.is_empty() {
            self.decide(id, &before);
        }
        // A client's path goes to other peers than a non-client's: what was told is looked at again.
        self.mark_selected_by(slot, id);
    }

    fn mark_selected_by(&mut self, slot: PeerSlot, id: DestId) {
        if self.table.get(id).and_then(|destination| destination.best()).is_some_and(|path| path.peer == slot)
        {
            self.mark(id);
        }
    }

    fn reach(&mut self, hop: NextHopId, cursor: u32, budget: usize) -> Option<Job> {
        let end = self.table.end().min(cursor.saturating_add(budget as u32));
        for id in (cursor..end).map(DestId) {
            let Some(destination) = self.table.get(id) else { continue };
            if destination.paths.iter().any(|path| path.next_hop == hop) {
                let before = destination.shown();
                self.decide(id, &before);
            }
        }
        if end < self.table.end() {
            return Some(Job::Reach { hop, cursor: end });
        }
        self.next_hops.release(hop);
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
