//! The states of a peer: a type each, with the deadlines that exist in it and no others.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::event::{Endpoints, Side};
use super::negotiation::Negotiated;

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
    Stopped,
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
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) endpoints: Endpoints,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    OpenSent(OpenSent),
    OpenConfirm(OpenConfirm),
    Established(Established),
}

#[derive(Debug)]
pub(super) struct OpenSent {
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
            Stage::OpenSent(_) | Stage::OpenConfirm(_) => None,
        })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let dialer = match self.dialer {
            Dialer::Held => None,
            Dialer::Resting { until } => Some(until),
            Dialer::Dialing { give_up } => Some(give_up),
        };
        let connections = [&self.active, &self.passive].into_iter().flatten();
        connections.filter_map(|connection| connection.stage.deadline()).chain(dialer).min()
    }

    pub(super) fn name(&self, now: Option<Instant>) -> SessionState {
        let stages =
            [&self.active, &self.passive].into_iter().flatten().map(|connection| connection.stage.name());
        stages.max().unwrap_or(match self.dialer {
            Dialer::Dialing { .. } => SessionState::Connect,
            Dialer::Held | Dialer::Resting { .. } if self.refuses(now) => SessionState::Idle,
            Dialer::Held | Dialer::Resting { .. } => SessionState::Active,
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
    fn name(&self) -> SessionState {
        match self {
            Stage::OpenSent(_) => SessionState::OpenSent,
            Stage::OpenConfirm(_) => SessionState::OpenConfirm,
            Stage::Established(_) => SessionState::Established,
        }
    }

    pub(super) fn terms(&self) -> Option<&Arc<Negotiated>> {
        match self {
            Stage::OpenSent(_) => None,
            Stage::OpenConfirm(state) => Some(&state.terms),
            Stage::Established(state) => Some(&state.terms),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Stage::OpenSent(state) => Some(state.hold),
            Stage::OpenConfirm(state) => state.hold.into_iter().chain(state.keepalive).min(),
            Stage::Established(state) => {
                state.hold.into_iter().chain(state.keepalive).chain(state.send_hold).min()
            }
        }
    }
}
