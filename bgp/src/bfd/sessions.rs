//! All sessions: whom a packet is for (RFC 5880 §6.3, RFC 5881 §3 and §5), and whose deadline is next.
//!
//! A packet names the session it is about; one whose sender does not know the name yet is told by its address, and, where that
//! is link-local, by the device it came by. Either way it must come from the session's own peer and to the port of its kind, so
//! that a packet that may come from anywhere (many hops) never reaches a session whose packets cannot (one hop, TTL 255).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::packet::{Packet, PacketError};
use super::session::{Diagnostic, Memory, PathState, Session, State};
use super::timers::{SLOW, Timers};
use crate::config::PeerKey;
use crate::random::Random;

/// The TTL, or hop limit, of what is sent, and over one hop of what is taken (RFC 5881 §5).
pub const TTL: u8 = 255;

/// How far the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hops {
    /// On the same link (RFC 5881).
    One,
    /// Anywhere (RFC 5883).
    Many,
}

impl Hops {
    /// The UDP port packets go to.
    pub fn port(self) -> u16 {
        match self {
            Hops::One => 3784,
            Hops::Many => 4784,
        }
    }
}

/// From where packets of a peer come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The address.
    pub address: IpAddr,
    /// The index of the device, where the address says nothing without it (RFC 4007 §6), else 0.
    pub scope: u32,
}

impl From<SocketAddr> for Place {
    fn from(socket: SocketAddr) -> Place {
        let address = socket.ip().to_canonical();
        let scope = match (address, socket) {
            (IpAddr::V6(address), SocketAddr::V6(socket)) if address.is_unicast_link_local() => {
                socket.scope_id()
            }
            (IpAddr::V4(_) | IpAddr::V6(_), SocketAddr::V4(_) | SocketAddr::V6(_)) => 0,
        };
        Place { address, scope }
    }
}

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// From whom.
    pub from: Place,
    /// To the port of which kind.
    pub hops: Hops,
    /// Its TTL or hop limit; `None`: the system did not say.
    pub ttl: Option<u8>,
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discard {
    /// It is none.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// It may come from farther than the link.
    #[error("a BFD packet with a TTL of {0:?}: over one hop it has 255 (RFC 5881 §5)")]
    Ttl(Option<u8>),
    /// It is for no session here.
    #[error(
        "a BFD packet for no session here: check that both ends have each other's addresses and hops right"
    )]
    NoSession,
}

impl Discard {
    /// A stable word for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Discard::Packet(error) => error.code(),
            Discard::Ttl(_) => "Ttl",
            Discard::NoSession => "NoSession",
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    /// Send a packet to this peer.
    Send(PeerKey, Packet),
    /// The state of this peer's session, or what it says of the path, is another.
    Changed(PeerKey),
    /// The session has told its peer that it is turned off, and is gone.
    Gone(PeerKey),
}

/// How a session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// How far the peer is.
    pub hops: Hops,
    /// The state here.
    pub state: State,
    /// What it says of the path.
    pub path: PathState,
    /// Why the state here changed last.
    pub diagnostic: Diagnostic,
    /// The state there, as last heard.
    pub remote_state: State,
    /// Why the state there changed last.
    pub remote_diagnostic: Diagnostic,
    /// The name of the session here.
    pub discriminator: NonZeroU32,
    /// Its name there; 0 while nothing is heard.
    pub remote_discriminator: u32,
    /// How often packets are sent; `None`: the peer wants nothing periodic.
    pub transmit_interval: Option<Duration>,
    /// After how much silence the session is down; `None` while nothing is heard.
    pub detection_time: Option<Duration>,
    /// How long ago the state changed.
    pub age: Duration,
    /// How many times it came up.
    pub ups: u64,
    /// How many times the path went down.
    pub downs: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
}

#[derive(Debug)]
struct Entry {
    session: Session,
    place: Place,
    hops: Hops,
    /// As it stands in the set of deadlines.
    deadline: Option<Instant>,
    /// It is turned off and goes then.
    goes: Option<Instant>,
    since: Instant,
    ups: u64,
    downs: u64,
    sent: u64,
    received: u64,
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    entries: BTreeMap<PeerKey, Entry>,
    names: HashMap<u32, PeerKey>,
    places: HashMap<Place, PeerKey>,
    deadlines: BTreeSet<(Instant, PeerKey)>,
    discards: BTreeMap<&'static str, u64>,
    random: Random,
    /// Meant to be used again.
    packets: Vec<Packet>,
    /// How many times what there is to remember has changed.
    changes: u64,
}

