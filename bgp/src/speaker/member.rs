//! One peer of an update group: how far it has come.
//!
//! A member that keeps up follows the ring by a position in it. One that is too slow loses its position, but nothing
//! else: which prefixes it missed is remembered, and when it can take more it is told their present state. The same
//! way a new member is brought up to date. So a slow peer costs a set of prefixes, and nobody waits for it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use ahash::RandomState;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::encode::{Mark, Message, marked};
use super::feeding::Feeding;
use crate::rib::{DestId, PeerSlot};
use crate::wire::nlri::{Nlri, Prefix};

/// The paths a peer has still to be told of.
pub(super) type Missed<P> = HashSet<Nlri<P>, RandomState>;

/// What a member that moves to another group has not been told yet.
#[derive(Debug)]
pub struct Residue<P> {
    pub(super) missed: Missed<P>,
    pub(super) cursor: Option<DestId>,
    pub(super) end_of_rib_due: bool,
    pub(super) refresh: Refresh,
}

/// How far a refresh has come whose beginning and end the peer is told (RFC 7313 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Refresh {
    /// There is none.
    #[default]
    Idle,
    /// It begins when what waits is sent, and not before the first table is complete.
    Due,
    /// The beginning is said; the end is due when everything has been told again.
    Underway,
}

/// How a member gets what it has to be told.
#[derive(Debug)]
pub(super) enum Progress<P> {
    /// It follows the ring; the next message is this one.
    Following(u64),
    /// It is told the present state of what it missed, and of everything from the cursor on.
    CatchingUp { missed: Missed<P>, cursor: Option<DestId> },
}

/// One peer of a group.
#[derive(Debug)]
pub(super) struct Member<P> {
    pub(super) slot: PeerSlot,
    /// Tells one stay in the group from another.
    pub(super) stay: u64,
    pub(super) writer: mpsc::Sender<Bytes>,
    pub(super) progress: Progress<P>,
    /// What it is told, while it follows the ring, of what was there before it came.
    pub(super) feeding: Feeding,
    /// Encoded for this member alone; goes out before the ring.
    pub(super) backlog: VecDeque<Arc<Message<P>>>,
    /// The writer is full: a permit is awaited.
    pub(super) blocked: bool,
    /// What it has to take over from its former group is awaited; nothing may be sent before.
    pub(super) expecting: bool,
    pub(super) end_of_rib_due: bool,
    pub(super) refresh: Refresh,
}

/// What came of trying to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The member has everything there is for it.
    All,
    /// The writer is full.
    Full,
    /// The writer is gone: the session is over, the RIB will say so.
    Gone,
}

impl<P: Prefix> Member<P> {
    /// Whether it has been sent all that was made for it and could take more.
    pub(super) fn is_idle(&self, head: u64) -> bool {
        let caught = match self.progress {
            Progress::Following(position) => position == head,
            Progress::CatchingUp { .. } => true,
        };
        caught && self.can_take()
    }

    /// Whether it could be sent something of its own.
    pub(super) fn can_take(&self) -> bool {
        self.backlog.is_empty() && !self.blocked && !self.expecting
    }

    /// Sends what there is until the writer is full.
    pub(super) fn send(&mut self, ring: &Ring<P>) -> Sent {
        while !self.expecting {
            let Some(message) = self.next(ring) else { return Sent::All };
            match self.writer.try_send(message.bytes.clone()) {
                Ok(()) => self.advance(),
                Err(TrySendError::Full(_)) => {
                    self.blocked = true;
                    return Sent::Full;
                }
                Err(TrySendError::Closed(_)) => return Sent::Gone,
            }
        }
        Sent::All
    }

    /// The message that is due; those of the ring that are not for it are passed over.
    pub(super) fn next(&mut self, ring: &Ring<P>) -> Option<Arc<Message<P>>> {
        if let Some(message) = self.backlog.front() {
            return Some(Arc::clone(message));
        }
        let Progress::Following(position) = self.progress else { return None };
        let mut rest = position..ring.head();
        let due = rest.find_map(|at| Some((at, self.of_ring(ring, at)?)));
        self.progress = Progress::Following(due.as_ref().map_or(position.max(ring.head()), |(at, _)| *at));
        due.map(|(_, message)| Arc::clone(message))
    }

