//! Restarts, of peers and of this speaker (RFC 4724 §4).
//!
//! A peer that went away gracefully leaves its paths behind, in the slot of the session that is over: they are stale, and
//! go when the peer has announced all it has, or when the session's machine says so.
//!
//! A speaker that has restarted itself chooses among what it hears when every peer has said all it had, for each family
//! by itself, and after a given time at the latest (`speaker/deferral.rs`). It does not wait for peers that have restarted, too,
//! since those wait as well. What it originates goes out at once. Its own End-of-RIBs come when all that is done, and when it
//! has been told that what it originates is complete: at an End-of-RIB peers forget what they were told before the restart.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{RibThread, Session, Stale};
use crate::config::{Families, Family, PeerKey, PeerOrigin};
use crate::peer::{Keep, Negotiated};
use crate::rib::Change;
use crate::speaker::command::Command;
use crate::speaker::deferral::{Deferral, Heard};
use crate::speaker::event::{SpeakerEvent, tell};
use crate::speaker::peer_memory::{self, PeerMemory};

/// How a speaker begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// It has run before: the choice among its peers' routes is put off until they have said all they have, from the time
    /// on at which it has peers, and no longer than this (RFC 4724 §4.1).
    pub deferral: Option<Duration>,
    /// No End-of-RIB is said until [`crate::speaker::Handle::announced`]: what it originates takes time to be known.
    pub announces_later: bool,
    /// The file in which sessions of BFD outlive the process, in a directory that does not outlive the machine's boot; `None`:
    /// they begin anew.
    pub bfd_memory: Option<PathBuf>,
    /// The file, in such a directory, that says which peers of ranges are there, so that the next process waits for these and no
    /// longer; `None`: where there are ranges it waits the whole [`Beginning::deferral`].
    pub peer_memory: Option<PathBuf>,
}

/// How far the beginning has come.
#[derive(Debug)]
pub(super) struct Begun {
    /// Whom the choice waits for.
    deferral: Deferral,
    /// Its time runs.
    timed: bool,
    /// What is originated is complete.
    announced: bool,
    /// Peers of ranges that have had a session, and end their tables with a word.
    guests: BTreeSet<PeerKey>,
    /// Where they are written down.
    memory: Option<PeerMemory>,
}

impl Begun {
    /// Must be called on a tokio runtime.
    pub(super) fn new(beginning: Beginning) -> Self {
        let memory = beginning.peer_memory.as_deref();
        Begun {
            deferral: Deferral::new(beginning.deferral, memory.and_then(peer_memory::read)),
            timed: false,
            announced: !beginning.announces_later,
            guests: BTreeSet::new(),
            memory: memory.map(PeerMemory::new),
        }
    }
}

impl Session {
    /// What the peer has said in a family.
    fn heard(&self, family: Family) -> Heard {
        // Who knows nothing of restarts need not end its table with a word.
        let speaks = self.negotiated.graceful_restart.as_ref().is_some_and(|restart| !restart.restarted);
        match speaks && self.negotiated.families.contains(family) && !self.ended.contains(family) {
            true => Heard::Part,
            false => Heard::All,
        }
    }
}

impl RibThread {
    /// What is put off at the start.
    pub(super) fn begin(&mut self) {
        for family in self.begun.deferral.families().iter() {
            match family {
                Family::Ipv4Unicast => self.v4.rib.defer_selection(),
                Family::Ipv6Unicast => self.v6.rib.defer_selection(),
            }
        }
        self.look_at_beginning();
    }

    /// Own routes are complete.
    pub(super) fn announced(&mut self) {
        self.begun.announced = true;
    }

    /// Whether End-of-RIB may be said once all is told: of IPv4, of IPv6.
    pub(super) fn may_end(&self) -> (bool, bool) {
        let announced = self.begun.announced;
        (announced && self.v4.rib.has_selected(), announced && self.v6.rib.has_selected())
    }

    /// Ends the deferral of the families in which nobody is waited for any more.
    pub(super) fn look_at_beginning(&mut self) {
        self.look_at_beginning_as_of(Instant::now());
    }

    fn look_at_beginning_as_of(&mut self, now: Instant) {
        let heard = |key: &PeerKey, family| self.sessions.get(key).map(|session| session.heard(family));
        let ended = self.begun.deferral.ended(now, &self.config, heard);
        for family in ended.iter() {
            match family {
                Family::Ipv4Unicast => self.v4.rib.select(),
                Family::Ipv6Unicast => self.v6.rib.select(),
            }
        }
        self.time_deferral();
        self.write_down_guests();
    }