impl Sessions {
    /// None yet. `seed` makes their names and waits differ from those of others.
    pub fn new(seed: u64) -> Sessions {
        Sessions {
            entries: BTreeMap::new(),
            names: HashMap::new(),
            places: HashMap::new(),
            deadlines: BTreeSet::new(),
            discards: BTreeMap::new(),
            random: Random::new(seed),
            packets: Vec::new(),
            changes: 0,
        }
    }

    /// A session with this peer, whose packets come from this place; one that is there goes over to these times, or begins
    /// anew if the hops or the place are others. With a `memory` it goes on where another process left it.
    pub fn open(
        &mut self,
        now: Instant,
        key: PeerKey,
        (place, hops): (Place, Hops),
        (timers, memory): (Timers, Option<&Memory>),
        out: &mut Vec<Output>,
    ) {
        let stays = |entry: &Entry| (entry.place, entry.hops) == (place, hops) && entry.goes.is_none();
        if self.entries.get(&key).is_some_and(stays) {
            self.with(now, key, out, |session, now, packets| session.configure(now, timers, packets));
            return;
        }
        self.remove(key);
        let seed = self.random.next();
        let is_free = |memory: &&Memory| !self.names.contains_key(&memory.discriminator.get());
        let session = match memory.filter(is_free) {
            Some(memory) => Session::resume(now, timers, memory, seed),
            None => Session::new(now, timers, self.new_name(), seed),
        };
        let name = session.discriminator();
        let entry = Entry {
            session,
            place,
            hops,
            deadline: None,
            goes: None,
            since: now,
            ups: 0,
            downs: 0,
            sent: 0,
            received: 0,
        };
        self.entries.insert(key, entry);
        self.names.insert(name.get(), key);
        self.places.insert(place, key);
        self.with(now, key, out, Session::tick);
    }

