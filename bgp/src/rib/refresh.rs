//! A peer announces everything again, between two marks (RFC 7313 §4).
//!
//! The beginning makes a new round, at no cost; paths announced from then on are of it. At the end, what is still of the
//! old round is taken out in slices. Paths of the old round are as good as others until then.

use super::destination::DestId;
use super::peers::PeerSlot;
use super::work::Job;
use super::{Af, Rib};

impl<A: Af> Rib<A> {
    pub(super) fn refresh_begins(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get_mut(slot).filter(|peer| peer.live) else { return };
        let another = std::mem::replace(&mut peer.refreshing, true);
        if another {
            // A round that was never ended, or is still being cleared: all that is there becomes old.
            let (round, paths) = (peer.round, peer.paths.clone());
            self.jobs.retain(|job| !matches!(job, Job::Unrepeated { slot: other, .. } if *other == slot));
            for id in paths {
                self.make_old(slot, id, !round);
            }
        } else {
            peer.round = !peer.round;
        }
    }

    fn make_old(&mut self, slot: PeerSlot, id: DestId, old: bool) {
        let Some(destination) = self.table.get_mut(id) else { return };
        for path in destination.paths.iter_mut().filter(|path| path.peer == slot) {
            path.stamp = path.stamp.in_round(old);
        }
    }

    pub(super) fn refresh_ends(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get(slot).filter(|peer| peer.live && peer.refreshing) else { return };
        let left = peer.paths.len();
        self.jobs.retain(|job| !matches!(job, Job::Unrepeated { slot: other, .. } if *other == slot));
        self.jobs.push_back(Job::Unrepeated { slot, left });
    }

    /// Takes out paths of the old round. Like judging, it goes from the end of the peer's list to the start.
    pub(super) fn take_unrepeated(&mut self, slot: PeerSlot, left: usize, budget: usize) -> Option<Job> {
        let peer = self.peers.get(slot).filter(|peer| peer.live)?;
        let round = peer.round;
        let end = left.min(peer.paths.len());
        let start = end.saturating_sub(budget);
        let slice: Vec<DestId> = peer.paths[start..end].to_vec();
        for id in slice {
            loop {
                let place = self.table.get(id).and_then(|destination| {
                    destination.paths.iter().position(|path| path.peer == slot && path.stamp.round() != round)
                });
                let Some(place) = place else { break };
                self.remove(id, place);
            }
        }
        if start > 0 {
            return Some(Job::Unrepeated { slot, left: start });
        }
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.refreshing = false;
        }
        None
    }
}
