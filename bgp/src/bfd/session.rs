//! The machine of one session (RFC 5880 §6.8), time being an argument.
//!
//! Events go in ([`Session::received`], [`Session::tick`], [`Session::configure`], [`Session::disable`]), packets to be
//! sent come out; the shell calls [`Session::tick`] at [`Session::deadline`].
//!
//! The times that packets state (`told`) and those that are in force differ while a Poll Sequence runs: a longer transmit
//! interval and a shorter detection time wait until the peer has answered (§6.8.3). At most one sequence runs. The next
//! begins only when no answer to the one before can be on its way any more, for an answer does not say to which poll it
//! belongs.
//!
//! A change of times while the session is not Up needs no poll here, as the peer takes the times from every packet and
//! nothing depends on them before Up; coming Up then polls.

mod memory;

use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::damping::Damping;
use super::packet::Packet;
use super::remote::Remote;
use super::timers::{SLOW, Timers, jittered};
use crate::random::Random;

pub use memory::Memory;

/// How many times at most a session says at once that it is turned off.
const FAREWELLS: u8 = 5;

/// The state of a session (RFC 5880 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Somebody keeps it down.
    AdminDown,
    /// Nothing is heard, or the peer hears nothing.
    Down,
    /// The peer is heard, and does not hear this end yet.
    Init,
    /// Each hears the other.
    Up,
}

impl State {
    pub(super) fn from_bits(bits: u8) -> State {
        match bits & 3 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        }
    }

    pub(super) fn bits(self) -> u8 {
        match self {
            State::AdminDown => 0,
            State::Down => 1,
            State::Init => 2,
            State::Up => 3,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a session last changed its state (RFC 5880 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Diagnostic {
    /// No reason.
    None,
    /// Nothing was heard for the detection time.
    DetectionTimeExpired,
    /// Echo packets did not come back.
    EchoFailed,
    /// The peer said that its session is down.
    NeighborSignaledDown,
    /// The forwarding plane was reset.
    ForwardingReset,
    /// The path is known to be down.
    PathDown,
    /// A path further on is down.
    ConcatenatedPathDown,
    /// An operator did it.
    AdministrativelyDown,
    /// A path on the way back is down.
    ReverseConcatenatedPathDown,
    /// A code without a meaning yet, 9 to 31.
    Other(u8),
}

impl Diagnostic {
    pub(super) fn from_bits(bits: u8) -> Diagnostic {
        match bits & 0x1f {
            0 => Diagnostic::None,
            1 => Diagnostic::DetectionTimeExpired,
            2 => Diagnostic::EchoFailed,
            3 => Diagnostic::NeighborSignaledDown,
            4 => Diagnostic::ForwardingReset,
            5 => Diagnostic::PathDown,
            6 => Diagnostic::ConcatenatedPathDown,
            7 => Diagnostic::AdministrativelyDown,
            8 => Diagnostic::ReverseConcatenatedPathDown,
            code => Diagnostic::Other(code),
        }
    }

    pub(super) fn bits(self) -> u8 {
        match self {
            Diagnostic::None => 0,
            Diagnostic::DetectionTimeExpired => 1,
            Diagnostic::EchoFailed => 2,
            Diagnostic::NeighborSignaledDown => 3,
            Diagnostic::ForwardingReset => 4,
            Diagnostic::PathDown => 5,
            Diagnostic::ConcatenatedPathDown => 6,
            Diagnostic::AdministrativelyDown => 7,
            Diagnostic::ReverseConcatenatedPathDown => 8,
            Diagnostic::Other(code) => code & 0x1f,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Diagnostic::None => "no reason",
            Diagnostic::DetectionTimeExpired => "nothing was heard for the detection time",
            Diagnostic::EchoFailed => "echo packets did not come back",
            Diagnostic::NeighborSignaledDown => "the neighbour said that its session is down",
            Diagnostic::ForwardingReset => "the forwarding plane was reset",
            Diagnostic::PathDown => "the path is down",
            Diagnostic::ConcatenatedPathDown => "a path further on is down",
            Diagnostic::AdministrativelyDown => "administratively down",
            Diagnostic::ReverseConcatenatedPathDown => "a path on the way back is down",
            Diagnostic::Other(code) => return write!(f, "diagnostic {code}"),
        })
    }
}

/// What a session says of the path (RFC 5882 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathState {
    /// Nothing yet: the session has not been Up since it began, or since an end of it was enabled again.
    Unknown,
    /// Packets pass both ways.
    Up,
    /// They did, and no longer do.
    Down,
    /// They did, and for as long as would be a failure none has come; but the peer has asked for patience.
    Quiet,
    /// An operator turned the session off, here or there: that says nothing of the path.
    AdminDown,
}

/// The times of a session: how often to send, and how often the peer may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rates {
    tx: Duration,
    rx: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    None,
    /// So many packets with P were sent, and no F came.
    Running {
        sent: u32,
    },
    /// Several polls were sent for one answer: more of them may come until then.
    Settling {
        until: Instant,
    },
}

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    timers: Timers,
    discriminator: NonZeroU32,
    state: State,
    diagnostic: Diagnostic,
    path: PathState,
    remote: Remote,
    told: Rates,
    in_force: Rates,
    poll: Poll,
    /// The present transmit interval; `None`: nothing periodic is sent.
    interval: Option<Duration>,
    last_sent: Option<Instant>,
    next_send: Option<Instant>,
    last_heard: Option<Instant>,
    /// The silence that was a failure before the peer asked for patience.
    usual: Option<Duration>,
    up_since: Option<Instant>,
    /// It does not leave Down before then.
    held_until: Option<Instant>,
    damping: Damping,
    random: Random,
}

