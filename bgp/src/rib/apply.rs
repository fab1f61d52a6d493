//! One change into the tables: judge, store, decide, mark dirty. The cost is that of the prefixes named.

use std::time::Instant;

use smallvec::SmallVec;

use super::consumers::Seen;
use super::deferral::Selection;
use super::destination::{DestId, Path, ShownPaths, Stamp};
use super::import::{Arrival, Imported, Memo};
use super::multipath::Context;
use super::next_hops::NextHopId;
use super::peers::PeerSlot;
use super::work::Job;
use super::{Af, Attrs, Change, Nlri, Rib};

/// Prefixes that are looked up one right after the other. Each look into a large table waits for memory; where nothing else
/// stands between them, they wait together.
const AT_ONCE: usize = 16;

impl<A: Af> Rib<A> {
    /// Takes one change. Changes of a session that is over, or was never up, are without effect.
    pub fn apply(&mut self, now: Instant, change: Change<'_, A>) {
        match change {
            Change::Announce(slot, attrs, nlri) => self.announce(now, slot, attrs, nlri),
            Change::Withdraw(slot, nlri) => self.withdraw(slot, nlri),
            Change::Up(slot, facts) => self.peers.open(slot, facts),
            Change::Down(slot) => self.down(slot),
            Change::Stale(slot) => self.stale(slot),
            Change::Returned(stale, heir) => {
                if let Some(peer) = self.peers.get_mut(stale) {
                    peer.heir = Some(heir);
                }
            }
            Change::LongLived(slot) => self.long_lived(slot),
            Change::EndOfRib(slot) => self.end_of_rib(slot),
            Change::RefreshBegins(slot) => self.refresh_begins(slot),
            Change::RefreshEnds(slot) => self.refresh_ends(slot),
            Change::Facts(slot, facts) => {
                if let Some(peer) = self.peers.get_mut(slot).filter(|peer| peer.live) {
                    peer.facts = facts;
                    self.judge_again(slot);
                }
            }
            Change::NextHop(hop, reach, interface) => {
                if self.next_hops.set_reach(hop, reach, interface) {
                    self.look_again_at(vec![hop]);
                }
            }
            Change::Underlay(underlay) => {
                let changed = self.next_hops.set_underlay(underlay);
                self.look_again_at(changed);
            }
            Change::Identity(identity) => {
                if identity != self.identity {
                    self.identity = identity;
                    let slots: Vec<PeerSlot> = self.peers.iter().map(|(slot, _)| slot).collect();
                    slots.into_iter().for_each(|slot| self.judge_again(slot));
                }
            }
        }
    }

    /// Next hops are reached in another way: what has paths by them is decided again. The job holds them.
    fn look_again_at(&mut self, mut hops: Vec<NextHopId>) {
        if !hops.is_empty() {
            hops.iter().for_each(|hop| self.next_hops.retain(*hop));
            hops.sort_unstable();
            self.jobs.push_back(Job::Reach { hops, cursor: 0 });
        }
    }

    fn judge_again(&mut self, slot: PeerSlot) {
        let left = self.peers.get(slot).map_or(0, |peer| peer.paths.len());
        self.jobs.retain(|job| !matches!(job, Job::Judge { slot: other, .. } if *other == slot));
        self.jobs.push_back(Job::Judge { slot, left });
    }

    fn down(&mut self, slot: PeerSlot) {
        if let Some(peer) = self.peers.get_mut(slot).filter(|peer| peer.live) {
            peer.live = false;
            self.forget_end_of_rib(slot);
            self.peer_gone(slot);
            self.jobs.push_back(Job::Sweep(slot));
        }
    }

    fn stale(&mut self, slot: PeerSlot) {
        if let Some(peer) = self.peers.get_mut(slot).filter(|peer| peer.live && !peer.stale) {
            peer.stale = true;
            let left = peer.paths.len();
            self.forget_end_of_rib(slot);
            self.peer_gone(slot);
            self.jobs.push_back(Job::Decide { slot, left });
        }
    }

    /// The peer is away for long: its paths are judged again, as the last resort of everybody.
    fn long_lived(&mut self, slot: PeerSlot) {
        if let Some(peer) = self.peers.get_mut(slot).filter(|peer| peer.live && !peer.long_lived) {
            peer.long_lived = true;
            self.judge_again(slot);
        }
    }

    fn announce(&mut self, now: Instant, slot: PeerSlot, attrs: Attrs<'_>, nlri: &[Nlri<A::Prefix>]) {
        let Some(peer) = self.peers.get(slot).filter(|peer| peer.live) else { return };
        let loops = self.loops(&peer.facts, attrs.set);
        let stamp = Stamp::new(now.saturating_duration_since(self.started).as_secs(), peer.round);
        let received = self.attributes.intern(attrs.set);
        let link = peer.facts.link.map(|link| link.interface);
        let next_hop = self.next_hops.intern(attrs.next_hop, link);
        let arrival = Arrival { peer: slot, received, next_hop };
        let mut memo = Memo::default();
        for some in nlri.chunks(AT_ONCE) {
            let known: SmallVec<[Option<DestId>; AT_ONCE]> =
                some.iter().map(|one| self.table.find(one.prefix)).collect();
            for (one, known) in some.iter().zip(known) {
                let Imported { standing, used, used_hop } =
                    self.import(one.prefix, arrival, loops, &mut memo);
                let path = Path {
                    received,
                    used,
                    next_hop,
                    used_hop,
                    path_id: one.path_id,
                    stamp,
                    at: 0,
                    peer: slot,
                    standing,
                    sent_id: 0,
                };
                let id = known.unwrap_or_else(|| self.table.find_or_insert(one.prefix));
                self.place(id, one.prefix, path);
            }
        }
        self.forget(memo);
        self.attributes.release(received);
        self.next_hops.release(next_hop);
    }