    /// Turns the session of a peer off. It tells the peer for a while and is gone then.
    pub fn close(&mut self, now: Instant, key: PeerKey, out: &mut Vec<Output>) {
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.goes.is_none()) {
            // RFC 5880 §6.8.16: at least for a detection time, which is the time for so many packets.
            entry.goes = Some(now + SLOW * 3);
            self.with(now, key, out, Session::disable);
        }
    }

    /// A datagram came.
    ///
    /// # Errors
    /// [`Discard`], if it is not for a session here; it is counted.
    pub fn received(
        &mut self,
        now: Instant,
        arrival: Arrival,
        octets: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Discard> {
        match self.whose(arrival, octets) {
            Ok((key, packet)) => {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.received += 1;
                }
                self.with(now, key, out, |session, now, packets| session.received(now, &packet, packets));
                Ok(())
            }
            Err(discard) => {
                *self.discards.entry(discard.code()).or_default() += 1;
                Err(discard)
            }
        }
    }

    fn whose(&self, arrival: Arrival, octets: &[u8]) -> Result<(PeerKey, Packet), Discard> {
        let Arrival { from, hops, ttl } = arrival;
        if hops == Hops::One && ttl != Some(TTL) {
            return Err(Discard::Ttl(ttl));
        }
        let packet = Packet::decode(octets)?;
        let sender = self.places.get(&from).copied().ok_or(Discard::NoSession)?;
        let named = match packet.your_discriminator {
            0 => Some(sender),
            name => self.names.get(&name).copied(),
        };
        let key = named.filter(|key| *key == sender).ok_or(Discard::NoSession)?;
        let known = self.entries.get(&key).is_some_and(|entry| entry.hops == hops);
        if known { Ok((key, packet)) } else { Err(Discard::NoSession) }
    }

    /// Asks the peer to wait for so long before it takes silence for a failure.
    pub fn stretch(&mut self, now: Instant, key: PeerKey, time: Duration, out: &mut Vec<Output>) {
        self.with(now, key, out, |session, now, packets| session.stretch(now, time, packets));
    }

    /// Whether the peer of each of these knows the times in which packets come.
    pub fn are_known<'a>(&self, mut keys: impl Iterator<Item = &'a PeerKey>) -> bool {
        keys.all(|key| self.entries.get(key).is_none_or(|entry| entry.session.is_known()))
    }

    /// What the next process has to know of each session that is Up, and how many times that has changed.
    pub fn memories(&self) -> (u64, impl Iterator<Item = (PeerKey, Hops, Memory)>) {
        let of = |(key, entry): (&PeerKey, &Entry)| Some((*key, entry.hops, entry.session.memory()?));
        (self.changes, self.entries.iter().filter_map(of))
    }

    /// What is due at this time.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some((_, key)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            if self.entries.get(&key).and_then(|entry| entry.goes).is_some_and(|goes| goes <= now) {
                self.remove(key);
                out.push(Output::Gone(key));
            } else {
                self.with(now, key, out, Session::tick);
            }
        }
    }

    /// When to call [`Sessions::tick`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// What the session of a peer says of the path, and how many times it went down.
    pub fn path(&self, key: PeerKey) -> Option<(PathState, u64)> {
        self.entries.get(&key).map(|entry| (entry.session.path(), entry.downs))
    }

    /// How the session of each peer stands.
    pub fn status(&self, now: Instant) -> BTreeMap<PeerKey, SessionStatus> {
        let there = self.entries.iter().filter(|(_, entry)| entry.goes.is_none());
        there.map(|(key, entry)| (*key, entry.status(now))).collect()
    }

    /// How many packets were dropped, by [`Discard::code`].
    pub fn discards(&self) -> &BTreeMap<&'static str, u64> {
        &self.discards
    }

    /// Whether there is none, not even one that is about to go.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Does something with a session, and sees to what comes of it.
    fn with(
        &mut self,
        now: Instant,
        key: PeerKey,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Session, Instant, &mut Vec<Packet>),
    ) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let before = (entry.session.state(), entry.session.path());
        let memory = entry.session.memory();
        self.packets.clear();
        act(&mut entry.session, now, &mut self.packets);
        entry.sent += self.packets.len() as u64;
        out.extend(self.packets.drain(..).map(|packet| Output::Send(key, packet)));
        let after = (entry.session.state(), entry.session.path());
        if before != after {
            entry.since = if before.0 == after.0 { entry.since } else { now };
            entry.ups += u64::from(after.0 == State::Up);
            entry.downs += u64::from(before.1 != after.1 && after.1 == PathState::Down);
            out.push(Output::Changed(key));
        }
        self.changes += u64::from(memory != entry.session.memory());
        let deadline = entry.session.deadline().into_iter().chain(entry.goes).min();
        if deadline != entry.deadline {
            let old = std::mem::replace(&mut entry.deadline, deadline);
            old.map(|old| self.deadlines.remove(&(old, key)));
            deadline.map(|deadline| self.deadlines.insert((deadline, key)));
        }
    }

    fn remove(&mut self, key: PeerKey) {
        if let Some(entry) = self.entries.remove(&key) {
            self.changes += 1;
            self.names.remove(&entry.session.discriminator().get());
            // Another peer may be there now.
            if self.places.get(&entry.place) == Some(&key) {
                self.places.remove(&entry.place);
            }
            entry.deadline.map(|deadline| self.deadlines.remove(&(deadline, key)));
        }
    }

    /// A name that no session here has.
    fn new_name(&mut self) -> NonZeroU32 {
        loop {
            let name = NonZeroU32::new(self.random.next() as u32);
            if let Some(name) = name.filter(|name| !self.names.contains_key(&name.get())) {
                return name;
            }
        }
    }
}

impl Entry {
    fn status(&self, now: Instant) -> SessionStatus {
        let (remote_discriminator, remote_state, remote_diagnostic) = self.session.remote();
        SessionStatus {
            hops: self.hops,
            state: self.session.state(),
            path: self.session.path(),
            diagnostic: self.session.diagnostic(),
            remote_state,
            remote_diagnostic,
            discriminator: self.session.discriminator(),
            remote_discriminator,
            transmit_interval: self.session.transmit_interval(),
            detection_time: self.session.detection_time(),
            age: now.saturating_duration_since(self.since),
            ups: self.ups,
            downs: self.downs,
            sent: self.sent,
            received: self.received,
        }
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