impl Session {
    /// A session that begins to send at once. `seed` makes its waits differ from those of others.
    pub fn new(now: Instant, timers: Timers, discriminator: NonZeroU32, seed: u64) -> Session {
        let rates = Rates { tx: timers.min_tx.max(SLOW), rx: timers.min_rx };
        Session {
            timers,
            discriminator,
            state: State::Down,
            diagnostic: Diagnostic::None,
            path: PathState::Unknown,
            remote: Remote::UNKNOWN,
            told: rates,
            in_force: rates,
            poll: Poll::None,
            interval: Some(rates.tx),
            last_sent: None,
            next_send: Some(now),
            last_heard: None,
            usual: None,
            up_since: None,
            held_until: None,
            damping: Damping::default(),
            random: Random::new(seed),
        }
    }

    /// A valid packet came for this session.
    pub fn received(&mut self, now: Instant, packet: &Packet, out: &mut Vec<Packet>) {
        self.remote = Remote::of(packet);
        if self.state == State::AdminDown {
            self.reschedule();
            return;
        }
        self.last_heard = Some(now);
        if packet.r#final
            && let Poll::Running { sent } = self.poll
        {
            self.in_force = self.told;
            self.poll = match self.detection_time() {
                Some(time) if sent > 1 => Poll::Settling { until: now + time.max(SLOW) },
                Some(_) | None => Poll::None,
            };
        }
        self.follow(now, packet.state, out);
        self.poll_for_changes(now, out);
        if packet.poll {
            out.push(self.packet(true));
        }
        self.reschedule();
    }

    /// The state machine of §6.2.
    fn follow(&mut self, now: Instant, remote: State, out: &mut Vec<Packet>) {
        let held = self.held_until.is_some_and(|until| now < until);
        match (self.state, remote) {
            (State::AdminDown, _) => (),
            (State::Down, State::AdminDown) => self.path = PathState::AdminDown,
            (State::Init | State::Up, State::AdminDown) => {
                self.go(now, State::Down, Diagnostic::NeighborSignaledDown, PathState::AdminDown, out);
            }
            (State::Down, State::Down | State::Init | State::Up) => {
                if self.path == PathState::AdminDown {
                    self.path = PathState::Unknown;
                }
                match remote {
                    State::Down if !held => self.go(now, State::Init, Diagnostic::None, self.path, out),
                    State::Init if !held => self.go(now, State::Up, Diagnostic::None, PathState::Up, out),
                    // A peer that is Up has not yet heard that this end is not.
                    State::Down | State::Init | State::Up | State::AdminDown => (),
                }
            }
            (State::Init, State::Init | State::Up) => {
                self.go(now, State::Up, Diagnostic::None, PathState::Up, out);
            }
            (State::Up, State::Down) => {
                self.go(now, State::Down, Diagnostic::NeighborSignaledDown, self.fallen(), out);
            }
            (State::Up, State::Up) => self.hear_up(),
            (State::Init, State::Down) | (State::Up, State::Init) => (),
        }
    }