    /// Has the thread told when the time is over.
    fn time_deferral(&mut self) {
        let Some(deadline) = self.begun.deferral.deadline() else { return };
        if std::mem::replace(&mut self.begun.timed, true) {
            return;
        }
        let own = self.own.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep_until(deadline.into()).await;
            if let Some(own) = own.upgrade()
                && own.send(Command::DeferralOver).await.is_err()
            {
                tracing::trace!("the speaker ended before its beginning was over");
            }
        });
    }

    /// The time is over.
    pub(super) fn deferral_over(&mut self) {
        let Some(deadline) = self.begun.deferral.deadline() else { return };
        for family in self.begun.deferral.families().iter() {
            tracing::info!(%family, "not every peer has come back and said all it has: choosing among what there is");
        }
        self.look_at_beginning_as_of(deadline);
    }

    /// A peer has a session: if it is of a range the next process will not know it by itself.
    pub(super) fn meet(&mut self, key: PeerKey, terms: &Negotiated) {
        if terms.graceful_restart.is_some() {
            self.begun.guests.insert(key);
        }
    }

    /// Tells the next process which peers of ranges are there, and, until the choice, which there were.
    fn write_down_guests(&mut self) {
        let Some(memory) = &mut self.begun.memory else { return };
        let of_a_range = |key: &PeerKey| {
            self.config.peers.get(key).is_some_and(|peer| matches!(peer.origin, PeerOrigin::Range(_)))
        };
        self.begun.guests.retain(of_a_range);
        if let Some(before) = self.begun.deferral.remembered() {
            memory.tell(self.begun.guests.union(before).copied().collect());
        }
    }

    /// The session of a peer is over.
    pub(super) fn down(&mut self, key: PeerKey, keep: Keep) {
        self.forget(key, Families::dual());
        let Some(Session { slot, .. }) = self.sessions.remove(&key) else { return };
        let kept = match keep {
            Keep::Nothing => Families::NONE,
            Keep::Stale { families, .. } => families,
        };
        let now = Instant::now();
        for family in Family::ALL {
            match (family, kept.contains(family)) {
                (Family::Ipv4Unicast, false) => self.v4.down(now, slot),
                (Family::Ipv4Unicast, true) => self.v4.keep(now, slot),
                (Family::Ipv6Unicast, false) => self.v6.down(now, slot),
                (Family::Ipv6Unicast, true) => self.v6.keep(now, slot),
            }
        }
        if !kept.is_empty() {
            self.stale.insert(key, Stale { slot, families: kept, long: Families::NONE });
        }
    }

    /// A peer is away for longer than it asked for: what was kept of it stays as a last resort in these families.
    pub(super) fn long_lived(&mut self, key: PeerKey, families: Families) {
        self.forget(key, Families::dual().difference(families));
        let Some(stale) = self.stale.get_mut(&key) else { return };
        let new = stale.families.intersection(families).difference(stale.long);
        stale.long = stale.families.intersection(families);
        let (slot, now) = (stale.slot, Instant::now());
        for family in new.iter() {
            match family {
                Family::Ipv4Unicast => self.v4.rib.apply(now, Change::LongLived(slot)),
                Family::Ipv6Unicast => self.v6.rib.apply(now, Change::LongLived(slot)),
            }
        }
    }

    /// The families in which a peer that is back went on forwarding, as it says.
    pub(super) fn survived(&self, key: PeerKey, terms: &Negotiated) -> Families {
        let Some(retention) = &terms.retention else { return Families::NONE };
        let long = self.stale.get(&key).map_or(Families::NONE, |stale| stale.long);
        let short = retention.forwarding.difference(long);
        short.iter().chain(retention.long_forwarding.intersection(long).iter()).collect()
    }

    /// What was kept of a peer's last session in these families goes.
    pub(super) fn forget(&mut self, key: PeerKey, families: Families) {
        let Some(stale) = self.stale.get_mut(&key) else { return };
        let going = stale.families.intersection(families);
        stale.families = stale.families.difference(going);
        let (slot, now) = (stale.slot, Instant::now());
        // The slot may be another's once both families are swept.
        if stale.families.is_empty() {
            self.stale.remove(&key);
        }
        for family in going.iter() {
            match family {
                Family::Ipv4Unicast => self.v4.down(now, slot),
                Family::Ipv6Unicast => self.v6.down(now, slot),
            }
        }
    }

    /// The peer has announced all it has: what is still stale it has no more.
    pub(super) fn end_of_rib(&mut self, key: PeerKey, family: Family) {
        self.forget(key, [family].into_iter().collect());
        if let Some(session) = self.sessions.get_mut(&key) {
            session.ended.insert(family);
        }
        self.look_at_beginning();
        tell(&self.events, SpeakerEvent::EndOfRib { key, family });
    }
}