    /// The message at a position of the ring, if it is for this member.
    fn of_ring<'a>(&self, ring: &'a Ring<P>, position: u64) -> Option<&'a Arc<Message<P>>> {
        let meant = |message: &&Arc<Message<P>>| {
            message.audience.includes(self.slot) && (!message.feed || self.feeding.covers(position))
        };
        ring.get(position).filter(meant)
    }

    /// The message that was due is sent.
    pub(super) fn advance(&mut self) {
        if self.backlog.pop_front().is_none()
            && let Progress::Following(position) = &mut self.progress
        {
            *position += 1;
        }
    }

    /// A message goes by that the member does not take from the ring: its prefixes are missed.
    pub(super) fn miss(&mut self, message: &Message<P>) {
        if let Progress::CatchingUp { missed, .. } = &mut self.progress
            && message.audience.includes(self.slot)
            && !message.feed
        {
            missed.extend(message.prefixes.iter().copied());
        }
    }

    /// Takes the member out of the ring: what it has not been sent it has missed.
    pub(super) fn fall_behind(&mut self, ring: &Ring<P>, cursor: Option<DestId>) {
        let mut all: Missed<P> = Missed::default();
        let mut from = cursor;
        match std::mem::replace(&mut self.progress, Progress::Following(0)) {
            Progress::Following(position) => {
                let rest = (position..ring.head()).filter_map(|at| self.of_ring(ring, at));
                all.extend(rest.flat_map(|message| message.prefixes.iter().copied()));
                if self.feeding.stop() {
                    from = Some(DestId::FIRST);
                }
            }
            Progress::CatchingUp { missed, cursor } => {
                all = missed;
                from = from.or(cursor);
            }
        }
        for message in self.backlog.drain(..) {
            match message.mark {
                None => all.extend(message.prefixes.iter().copied()),
                Some(Mark::EndOfRib) => self.end_of_rib_due = true,
                // What it would have begun or ended is not told yet: from the beginning.
                Some(Mark::RefreshBegins | Mark::RefreshEnds) => self.refresh = Refresh::Due,
            }
        }
        self.progress = Progress::CatchingUp { missed: all, cursor: from };
    }

    /// What the member takes along to another group.
    pub(super) fn into_residue(mut self, ring: &Ring<P>) -> Residue<P> {
        self.fall_behind(ring, None);
        let (missed, cursor) = match self.progress {
            Progress::CatchingUp { missed, cursor } => (missed, cursor),
            Progress::Following(_) => (Missed::default(), None),
        };
        Residue { missed, cursor, end_of_rib_due: self.end_of_rib_due, refresh: self.refresh }
    }

    /// Says a mark after all that was made for it: what is left of the ring becomes its backlog.
    pub(super) fn say(&mut self, mark: Mark, ring: &Ring<P>) {
        if let Progress::Following(position) = self.progress {
            let rest = (position..ring.head()).filter_map(|at| self.of_ring(ring, at));
            let rest: Vec<Arc<Message<P>>> = rest.cloned().collect();
            self.backlog.extend(rest);
            self.progress = Progress::Following(ring.head());
        }
        self.backlog.push_back(Arc::new(marked(mark, self.slot)));
    }

    /// Says what is complete, once it is: the first table, then a refresh.
    pub(super) fn say_ends(&mut self, ring: &Ring<P>) {
        if self.feeding.is_underway() {
            return;
        }
        if self.end_of_rib_due {
            self.say(Mark::EndOfRib, ring);
            self.end_of_rib_due = false;
        }
        if self.refresh == Refresh::Underway {
            self.say(Mark::RefreshEnds, ring);
            self.refresh = Refresh::Idle;
        }
    }

    /// Begins a refresh that is due, if it may begin.
    pub(super) fn begin_refresh(&mut self, ring: &Ring<P>) -> bool {
        let begins = self.refresh == Refresh::Due && !self.end_of_rib_due && self.can_take();
        if begins {
            self.fall_behind(ring, Some(DestId::FIRST));
            self.refresh = Refresh::Underway;
            self.backlog.push_back(Arc::new(marked(Mark::RefreshBegins, self.slot)));
        }
        begins
    }

    /// What comes along from the former group.
    pub(super) fn take_over(&mut self, residue: Option<Residue<P>>) {
        self.expecting = false;
        let Some(residue) = residue else { return };
        self.end_of_rib_due = residue.end_of_rib_due;
        if residue.refresh != Refresh::Idle {
            self.refresh = residue.refresh;
        }
        if let Progress::CatchingUp { missed, cursor } = &mut self.progress {
            missed.extend(residue.missed);
            *cursor = cursor.or(residue.cursor);
        }
    }
}

/// The messages of a group, each encoded once, until the last member has it or they become too many.
#[derive(Debug)]
pub(super) struct Ring<P> {
    first: u64,
    messages: VecDeque<Arc<Message<P>>>,
    /// Of all messages together.
    octets: usize,
}

/// How many messages a ring holds before the slowest lose their position: more than a reflector with some thousand clients
/// makes when all of them come at once with paths of their own. Who loses its position is told all of them once more, in
/// messages for itself alone, and until then it takes more room than they do here.
pub(super) const RING: usize = 8192;
/// And how many octets of messages.
const OCTETS: usize = 4 << 20;

impl<P> Default for Ring<P> {
    fn default() -> Self {
        Ring { first: 0, messages: VecDeque::new(), octets: 0 }
    }
}

impl<P> Ring<P> {
    /// The position of the next message to come.
    pub(super) fn head(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    pub(super) fn get(&self, position: u64) -> Option<&Arc<Message<P>>> {
        self.messages.get(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= RING || self.octets >= OCTETS
    }

    /// The oldest position that is still here.
    pub(super) fn tail(&self) -> u64 {
        self.first
    }

    pub(super) fn push(&mut self, message: Arc<Message<P>>) {
        self.octets += message.bytes.len();
        self.messages.push_back(message);
    }

    /// Lets go of what lies before a position.
    pub(super) fn release(&mut self, before: u64) {
        while self.first < before
            && let Some(message) = self.messages.pop_front()
        {
            self.octets -= message.bytes.len();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rib::Audience;
    use crate::wire::nlri::Ipv4Prefix;

    fn message(octets: usize) -> Arc<Message<Ipv4Prefix>> {
        let bytes = Bytes::from(vec![0; octets]);
        let audience = Audience::Only(PeerSlot(1));
        Arc::new(Message { audience, feed: false, bytes, prefixes: Vec::new(), mark: None })
    }

    #[test]
    fn a_ring_is_full_by_its_messages_or_by_their_octets() {
        for (octets, fit) in [(70, RING), (4096, OCTETS / 4096), (65_535, OCTETS / 65_535 + 1)] {
            let mut ring = Ring::default();
            while !ring.is_full() {
                ring.push(message(octets));
            }
            assert_eq!(ring.head(), fit as u64, "messages of {octets} octets");
            ring.release(1);
            assert!(!ring.is_full());
            ring.release(ring.head());
            assert_eq!((ring.octets, ring.tail()), (0, fit as u64));
        }
    }
}
