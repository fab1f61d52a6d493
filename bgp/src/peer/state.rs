//! The states of a peer: a type each, with the deadlines that exist in it and no others.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::event::{Endpoints, Side};
use super::negotiation::{Negotiated, Offer};

/// The state of a session as RFC 4271 §8.2.2 names it: that of its most advanced connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionState {
    /// Stopped, or resting after an error and refusing connections.
    Idle,
    /// Dialling.
    Connect,
    /// Waiting for the peer, or for the next dial.
    Active,
    /// Connected; the peer's OPEN has not come.
    OpenSent,
    /// The peer's OPEN was good; its KEEPALIVE has not come.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one a peer, and it is running nearly always")]
pub(super) enum State {
    /// By an operator.
    Stopped,
    /// By a limit: until an operator starts the peer or changes its configuration.
    Halted,
    Running(Running),
}

/// Not stopped: dialling or not, and up to two connections.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) dialer: Dialer,
    pub(super) active: Option<Connection>,
    pub(super) passive: Option<Connection>,
    /// Incoming connections are refused until then.
    pub(super) refuse_until: Option<Instant>,
    /// No dialling before then.
    pub(super) rest_until: Option<Instant>,
}

#[derive(Debug)]
pub(super) enum Dialer {
    /// There is no need to dial, or it is not allowed.
    Held,
    Resting {
        until: Instant,
    },
    Dialing {
        give_up: Instant,
    },
    /// The peer is to dial; if it has not done so by then, an operator should know.
    Listening {
        complain: Option<Instant>,
    },
}

impl Dialer {
    /// There is no reason to wait any more.
    pub(super) fn hurry(&mut self, now: Instant) {
        match self {
            Dialer::Resting { until } => *until = now,
            Dialer::Held | Dialer::Dialing { .. } | Dialer::Listening { .. } => (),
        }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) endpoints: Endpoints,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The own OPEN waits for the peer's (RFC 4271 §8.1.1, DelayOpen).
    Delaying(Delaying),
    OpenSent(OpenSent),
    OpenConfirm(OpenConfirm),
    Established(Established),
}

#[derive(Debug)]
pub(super) struct Delaying {
    pub(super) until: Instant,
}

#[derive(Debug)]
pub(super) struct OpenSent {
    pub(super) offer: Offer,
    pub(super) hold: Instant,
}

#[derive(Debug)]
pub(super) struct OpenConfirm {
    pub(super) terms: Arc<Negotiated>,
    pub(super) hold: Option<Instant>,
    pub(super) keepalive: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Established {
    pub(super) terms: Arc<Negotiated>,
    pub(super) since: Instant,
    pub(super) hold: Option<Instant>,
    pub(super) keepalive: Option<Instant>,
    pub(super) send_hold: Option<Instant>,
}

impl Running {
    pub(super) fn resting(until: Instant) -> Running {
        Running {
            dialer: Dialer::Resting { until },
            active: None,
            passive: None,
            refuse_until: None,
            rest_until: None,
        }
    }

    pub(super) fn slot(&mut self, side: Side) -> &mut Option<Connection> {
        match side {
            Side::Active => &mut self.active,
            Side::Passive => &mut self.passive,
        }
    }

    pub(super) fn get(&self, side: Side) -> Option<&Connection> {
        match side {
            Side::Active => self.active.as_ref(),
            Side::Passive => self.passive.as_ref(),
        }
    }

    /// The terms of the connection, once it is past OpenSent.
    pub(super) fn terms(&self, side: Side) -> Option<&Arc<Negotiated>> {
        self.get(side)?.stage.terms()
    }

    /// The established connection and its terms.
    pub(super) fn established(&self) -> Option<(Side, &Established)> {
        Side::BOTH.into_iter().find_map(|side| match &self.get(side)?.stage {
            Stage::Established(established) => Some((side, established)),
            Stage::Delaying(_) | Stage::OpenSent(_) | Stage::OpenConfirm(_) => None,
        })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let dialer = match self.dialer {
            Dialer::Held => None,
            Dialer::Resting { until } => Some(until),
            Dialer::Dialing { give_up } => Some(give_up),
            Dialer::Listening { complain } => complain,
        };
        let connections = [&self.active, &self.passive].into_iter().flatten();
        connections.filter_map(|connection| connection.stage.deadline()).chain(dialer).min()
    }

    pub(super) fn name(&self, now: Option<Instant>) -> SessionState {
        let of = |side: Side| self.get(side).map(|connection| connection.stage.name(side));
        let stages = Side::BOTH.into_iter().filter_map(of);
        stages.max().unwrap_or(match self.dialer {
            Dialer::Dialing { .. } => SessionState::Connect,
            Dialer::Held | Dialer::Resting { .. } | Dialer::Listening { .. } if self.refuses(now) => {
                SessionState::Idle
            }
            Dialer::Held | Dialer::Resting { .. } | Dialer::Listening { .. } => SessionState::Active,
        })
    }

    pub(super) fn refuses(&self, now: Option<Instant>) -> bool {
        match (self.refuse_until, now) {
            (Some(until), Some(now)) => now < until,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

impl Stage {
    fn name(&self, side: Side) -> SessionState {
        match (self, side) {
            // RFC 4271 stays in the state the connection was waited for in.
            (Stage::Delaying(_), Side::Active) => SessionState::Connect,
            (Stage::Delaying(_), Side::Passive) => SessionState::Active,
            (Stage::OpenSent(_), _) => SessionState::OpenSent,
            (Stage::OpenConfirm(_), _) => SessionState::OpenConfirm,
            (Stage::Established(_), _) => SessionState::Established,
        }
    }

    pub(super) fn terms(&self) -> Option<&Arc<Negotiated>> {
        match self {
            Stage::Delaying(_) | Stage::OpenSent(_) => None,
            Stage::OpenConfirm(state) => Some(&state.terms),
            Stage::Established(state) => Some(&state.terms),
        }
    }

    /// What the own OPEN had in it, while it waits for an answer.
    pub(super) fn offer(&self) -> Option<Offer> {
        match self {
            Stage::OpenSent(state) => Some(state.offer),
            Stage::Delaying(_) | Stage::OpenConfirm(_) | Stage::Established(_) => None,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Stage::Delaying(state) => Some(state.until),
            Stage::OpenSent(state) => Some(state.hold),
            Stage::OpenConfirm(state) => state.hold.into_iter().chain(state.keepalive).min(),
            Stage::Established(state) => {
                state.hold.into_iter().chain(state.keepalive).chain(state.send_hold).min()
            }
        }
    }
}