    /// Puts a path into its destination, in place of an older one of the same peer and identifier.
    ///
    /// A rejected path replaces too: what the peer said before no longer holds (an implicit withdraw).
    fn place(&mut self, id: DestId, prefix: A::Prefix, mut path: Path) {
        let all = self.shows_all();
        let Some(destination) = self.table.get_mut(id) else { return };
        let before = destination.shown(all);
        self.attributes.retain(path.received);
        self.attributes.retain(path.used);
        self.next_hops.retain(path.next_hop);
        self.next_hops.retain(path.used_hop);
        let old = match destination.position(path.peer, path.path_id) {
            Some(place) => {
                let old = destination.paths[place];
                path.at = old.at;
                path.sent_id = old.sent_id;
                if (path.used, path.used_hop, path.standing) == (old.used, old.used_hop, old.standing) {
                    // Said again: it is as old as it was.
                    path.stamp = old.stamp.in_round(path.stamp.round());
                }
                destination.paths[place] = path;
                Some(old)
            }
            None => {
                if let Some(peer) = self.peers.get_mut(path.peer) {
                    path.at = peer.paths.len() as u32;
                    peer.paths.push(id);
                }
                path.sent_id = destination.free_sent_id();
                destination.paths.push(path);
                None
            }
        };
        if let Some(peer) = self.peers.get_mut(path.peer) {
            peer.accepted += u32::from(path.standing.is_eligible());
            peer.accepted -= u32::from(old.is_some_and(|old| old.standing.is_eligible()));
        }
        let said = |path: &Path| (path.received, path.next_hop, path.used, path.used_hop, path.standing);
        if old.is_none_or(|old| said(&old) != said(&path)) {
            self.path_changed(id, path.peer, Nlri { prefix, path_id: path.path_id });
        }
        if let Some(old) = old {
            self.let_go(&old);
        }
        self.decide(id, &before);
    }

    fn withdraw(&mut self, slot: PeerSlot, nlri: &[Nlri<A::Prefix>]) {
        for some in nlri.chunks(AT_ONCE) {
            // One that goes takes nobody else's place: what was found is there still or gone.
            let known: SmallVec<[Option<DestId>; AT_ONCE]> =
                some.iter().map(|one| self.table.find(one.prefix)).collect();
            for (one, id) in some.iter().zip(known).filter_map(|(one, known)| Some((one, known?))) {
                let place =
                    self.table.get(id).and_then(|destination| destination.position(slot, one.path_id));
                if let Some(place) = place {
                    self.remove(id, place);
                }
            }
        }
    }

    /// Takes a path out of its destination and out of its peer's list.
    pub(super) fn remove(&mut self, id: DestId, place: usize) {
        let all = self.shows_all();
        let Some(destination) = self.table.get_mut(id) else { return };
        let before = destination.shown(all);
        let path = destination.paths.remove(place);
        let nlri = Nlri { prefix: destination.prefix, path_id: path.path_id };
        self.path_changed(id, path.peer, nlri);
        if let Some(peer) = self.peers.get_mut(path.peer) {
            peer.accepted -= u32::from(path.standing.is_eligible());
            peer.paths.swap_remove(path.at as usize);
            // The last entry has moved into the gap: its path must know.
            if let Some(&moved) = peer.paths.get(path.at as usize) {
                let last = peer.paths.len() as u32;
                if let Some(other) = self.table.get_mut(moved) {
                    for candidate in &mut other.paths {
                        if candidate.peer == path.peer && candidate.at == last {
                            candidate.at = path.at;
                        }
                    }
                }
            }
        }
        self.let_go(&path);
        self.decide(id, &before);
        self.table.remove_unused(id);
    }

    fn let_go(&mut self, path: &Path) {
        self.attributes.release(path.received);
        self.attributes.release(path.used);
        self.next_hops.release(path.next_hop);
        self.next_hops.release(path.used_hop);
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context {
            attributes: &self.attributes,
            next_hops: &self.next_hops,
            peers: &self.peers,
            multipath: self.identity.multipath,
            deferred: self.selection == Selection::Deferred,
        }
    }

    /// Decides a destination anew and marks it dirty for those who see something else than `before`.
    pub(super) fn decide(&mut self, id: DestId, before: &ShownPaths) {
        let all = self.shows_all();
        let context = Context {
            attributes: &self.attributes,
            next_hops: &self.next_hops,
            peers: &self.peers,
            multipath: self.identity.multipath,
            deferred: self.selection == Selection::Deferred,
        };
        let Some(destination) = self.table.get_mut(id) else { return };
        context.choose(destination);
        let after = destination.shown(all);
        if after.selected() != before.selected() {
            self.mark(id, Seen::InUse);
        } else if after != *before {
            self.mark(id, Seen::Candidate);
        }
    }
}
