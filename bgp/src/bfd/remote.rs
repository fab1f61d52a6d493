//! What the peer's packets said last.

use std::num::NonZeroU8;
use std::time::Duration;

use super::packet::Packet;
use super::session::{Diagnostic, State};

/// The variables `bfd.Remote…` of RFC 5880 §6.8.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remote {
    /// 0: not known, or not heard for a detection time.
    pub(super) discriminator: u32,
    pub(super) state: State,
    pub(super) diagnostic: Diagnostic,
    pub(super) demand: bool,
    pub(super) min_rx: Duration,
    pub(super) min_tx: Duration,
    pub(super) multiplier: NonZeroU8,
}

impl Remote {
    pub(super) const UNKNOWN: Remote = Remote {
        discriminator: 0,
        state: State::Down,
        diagnostic: Diagnostic::None,
        demand: false,
        min_rx: Duration::from_micros(1),
        min_tx: Duration::ZERO,
        multiplier: NonZeroU8::MIN,
    };

    pub(super) fn of(packet: &Packet) -> Remote {
        Remote {
            discriminator: packet.my_discriminator.get(),
            state: packet.state,
            diagnostic: packet.diagnostic,
            demand: packet.demand,
            min_rx: packet.required_min_rx,
            min_tx: packet.desired_min_tx,
            multiplier: packet.multiplier,
        }
    }
}
