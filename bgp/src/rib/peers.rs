//! The peers as the RIB knows them, and which destinations each has a path to.
//!
//! A slot belongs to one session and is given free only when the session's last path is swept, so a peer that comes
//! back at once gets another slot and nothing of the old session can be taken for the new. Each peer lists its
//! destinations, and each path knows its place in that list: adding and removing cost one step, and a peer's death
//! costs its own paths and not the table's.

use std::sync::Arc;

use super::destination::DestId;
use super::next_hops::Link;
use crate::config::{Asn, PeerKey};
use crate::policy::Policy;

/// A session by its place in the table of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerSlot(pub(crate) u16);

impl PeerSlot {
    /// A slot by its number, for whoever gives them out: 0 is this speaker itself, and one in use must not be given twice.
    pub fn new(number: u16) -> Self {
        PeerSlot(number)
    }

    /// This speaker itself, the source of what it originates.
    pub const LOCAL: PeerSlot = PeerSlot(0);
}

/// Where a path comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Originated by this speaker.
    Local,
    /// Learned from a peer of another AS.
    Ebgp,
    /// Learned from a peer of our own AS.
    Ibgp,
}

impl Source {
    /// The source as a CamelCase code.
    pub fn code(self) -> &'static str {
        match self {
            Source::Local => "Local",
            Source::Ebgp => "Ebgp",
            Source::Ibgp => "Ibgp",
        }
    }
}

/// What the RIB must know of a session.
#[derive(Clone, Debug)]
pub struct PeerFacts {
    /// The peer; `None` is this speaker itself.
    pub key: Option<PeerKey>,
    /// Internal or external.
    pub source: Source,
    /// The peer's router id as a number.
    pub router_id: u32,
    /// Whether it is a reflector client of ours.
    pub client: bool,
    /// Our own AS towards it, which may not be in an AS_PATH from it.
    pub local_as: Asn,
    /// How often that may be there all the same.
    pub allow_own_as: u8,
    /// The link of the session, where that runs over link-local addresses: its link-local next hops are there.
    pub link: Option<Link>,
    /// What is taken from it.
    pub import: Arc<Policy>,
}

/// How many paths of a peer there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathCounts {
    /// All that it sent and did not withdraw.
    pub received: u32,
    /// Those that take part in the decision.
    pub accepted: u32,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) facts: PeerFacts,
    /// Every destination it has a path to, once a path.
    pub(super) paths: Vec<DestId>,
    pub(super) accepted: u32,
    /// Cleared when the session ends: nothing more is taken, what is there is swept.
    pub(super) live: bool,
    /// The session has ended and the paths are kept for the peer's return.
    pub(super) stale: bool,
    /// The peer is back, in this slot.
    pub(super) heir: Option<PeerSlot>,
    /// They are kept for longer than the peer asked for (RFC 9494).
    pub(super) long_lived: bool,
    /// The round of announcements it is in; paths of the other round are stale while `refreshing`.
    pub(super) round: bool,
    /// It has begun to announce everything again, or what it did not repeat is still being taken out.
    pub(super) refreshing: bool,
    /// The peer has said that its first table is complete.
    pub(super) end_of_rib: bool,
}

/// The peers by slot.
#[derive(Debug)]
pub(super) struct Peers {
    slots: Vec<Option<Peer>>,
}

impl Peers {
    pub(super) fn new(local: PeerFacts) -> Self {
        let mut peers = Peers { slots: Vec::new() };
        peers.open(PeerSlot::LOCAL, local);
        peers
    }

    pub(super) fn open(&mut self, slot: PeerSlot, facts: PeerFacts) {
        let index = usize::from(slot.0);
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(Peer {
            facts,
            paths: Vec::new(),
            accepted: 0,
            live: true,
            stale: false,
            heir: None,
            long_lived: false,
            round: false,
            refreshing: false,
            end_of_rib: false,
        });
    }

    pub(super) fn close(&mut self, slot: PeerSlot) {
        if let Some(place) = self.slots.get_mut(usize::from(slot.0)) {
            *place = None;
        }
    }

    pub(super) fn get(&self, slot: PeerSlot) -> Option<&Peer> {
        self.slots.get(usize::from(slot.0))?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: PeerSlot) -> Option<&mut Peer> {
        self.slots.get_mut(usize::from(slot.0))?.as_mut()
    }

    /// Whose a path of this slot is now: of a peer that is back it is that peer's still, whatever is kept of its last
    /// session.
    pub(super) fn owner(&self, slot: PeerSlot) -> PeerSlot {
        self.get(slot).and_then(|peer| peer.heir).unwrap_or(slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerSlot, &Peer)> {
        self.slots.iter().enumerate().filter_map(|(i, peer)| Some((PeerSlot(i as u16), peer.as_ref()?)))
    }
}
