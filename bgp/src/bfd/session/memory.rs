//! What outlives the process of a session: with it the next one goes on under the same name, and the peer sees neither its
//! end nor its beginning (RFC 5882 §4.3.2.2).
//!
//! A session that goes on is Up from the start, since the peer takes it for that; whether it really does is known when the
//! peer says Up, too. Until then nothing is said of the path, so that a peer which has given the session up meanwhile costs
//! as much as one that was never known.
//!
//! Who asks for patience may be gone for good all the same: its machine goes down, and not only the process. So a session
//! whose peer has asked says when it would have taken the silence for a failure ([`PathState::Quiet`]).

use std::num::{NonZeroU8, NonZeroU32};
use std::time::{Duration, Instant};

use super::{Diagnostic, PathState, Poll, Rates, Session, State};
use crate::bfd::packet::Packet;
use crate::bfd::remote::Remote;
use crate::bfd::timers::Timers;

/// What there is to know of a session that is Up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Its name here.
    pub discriminator: NonZeroU32,
    /// Its name there.
    pub remote_discriminator: NonZeroU32,
    /// How often this end said last that it sends.
    pub told_tx: Duration,
    /// How often this end said last that it can receive.
    pub told_rx: Duration,
    /// How often the peer says that it sends.
    pub remote_tx: Duration,
    /// How often the peer says that it can receive.
    pub remote_rx: Duration,
    /// So many of the peer's packets may be lost in a row, less one.
    pub remote_multiplier: NonZeroU8,
}

impl Session {
    /// A session that goes on where another process left it. It begins to send at once.
    pub fn resume(now: Instant, timers: Timers, memory: &Memory, seed: u64) -> Session {
        let told = Rates { tx: memory.told_tx, rx: memory.told_rx };
        let remote = Remote {
            discriminator: memory.remote_discriminator.get(),
            state: State::Up,
            diagnostic: Diagnostic::None,
            demand: false,
            min_rx: memory.remote_rx,
            min_tx: memory.remote_tx,
            multiplier: memory.remote_multiplier,
        };
        let mut session = Session::new(now, timers, memory.discriminator, seed);
        session.state = State::Up;
        session.path = PathState::Unknown;
        session.remote = remote;
        (session.told, session.in_force) = (told, told);
        session.last_heard = Some(now);
        session.up_since = Some(now);
        session
    }

    /// What there is to know of it; `None` while it is not Up.
    pub fn memory(&self) -> Option<Memory> {
        let remote_discriminator = NonZeroU32::new(self.remote.discriminator)?;
        (self.state == State::Up).then_some(Memory {
            discriminator: self.discriminator,
            remote_discriminator,
            told_tx: self.told.tx,
            told_rx: self.told.rx,
            remote_tx: self.remote.min_tx,
            remote_rx: self.remote.min_rx,
            remote_multiplier: self.remote.multiplier,
        })
    }

    /// Asks the peer to wait for so long before it takes silence for a failure: this end is about to fall silent.
    pub fn stretch(&mut self, now: Instant, time: Duration, out: &mut Vec<Packet>) {
        let multiplier = u128::from(self.timers.multiplier.get());
        let micros = time.as_micros().div_ceil(multiplier).min(u32::MAX.into());
        let interval = Duration::from_micros(micros as u64);
        self.configure(now, Timers { min_tx: self.timers.min_tx.max(interval), ..self.timers }, out);
    }

    /// Whether the peer knows the times that are configured, or need not know them since it is not Up.
    pub fn is_known(&self) -> bool {
        let told = self.told == Rates { tx: self.timers.min_tx, rx: self.timers.min_rx };
        self.state != State::Up || told && !matches!(self.poll, Poll::Running { .. })
    }

    /// The peer is Up, too. One that sends seldom and goes on doing so is not silent.
    pub(super) fn hear_up(&mut self) {
        let now = self.detection_time();
        let usual = self.usual.filter(|_| self.path != PathState::Quiet);
        self.usual = usual.into_iter().chain(now).min();
        self.path = PathState::Up;
    }

    /// When the peer has been silent for so long that it would be a failure, had it not asked for patience.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        let patient = self.usual < self.detection_time() && self.path == PathState::Up;
        (patient && self.state == State::Up).then_some(self.last_heard? + self.usual?)
    }

    /// What it says of the path when packets no longer pass: of one that goes on, and was not yet heard of, nothing.
    pub(super) fn fallen(&self) -> PathState {
        if self.path == PathState::Unknown { PathState::Unknown } else { PathState::Down }
    }
}