    /// What is due at this time.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Packet>) {
        if self.expires().is_some_and(|expires| expires <= now) {
            // §6.8.1: after a detection time without a packet its name for the session means nothing any more.
            self.remote = Remote { diagnostic: self.remote.diagnostic, ..Remote::UNKNOWN };
            self.last_heard = None;
            match self.state {
                State::Up => self.go(now, State::Down, Diagnostic::DetectionTimeExpired, self.fallen(), out),
                State::Init => self.go(now, State::Down, Diagnostic::DetectionTimeExpired, self.path, out),
                State::Down | State::AdminDown => (),
            }
            self.reschedule();
        }
        if self.quiet_at().is_some_and(|at| at <= now) {
            self.path = PathState::Quiet;
        }
        if let Poll::Settling { until } = self.poll
            && until <= now
        {
            self.poll = Poll::None;
            self.poll_for_changes(now, out);
            self.reschedule();
        }
        if self.next_send.is_some_and(|next| next <= now) && !self.poll_for_changes(now, out) {
            self.send(now, out);
        }
    }

    /// When to call [`Session::tick`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let settled = match self.poll {
            Poll::Settling { until } => Some(until),
            Poll::None | Poll::Running { .. } => None,
        };
        [self.next_send, self.expires(), self.quiet_at(), settled].into_iter().flatten().min()
    }

    /// Other times, which hold when the peer knows them.
    pub fn configure(&mut self, now: Instant, timers: Timers, out: &mut Vec<Packet>) {
        self.timers = timers;
        self.poll_for_changes(now, out);
        self.reschedule();
    }

    /// Turns the session off and says so (§6.8.16), as often as packets may be lost: to a peer that hears of it too late
    /// it would be a failure of the path.
    pub fn disable(&mut self, now: Instant, out: &mut Vec<Packet>) {
        for _ in 1..self.timers.multiplier.get().min(FAREWELLS) {
            self.state = State::AdminDown;
            self.diagnostic = Diagnostic::AdministrativelyDown;
            self.poll_for_changes(now, out);
            self.send(now, out);
        }
        self.go(now, State::AdminDown, Diagnostic::AdministrativelyDown, PathState::AdminDown, out);
        self.poll_for_changes(now, out);
        self.reschedule();
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// What it says of the path.
    pub fn path(&self) -> PathState {
        self.path
    }

    /// Why its state changed last.
    pub fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// Its name here.
    pub fn discriminator(&self) -> NonZeroU32 {
        self.discriminator
    }

    /// The peer's name for it, its state there and why it changed last; the name is 0 while it is not heard.
    pub fn remote(&self) -> (u32, State, Diagnostic) {
        (self.remote.discriminator, self.remote.state, self.remote.diagnostic)
    }

    /// Whether a Poll Sequence runs.
    pub fn is_polling(&self) -> bool {
        matches!(self.poll, Poll::Running { .. })
    }

    /// How long the peer may be silent until the session is down (§6.8.4); `None` while it is not heard.
    pub fn detection_time(&self) -> Option<Duration> {
        let heard = self.remote.discriminator != 0;
        let interval = self.in_force.rx.max(self.remote.min_tx);
        heard.then(|| interval * u32::from(self.remote.multiplier.get()))
    }

    /// How often packets are sent, before jitter (§6.8.7); `None`: the peer wants nothing periodic.
    pub fn transmit_interval(&self) -> Option<Duration> {
        let demand = self.remote.demand && self.state == State::Up && self.remote.state == State::Up;
        let wanted = !self.remote.min_rx.is_zero() && (!demand || self.is_polling());
        wanted.then(|| self.in_force.tx.max(self.remote.min_rx))
    }

    fn expires(&self) -> Option<Instant> {
        match self.state {
            State::AdminDown => None,
            State::Down | State::Init | State::Up => Some(self.last_heard? + self.detection_time()?),
        }
    }

    /// Changes the state and says so at once (§6.8.7).
    fn go(&mut self, now: Instant, to: State, why: Diagnostic, path: PathState, out: &mut Vec<Packet>) {
        if self.state == State::Up
            && to != State::Up
            && let Some(since) = self.up_since.take()
            && path == PathState::Down
        {
            let hold = self.damping.hold(now.saturating_duration_since(since));
            self.held_until = hold.map(|hold| now + hold);
        }
        if to == State::Up {
            self.up_since = Some(now);
            self.usual = None;
        }
        self.state = to;
        self.diagnostic = why;
        self.path = path;
        if !self.poll_for_changes(now, out) {
            self.send(now, out);
        }
    }

    /// Makes known what is wanted now (§6.8.3); whether it sent a packet for that.
    fn poll_for_changes(&mut self, now: Instant, out: &mut Vec<Packet>) -> bool {
        let tx = if self.state == State::Up { self.timers.min_tx } else { self.timers.min_tx.max(SLOW) };
        let wanted = Rates { tx, rx: self.timers.min_rx };
        if self.state != State::Up {
            (self.told, self.in_force, self.poll) = (wanted, wanted, Poll::None);
            return false;
        }
        if wanted == self.told || self.poll != Poll::None {
            return false;
        }
        self.told = wanted;
        // What makes the peer's life harder, or this end's shorter, waits for the answer.
        self.in_force = Rates { tx: self.in_force.tx.min(wanted.tx), rx: self.in_force.rx.max(wanted.rx) };
        self.poll = Poll::Running { sent: 0 };
        self.send(now, out);
        true
    }

    fn send(&mut self, now: Instant, out: &mut Vec<Packet>) {
        out.push(self.packet(false));
        if let Poll::Running { sent } = &mut self.poll {
            *sent = sent.saturating_add(1);
        }
        self.interval = self.transmit_interval();
        self.last_sent = Some(now);
        self.next_send = self.wait().map(|wait| now + wait);
    }

    /// The next packet goes by the present interval, also if that was another when the last one was sent.
    fn reschedule(&mut self) {
        let interval = self.transmit_interval();
        if interval != self.interval {
            self.interval = interval;
            let wait = self.wait();
            self.next_send = self
                .last_sent
                .and_then(|sent| Some(sent + wait?))
                .or(self.next_send.filter(|_| wait.is_some()));
        }
    }

    fn wait(&mut self) -> Option<Duration> {
        self.interval.map(|interval| jittered(interval, self.timers.multiplier, &mut self.random))
    }

    fn packet(&self, answer: bool) -> Packet {
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            // Never both (§6.8.7).
            poll: self.is_polling() && !answer,
            r#final: answer,
            control_plane_independent: false,
            demand: false,
            multiplier: self.timers.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx: self.told.tx,
            required_min_rx: self.told.rx,
            required_min_echo_rx: Duration::ZERO,
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
