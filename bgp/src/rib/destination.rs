//! One prefix and the paths to it.
//!
//! Most prefixes are known from one peer or two, so the first path lies inside the destination and needs no
//! allocation of its own.

use smallvec::SmallVec;

use super::attributes::AttrId;
use super::next_hops::NextHopId;
use super::peers::PeerSlot;
use super::reason::Standing;

/// A destination by its place in the table: dense, so that a column over all destinations is an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestId(pub(crate) u32);

impl DestId {
    /// The first place of a table.
    pub const FIRST: DestId = DestId(0);

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One path to a destination. Rejected paths stay, with their reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The attributes as the peer sent them.
    pub received: AttrId,
    /// The attributes as import left them.
    pub used: AttrId,
    /// The next hop as the peer sent it.
    pub next_hop: NextHopId,
    /// The next hop as import left it.
    pub used_hop: NextHopId,
    /// The peer's path identifier (RFC 7911); 0 where none is negotiated.
    pub path_id: u32,
    /// When the path came or last changed, and in which round.
    pub(super) stamp: Stamp,
    /// Where the peer's own index names this destination.
    pub(super) at: u32,
    /// Who sent it.
    pub peer: PeerSlot,
    /// Whether it takes part in the decision.
    pub standing: Standing,
    /// The path identifier under which it is passed on (RFC 7911), its own among the paths of the destination; 0: there
    /// was none left.
    pub(super) sent_id: u8,
}

/// When a path came: seconds since the table was made, and the round of its peer's announcements in which it did.
///
/// A peer that announces everything again (RFC 7313) begins another round; what is still of the old one at its end is
/// gone. Two rounds are enough to tell apart, so that a begin costs nothing: one bit beside 68 years of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(u32);

impl Stamp {
    const ROUND: u32 = 1 << 31;

    pub(super) fn new(seconds: u64, round: bool) -> Self {
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX) & !Stamp::ROUND;
        Stamp(seconds | if round { Stamp::ROUND } else { 0 })
    }

    pub(super) fn seconds(self) -> u64 {
        (self.0 & !Stamp::ROUND).into()
    }

    pub(super) fn in_round(self, round: bool) -> Self {
        Stamp::new(self.seconds(), round)
    }

    pub(super) fn round(self) -> bool {
        self.0 & Stamp::ROUND != 0
    }
}

/// What consumers see of a selected path; a change of it is what makes a destination dirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) used: AttrId,
    pub(super) next_hop: NextHopId,
    pub(super) peer: PeerSlot,
    pub(super) path_id: u32,
}

/// What consumers see of a destination: the paths in use, and where somebody is told of more than those, the others that
/// take part in the decision.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShownPaths {
    paths: SmallVec<[Shown; 2]>,
    selected: u16,
}

impl ShownPaths {
    /// Those in use.
    pub(super) fn selected(&self) -> &[Shown] {
        &self.paths[..usize::from(self.selected)]
    }
}

impl From<&Path> for Shown {
    fn from(path: &Path) -> Self {
        Shown { used: path.used, next_hop: path.used_hop, peer: path.peer, path_id: path.path_id }
    }
}

/// A prefix with its paths: the best first, then its equals, then the rest in the order in which the decision left them,
/// then those that take no part in it.
#[derive(Debug)]
pub struct Destination<P> {
    /// The prefix.
    pub prefix: P,
    /// The paths; `paths[..selected]` are in use, `paths[0]` is the best.
    pub paths: SmallVec<[Path; 1]>,
    /// How many paths are in use.
    pub(super) selected: u16,
    /// How many paths take part in the decision.
    pub(super) candidates: u16,
    /// How many consumers still have to be told of this destination, or have told somebody of it. While any does, the
    /// destination keeps its place: its number must not come to mean another prefix.
    pub(super) holds: u32,
}

impl<P> Destination<P> {
    pub(super) fn new(prefix: P) -> Self {
        Destination { prefix, paths: SmallVec::new(), selected: 0, candidates: 0, holds: 0 }
    }

    /// The best path.
    pub fn best(&self) -> Option<&Path> {
        self.selected().first()
    }

    /// The paths in use, the best first.
    pub fn selected(&self) -> &[Path] {
        &self.paths[..usize::from(self.selected)]
    }

    /// The paths that take part in the decision, in its order.
    pub(super) fn candidates(&self) -> &[Path] {
        &self.paths[..usize::from(self.candidates)]
    }

    /// What consumers see; `all`: some of them see more than what is in use.
    pub(super) fn shown(&self, all: bool) -> ShownPaths {
        let seen = if all { self.candidates() } else { self.selected() };
        ShownPaths { paths: seen.iter().map(Shown::from).collect(), selected: self.selected }
    }

    pub(super) fn position(&self, peer: PeerSlot, path_id: u32) -> Option<usize> {
        self.paths.iter().position(|path| path.peer == peer && path.path_id == path_id)
    }

    /// The lowest identifier that no path here is passed on under; 0: none is left.
    pub(super) fn free_sent_id(&self) -> u8 {
        let mut taken = [0u64; 4];
        for path in &self.paths {
            taken[usize::from(path.sent_id >> 6)] |= 1 << (path.sent_id & 63);
        }
        (1..=u8::MAX).find(|id| taken[usize::from(id >> 6)] >> (id & 63) & 1 == 0).unwrap_or(0)
    }

    pub(super) fn is_unused(&self) -> bool {
        self.paths.is_empty() && self.holds == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_small() {
        assert!(size_of::<Path>() <= 32, "a path takes {} bytes", size_of::<Path>());
    }
}
